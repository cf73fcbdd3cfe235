// Looks at the devices of an instance: what they can do, whether that is enough, which is best.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "settings.h"

namespace hive::vulkan {
namespace {

constexpr uint32_t kIntelVendor = 0x8086;
constexpr uint32_t kSharedBytes = 16 * 1024 + 64;  // of the scan kernel for batches
constexpr uint32_t kScanWorkgroup = 256;
// One search may ask for as many rows; the selection's work grows with it.
constexpr uint32_t kMaxK = 1u << 20;

const char* vendor_name(uint32_t id) {
  switch (id) {
    case 0x8086:
      return "Intel";
    case 0x10de:
      return "NVIDIA";
    case 0x1002:
      return "AMD";
    case 0x106b:
      return "Apple";
    case 0x13b5:
      return "Arm";
    case 0x5143:
      return "Qualcomm";
    case 0x10005:
      return "Mesa";
    default:
      return "";
  }
}

uint32_t kind_of(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return HIVE_DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      return HIVE_DEVICE_SOFTWARE;
    default:
      return HIVE_DEVICE_DISCRETE;
  }
}

struct Found {
  VkPhysicalDeviceProperties2 properties{};
  VkPhysicalDeviceDriverProperties driver{};
  VkPhysicalDeviceSubgroupProperties subgroup{};
  VkPhysicalDeviceSubgroupSizeControlProperties sizes{};
  VkPhysicalDeviceMaintenance3Properties limits{};
  VkPhysicalDeviceFloatControlsProperties floats{};
  VkPhysicalDevicePCIBusInfoPropertiesEXT bus{};
  VkPhysicalDeviceFeatures2 features{};
  VkPhysicalDeviceBufferDeviceAddressFeatures address{};
  VkPhysicalDeviceTimelineSemaphoreFeatures timeline{};
  VkPhysicalDeviceSubgroupSizeControlFeatures size_control{};
  std::vector<VkExtensionProperties> extensions;

