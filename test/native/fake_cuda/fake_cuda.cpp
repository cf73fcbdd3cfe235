// A stand-in for libcuda.so.1 that runs the project's kernels on the CPU, so that the host code of
// the CUDA backend and the kernels are tested without a GPU. Device memory is host memory behind
// addresses of its own, filled with garbage; each stream has a thread, so work really is
// asynchronous. hive_fake_cuda_control() orders faults:
//   "reset"                 forget all orders
//   "fail=NAME:N:CODE"      the N-th call from now on of cuNAME returns CODE
//   "hang=N"                the N-th kernel from now on never ends until "release"
// Codes that a real context never recovers from are returned by every later call.
#include <sys/mman.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "args.h"
#include "machine.h"

#define FAKE extern "C" __attribute__((visibility("default"))) int

namespace {

namespace emulated = hive::gpu::emulated;

constexpr size_t kMemory = size_t{512} << 20;
constexpr size_t kPage = size_t{64} << 10;
constexpr int kDevices = 2;
constexpr int kMultiprocessors = 3;
constexpr int kOk = 0, kInvalid = 1, kOutOfMemory = 2, kNotFound = 500, kNotReady = 600;
constexpr int kLaunchFailed = 719;

struct Order {
  int after = 0;
  int code = 0;
};
struct State {
  std::mutex mutex;
  std::condition_variable released;
  std::map<std::string, Order> orders;
  int sticky = 0;
  int hang_after = 0;
  bool hanging = false;
  std::atomic<size_t> used{0};
  std::map<uint64_t, size_t> blocks;              // cuMemAlloc
  std::map<unsigned long long, size_t> parts;     // cuMemCreate
  unsigned long long next_part = 1;
  std::atomic<int> contexts{0};
};
State& state() {
  static auto* const s = new State();
  return *s;
}

// What a call of that name has to answer: 0 to go on.
int ordered(const char* name) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.sticky != 0) return s.sticky;
  const auto it = s.orders.find(name);
  if (it == s.orders.end() || --it->second.after > 0) return kOk;
  const int code = it->second.code;
  s.orders.erase(it);
  if (code >= 700 && code < 720) s.sticky = code;
  return code;
}
#define ORDERED(name) \
  if (const int code = ordered(name)) return code

struct FakeStream {
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable idle;
  std::deque<std::function<void()>> work;
  bool busy = false;
  bool stopping = false;
  std::thread thread{[this] { run(); }};

  void run() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex);
        busy = false;
        idle.notify_all();
        wake.wait(lock, [this] { return stopping || !work.empty(); });
        if (work.empty()) return;
        task = std::move(work.front());
        work.pop_front();
        busy = true;
      }
      task();
    }
  }
  void add(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex);
      work.push_back(std::move(task));
    }
    wake.notify_one();
  }
  bool done() {
    const std::lock_guard lock(mutex);
    return !busy && work.empty();
  }
  void wait() {
    std::unique_lock lock(mutex);
    idle.wait(lock, [this] { return !busy && work.empty(); });
  }
  ~FakeStream() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    wake.notify_one();
    thread.join();
  }
};

struct FakeEvent {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t recorded = 0;
  uint64_t reached = 0;
  std::atomic<int64_t> nanos{0};
};

int take(size_t bytes) {
  State& s = state();
  if (s.used.fetch_add(bytes) + bytes <= kMemory) return kOk;
  s.used.fetch_sub(bytes);
  return kOutOfMemory;
}

// Waits while the fake is ordered to hang.
void maybe_hang() {
  State& s = state();
  std::unique_lock lock(s.mutex);
  if (s.hang_after > 0 && --s.hang_after == 0) s.hanging = true;
  s.released.wait(lock, [&] { return !s.hanging; });
}

void set_sticky(int code) {
  const std::lock_guard lock(state().mutex);
  state().sticky = code;
}

}  // namespace

FAKE hive_fake_cuda_control(const char* order) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const std::string text = order;
  if (text == "reset" || text == "release") {
    s.hanging = false;
    s.hang_after = 0;
    s.released.notify_all();
    if (text == "release") return kOk;
    s.orders.clear();
    s.sticky = 0;
    return kOk;
  }
  if (text.rfind("hang=", 0) == 0) {
    s.hang_after = std::atoi(text.c_str() + 5);
    return kOk;
  }
  const size_t first = text.find(':');
  const size_t second = text.find(':', first + 1);
  if (text.rfind("fail=", 0) != 0 || second == std::string::npos) return kInvalid;
  s.orders["cu" + text.substr(5, first - 5)] = {std::atoi(text.c_str() + first + 1),
                                                std::atoi(text.c_str() + second + 1)};
  return kOk;
}
// Bytes of device memory in use.
FAKE hive_fake_cuda_used(size_t* bytes) {
  *bytes = state().used.load();
  return kOk;
}

