// The kernels' machine code, embedded as data: one fat binary per storage type and one for the
// radix selection.
#pragma once

namespace hive::cuda {

inline constexpr int kImages = 5;  // 0..3: rows of HIVE_DTYPE_*, 4: selection
// Null when the library was built without nvcc (only the emulated driver works then).
const void* image(int which);

}  // namespace hive::cuda
