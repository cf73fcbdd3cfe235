// Runs emulated kernels; see emulate.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hive::gpu::emulated {

struct KernelEntry {
  const char* name;
  size_t argument_bytes;
  void (*run)(const void* args);
};
const KernelEntry* find_kernel(const char* name);

// Runs a whole grid on the calling thread. False when threads of a block waited for each other in
// vain.
bool run_grid(const KernelEntry& kernel, const void* args, uint32_t grid_x, uint32_t grid_y,
              uint32_t shared_bytes);

}  // namespace hive::gpu::emulated