FAKE cuInit(unsigned) { return kOk; }
FAKE cuDriverGetVersion(int* version) {
  *version = 13000;
  return kOk;
}
FAKE cuDeviceGetCount(int* count) {
  *count = kDevices;
  return kOk;
}
FAKE cuDeviceGet(int* device, int index) {
  *device = index;
  return index < kDevices ? kOk : 101;
}
FAKE cuDeviceGetName(char* name, int size, int) {
  std::strncpy(name, "Emulated GPU", static_cast<size_t>(size));
  return kOk;
}
FAKE cuDeviceGetAttribute(int* value, int which, int) {
  switch (which) {
    case 16: *value = kMultiprocessors; break;
    case 18: *value = 0; break;
    case 38: *value = 1 << 20; break;
    case 75: *value = 9; break;
    case 76: *value = 0; break;
    case 97: *value = 227 * 1024; break;
    default: *value = 1;
  }
  return kOk;
}
FAKE cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = kMemory;
  return kOk;
}
FAKE cuDeviceGetPCIBusId(char* text, int size, int device) {
  std::snprintf(text, static_cast<size_t>(size), "0000:%02x:00.0", device + 1);
  return kOk;
}
FAKE cuDevicePrimaryCtxRetain(void** context, int) {
  ORDERED("cuDevicePrimaryCtxRetain");
  static int token;
  *context = &token;
  ++state().contexts;
  return kOk;
}
FAKE cuDevicePrimaryCtxRelease_v2(int) {
  --state().contexts;
  return kOk;
}
FAKE cuCtxSetCurrent(void*) { return kOk; }

FAKE cuModuleLoadData(void** module, const void*) {
  ORDERED("cuModuleLoadData");
  *module = new char;
  return kOk;
}
FAKE cuModuleUnload(void* module) {
  delete static_cast<char*>(module);
  return kOk;
}
FAKE cuModuleGetFunction(void** function, void*, const char* name) {
  const emulated::KernelEntry* kernel = emulated::find_kernel(name);
  if (kernel == nullptr) return kNotFound;
  *function = const_cast<emulated::KernelEntry*>(kernel);
  return kOk;
}
FAKE cuFuncSetAttribute(void*, int, int) { return kOk; }
FAKE cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int, size_t) {
  *blocks = 2;
  return kOk;
}

FAKE cuStreamCreateWithPriority(void** stream, unsigned, int) {
  ORDERED("cuStreamCreateWithPriority");
  *stream = new FakeStream();
  return kOk;
}
FAKE cuStreamDestroy_v2(void* stream) {
  delete static_cast<FakeStream*>(stream);
  return kOk;
}
FAKE cuStreamSynchronize(void* stream) {
  static_cast<FakeStream*>(stream)->wait();
  return ordered("cuStreamSynchronize");
}
FAKE cuStreamQuery(void* stream) {
  ORDERED("cuStreamQuery");
  return static_cast<FakeStream*>(stream)->done() ? kOk : kNotReady;
}
FAKE cuEventCreate(void** event, unsigned) {
  *event = new FakeEvent();
  return kOk;
}
FAKE cuEventDestroy_v2(void* event) {
  delete static_cast<FakeEvent*>(event);
  return kOk;
}
FAKE cuEventRecord(void* handle, void* stream) {
  auto* event = static_cast<FakeEvent*>(handle);
  uint64_t mine;
  {
    const std::lock_guard lock(event->mutex);
    mine = ++event->recorded;
  }
  static_cast<FakeStream*>(stream)->add([event, mine] {
    const std::lock_guard lock(event->mutex);
    event->reached = mine;
    event->changed.notify_all();
  });
  return kOk;
}
FAKE cuEventSynchronize(void* handle) {
  auto* event = static_cast<FakeEvent*>(handle);
  std::unique_lock lock(event->mutex);
  event->changed.wait(lock, [event] { return event->reached >= event->recorded; });
  return ordered("cuEventSynchronize");
}
FAKE cuEventElapsedTime(float* ms, void*, void*) {
  *ms = 1;
  return kOk;
}

FAKE cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned,
                    unsigned, unsigned shared, void* stream, void** parameters, void**) {
  ORDERED("cuLaunchKernel");
  const auto* kernel = static_cast<const emulated::KernelEntry*>(function);
  if (z != 1 || threads != hive::gpu::kBlockThreads || x == 0 || y == 0 || shared > 227 * 1024) {
    return kInvalid;
  }
  auto args = std::make_shared<std::vector<uint64_t>>((kernel->argument_bytes + 7) / 8);
  std::memcpy(args->data(), parameters[0], kernel->argument_bytes);
  static_cast<FakeStream*>(stream)->add([=] {
    maybe_hang();
    if (!emulated::run_grid(*kernel, args->data(), x, y, shared)) set_sticky(kLaunchFailed);
  });
  return kOk;
}

