// The avx512 instruction set. Compiled with its own flags; everything sits in an anonymous namespace.
#include "kernels.h"

#include "hive_backend.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>
#include <utility>

namespace hive::cpu {
namespace {

constexpr uint32_t value_lanes = 32;

#include "simd_avx512.h"
#include "simd_scan.h"
#include "simd_convert.h"
#include "simd_predicate.h"
#include "simd_table.h"

HIVE_SIMD_TABLE("avx512");

}  // namespace

const CpuKernels* avx512_kernels() { return &kTable; }

}  // namespace hive::cpu

#else

namespace hive::cpu {
const CpuKernels* avx512_kernels() { return nullptr; }
}  // namespace hive::cpu

#endif
