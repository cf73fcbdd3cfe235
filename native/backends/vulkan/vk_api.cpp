#include "vk_api.h"

#include <vector>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace hive::vulkan {
namespace {

constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";

#if defined(_WIN32)
void* open_loader() { return reinterpret_cast<void*>(LoadLibraryA("vulkan-1.dll")); }
void* symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}
#else
void* open_loader() {
#if defined(__APPLE__)
  const char* const names[] = {"libvulkan.1.dylib", "libMoltenVK.dylib"};
#else
  const char* const names[] = {"libvulkan.so.1", "libvulkan.so"};
#endif
  for (const char* name : names) {
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  }
  return nullptr;
}
void* symbol(void* library, const char* name) { return dlsym(library, name); }
#endif

LoaderApi load() {
  LoaderApi api;
  void* library = open_loader();
  if (library == nullptr) return api;
  api.vkGetInstanceProcAddr =
      reinterpret_cast<PFN_vkGetInstanceProcAddr>(symbol(library, "vkGetInstanceProcAddr"));
  if (api.vkGetInstanceProcAddr == nullptr) return api;
#define HIVE_VK_GLOBAL(name) \
  api.name = reinterpret_cast<PFN_##name>(api.vkGetInstanceProcAddr(nullptr, #name));
#include "vk_functions.def"
  return api;
}

bool has_validation_layer(const LoaderApi& api) {
  uint32_t count = 0;
  if (api.vkEnumerateInstanceLayerProperties(&count, nullptr) != VK_SUCCESS) return false;
  std::vector<VkLayerProperties> layers(count);
  (void)api.vkEnumerateInstanceLayerProperties(&count, layers.data());
  layers.resize(count);
  for (const VkLayerProperties& layer : layers) {
    if (std::string(layer.layerName) == kValidationLayer) return true;
  }
  return false;
}

VkBool32 VKAPI_PTR on_message(VkDebugUtilsMessageSeverityFlagBitsEXT,
                              VkDebugUtilsMessageTypeFlagsEXT,
                              const VkDebugUtilsMessengerCallbackDataEXT* data, void* user) {
  static_cast<Messages*>(user)->add(data->pMessage == nullptr ? "" : data->pMessage);
  return VK_FALSE;
}

}  // namespace

const char* result_name(VkResult result) {
  switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      return "VK_ERROR_OUT_OF_DEVICE_MEMORY";
    case VK_ERROR_INITIALIZATION_FAILED:
      return "VK_ERROR_INITIALIZATION_FAILED";
    case VK_ERROR_DEVICE_LOST:
      return "VK_ERROR_DEVICE_LOST";
    case VK_ERROR_INCOMPATIBLE_DRIVER:
      return "VK_ERROR_INCOMPATIBLE_DRIVER";
    case VK_ERROR_TOO_MANY_OBJECTS:
      return "VK_ERROR_TOO_MANY_OBJECTS";
    case VK_TIMEOUT:
      return "VK_TIMEOUT";
    default:
      return "an error";
  }
}

void check(VkResult result, const char* what) {
  if (result == VK_SUCCESS) return;
  const std::string text = std::string(what) + " gave " + result_name(result) + " (" +
                           std::to_string(static_cast<int>(result)) + ").";
  switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      throw Error(HIVE_OUT_OF_MEMORY, text);
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
      throw Error(HIVE_DEVICE_OUT_OF_MEMORY, text);
    case VK_ERROR_DEVICE_LOST:
      throw Error(HIVE_DEVICE_LOST, text + " The driver reset the device or its work.");
    case VK_TIMEOUT:
      throw Error(HIVE_DEVICE_TIMEOUT, text);
    default:
      throw Error(HIVE_INTERNAL, text);
  }
}

const LoaderApi& loader() {
  static const LoaderApi api = load();
  if (api.vkCreateInstance == nullptr || api.vkEnumerateInstanceLayerProperties == nullptr) {
    throw Error(HIVE_DRIVER_MISSING,
                "The Vulkan loader (libvulkan.so.1) is not installed. On Debian or Ubuntu: apt-get "
                "install -y libvulkan1, and the graphics card's driver (Intel and AMD: "
                "mesa-vulkan-drivers).");
  }
  return api;
}

void Messages::add(const char* text) {
  const std::lock_guard lock(mutex_);
  if (count_.fetch_add(1) == 0) first_ = text;
}

std::string Messages::first() const {
  const std::lock_guard lock(mutex_);
  return first_;
}

std::shared_ptr<Instance> Instance::get(bool validate) {
  static std::mutex mutex;
  // Never destroyed: drivers' own threads may outlive static destructors.
  static auto* const made = new std::shared_ptr<Instance>[2];
  const std::lock_guard lock(mutex);
  std::shared_ptr<Instance>& one = made[validate ? 1 : 0];
  if (one == nullptr) one = std::make_shared<Instance>(validate);
  return one;
}

Instance::Instance(bool validate) {
  const LoaderApi& global = loader();
  VkApplicationInfo app{};
  app.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  app.pApplicationName = "hive-gpu";
  app.apiVersion = VK_API_VERSION_1_3;
  VkInstanceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &app;
  VkDebugUtilsMessengerCreateInfoEXT messenger{};
  messenger.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  messenger.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                              VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                          VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  messenger.pfnUserCallback = on_message;
  messenger.pUserData = &messages_;
  const VkValidationFeatureEnableEXT enabled[] = {
      VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
  VkValidationFeaturesEXT features{};
  features.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT;
  features.enabledValidationFeatureCount = 1;
  features.pEnabledValidationFeatures = enabled;
  features.pNext = &messenger;
  const char* const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
  if (validate) {
    if (!has_validation_layer(global)) {
      throw Error(HIVE_DRIVER_MISSING, std::string("validate=1 needs the layer ") +
                                           kValidationLayer +
                                           " (Debian: vulkan-validationlayers).");
    }
    info.pNext = &features;
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &kValidationLayer;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = extensions;
  }
  const VkResult result = global.vkCreateInstance(&info, nullptr, &handle_);
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
    throw Error(HIVE_DRIVER_MISSING,
                "The Vulkan loader is installed, but no driver (ICD) is: neither "
                "/usr/share/vulkan/icd.d nor /etc/vulkan/icd.d names one that loads. Intel and AMD: "
                "apt-get install -y mesa-vulkan-drivers; NVIDIA: the driver package, and the "
                "graphics capability in containers.");
  }
  check(result, "vkCreateInstance");
#define HIVE_VK_INSTANCE(name) \
  api_.name = reinterpret_cast<PFN_##name>(global.vkGetInstanceProcAddr(handle_, #name));
#include "vk_functions.def"
  if (!validate) return;
  const auto create = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(
      global.vkGetInstanceProcAddr(handle_, "vkCreateDebugUtilsMessengerEXT"));
  if (create != nullptr) check(create(handle_, &messenger, nullptr, &messenger_), "the messenger");
}

Instance::~Instance() {
  if (handle_ == VK_NULL_HANDLE) return;
  if (messenger_ != VK_NULL_HANDLE) {
    const auto destroy = reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(
        loader().vkGetInstanceProcAddr(handle_, "vkDestroyDebugUtilsMessengerEXT"));
    destroy(handle_, messenger_, nullptr);
  }
  api_.vkDestroyInstance(handle_, nullptr);
}

DeviceApi Instance::load_device(VkDevice device) const {
  DeviceApi api;
#define HIVE_VK_DEVICE(name) \
  api.name = reinterpret_cast<PFN_##name>(api_.vkGetDeviceProcAddr(device, #name));
#include "vk_functions.def"
  return api;
}

}  // namespace hive::vulkan