  bool has(const char* name) const {
    return std::any_of(extensions.begin(), extensions.end(), [&](const VkExtensionProperties& e) {
      return std::strcmp(e.extensionName, name) == 0;
    });
  }
};

template <class T, class Head>
void chain(T* item, VkStructureType type, Head* head) {
  item->sType = type;
  item->pNext = head->pNext;
  head->pNext = item;
}

void query(const Instance& instance, VkPhysicalDevice handle, uint32_t version, Found* f) {
  const InstanceApi& api = instance.api();
  uint32_t count = 0;
  (void)api.vkEnumerateDeviceExtensionProperties(handle, nullptr, &count, nullptr);
  f->extensions.resize(count);
  (void)api.vkEnumerateDeviceExtensionProperties(handle, nullptr, &count, f->extensions.data());
  f->extensions.resize(count);
  f->properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  f->features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  chain(&f->driver, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES, &f->properties);
  chain(&f->subgroup, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, &f->properties);
  chain(&f->limits, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, &f->properties);
  chain(&f->floats, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES, &f->properties);
  if (f->has(VK_EXT_PCI_BUS_INFO_EXTENSION_NAME)) {
    chain(&f->bus, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT, &f->properties);
  }
  chain(&f->address, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES,
        &f->features);
  chain(&f->timeline, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES, &f->features);
  if (version >= VK_API_VERSION_1_3 || f->has(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) {
    chain(&f->sizes, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES,
          &f->properties);
    chain(&f->size_control, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
          &f->features);
  }
  api.vkGetPhysicalDeviceProperties2(handle, &f->properties);
  api.vkGetPhysicalDeviceFeatures2(handle, &f->features);
}

void choose_subgroup(const Found& f, uint32_t kind, PhysicalDevice* out) {
  out->subgroup_size = f.subgroup.subgroupSize;
  const bool control = f.size_control.subgroupSizeControl != VK_FALSE &&
                       f.size_control.computeFullSubgroups != VK_FALSE &&
                       (f.sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
  if (!control) return;
  // 16 on Intel: at 32 an invocation has half the registers.
  const uint32_t wanted = out->info.vendor_id == kIntelVendor && kind != HIVE_DEVICE_SOFTWARE ? 16 : 32;
  out->size_control = true;
  out->subgroup_size = std::clamp(wanted, f.sizes.minSubgroupSize, f.sizes.maxSubgroupSize);
  const uint64_t most = uint64_t{out->subgroup_size} * f.sizes.maxComputeWorkgroupSubgroups;
  out->max_workgroup = static_cast<uint32_t>(std::min<uint64_t>(out->max_workgroup, most));
}

std::string missing(const Found& f, const PhysicalDevice& d) {
  const VkPhysicalDeviceLimits& limits = f.properties.properties.limits;
  if (f.address.bufferDeviceAddress == VK_FALSE) return "it lacks the feature bufferDeviceAddress";
  if (f.timeline.timelineSemaphore == VK_FALSE) return "it lacks the feature timelineSemaphore";
  constexpr VkSubgroupFeatureFlags kOps = VK_SUBGROUP_FEATURE_BASIC_BIT |
                                          VK_SUBGROUP_FEATURE_ARITHMETIC_BIT |
                                          VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
  if ((f.subgroup.supportedOperations & kOps) != kOps ||
      (f.subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) == 0) {
    return "its compute shaders lack subgroup arithmetic or shuffles";
  }
  if (d.subgroup_size < 8 || d.subgroup_size > 64) {
    return "its subgroup size is " + std::to_string(d.subgroup_size) + ", not 8 to 64";
  }
  if (limits.maxComputeSharedMemorySize < kSharedBytes) return "it has too little shared memory";
  if (d.max_workgroup < kScanWorkgroup) return "its workgroups are too small";
  return "";
}

void find_queues(const Instance& instance, PhysicalDevice* out) {
  uint32_t count = 0;
  instance.api().vkGetPhysicalDeviceQueueFamilyProperties(out->handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  instance.api().vkGetPhysicalDeviceQueueFamilyProperties(out->handle, &count, families.data());
  int compute = -1;
  int transfer = -1;
  for (uint32_t i = 0; i < count; ++i) {
    const VkQueueFlags flags = families[i].queueFlags;
    // A family without graphics is not shared with a desktop.
    const bool better = compute < 0 || (flags & VK_QUEUE_GRAPHICS_BIT) == 0;
    if ((flags & VK_QUEUE_COMPUTE_BIT) != 0 && better) compute = static_cast<int>(i);
    constexpr VkQueueFlags kWork = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;
    if ((flags & VK_QUEUE_TRANSFER_BIT) != 0 && (flags & kWork) == 0 && transfer < 0) {
      transfer = static_cast<int>(i);
    }
  }
  if (compute < 0) {
    out->problem = "it has no queue for compute";
    return;
  }
  out->compute_family = static_cast<uint32_t>(compute);
  out->transfer_family = transfer < 0 ? out->compute_family : static_cast<uint32_t>(transfer);
}

void find_memory(const Instance& instance, PhysicalDevice* out) {
  instance.api().vkGetPhysicalDeviceMemoryProperties(out->handle, &out->memory);
  uint64_t most = 0;
  for (uint32_t i = 0; i < out->memory.memoryHeapCount; ++i) {
    const VkMemoryHeap& heap = out->memory.memoryHeaps[i];
    if ((heap.flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) == 0 || heap.size <= most) continue;
    most = heap.size;
    out->rows_heap = i;
  }
  out->info.memory_total_bytes = most;
  if (out->info.kind == HIVE_DEVICE_DISCRETE) return;
  for (uint32_t i = 0; i < out->memory.memoryTypeCount; ++i) {
    const VkMemoryType& type = out->memory.memoryTypes[i];
    constexpr VkMemoryPropertyFlags kMapped =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    if (type.heapIndex == out->rows_heap && (type.propertyFlags & kMapped) == kMapped) {
      out->unified = true;
    }
  }
}

void describe(const Found& f, PhysicalDevice* out) {
  const VkPhysicalDeviceProperties& p = f.properties.properties;
  hive_device_info& info = out->info;
  info.struct_size = sizeof info;
  info.kind = kind_of(p.deviceType);
  info.vendor_id = p.vendorID;
  info.compute_units = 1;  // Vulkan does not tell
  info.max_k = kMaxK;
  // Kernels read by address, so this bound is only about one allocation; staying below
  // maxStorageBufferRange keeps every segment bindable as well.
  info.max_segment_bytes = std::min<uint64_t>(p.limits.maxStorageBufferRange,
                                              f.limits.maxMemoryAllocationSize);
  std::snprintf(info.name, sizeof info.name, "%.127s", p.deviceName);
  std::snprintf(info.vendor, sizeof info.vendor, "%s", vendor_name(p.vendorID));
  std::snprintf(info.driver, sizeof info.driver, "%.24s %.36s", f.driver.driverName,
                f.driver.driverInfo);
  if (f.bus.sType != 0) {
    std::snprintf(info.bus_id, sizeof info.bus_id, "%04x:%02x:%02x.%x", f.bus.pciDomain,
                  f.bus.pciBus, f.bus.pciDevice, f.bus.pciFunction);
  }
  std::memcpy(out->pipeline_uuid, p.pipelineCacheUUID, VK_UUID_SIZE);
  out->software = info.kind == HIVE_DEVICE_SOFTWARE;
  out->max_workgroup = std::min(p.limits.maxComputeWorkGroupInvocations,
                                p.limits.maxComputeWorkGroupSize[0]);
  out->keep_denormals = f.floats.shaderDenormPreserveFloat32 != VK_FALSE;
  if (!out->keep_denormals) info.caps |= HIVE_CAP_FLUSHES;
  out->memory_budget = f.has(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  out->size_control_ext = p.apiVersion < VK_API_VERSION_1_3;
}

PhysicalDevice look_at(const Instance& instance, VkPhysicalDevice handle,
                       const Settings& settings) {
  PhysicalDevice out;
  out.handle = handle;
  VkPhysicalDeviceProperties first{};
  instance.api().vkGetPhysicalDeviceProperties(handle, &first);
  std::snprintf(out.info.name, sizeof out.info.name, "%.127s", first.deviceName);
  out.info.vendor_id = first.vendorID;
  out.info.kind = kind_of(first.deviceType);
  if (first.apiVersion < VK_API_VERSION_1_2) {
    out.problem = "its driver offers Vulkan " +
                  std::to_string(VK_API_VERSION_MAJOR(first.apiVersion)) + "." +
                  std::to_string(VK_API_VERSION_MINOR(first.apiVersion)) + "; 1.2 is needed";
    return out;
  }
  Found found;
  query(instance, handle, first.apiVersion, &found);
  describe(found, &out);
  choose_subgroup(found, out.info.kind, &out);
  out.problem = missing(found, out);
  if (out.problem.empty()) find_queues(instance, &out);
  find_memory(instance, &out);
  if (out.software) out.filtered = settings.filter != Filter::kAny;
  else out.filtered = settings.filter == Filter::kIntel && out.info.vendor_id != kIntelVendor;
  return out;
}

// Greater is better.
std::pair<int, uint64_t> rank(const PhysicalDevice& d) {
  if (!d.problem.empty() || d.filtered) return {-1, 0};
  const int kind = d.info.kind == HIVE_DEVICE_DISCRETE ? 2 : d.info.kind == HIVE_DEVICE_INTEGRATED;
  return {kind, d.info.memory_total_bytes};
}

}  // namespace

std::vector<PhysicalDevice> list_devices(const Instance& instance, const Settings& settings) {
  uint32_t count = 0;
  check(instance.api().vkEnumeratePhysicalDevices(instance.handle(), &count, nullptr),
        "vkEnumeratePhysicalDevices");
  std::vector<VkPhysicalDevice> handles(count);
  VkResult result =
      instance.api().vkEnumeratePhysicalDevices(instance.handle(), &count, handles.data());
  if (result != VK_INCOMPLETE) check(result, "vkEnumeratePhysicalDevices");
  handles.resize(count);
  std::vector<PhysicalDevice> out;
  for (VkPhysicalDevice handle : handles) out.push_back(look_at(instance, handle, settings));
  std::stable_sort(out.begin(), out.end(), [](const PhysicalDevice& a, const PhysicalDevice& b) {
    return rank(a) > rank(b);
  });
  return out;
}

std::vector<PhysicalDevice> usable_devices(const Instance& instance, const Settings& settings) {
  std::vector<PhysicalDevice> all = list_devices(instance, settings);
  std::erase_if(all, [](const PhysicalDevice& d) { return !d.problem.empty() || d.filtered; });
  return all;
}

std::string explain(const std::vector<PhysicalDevice>& all) {
  if (all.empty()) {
    return "Vulkan drivers are installed but show no device; containers need /dev/dri (Intel, AMD) "
           "or NVIDIA's graphics capability.";
  }
  std::string text;
  for (const PhysicalDevice& d : all) {
    char line[256];
    if (!d.problem.empty()) {
      std::snprintf(line, sizeof line, "%s cannot be used: %s. ", d.info.name, d.problem.c_str());
    } else if (d.software) {
      std::snprintf(line, sizeof line,
                    "%s is a software implementation, used only when vulkan is named. ",
                    d.info.name);
    } else {
      std::snprintf(line, sizeof line,
                    "%s (vendor 0x%04x) is not Intel's: set HIVE_GPU_VULKAN_UNIVERSAL=1 or name "
                    "the backend to use it. ",
                    d.info.name, d.info.vendor_id);
    }
    text += line;
  }
  text.pop_back();
  return text;
}

}  // namespace hive::vulkan
