// Vulkan without linking it: the loader is opened at run time, so the library loads on machines
// that have none and can say so.
#pragma once

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan_core.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "hive_backend.h"

namespace hive::vulkan {

// How the backend's own code reports failures; turned into a status at the C ABI.
class Error : public std::exception {
 public:
  Error(hive_status status, std::string message) : status_(status), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  hive_status status() const { return status_; }

 private:
  hive_status status_;
  std::string message_;
};

const char* result_name(VkResult result);

// Throws the Error for a result that is not VK_SUCCESS; what: the call that gave it.
void check(VkResult result, const char* what);

struct LoaderApi {
  PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr = nullptr;
#define HIVE_VK_GLOBAL(name) PFN_##name name = nullptr;
#include "vk_functions.def"
};

struct InstanceApi {
#define HIVE_VK_INSTANCE(name) PFN_##name name = nullptr;
#include "vk_functions.def"
};

struct DeviceApi {
#define HIVE_VK_DEVICE(name) PFN_##name name = nullptr;
#include "vk_functions.def"
};

// The process's Vulkan loader. Throws DRIVER_MISSING with what to install.
const LoaderApi& loader();

// Messages of the validation layer, counted over the life of an instance.
struct Messages {
  void add(const char* text);
  uint32_t count() const { return count_.load(); }
  std::string first() const;

 private:
  std::atomic<uint32_t> count_{0};
  mutable std::mutex mutex_;
  std::string first_;
};

class Instance {
 public:
  // The process's instance; made when first needed and kept: drivers leak what they load, so that
  // some refuse after a few dozen instances.
  static std::shared_ptr<Instance> get(bool validate);
  // validate: with the Khronos validation layer (core and synchronisation). Throws
  // DRIVER_MISSING, DRIVER_TOO_OLD or NO_DEVICE with the reason.
  explicit Instance(bool validate);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  VkInstance handle() const { return handle_; }
  const InstanceApi& api() const { return api_; }
  const Messages& messages() const { return messages_; }
  DeviceApi load_device(VkDevice device) const;

 private:
  Messages messages_;
  InstanceApi api_;
  VkInstance handle_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
};

}  // namespace hive::vulkan
