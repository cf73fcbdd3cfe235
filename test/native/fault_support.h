// What the tests of the fault backend share.
#pragma once

#include <string>

#include "conformance.h"

namespace hive::test {

// The fault backend around the CPU, freshly opened. Null table when it was not built; then the
// calling test notes itself as skipped and returns.
inline Backend fault_backend(const std::string& config) {
  Backend backend;
  std::string reason;
  if (load_backend("fault:inner=cpu;" + config, &backend, &reason)) return backend;
  note("skipped fault test (" + config + "): " + reason);
  backend.table = nullptr;
  return backend;
}

// A table between the fault backend and the CPU that records what it is given and can withhold
// completion.
namespace spy {

struct Seen {
  const void* host_data = nullptr;
  const float* inv_norms = nullptr;
  const float* queries = nullptr;
  const hive_hit* hits = nullptr;
  size_t data_bytes = 0;
  // The bytes of the segment when the inner backend was told to free it.
  bool poisoned_at_free = false;
  bool zero_norms_at_free = false;
  int segments_freed = 0;
};

Seen& seen();
const hive_backend_table* table();

}  // namespace spy
}  // namespace hive::test
