#include "pipelines.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace hive::vulkan {
namespace {

alignas(4) const uint32_t kScan1[] = {
#include "scan1.spv.inc"
};
alignas(4) const uint32_t kScan4[] = {
#include "scan4.spv.inc"
};
alignas(4) const uint32_t kSelect[] = {
#include "select.spv.inc"
};

struct Module {
  const uint32_t* words;
  size_t bytes;
};
constexpr uint32_t kModuleScan1 = 0;
constexpr uint32_t kModuleScan4 = 1;
constexpr uint32_t kModuleSelect = 2;
constexpr Module kModules[] = {
    {kScan1, sizeof kScan1}, {kScan4, sizeof kScan4}, {kSelect, sizeof kSelect}};

constexpr uint32_t kStep = 32;
// Rows up to this length get a pipeline of their own, with every loop unrolled.
constexpr uint32_t kUnrolledDimMax = 2048;
constexpr uint64_t kCacheBytesMax = uint64_t{64} << 20;

std::string default_folder() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg == '/') {
    return std::string(xdg) + "/hive-gpu";
  }
  const char* home = std::getenv("HOME");
  return home == nullptr || *home != '/' ? "" : std::string(home) + "/.cache/hive-gpu";
}

// The module with the execution mode that keeps subnormal f32 results. Drivers flush them by default,
// and then values whose products underflow differ from every other backend's.
std::vector<uint32_t> with_denormals(const Module& module) {
  constexpr uint32_t kHeaderWords = 5;
  constexpr uint32_t kOpEntryPoint = 15, kOpExecutionMode = 16, kOpCapability = 17;
  constexpr uint32_t kDenormPreserveCapability = 4464, kDenormPreserve = 4459;
  std::vector<uint32_t> out(module.words, module.words + kHeaderWords);
  const size_t words = module.bytes / 4;
  bool capability_added = false;
  for (size_t at = kHeaderWords; at < words;) {
    const uint32_t length = module.words[at] >> 16;
    const uint32_t opcode = module.words[at] & 0xffffu;
    if (opcode == kOpCapability && !capability_added) {
      out.insert(out.end(), {2u << 16 | kOpCapability, kDenormPreserveCapability});
      capability_added = true;
    }
    out.insert(out.end(), module.words + at, module.words + at + length);
    if (opcode == kOpEntryPoint) {
      const uint32_t entry = module.words[at + 2];
      out.insert(out.end(), {4u << 16 | kOpExecutionMode, entry, kDenormPreserve, 32u});
    }
    at += length;
  }
  return out;
}

uint32_t power_of_two_below(uint32_t x) {
  uint32_t p = 1;
  while (p * 2 <= x) p *= 2;
  return p;
}

}  // namespace

Pipelines::Pipelines(Context& context) : context_(context) {
  VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushBytes};
  VkPipelineLayoutCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  info.pushConstantRangeCount = 1;
  info.pPushConstantRanges = &range;
  check(context_.api().vkCreatePipelineLayout(context_.device(), &info, nullptr, &layout_),
        "vkCreatePipelineLayout");
  modules_.resize(std::size(kModules), VK_NULL_HANDLE);
  load_cache();
}

Pipelines::~Pipelines() {
  const DeviceApi& api = context_.api();
  if (!context_.lost()) save_cache();
  for (const auto& [key, pipeline] : pipelines_) {
    api.vkDestroyPipeline(context_.device(), pipeline, nullptr);
  }
  for (VkShaderModule module : modules_) {
    if (module != VK_NULL_HANDLE) api.vkDestroyShaderModule(context_.device(), module, nullptr);
  }
  if (cache_ != VK_NULL_HANDLE) api.vkDestroyPipelineCache(context_.device(), cache_, nullptr);
  api.vkDestroyPipelineLayout(context_.device(), layout_, nullptr);
}

VkPipeline Pipelines::scan(const ScanKind& kind) {
  // A software device compiles for seconds what it then runs no faster.
  const bool unrolled = kind.dim <= kUnrolledDimMax && !context_.physical().software;
  const uint32_t steps = unrolled ? (kind.dim + kStep - 1) / kStep : 0;
  return get(kind.batch ? kModuleScan4 : kModuleScan1,
             {kind.metric, kind.dtype, steps, unrolled && kind.dim % kStep == 0 ? 1u : 0u,
              context_.physical().subgroup_size, kind.listed ? 1u : 0u});
}

VkPipeline Pipelines::select() {
  const uint32_t workgroup = std::min(1024u, power_of_two_below(context_.physical().max_workgroup));
  return get(kModuleSelect, {workgroup, context_.physical().subgroup_size});
}

