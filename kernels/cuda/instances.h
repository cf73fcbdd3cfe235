// The kernels of one storage type. A file defines HIVE_T and HIVE_NAME and includes this.
#include "matrix.h"
#include "scan.h"

#define HIVE_CONCAT2(a, b) a##b
#define HIVE_CONCAT(a, b) HIVE_CONCAT2(a, b)
#define HIVE_K(suffix) HIVE_CONCAT(HIVE_CONCAT(hive_, HIVE_NAME), suffix)

namespace hive::gpu {
namespace {
template <class Op>
HIVE_DEVICE void scan_one(const ScanArgs& args) {
  // Narrow rows need more loads in flight for the same bytes.
  scan_kernel<HIVE_T, Op, 1, 8, HIVE_T::kBytes == 4 ? 1 : 2>(args);
}
template <class Op>
HIVE_DEVICE void scan_eight(const ScanArgs& args) {
  scan_kernel<HIVE_T, Op, 8, 2, 2>(args);
}
}  // namespace
}  // namespace hive::gpu

#define HIVE_SCANS(suffix, Op)                                                        \
  HIVE_KERNEL(HIVE_K(HIVE_CONCAT(suffix, _1)), hive::gpu::ScanArgs, 2,                \
              hive::gpu::scan_one<hive::gpu::Op>)                                     \
  HIVE_KERNEL(HIVE_K(HIVE_CONCAT(suffix, _8)), hive::gpu::ScanArgs, 2,                \
              hive::gpu::scan_eight<hive::gpu::Op>)

HIVE_SCANS(_dot, SumProducts)
HIVE_SCANS(_l2, SumSquares)
HIVE_SCANS(_l1, SumAbsolute)
HIVE_SCANS(_linf, MaxAbsolute)

HIVE_KERNEL(HIVE_K(_finish), hive::gpu::ScanArgs, 2, hive::gpu::finish_kernel<hive::gpu::HIVE_T>)

#if defined(HIVE_HAS_MATRIX)
#define HIVE_MATRIX(count, NT) \
  HIVE_KERNEL(HIVE_K(HIVE_CONCAT(_matrix_, count)), hive::gpu::ScanArgs, 2, \
              (hive::gpu::matrix_kernel<hive::gpu::HIVE_T, NT>))
HIVE_MATRIX(16, 2)
HIVE_MATRIX(64, 8)
HIVE_MATRIX(128, 16)
#endif
