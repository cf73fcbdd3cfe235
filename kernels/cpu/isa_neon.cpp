// The Advanced SIMD instruction set of aarch64, which every such processor has.
#include "kernels.h"

#include "hive_backend.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include <cstring>
#include <utility>

namespace hive::cpu {
namespace {

constexpr uint32_t value_lanes = 32;

#include "simd_neon.h"
#include "simd_scan.h"
#include "simd_convert.h"
#include "simd_predicate.h"
#include "simd_table.h"

HIVE_SIMD_TABLE("neon");

}  // namespace

const CpuKernels* neon_kernels() { return &kTable; }

}  // namespace hive::cpu

#else

namespace hive::cpu {
const CpuKernels* neon_kernels() { return nullptr; }
}  // namespace hive::cpu

#endif