VkPipeline Pipelines::get(uint32_t module, const std::vector<uint32_t>& constants) {
  std::vector<uint32_t> key = constants;
  key.push_back(module);
  const std::lock_guard lock(mutex_);
  const auto found = pipelines_.find(key);
  if (found != pipelines_.end()) return found->second;
  const VkPipeline pipeline = create(module, constants);
  pipelines_.emplace(std::move(key), pipeline);
  changed_ = true;
  return pipeline;
}

VkPipeline Pipelines::create(uint32_t module, const std::vector<uint32_t>& constants) {
  const DeviceApi& api = context_.api();
  if (modules_[module] == VK_NULL_HANDLE) {
    VkShaderModuleCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
    info.codeSize = kModules[module].bytes;
    info.pCode = kModules[module].words;
    std::vector<uint32_t> changed;
    if (context_.physical().keep_denormals) {
      changed = with_denormals(kModules[module]);
      info.codeSize = changed.size() * 4;
      info.pCode = changed.data();
    }
    check(api.vkCreateShaderModule(context_.device(), &info, nullptr, &modules_[module]),
          "vkCreateShaderModule");
  }
  std::vector<VkSpecializationMapEntry> entries;
  for (uint32_t i = 0; i < constants.size(); ++i) entries.push_back({i, i * 4, 4});
  const VkSpecializationInfo special{static_cast<uint32_t>(entries.size()), entries.data(),
                                     constants.size() * 4, constants.data()};
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size{};
  size.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  size.requiredSubgroupSize = context_.physical().subgroup_size;
  VkComputePipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.layout = layout_;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = modules_[module];
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &special;
  if (context_.physical().size_control) {
    info.stage.pNext = &size;
    info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
  }
  VkPipeline pipeline = VK_NULL_HANDLE;
  check(api.vkCreateComputePipelines(context_.device(), cache_, 1, &info, nullptr, &pipeline),
        "vkCreateComputePipelines");
  guard_exit();
  return pipeline;
}

// ---- what the driver compiled, on disk ----------------------------------------------------------

std::string Pipelines::cache_file() const {
  const Settings& settings = context_.settings();
  if (!settings.pipeline_cache) return "";
  const std::string folder =
      settings.cache_folder.empty() ? default_folder() : settings.cache_folder;
  if (folder.empty()) return "";
  std::string name = folder + "/vulkan-";
  for (const uint8_t byte : context_.physical().pipeline_uuid) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", byte);
    name += hex;
  }
  return name + ".bin";
}

// The driver checks the header; a file it does not know is only ignored.
void Pipelines::load_cache() {
  std::vector<char> data;
  const std::string path = cache_file();
  std::FILE* file = path.empty() ? nullptr : std::fopen(path.c_str(), "rb");
  if (file != nullptr) {
    std::fseek(file, 0, SEEK_END);
    const long size = std::ftell(file);
    std::fseek(file, 0, SEEK_SET);
    if (size > 0 && static_cast<uint64_t>(size) <= kCacheBytesMax) {
      data.resize(static_cast<size_t>(size));
      if (std::fread(data.data(), 1, data.size(), file) != data.size()) data.clear();
    }
    std::fclose(file);
  }
  // Header: length, version, vendor, device, uuid. Drivers differ in how well they check it.
  if (data.size() < 32 || std::memcmp(&data[16], context_.physical().pipeline_uuid, 16) != 0) {
    data.clear();
  }
  VkPipelineCacheCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  info.initialDataSize = data.size();
  info.pInitialData = data.data();
  check(context_.api().vkCreatePipelineCache(context_.device(), &info, nullptr, &cache_),
        "vkCreatePipelineCache");
}

// Written beside and renamed, so that another process never sees half of it. Best effort: a cache
// that cannot be written only costs time.
void Pipelines::save_cache() {
  const std::string path = cache_file();
  if (path.empty() || !changed_) return;
  size_t size = 0;
  const DeviceApi& api = context_.api();
  if (api.vkGetPipelineCacheData(context_.device(), cache_, &size, nullptr) != VK_SUCCESS) return;
  std::vector<char> data(size);
  if (api.vkGetPipelineCacheData(context_.device(), cache_, &size, data.data()) != VK_SUCCESS) return;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const std::string beside = path + "." + std::to_string(reinterpret_cast<uintptr_t>(this));
  std::FILE* file = std::fopen(beside.c_str(), "wb");
  if (file == nullptr) return;
  const bool written = std::fwrite(data.data(), 1, size, file) == size;
  const bool closed = std::fclose(file) == 0;
  if (written && closed) std::filesystem::rename(beside, path, error);
  else std::filesystem::remove(beside, error);
}

}  // namespace hive::vulkan
