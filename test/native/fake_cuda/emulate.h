// The device primitives of kernels/cuda on the CPU: every thread of a block is a fiber, blocks run
// one after another. Exchanges within a warp and barriers switch fibers until all have arrived; if
// they never do (a divergent barrier), the machine says so instead of hanging.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "args.h"

#define HIVE_DEVICE inline
#define HIVE_HAS_MATRIX 1

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace hive::gpu::emulated {

constexpr uint32_t kWords = 6;  // per lane in one exchange

struct Warp {
  uint32_t slots[2][32][kWords];
  uint32_t arrived;
  uint32_t generation;
};

// The block that runs on this thread.
struct Machine {
  uint32_t current;  // thread index
  uint32_t block_x, block_y, grid_x, grid_y;
  uint32_t barrier_arrived, barrier_generation;
  uint64_t completed;  // exchanges and barriers: a block in which this stands still is stuck
  Warp warps[kWarps];
  unsigned char* shared;
};
Machine& machine();
void yield_in_warp();
void yield_in_block();

// Registers a kernel by name, at load time.
struct Kernel {
  Kernel(const char* name, size_t argument_bytes, void (*run)(const void* args));
};

// Hands words to the other lanes; returns what all lanes handed over.
inline const uint32_t (*exchange_words(const uint32_t* words, uint32_t count))[kWords] {
  Machine& m = machine();
  Warp& warp = m.warps[m.current / 32];
  const uint32_t generation = warp.generation;
  uint32_t(*slots)[kWords] = warp.slots[generation & 1u];
  for (uint32_t i = 0; i < count; ++i) slots[m.current % 32][i] = words[i];
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    ++warp.generation;
    ++m.completed;
  } else {
    while (warp.generation == generation) yield_in_warp();
  }
  return slots;
}

float half_value(uint32_t bits);
uint32_t half_bits(float value);

inline float bf16_value(uint32_t bits) {
  const uint32_t wide = bits << 16;
  float out;
  std::memcpy(&out, &wide, 4);
  return out;
}

}  // namespace hive::gpu::emulated

// Two steps, so that a name made by another macro is expanded first.
#define HIVE_KERNEL(name, Args, blocks_per_sm, body) HIVE_EMULATED_KERNEL(name, Args, body)
#define HIVE_EMULATED_KERNEL(name, Args, body)                               \
  static const hive::gpu::emulated::Kernel name##_registered(                \
      #name, sizeof(Args), [](const void* args) { body(*static_cast<const Args*>(args)); });

