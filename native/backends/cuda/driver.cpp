#include "driver.h"

#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>

namespace hive::cuda {
namespace {

// The embedded machine code is that of CUDA 13, which drivers before 580 refuse.
constexpr int kVersionLeast = 13000;
constexpr int kMajorLeast = 7;
constexpr int kMinorLeast = 5;

}  // namespace

bool Driver::poisoned(std::string* reason) const {
  const std::lock_guard lock(poison_mutex_);
  if (is_poisoned_ && reason != nullptr) *reason = poison_reason_;
  return is_poisoned_;
}

const Driver& Driver::load(const std::string& path) {
  static std::mutex mutex;
  static auto* const loaded = new std::map<std::string, std::unique_ptr<Driver>>();
  const std::lock_guard lock(mutex);
  std::unique_ptr<Driver>& slot = (*loaded)[path];
  if (slot == nullptr) slot.reset(new Driver(path));
  return *slot;
}

Driver::Driver(const std::string& path) {
  const std::string name = path.empty() ? "libcuda.so.1" : path;
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    reason_ = "NVIDIA's driver library " + name +
              " is not installed here; install the NVIDIA driver, release 580 or newer (in a "
              "container: start it with the GPU passed through).";
    return;
  }
  const auto find = [&](const char* symbol) {
    void* found = dlsym(library, symbol);
    if (found == nullptr && reason_.empty()) reason_ = symbol;
    return found;
  };
#define HIVE_CUDA_FIND(symbol, member, parameters) \
  member = reinterpret_cast<Result(*) parameters>(find(#symbol));
  HIVE_CUDA_FUNCTIONS(HIVE_CUDA_FIND)
#undef HIVE_CUDA_FIND
  if (!reason_.empty()) {
    status_ = HIVE_DRIVER_TOO_OLD;
    reason_ = "The NVIDIA driver has no " + reason_ + "; install release 580 or newer.";
    return;
  }
  start();
}

void Driver::start() {
  const Result result = init(0);
  (void)driver_version(&version_);
  // 34: stub library, 100: no device, 803: the module of the kernel is older than the library.
  if (result == 100) {
    status_ = HIVE_NO_DEVICE;
    reason_ = "The NVIDIA driver works but sees no GPU (is CUDA_VISIBLE_DEVICES empty?).";
    return;
  }
  if (result != kSuccess) {
    status_ = HIVE_DRIVER_MISSING;
    reason_ = describe(result, "cuInit") +
              " Check `nvidia-smi`; after a driver update the machine has to be restarted.";
    return;
  }
  if (version_ < kVersionLeast) {
    status_ = HIVE_DRIVER_TOO_OLD;
    reason_ = "The NVIDIA driver supports " + version_text() +
              "; CUDA 13.0 is needed: install release 580 or newer.";
    return;
  }
  int count = 0;
  (void)device_count(&count);
  int unusable = 0;
  for (int i = 0; i < count; ++i) {
    DeviceNumber device = 0;
    if (device_get(&device, i) != kSuccess) continue;
    const int major = attribute(device, kAttributeMajor);
    const int minor = attribute(device, kAttributeMinor);
    const bool enough = major > kMajorLeast || (major == kMajorLeast && minor >= kMinorLeast);
    if (enough && attribute(device, kAttributeVirtualMemory) != 0) devices_.push_back(device);
    else ++unusable;
  }
  status_ = devices_.empty() ? HIVE_NO_DEVICE : HIVE_OK;
  if (devices_.empty()) {
    reason_ = unusable == 0 ? "The NVIDIA driver works but sees no GPU."
                            : "The GPU has a compute capability below 7.5; CUDA 13 starts at "
                              "Turing. The vulkan backend serves older cards.";
  }
}

std::string Driver::version_text() const {
  return "CUDA " + std::to_string(version_ / 1000) + "." + std::to_string(version_ % 1000 / 10);
}

int Driver::attribute(DeviceNumber device, Attribute which) const {
  int value = 0;
  return device_attribute(&value, which, device) == kSuccess ? value : 0;
}

std::string Driver::describe(Result result, const char* what) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (error_name == nullptr || error_name(result, &name) != kSuccess) name = nullptr;
  if (error_string == nullptr || error_string(result, &text) != kSuccess) text = nullptr;
  return std::string(what) + " failed: " + (name != nullptr ? name : "unknown error") + " (" +
         std::to_string(result) + (text != nullptr ? std::string(", ") + text : "") + ").";
}

hive_status Driver::status_of(Result result) {
  switch (result) {
    case kOutOfMemory:
      return HIVE_DEVICE_OUT_OF_MEMORY;
    case 46:   // device unavailable
    case 101:  // invalid device
    case 214:  // uncorrectable memory error
    case 220:  // NVLink
    case 4:    // the driver is shutting down
    case 999:  // unknown
      return HIVE_DEVICE_LOST;
    // Errors that stay with the context: every later call in this process would fail alike.
    case 700:  // illegal address
    case 702:  // launch timed out
    case 709:  // context destroyed
    case 710:  // assertion
    case 714:  // hardware stack error
    case 715:  // illegal instruction
    case 716:  // misaligned address
    case 717:  // invalid address space
    case 718:  // invalid program counter
    case 719:  // launch failure
      return HIVE_DEVICE_POISONED;
    case 701:  // too many resources for a launch
    case 801:  // not supported
      return HIVE_UNSUPPORTED;
    default:
      return HIVE_INTERNAL;
  }
}

void Driver::check(Result result, const char* what) const {
  if (result == kSuccess) return;
  const hive_status status = status_of(result);
  const std::string message = describe(result, what);
  if (status == HIVE_DEVICE_POISONED) {
    const std::string lasting = message + " The GPU's context is unusable until the process ends.";
    {
      const std::lock_guard lock(poison_mutex_);
      if (!is_poisoned_) poison_reason_ = lasting;
      is_poisoned_ = true;
    }
    throw Fault(status, lasting);
  }
  throw Fault(status, message);
}

}  // namespace hive::cuda
