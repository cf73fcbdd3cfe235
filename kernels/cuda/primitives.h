// Everything a kernel needs of its machine, in one place: CUDA, HIP and a model on the CPU.
// Kernels are written for logical groups of 32 lanes; on a 64-lane wavefront a group is one half.
#pragma once

#include <cstdint>

#include "args.h"

#if defined(HIVE_GPU_EMULATE)
#include "emulate.h"
#else

#if defined(__HIP__)
#include <hip/hip_runtime.h>
#endif

#define HIVE_DEVICE __device__ __forceinline__
// One kernel: a C name, its struct of arguments, the body.
#define HIVE_KERNEL(name, Args, blocks_per_sm, body)                           \
  extern "C" __global__ void __launch_bounds__(hive::gpu::kBlockThreads, blocks_per_sm) \
      name(const __grid_constant__ Args args) {                                \
    body(args);                                                                \
  }

namespace hive::gpu {

HIVE_DEVICE uint32_t thread_index() { return threadIdx.x; }
HIVE_DEVICE uint32_t block_x() { return blockIdx.x; }
HIVE_DEVICE uint32_t block_y() { return blockIdx.y; }
HIVE_DEVICE uint32_t grid_x() { return gridDim.x; }
HIVE_DEVICE uint32_t grid_y() { return gridDim.y; }

// The block's dynamic shared memory, 16-byte aligned.
HIVE_DEVICE unsigned char* shared_memory() {
  extern __shared__ __align__(16) unsigned char memory[];
  return memory;
}

HIVE_DEVICE void block_barrier() { __syncthreads(); }

#if defined(__HIP__)
HIVE_DEVICE uint32_t ballot(bool predicate) {
  const uint64_t all = __ballot(predicate);
  return static_cast<uint32_t>(all >> (threadIdx.x & 32u & (warpSize - 1)));
}
HIVE_DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor(v, mask, 32); }
HIVE_DEVICE uint32_t shuffle_xor(uint32_t v, int mask) {
  return static_cast<uint32_t>(__shfl_xor(static_cast<int>(v), mask, 32));
}
HIVE_DEVICE uint32_t shuffle_from(uint32_t v, uint32_t lane) {
  return static_cast<uint32_t>(__shfl(static_cast<int>(v), static_cast<int>(lane), 32));
}
#else
HIVE_DEVICE uint32_t shuffle_from(uint32_t v, uint32_t lane) {
  return __shfl_sync(0xffffffffu, v, static_cast<int>(lane));
}
HIVE_DEVICE uint32_t ballot(bool predicate) { return __ballot_sync(0xffffffffu, predicate); }
HIVE_DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
HIVE_DEVICE uint32_t shuffle_xor(uint32_t v, int mask) {
  return __shfl_xor_sync(0xffffffffu, v, mask);
}
#endif

// Sum over the lanes of the group.
HIVE_DEVICE uint32_t group_sum(uint32_t v) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return __reduce_add_sync(0xffffffffu, v);
#else
  for (int mask = 16; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
  return v;
#endif
}

HIVE_DEVICE uint32_t lowest_bit(uint32_t v) {
  return static_cast<uint32_t>(__ffs(static_cast<int>(v)) - 1);
}
HIVE_DEVICE uint32_t bit_count(uint32_t v) { return static_cast<uint32_t>(__popc(v)); }
HIVE_DEVICE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
HIVE_DEVICE uint32_t bits_of(float v) { return __float_as_uint(v); }
HIVE_DEVICE float float_of(uint32_t v) { return __uint_as_float(v); }

HIVE_DEVICE uint32_t atomic_add(uint32_t* p, uint32_t v) { return atomicAdd(p, v); }
HIVE_DEVICE void atomic_add(unsigned long long* p, unsigned long long v) { atomicAdd(p, v); }
HIVE_DEVICE void atomic_max(uint32_t* p, uint32_t v) { atomicMax(p, v); }
// A read that sees what other blocks wrote.
HIVE_DEVICE uint32_t load_shared_state(const uint32_t* p) {
  return *reinterpret_cast<const volatile uint32_t*>(p);
}
HIVE_DEVICE uint64_t load_shared_state(const uint64_t* p) {
  return *reinterpret_cast<const volatile uint64_t*>(p);
}
HIVE_DEVICE void store_shared_state(uint32_t* p, uint32_t v) {
  *reinterpret_cast<volatile uint32_t*>(p) = v;
}
HIVE_DEVICE void fence_device() { __threadfence(); }
HIVE_DEVICE void fence_system() { __threadfence_system(); }
HIVE_DEVICE void pause() {
#if defined(__CUDA_ARCH__)
  __nanosleep(100);
#endif
}

// Rows are read once per pass: past the first-level cache, which keeps the queries.
HIVE_DEVICE uint4 stream16(const void* p) {
#if defined(__CUDA_ARCH__)
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
#else
  return *static_cast<const uint4*>(p);
#endif
}
HIVE_DEVICE uint2 stream8(const void* p) {
#if defined(__CUDA_ARCH__)
  uint2 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0,%1}, [%2];"
               : "=r"(v.x), "=r"(v.y)
               : "l"(p));
  return v;
#else
  return *static_cast<const uint2*>(p);
#endif
}
HIVE_DEVICE uint32_t stream4(const void* p) {
#if defined(__CUDA_ARCH__)
  uint32_t v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
#else
  return *static_cast<const uint32_t*>(p);
#endif
}

// binary16 to binary32, exactly.
HIVE_DEVICE float half_to_float(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(static_cast<unsigned short>(bits)));
  return out;
#else
  _Float16 h;
  const unsigned short low = static_cast<unsigned short>(bits);
  __builtin_memcpy(&h, &low, 2);
  return static_cast<float>(h);
#endif
}

// Two floats to two bfloat16 or binary16, rounded to nearest even; a in the low half.
HIVE_DEVICE uint32_t pack_bf16(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(b), "f"(a));
  return out;
#else
  const uint32_t x = __float_as_uint(a);
  const uint32_t y = __float_as_uint(b);
  const uint32_t lo = (x + 0x7fffu + ((x >> 16) & 1u)) >> 16;
  const uint32_t hi = (y + 0x7fffu + ((y >> 16) & 1u)) & 0xffff0000u;
  return lo | hi;
#endif
}
HIVE_DEVICE uint32_t pack_f16(float a, float b) {
#if defined(__CUDA_ARCH__)
  uint32_t out;
  asm("{.reg .b16 l, h; cvt.rn.f16.f32 l, %1; cvt.rn.f16.f32 h, %2; mov.b32 %0, {l, h};}"
      : "=r"(out)
      : "f"(a), "f"(b));
  return out;
#else
  _Float16 h[2] = {static_cast<_Float16>(a), static_cast<_Float16>(b)};
  uint32_t out;
  __builtin_memcpy(&out, h, 4);
  return out;
#endif
}

#if defined(__CUDACC__) && !defined(__HIP__)
// D += A B with A 16x16 (rows), B 16x8, in the register layout of mma.m16n8k16.
#define HIVE_HAS_MATRIX 1
HIVE_DEVICE void matrix_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
HIVE_DEVICE void matrix_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
#endif

}  // namespace hive::gpu

#endif  // HIVE_GPU_EMULATE