namespace hive::gpu {

HIVE_DEVICE uint32_t thread_index() { return emulated::machine().current; }
HIVE_DEVICE uint32_t block_x() { return emulated::machine().block_x; }
HIVE_DEVICE uint32_t block_y() { return emulated::machine().block_y; }
HIVE_DEVICE uint32_t grid_x() { return emulated::machine().grid_x; }
HIVE_DEVICE uint32_t grid_y() { return emulated::machine().grid_y; }
HIVE_DEVICE unsigned char* shared_memory() { return emulated::machine().shared; }

HIVE_DEVICE void block_barrier() {
  emulated::Machine& m = emulated::machine();
  const uint32_t generation = m.barrier_generation;
  if (++m.barrier_arrived == kBlockThreads) {
    m.barrier_arrived = 0;
    ++m.barrier_generation;
    ++m.completed;
    return;
  }
  while (m.barrier_generation == generation) emulated::yield_in_block();
}

HIVE_DEVICE uint32_t bits_of(float v) {
  uint32_t out;
  std::memcpy(&out, &v, 4);
  return out;
}
HIVE_DEVICE float float_of(uint32_t v) {
  float out;
  std::memcpy(&out, &v, 4);
  return out;
}

HIVE_DEVICE uint32_t ballot(bool predicate) {
  const uint32_t mine = predicate ? 1 : 0;
  const auto* all = emulated::exchange_words(&mine, 1);
  uint32_t out = 0;
  for (uint32_t lane = 0; lane < 32; ++lane) out |= all[lane][0] << lane;
  return out;
}
HIVE_DEVICE uint32_t shuffle_xor(uint32_t v, int mask) {
  const uint32_t lane = thread_index() % 32;
  return emulated::exchange_words(&v, 1)[lane ^ static_cast<uint32_t>(mask)][0];
}
HIVE_DEVICE float shuffle_xor(float v, int mask) {
  return float_of(shuffle_xor(bits_of(v), mask));
}

HIVE_DEVICE uint32_t group_sum(uint32_t v) {
  const auto* all = emulated::exchange_words(&v, 1);
  uint32_t out = 0;
  for (uint32_t lane = 0; lane < 32; ++lane) out += all[lane][0];
  return out;
}
HIVE_DEVICE uint32_t shuffle_from(uint32_t v, uint32_t lane) {
  return emulated::exchange_words(&v, 1)[lane][0];
}
HIVE_DEVICE uint32_t lowest_bit(uint32_t v) { return static_cast<uint32_t>(__builtin_ctz(v)); }
HIVE_DEVICE uint32_t bit_count(uint32_t v) {
  return static_cast<uint32_t>(__builtin_popcount(v));
}
HIVE_DEVICE float fused(float a, float b, float c) { return std::fma(a, b, c); }

HIVE_DEVICE uint32_t atomic_add(uint32_t* p, uint32_t v) {
  return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
HIVE_DEVICE void atomic_add(unsigned long long* p, unsigned long long v) {
  __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
HIVE_DEVICE void atomic_max(uint32_t* p, uint32_t v) {
  uint32_t seen = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (v > seen &&
         !__atomic_compare_exchange_n(p, &seen, v, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}
HIVE_DEVICE uint32_t load_shared_state(const uint32_t* p) {
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
HIVE_DEVICE uint64_t load_shared_state(const uint64_t* p) {
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
HIVE_DEVICE void store_shared_state(uint32_t* p, uint32_t v) {
  __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
HIVE_DEVICE void fence_device() { std::atomic_thread_fence(std::memory_order_seq_cst); }
HIVE_DEVICE void fence_system() { std::atomic_thread_fence(std::memory_order_seq_cst); }
HIVE_DEVICE void pause() {}

HIVE_DEVICE uint4 stream16(const void* p) { return *static_cast<const uint4*>(p); }
HIVE_DEVICE uint2 stream8(const void* p) { return *static_cast<const uint2*>(p); }
HIVE_DEVICE uint32_t stream4(const void* p) { return *static_cast<const uint32_t*>(p); }

HIVE_DEVICE float half_to_float(uint32_t bits) { return emulated::half_value(bits & 0xffffu); }
HIVE_DEVICE uint32_t pack_f16(float a, float b) {
  return emulated::half_bits(a) | emulated::half_bits(b) << 16;
}
HIVE_DEVICE uint32_t pack_bf16(float a, float b) {
  const uint32_t x = bits_of(a);
  const uint32_t y = bits_of(b);
  return ((x + 0x7fffu + ((x >> 16) & 1u)) >> 16) |
         ((y + 0x7fffu + ((y >> 16) & 1u)) & 0xffff0000u);
}

// mma.m16n8k16: lane (g, t) holds A(g, .) and A(g + 8, .), B(., g), and gets D(g, 2t), D(g, 2t + 1),
// D(g + 8, 2t), D(g + 8, 2t + 1).
template <float (*Decode)(uint32_t)>
static inline void multiply_emulated(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                     uint32_t b1) {
  const uint32_t words[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const auto* all = emulated::exchange_words(words, 6);
  const uint32_t lane = thread_index() % 32;
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t row = lane / 4;
    const uint32_t column = lane % 4 * 2 + i % 2;
    for (uint32_t t = 0; t < 4; ++t) {
      for (uint32_t part = 0; part < 2; ++part) {
        const uint32_t x = all[row * 4 + t][part * 2 + i / 2];
        const uint32_t y = all[column * 4 + t][4 + part];
        d[i] += Decode(x & 0xffffu) * Decode(y & 0xffffu);
        d[i] += Decode(x >> 16) * Decode(y >> 16);
      }
    }
  }
}
HIVE_DEVICE void matrix_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_emulated<emulated::bf16_value>(d, a, b0, b1);
}
HIVE_DEVICE void matrix_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_emulated<emulated::half_value>(d, a, b0, b1);
}

}  // namespace hive::gpu
