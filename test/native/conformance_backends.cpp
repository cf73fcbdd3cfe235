// Which backends are tested, and how one is opened by its name.
#include <algorithm>
#include <cstdlib>

#include "conformance.h"
#include "cpu_backend.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace hive::test {
namespace {

#if defined(_WIN32)
constexpr const char* kExtension = ".dll";
void* open_library(const std::string& path) {
  return reinterpret_cast<void*>(LoadLibraryA(path.c_str()));
}
void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}
#else
#if defined(__APPLE__)
constexpr const char* kExtension = ".dylib";
#else
constexpr const char* kExtension = ".so";
#endif
void* open_library(const std::string& path) {
  return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
}
void* find_symbol(void* library, const char* name) { return dlsym(library, name); }
#endif

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  size_t from = 0;
  while (from <= text.size()) {
    const size_t end = std::min(text.find(separator, from), text.size());
    if (end > from) out.push_back(text.substr(from, end - from));
    from = end + 1;
  }
  return out;
}

// Value of key in "key=value;key=value"; "" when it is not there.
std::string setting(const std::string& config, const std::string& key) {
  for (const std::string& item : split(config, ';')) {
    if (item.compare(0, key.size() + 1, key + "=") == 0) return item.substr(key.size() + 1);
  }
  return "";
}

std::string library_path(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* folder = std::getenv("HIVE_TEST_BACKENDS_DIR");
  return std::string(folder != nullptr ? folder : HIVE_BACKENDS_DIR) + "/" + name +
         "/hive_backend" + kExtension;
}

struct Exports {
  hive_backend_abi_fn abi = nullptr;
  hive_backend_probe_fn probe = nullptr;
  hive_backend_open_fn open = nullptr;
};

bool find_exports(const std::string& name, Exports* out, std::string* reason) {
  if (name == "cpu") {
    *out = {hive_cpu_backend_abi, hive_cpu_backend_probe, hive_cpu_backend_open};
    return true;
  }
  const std::string path = library_path(name);
  void* library = open_library(path);
  if (library == nullptr) {
    *reason = "its library cannot be loaded (" + name + ")";
    return false;
  }
  out->abi = reinterpret_cast<hive_backend_abi_fn>(find_symbol(library, "hive_backend_abi"));
  out->probe = reinterpret_cast<hive_backend_probe_fn>(find_symbol(library, "hive_backend_probe"));
  out->open = reinterpret_cast<hive_backend_open_fn>(find_symbol(library, "hive_backend_open"));
  if (out->abi != nullptr && out->probe != nullptr && out->open != nullptr) return true;
  *reason = "its library lacks one of the three exports";
  return false;
}

// The CUDA backend on the GPU of this machine, and on a driver that runs its kernels on the CPU.
#if defined(HIVE_FAKE_CUDA)
constexpr const char* kDefaultSpecs =
    "cpu,fault:inner=cpu;mode=sim,cuda,cuda:driver=" HIVE_FAKE_CUDA;
#else
constexpr const char* kDefaultSpecs = "cpu,fault:inner=cpu;mode=sim,cuda";
#endif

std::vector<std::string> wanted_specs() {
  const char* text = std::getenv("HIVE_TEST_BACKENDS");
  const bool chosen = text != nullptr && *text != 0;
  std::vector<std::string> out;
  for (const std::string& spec : split(chosen ? text : kDefaultSpecs, ',')) {
    if (spec != "cpu") {
      out.push_back(spec);
      continue;
    }
    for (const std::string& isa : cpu_isas()) out.push_back("cpu:isa=" + isa);
  }
  return out;
}

}  // namespace

const std::vector<std::string>& cpu_isas() {
  static const std::vector<std::string> names = {"scalar", "avx2", "avx512", "neon"};
  return names;
}

hive_open_options Backend::options(uint32_t host_threads) const {
  hive_open_options out{};
  out.struct_size = sizeof out;
  out.host_threads = host_threads;
  out.config = config.c_str();
  out.inner = inner;
  return out;
}

bool load_backend(const std::string& spec, Backend* out, std::string* reason) {
  const size_t colon = spec.find(':');
  const std::string name = spec.substr(0, colon);
  out->spec = spec;
  out->config = colon == std::string::npos ? "" : spec.substr(colon + 1);
  out->exact = name == "cpu" || name == "cuda";
  const std::string inner = setting(out->config, "inner");
  if (!inner.empty()) {
    Backend wrapped;
    if (!load_backend(inner, &wrapped, reason)) return false;
    out->inner = wrapped.table;
    out->exact = wrapped.exact;
  }
  Exports exports;
  if (!find_exports(name, &exports, reason)) return false;
  if (exports.abi() != HIVE_BACKEND_ABI) {
    *reason = "it was built for ABI " + std::to_string(exports.abi());
    return false;
  }
  out->open = exports.open;
  const hive_open_options options = out->options();
  hive_probe_report report{};
  report.struct_size = sizeof report;
  if (exports.probe(&options, &report) != HIVE_OK || report.status != HIVE_OK) {
    *reason = report.detail[0] != 0 ? report.detail : "its probe failed";
    return false;
  }
  hive_error error = new_error();
  if (exports.open(&options, &out->table, &error) == HIVE_OK) return true;
  *reason = error.message;
  return false;
}

const std::vector<Backend>& backends_under_test() {
  static const std::vector<Backend> found = [] {
    std::vector<Backend> out;
    for (const std::string& spec : wanted_specs()) {
      Backend backend;
      std::string reason;
      if (load_backend(spec, &backend, &reason)) out.push_back(std::move(backend));
      else note("skipped " + spec + ": " + reason);
    }
    return out;
  }();
  return found;
}

OpenDevice::OpenDevice(const Backend& backend, uint32_t host_threads) : table(backend.table) {
  const hive_open_options options = backend.options(host_threads);
  hive_error error = new_error();
  info.struct_size = sizeof info;
  // device_info tells about the device as the last open configured it, so this one has to be last.
  if (backend.open(&options, &table, &error) != HIVE_OK ||
      table->device_info(0, &info, &error) != HIVE_OK ||
      table->device_open(0, &options, &handle, &error) != HIVE_OK) {
    handle = nullptr;
    problem = error.message;
  }
}

OpenDevice::~OpenDevice() { close(); }

void OpenDevice::close() {
  if (handle != nullptr) table->device_close(handle);
  handle = nullptr;
}

hive_health OpenDevice::health() const {
  hive_health out{};
  out.struct_size = sizeof out;
  table->health(handle, &out);
  return out;
}

}  // namespace hive::test
