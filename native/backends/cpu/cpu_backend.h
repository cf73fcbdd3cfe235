// The CPU backend, linked into the addon: the three exports of hive_backend.h under names of their
// own, plus what native/core calls directly because it lives in the same library.
#pragma once

#include "hive_backend.h"
#include "kernels.h"

extern "C" {
uint32_t hive_cpu_backend_abi(void);
// config of options: "isa=scalar|avx2|avx512|neon;threads=N", both optional.
hive_status hive_cpu_backend_probe(const hive_open_options* options, hive_probe_report* out);
hive_status hive_cpu_backend_open(const hive_open_options* options, const hive_backend_table** out,
                                  hive_error* err);
}

namespace hive::cpu {

// Runs a job to its end on the calling thread. device must come from this backend.
hive_status run_inline(hive_device* device, const hive_job* job, hive_error* err) noexcept;

// A predicate over columns in host memory.
struct HostPredicate {
  uint32_t row_count = 0;
  const hive_predicate_op* ops = nullptr;
  uint32_t op_count = 0;
  const hive_column_desc* columns = nullptr;
  uint32_t column_count = 0;
  const uint32_t* words = nullptr;
  uint32_t word_count = 0;
  uint32_t* out = nullptr;  // [(row_count + 31) / 32]
};

// Evaluates it on the calling thread, without a device.
hive_status evaluate_host(const HostPredicate& predicate, hive_error* err) noexcept;

// Best instruction set of this machine; its encode and decode serve the ingest path.
const CpuKernels& best_kernels();

// Kernels by name; null when the build or the machine lacks them.
const CpuKernels* kernels_by_name(const char* name);

// Threads this process may use: the CPU affinity, further limited by the cgroup's quota.
uint32_t usable_threads();

// Lets the process's other threads go before the calling one. The engine has as many threads as
// there are cores; at equal priority a busy JavaScript thread waits whole time slices (4 to 12 ms
// measured on two cores) for its turn.
void give_way();

}  // namespace hive::cpu
