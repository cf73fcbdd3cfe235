#include "machine.h"

#include <ucontext.h>

#include <memory>
#include <string>
#include <vector>

#include "emulate.h"
#include "value.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace hive::gpu::emulated {
namespace {

constexpr size_t kStackBytes = 64 * 1024;
constexpr size_t kSharedMost = 227 * 1024;
// Switches without any exchange or barrier being completed before a block counts as stuck.
constexpr uint64_t kPatience = 4'000'000;

std::vector<KernelEntry>& kernels() {
  static std::vector<KernelEntry> all;
  return all;
}

#if defined(__x86_64__)
// Saves the callee-saved registers and the stack pointer, and takes up those of another fiber.
extern "C" void hive_switch(void** save, void* load);
__asm__(
    ".text\n.globl hive_switch\n.hidden hive_switch\n.type hive_switch,@function\n"
    "hive_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n  ret\n"
    ".size hive_switch, .-hive_switch\n");
#endif

struct Fiber {
  std::unique_ptr<unsigned char[]> stack{new unsigned char[kStackBytes]};
#if defined(__x86_64__)
  void* pointer = nullptr;
#else
  ucontext_t context;
#endif
  bool finished = true;
};

struct Runner {
  Machine state{};
  std::vector<Fiber> fibers{kBlockThreads};
  std::unique_ptr<unsigned char[]> shared{new unsigned char[kSharedMost + 64]};
  Fiber main;
  const KernelEntry* kernel = nullptr;
  const void* args = nullptr;
  uint32_t unfinished = 0;
  uint64_t idle = 0;       // switches since the last thing that was completed
  uint64_t completed = 0;  // as the machine's, when idle was last 0
  bool stuck = false;
};

Runner& runner() {
  static thread_local std::unique_ptr<Runner> mine = std::make_unique<Runner>();
  return *mine;
}

void switch_fibers(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  const bool main = &to == &runner().main;
  static thread_local const void* main_bottom = nullptr;
  static thread_local size_t main_size = 0;
  __sanitizer_start_switch_fiber(from.finished ? nullptr : &fake, main ? main_bottom : to.stack.get(),
                                 main ? main_size : kStackBytes);
#endif
#if defined(__x86_64__)
  hive_switch(&from.pointer, to.pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(fake, &bottom, &size);
  (void)bottom;
  (void)size;
#endif
}

void go_to(uint32_t from, uint32_t to) {
  Runner& r = runner();
  if (r.completed != r.state.completed) {
    r.completed = r.state.completed;
    r.idle = 0;
  }
  if (++r.idle > kPatience) {
    r.stuck = true;
    switch_fibers(r.fibers[from], r.main);
  }
  r.state.current = to;
  switch_fibers(r.fibers[from], r.fibers[to]);
}

void fiber_main() {
  Runner& r = runner();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  r.kernel->run(r.args);
  const uint32_t mine = r.state.current;
  r.fibers[mine].finished = true;
  r.idle = 0;
  if (--r.unfinished == 0) switch_fibers(r.fibers[mine], r.main);
  for (uint32_t step = 1; step <= kBlockThreads; ++step) {
    const uint32_t next = (mine + step) % kBlockThreads;
    if (!r.fibers[next].finished) go_to(mine, next);
  }
}

void prepare(Fiber& fiber) {
  fiber.finished = false;
#if defined(__x86_64__)
  auto top = reinterpret_cast<uintptr_t>(fiber.stack.get() + kStackBytes) & ~uintptr_t{15};
  auto* words = reinterpret_cast<void**>(top);
  *--words = nullptr;  // where fiber_main would return to; it never does
  *--words = reinterpret_cast<void*>(&fiber_main);
  for (int i = 0; i < 6; ++i) *--words = nullptr;
  fiber.pointer = words;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
#endif
}

bool run_block(Runner& r, uint32_t shared_bytes) {
  r.state.barrier_arrived = 0;
  r.state.barrier_generation = 0;
  for (Warp& warp : r.state.warps) warp.arrived = warp.generation = 0;
  // Shared memory holds garbage at the start of a block.
  std::memset(r.shared.get(), 0xcd, std::min<size_t>(shared_bytes + 64, kSharedMost));
  for (Fiber& fiber : r.fibers) prepare(fiber);
  r.unfinished = kBlockThreads;
  r.idle = 0;
  r.stuck = false;
  r.state.current = 0;
  r.main.finished = false;
  switch_fibers(r.main, r.fibers[0]);
  return !r.stuck;
}

}  // namespace

Machine& machine() { return runner().state; }

void yield_in_warp() {
  const uint32_t mine = machine().current;
  uint32_t next = mine;
  do {
    next = next / 32 * 32 + (next + 1) % 32;
  } while (runner().fibers[next].finished && next != mine);
  if (next == mine) {
    runner().stuck = true;
    switch_fibers(runner().fibers[mine], runner().main);
  }
  go_to(mine, next);
}

void yield_in_block() {
  const uint32_t mine = machine().current;
  uint32_t next = mine;
  do {
    next = (next + 1) % kBlockThreads;
  } while (runner().fibers[next].finished && next != mine);
  go_to(mine, next);
}

Kernel::Kernel(const char* name, size_t argument_bytes, void (*run)(const void*)) {
  kernels().push_back({name, argument_bytes, run});
}

const KernelEntry* find_kernel(const char* name) {
  for (const KernelEntry& kernel : kernels()) {
    if (std::strcmp(kernel.name, name) == 0) return &kernel;
  }
  return nullptr;
}

float half_value(uint32_t bits) { return value::decode_f16(static_cast<uint16_t>(bits)); }
uint32_t half_bits(float v) { return value::encode_f16(v); }

bool run_grid(const KernelEntry& kernel, const void* args, uint32_t grid_x, uint32_t grid_y,
              uint32_t shared_bytes) {
  Runner& r = runner();
  r.kernel = &kernel;
  r.args = args;
  r.state.shared = r.shared.get() + (64 - reinterpret_cast<uintptr_t>(r.shared.get()) % 64) % 64;
  r.state.grid_x = grid_x;
  r.state.grid_y = grid_y;
  for (r.state.block_y = 0; r.state.block_y < grid_y; ++r.state.block_y) {
    for (r.state.block_x = 0; r.state.block_x < grid_x; ++r.state.block_x) {
      if (!run_block(r, shared_bytes)) return false;
    }
  }
  return true;
}

}  // namespace hive::gpu::emulated