FAKE cuMemAlloc_v2(uint64_t* pointer, size_t bytes) {
  ORDERED("cuMemAlloc_v2");
  if (const int code = take(bytes)) return code;
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(memory, 0xcd, bytes);
  *pointer = reinterpret_cast<uint64_t>(memory);
  const std::lock_guard lock(state().mutex);
  state().blocks[*pointer] = bytes;
  return kOk;
}
FAKE cuMemFree_v2(uint64_t pointer) {
  const std::lock_guard lock(state().mutex);
  const auto it = state().blocks.find(pointer);
  if (it == state().blocks.end()) return kInvalid;
  state().used.fetch_sub(it->second);
  state().blocks.erase(it);
  std::free(reinterpret_cast<void*>(pointer));
  return kOk;
}
FAKE cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
  ORDERED("cuMemHostAlloc");
  *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return *memory != nullptr ? kOk : kOutOfMemory;
}
FAKE cuMemFreeHost(void* memory) {
  std::free(memory);
  return kOk;
}
FAKE cuMemHostGetDevicePointer_v2(uint64_t* pointer, void* memory, unsigned) {
  *pointer = reinterpret_cast<uint64_t>(memory);
  return kOk;
}
FAKE cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream) {
  ORDERED("cuMemcpyHtoDAsync_v2");
  static_cast<FakeStream*>(stream)->add(
      [=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
  return kOk;
}
FAKE cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* stream) {
  static_cast<FakeStream*>(stream)->add([=] {
    std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  });
  return kOk;
}
FAKE cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void* stream) {
  static_cast<FakeStream*>(stream)->add(
      [=] { std::memset(reinterpret_cast<void*>(to), value, bytes); });
  return kOk;
}
FAKE cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
  ORDERED("cuMemGetInfo_v2");
  *total = kMemory;
  *free_bytes = kMemory - std::min(kMemory, state().used.load());
  return kOk;
}

// Virtual memory: reserved addresses may not be touched until they are mapped.
FAKE cuMemAddressReserve(uint64_t* pointer, size_t bytes, size_t, uint64_t, uint64_t) {
  void* memory = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return kOutOfMemory;
  *pointer = reinterpret_cast<uint64_t>(memory);
  return kOk;
}
FAKE cuMemAddressFree(uint64_t pointer, size_t bytes) {
  return munmap(reinterpret_cast<void*>(pointer), bytes) == 0 ? kOk : kInvalid;
}
FAKE cuMemCreate(unsigned long long* part, size_t bytes, const void*, uint64_t) {
  ORDERED("cuMemCreate");
  if (bytes % kPage != 0) return kInvalid;
  if (const int code = take(bytes)) return code;
  const std::lock_guard lock(state().mutex);
  *part = state().next_part++;
  state().parts[*part] = bytes;
  return kOk;
}
FAKE cuMemRelease(unsigned long long part) {
  const std::lock_guard lock(state().mutex);
  const auto it = state().parts.find(part);
  if (it == state().parts.end()) return kInvalid;
  state().used.fetch_sub(it->second);
  state().parts.erase(it);
  return kOk;
}
FAKE cuMemMap(uint64_t pointer, size_t bytes, size_t, unsigned long long, uint64_t) {
  ORDERED("cuMemMap");
  return pointer % kPage == 0 && bytes % kPage == 0 ? kOk : kInvalid;
}
FAKE cuMemUnmap(uint64_t pointer, size_t bytes) {
  void* memory = reinterpret_cast<void*>(pointer);
  (void)madvise(memory, bytes, MADV_DONTNEED);
  return mprotect(memory, bytes, PROT_NONE) == 0 ? kOk : kInvalid;
}
FAKE cuMemSetAccess(uint64_t pointer, size_t bytes, const void*, size_t) {
  void* memory = reinterpret_cast<void*>(pointer);
  if (mprotect(memory, bytes, PROT_READ | PROT_WRITE) != 0) return kInvalid;
  std::memset(memory, 0xcd, bytes);
  return kOk;
}
FAKE cuMemGetAllocationGranularity(size_t* bytes, const void*, int) {
  *bytes = kPage;
  return kOk;
}
FAKE cuGetErrorName(int code, const char** name) {
  *name = code == kOutOfMemory    ? "CUDA_ERROR_OUT_OF_MEMORY"
          : code == kLaunchFailed ? "CUDA_ERROR_LAUNCH_FAILED"
                                  : "CUDA_ERROR";
  return kOk;
}
FAKE cuGetErrorString(int, const char** text) {
  *text = "reported by the emulated driver";
  return kOk;
}
