#include "registry.h"

#include <sys/stat.h>

#include <cstring>
#include <map>
#include <mutex>

#include "cpu_backend.h"
#include "failure.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace hive {
namespace {

struct Exports {
  hive_backend_abi_fn abi = nullptr;
  hive_backend_probe_fn probe = nullptr;
  hive_backend_open_fn open = nullptr;
  std::string problem;  // why the library could not be loaded
};

#if defined(_WIN32)
constexpr const char* kExtension = ".dll";
void* load_library(const std::string& path, std::string* problem) {
  void* handle = reinterpret_cast<void*>(LoadLibraryA(path.c_str()));
  if (handle == nullptr) *problem = "LoadLibrary error " + std::to_string(GetLastError());
  return handle;
}
void* find_symbol(void* handle, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(handle), name));
}
#else
#if defined(__APPLE__)
constexpr const char* kExtension = ".dylib";
#else
constexpr const char* kExtension = ".so";
#endif
void* load_library(const std::string& path, std::string* problem) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* text = dlerror();
    *problem = text == nullptr ? "dlopen failed" : text;
  }
  return handle;
}
void* find_symbol(void* handle, const char* name) { return dlsym(handle, name); }
#endif

bool is_file(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && (info.st_mode & S_IFMT) == S_IFREG;
}

// Loads once per path; the result is kept for the life of the process.
const Exports& load(const std::string& path) {
  static std::mutex mutex;
  static auto* const cache = new std::map<std::string, Exports>();
  const std::lock_guard lock(mutex);
  const auto found = cache->find(path);
  if (found != cache->end()) return found->second;
  Exports exports;
  if (void* handle = load_library(path, &exports.problem)) {
    exports.abi = reinterpret_cast<hive_backend_abi_fn>(find_symbol(handle, "hive_backend_abi"));
    exports.probe =
        reinterpret_cast<hive_backend_probe_fn>(find_symbol(handle, "hive_backend_probe"));
    exports.open = reinterpret_cast<hive_backend_open_fn>(find_symbol(handle, "hive_backend_open"));
    if (exports.abi == nullptr || exports.probe == nullptr || exports.open == nullptr) {
      exports.problem = "it does not export hive_backend_abi, _probe and _open";
    }
  }
  return cache->emplace(path, std::move(exports)).first->second;
}

void set_reason(BackendReport* report, hive_status status, std::string reason) {
  report->status = status;
  report->reason = std::move(reason);
}

// The name after "inner=" in the fault backend's settings.
std::string inner_name(const std::string& config) {
  const size_t at = config.find("inner=");
  if (at == std::string::npos) return "cpu";
  const size_t from = at + 6;
  return config.substr(from, config.find(';', from) - from);
}

void probe_loaded(const Exports& exports, const OpenOptions& options, BackendReport* report) {
  const std::string& config = options.config_for(report->name);
  hive_open_options open{};
  open.struct_size = sizeof open;
  open.host_threads = options.host_threads;
  open.config = config.c_str();
  if (report->name == "fault") {
    const std::string inner = inner_name(config);
    if (inner == "fault") return set_reason(report, HIVE_INVALID_ARGUMENT, "inner=fault");
    const BackendReport wrapped = probe_backend(inner, options);
    if (!wrapped.usable) return set_reason(report, wrapped.status, inner + ": " + wrapped.reason);
    open.inner = wrapped.table;
  }
  hive_probe_report probe{};
  probe.struct_size = sizeof probe;
  hive_status status = exports.probe(&open, &probe);
  if (status == HIVE_OK) status = probe.status;
  report->version = probe.version;
  if (status != HIVE_OK) return set_reason(report, status, probe.detail);
  hive_error error = new_error();
  status = exports.open(&open, &report->table, &error);
  if (status != HIVE_OK) return set_reason(report, status, error.message);
  for (uint32_t i = 0; i < probe.device_count; ++i) {
    hive_device_info info{};
    info.struct_size = sizeof info;
    status = report->table->device_info(i, &info, &error);
    if (status != HIVE_OK) return set_reason(report, status, error.message);
    report->devices.push_back(info);
  }
  report->usable = !report->devices.empty();
  if (!report->usable) set_reason(report, HIVE_NO_DEVICE, "The driver offers no usable device.");
}

void probe_library(const OpenOptions& options, const char* missing_hint, BackendReport* report) {
  for (const std::string& folder : options.search_paths) {
    const std::string path = folder + "/" + report->name + "/hive_backend" + kExtension;
    if (is_file(path)) {
      report->library = path;
      break;
    }
  }
  if (report->library.empty()) return set_reason(report, HIVE_LIBRARY_UNLOADABLE, missing_hint);
  report->built = true;
  const Exports& exports = load(report->library);
  if (!exports.problem.empty()) {
    return set_reason(report, HIVE_LIBRARY_UNLOADABLE,
                      "The library cannot be loaded: " + exports.problem);
  }
  if (exports.abi() != HIVE_BACKEND_ABI) {
    return set_reason(report, HIVE_ABI_MISMATCH,
                      "It was built for ABI " + std::to_string(exports.abi()) + ", this engine has " +
                          std::to_string(HIVE_BACKEND_ABI) +
                          "; install hive-gpu and its backend in the same version.");
  }
  report->loaded = true;
  probe_loaded(exports, options, report);
}

struct Known {
  const char* name;
  int score;
  bool selectable;
  const char* hint;
};
constexpr Known kKnown[] = {
#define HIVE_BACKEND_NAME(name, score, selectable, hint) {#name, score, selectable != 0, hint},
#include "hive_backends.def"
#undef HIVE_BACKEND_NAME
};

BackendReport probe_known(const Known& known, const OpenOptions& options) {
  BackendReport report;
  report.name = known.name;
  report.score = known.score;
  report.selectable = known.selectable;
  if (report.name == "cpu") {
    report.built = report.loaded = true;
    probe_loaded({hive_cpu_backend_abi, hive_cpu_backend_probe, hive_cpu_backend_open, ""}, options,
                 &report);
  } else {
    probe_library(options, known.hint, &report);
  }
  return report;
}

}  // namespace

const std::string& OpenOptions::config_for(const std::string& name) const {
  static const std::string none;
  if (name == "cpu") return cpu_config;
  if (name == "fault") return fault_config;
  const auto found = backend_config.find(name);
  return found == backend_config.end() ? none : found->second;
}

std::vector<BackendReport> probe_backends(const OpenOptions& options) {
  std::vector<BackendReport> reports;
  for (const Known& known : kKnown) reports.push_back(probe_known(known, options));
  return reports;
}

BackendReport probe_backend(const std::string& name, const OpenOptions& options) {
  for (const Known& known : kKnown) {
    if (name == known.name) return probe_known(known, options);
  }
  throw Failure("INVALID_ARGUMENT", "There is no backend \"" + name + "\".");
}

const char* status_name(hive_status status) {
  switch (status) {
#define HIVE_STATUS(NAME, number, scope, retryable) \
  case number:                                      \
    return #NAME;
#include "hive_status.def"
#undef HIVE_STATUS
    default:
      return "INTERNAL";
  }
}

Failure backend_failure(hive_status status, const hive_error& error) {
  const std::string message = error.message[0] != '\0' ? error.message : "The backend gave no reason.";
  return {status_name(status), message};
}

}  // namespace hive
