// Settings of the backend ("key=value;key=value") and the devices they leave.
#pragma once

#include <string>
#include <vector>

#include "vk_api.h"

namespace hive::vulkan {

// Which devices may be used.
enum class Filter {
  kIntel,      // devices=intel: graphics cards and integrated graphics of vendor 0x8086 (default)
  kUniversal,  // devices=universal: of any vendor
  kAny         // devices=any: software implementations (lavapipe) too
};

struct Settings {
  Filter filter = Filter::kIntel;
  bool validate = false;       // validate=1: with the validation layer; a message fails the job
  bool staging = false;        // staging=1: through staging memory even where rows can be mapped
  bool pipeline_cache = true;  // cache=off; cache=<folder>
  std::string cache_folder;    // "" = $XDG_CACHE_HOME/hive-gpu or ~/.cache/hive-gpu
  uint64_t memory_limit = 0;   // memory_limit=<bytes> for rows and bitsets; 0 = the device's
  uint32_t timeout_ms = 20000;  // timeout_ms=<ms> for one submission
  bool compile_only = false;    // no setting: pretended devices have no working queues

  // Throws INVALID_ARGUMENT for an unknown key or value.
  static Settings parse(const std::string& text);
};

// A device of an instance with what the backend needs to know of it.
struct PhysicalDevice {
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  hive_device_info info{};
  uint8_t pipeline_uuid[VK_UUID_SIZE] = {};
  bool software = false;
  bool unified = false;       // rows can be written through a mapping at full speed
  bool memory_budget = false;  // VK_EXT_memory_budget
  bool size_control_ext = false;  // subgroup size control comes as an extension (Vulkan 1.2)
  bool size_control = false;      // a subgroup size can be required
  bool keep_denormals = false;    // subnormal results can be asked for
  uint32_t subgroup_size = 32;
  uint32_t max_workgroup = 256;
  uint32_t rows_heap = 0;         // heap that holds rows
  uint32_t compute_family = 0;
  uint32_t transfer_family = 0;   // the same when there is no queue for copies alone
  VkPhysicalDeviceMemoryProperties memory{};
  std::string problem;            // why it cannot be used; "" = it can
  bool filtered = false;          // usable, but not asked for
};

// All devices of an instance, the best first; unusable ones are last and say why.
std::vector<PhysicalDevice> list_devices(const Instance& instance, const Settings& settings);

// Those that may be used.
std::vector<PhysicalDevice> usable_devices(const Instance& instance, const Settings& settings);

// Why no device is usable, in one text.
std::string explain(const std::vector<PhysicalDevice>& all);

}  // namespace hive::vulkan
