// Finds, loads and probes backends. Libraries are loaded by absolute path from the given folders
// and never unloaded; whatever goes wrong becomes a row of the report.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hive_backend.h"

namespace hive {

struct OpenOptions {
  std::vector<std::string> search_paths;
  std::string backend;        // forced; "" = choose
  uint32_t device_index = 0;
  std::string bus_id;         // PCI id of a forced backend's device, instead of its index; "" = none
  uint32_t host_threads = 0;  // 0 = as many as usable
  std::string cpu_config;
  std::string fault_config;
  std::map<std::string, std::string> backend_config;  // "key=value;…" of every other backend
  uint64_t memory_budget_bytes = 0;  // 0 = 90 % of what is free at open

  const std::string& config_for(const std::string& name) const;
};

struct BackendReport {
  std::string name;
  std::string library;
  bool built = false;
  bool loaded = false;
  bool usable = false;
  hive_status status = HIVE_OK;
  std::string reason;
  std::string version;
  bool selectable = false;
  int score = 0;
  std::vector<hive_device_info> devices;
  const hive_backend_table* table = nullptr;
};

// Every backend of hive_backends.def, in order of preference.
std::vector<BackendReport> probe_backends(const OpenOptions& options);

// One of them by name. Throws Failure(INVALID_ARGUMENT) for a name that is not in the list.
BackendReport probe_backend(const std::string& name, const OpenOptions& options);

}  // namespace hive
