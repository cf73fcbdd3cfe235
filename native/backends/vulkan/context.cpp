#include "context.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "memory.h"
#include "pipelines.h"
#include "scratch.h"
#include "uploader.h"

namespace hive::vulkan {
namespace {

constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
constexpr VkMemoryPropertyFlags kMapped =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
constexpr VkMemoryPropertyFlags kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

struct Shared {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<Context>> contexts;
  // Contexts of software devices stay: their memory is the process's own, and compiling their
  // kernels again would take seconds.
  std::vector<std::shared_ptr<Context>> kept;
};

Shared& shared() {
  // Never destroyed: drivers' own threads may outlive static destructors.
  static auto* const instance = new Shared();
  return *instance;
}

std::timed_mutex& exit_mutex() {
  static auto* const mutex = new std::timed_mutex();
  return *mutex;
}
std::atomic<bool> g_exiting{false};
constexpr auto kExitWait = std::chrono::seconds(3);

// Waits for a device that is being closed on another thread, but not for ever.
void on_exit() {
  const std::unique_lock lock(exit_mutex(), std::chrono::system_clock::now() + kExitWait);
  g_exiting.store(true);
}

}  // namespace

// ---- queues -------------------------------------------------------------------------------------

void Queue::open(const DeviceApi& api, VkDevice device, uint32_t family,
                 std::shared_ptr<std::mutex> guard) {
  guard_ = std::move(guard);
  api_ = &api;
  device_ = device;
  api.vkGetDeviceQueue(device, family, 0, &queue_);
  VkSemaphoreTypeCreateInfo type{};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  info.pNext = &type;
  check(api.vkCreateSemaphore(device, &info, nullptr, &timeline_), "vkCreateSemaphore");
}

void Queue::close(const DeviceApi& api, VkDevice device) {
  if (timeline_ != VK_NULL_HANDLE) api.vkDestroySemaphore(device, timeline_, nullptr);
  timeline_ = VK_NULL_HANDLE;
}

uint64_t Queue::submit(VkCommandBuffer commands, const Queue* other, uint64_t other_value) {
  const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
  const VkSemaphore wait = other == nullptr ? VK_NULL_HANDLE : other->timeline_;
  VkTimelineSemaphoreSubmitInfo values{};
  values.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
  VkSubmitInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  info.pNext = &values;
  if (other != nullptr) {
    values.waitSemaphoreValueCount = info.waitSemaphoreCount = 1;
    values.pWaitSemaphoreValues = &other_value;
    info.pWaitSemaphores = &wait;
    info.pWaitDstStageMask = &stage;
  }
  info.commandBufferCount = 1;
  info.pCommandBuffers = &commands;
  values.signalSemaphoreValueCount = info.signalSemaphoreCount = 1;
  info.pSignalSemaphores = &timeline_;
  const std::lock_guard lock(*guard_);
  const uint64_t value = submitted_ + 1;
  values.pSignalSemaphoreValues = &value;
  check(api_->vkQueueSubmit(queue_, 1, &info, VK_NULL_HANDLE), "vkQueueSubmit");
  submitted_ = value;
  return value;
}

uint64_t Queue::completed() const {
  uint64_t value = 0;
  check(api_->vkGetSemaphoreCounterValue(device_, timeline_, &value), "vkGetSemaphoreCounterValue");
  return value;
}

VkResult Queue::wait(uint64_t value, uint64_t timeout_ns) const {
  VkSemaphoreWaitInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline_;
  info.pValues = &value;
  return api_->vkWaitSemaphores(device_, &info, timeout_ns);
}

void guard_exit() { std::atexit(on_exit); }

// ---- context ------------------------------------------------------------------------------------

std::shared_ptr<Context> Context::get(uint32_t index, const Settings& settings) {
  Shared& all = shared();
  const std::lock_guard lock(all.mutex);
  const std::string key = std::to_string(index) + "|" + std::to_string(int(settings.filter)) +
                          (settings.validate ? "|v" : "|") + (settings.staging ? "|s|" : "|") +
                          (settings.pipeline_cache ? "c" : "") + settings.cache_folder + "|" +
                          std::to_string(settings.timeout_ms);
  std::weak_ptr<Context>& slot = all.contexts[key];
  if (std::shared_ptr<Context> context = slot.lock()) {
    if (!context->lost()) return context;
    std::erase(all.kept, context);
  }
  std::shared_ptr<Instance> instance = Instance::get(settings.validate);
  const std::vector<PhysicalDevice> devices = usable_devices(*instance, settings);
  if (index >= devices.size()) {
    throw Error(HIVE_NO_DEVICE, "There is no Vulkan device " + std::to_string(index) + ". " +
                                    explain(list_devices(*instance, settings)));
  }
  auto context = std::make_shared<Context>(std::move(instance), devices[index], settings);
  slot = context;
  if (context->physical().software) all.kept.push_back(context);
  return context;
}

Context::Context(std::shared_ptr<Instance> instance, const PhysicalDevice& physical,
                 const Settings& settings)
    : instance_(std::move(instance)), physical_(physical), settings_(settings) {
  create_device();
  try {
    if (!settings.compile_only) open_queues();
    const VkMemoryPropertyFlags direct = kLocal | kMapped;
    for (uint32_t i = 0; i < physical_.memory.memoryTypeCount; ++i) {
      const VkMemoryPropertyFlags flags = physical_.memory.memoryTypes[i].propertyFlags;
      if ((flags & direct) == direct) params_in_place_ = !settings.staging;
    }
    pipelines_ = std::make_unique<Pipelines>(*this);
    memory_ = std::make_unique<Memory>(*this);
    uploader_ = std::make_unique<Uploader>(*this);
    scratch_ = std::make_unique<ScratchPool>(*this);
  } catch (...) {
    scratch_.reset();
    uploader_.reset();
    memory_.reset();
    pipelines_.reset();
    transfer_.close(api_, device_);
    compute_.close(api_, device_);
    api_.vkDestroyDevice(device_, nullptr);
    throw;
  }
}

bool Context::lost() const { return lost_.load() || g_exiting.load(); }

Context::~Context() {
  const std::lock_guard lock(exit_mutex());
  if (g_exiting.load()) {
    // What these hold goes with the process.
    (void)scratch_.release();
    (void)uploader_.release();
    (void)memory_.release();
    (void)pipelines_.release();
    return;
  }
  (void)api_.vkDeviceWaitIdle(device_);
  scratch_.reset();
  uploader_.reset();
  memory_.reset();
  pipelines_.reset();
  transfer_.close(api_, device_);
  compute_.close(api_, device_);
  api_.vkDestroyDevice(device_, nullptr);
}

void Context::open_queues() {
  const bool one = physical_.compute_family == physical_.transfer_family;
  const auto guard = std::make_shared<std::mutex>();
  compute_.open(api_, device_, physical_.compute_family, guard);
  transfer_.open(api_, device_, physical_.transfer_family,
                 one ? guard : std::make_shared<std::mutex>());
}

void Context::create_device() {
  const float priority = 1.0f;
  VkDeviceQueueCreateInfo queues[2]{};
  queues[0].sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queues[0].queueFamilyIndex = physical_.compute_family;
  queues[0].queueCount = 1;
  queues[0].pQueuePriorities = &priority;
  queues[1] = queues[0];
  queues[1].queueFamilyIndex = physical_.transfer_family;
  VkPhysicalDeviceBufferDeviceAddressFeatures address{};
  address.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES;
  address.bufferDeviceAddress = VK_TRUE;
  VkPhysicalDeviceTimelineSemaphoreFeatures timeline{};
  timeline.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES;
  timeline.timelineSemaphore = VK_TRUE;
  timeline.pNext = &address;
  VkPhysicalDeviceSubgroupSizeControlFeatures sizes{};
  sizes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES;
  sizes.subgroupSizeControl = VK_TRUE;
  sizes.computeFullSubgroups = VK_TRUE;
  std::vector<const char*> extensions;
  if (physical_.memory_budget) extensions.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  if (physical_.size_control) {
    address.pNext = &sizes;
    if (physical_.size_control_ext) {
      extensions.push_back(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    }
  }
  VkDeviceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &timeline;
  info.queueCreateInfoCount = physical_.compute_family == physical_.transfer_family ? 1 : 2;
  info.pQueueCreateInfos = queues;
  info.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  check(instance_->api().vkCreateDevice(physical_.handle, &info, nullptr, &device_),
        "vkCreateDevice");
  api_ = instance_->load_device(device_);
  guard_exit();
}

uint32_t Context::memory_type(uint32_t allowed, Use use) const {
  VkMemoryPropertyFlags need = 0;
  VkMemoryPropertyFlags like = 0;
  switch (use) {
    case Use::kRows:
      need = kLocal;
      if (physical_.unified && !settings_.staging) need |= kMapped;
      break;
    case Use::kScratch:
      need = kLocal;
      break;
    case Use::kParams:
      need = params_in_place_ ? kLocal | kMapped : kMapped;
      break;
    case Use::kStaging:
      need = kMapped;
      break;
    case Use::kResults:
      need = kMapped;
      like = kCached;
      break;
  }
  int best = -1;
  for (uint32_t i = 0; i < physical_.memory.memoryTypeCount; ++i) {
    const VkMemoryType& type = physical_.memory.memoryTypes[i];
    if ((allowed & (1u << i)) == 0 || (type.propertyFlags & need) != need) continue;
    if (use == Use::kRows && type.heapIndex != physical_.rows_heap) continue;
    // The driver lists better types first; host memory proper is better for staging and results.
    const bool host = use == Use::kStaging || use == Use::kResults;
    const auto points = [&](uint32_t t) {
      const VkMemoryPropertyFlags flags = physical_.memory.memoryTypes[t].propertyFlags;
      return ((flags & like) == like ? 2 : 0) + (host && (flags & kLocal) == 0 ? 1 : 0);
    };
    if (best < 0 || points(i) > points(static_cast<uint32_t>(best))) best = static_cast<int>(i);
  }
  if (best < 0) throw Error(HIVE_UNSUPPORTED, "The device has no memory of a kind that is needed.");
  return static_cast<uint32_t>(best);
}

Buffer Context::create_buffer(uint64_t size, Use use) {
  Buffer out;
  out.size = size;
  const uint32_t families[] = {physical_.compute_family, physical_.transfer_family};
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = size;
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
               VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  if (families[0] != families[1]) {
    info.sharingMode = VK_SHARING_MODE_CONCURRENT;
    info.queueFamilyIndexCount = 2;
    info.pQueueFamilyIndices = families;
  }
  check(api_.vkCreateBuffer(device_, &info, nullptr, &out.buffer), "vkCreateBuffer");
  try {
    VkMemoryRequirements needs{};
    api_.vkGetBufferMemoryRequirements(device_, out.buffer, &needs);
    VkMemoryAllocateFlagsInfo flags{};
    flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
    flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
    VkMemoryAllocateInfo allocate{};
    allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
    allocate.pNext = &flags;
    allocate.allocationSize = needs.size;
    allocate.memoryTypeIndex = memory_type(needs.memoryTypeBits, use);
    check(api_.vkAllocateMemory(device_, &allocate, nullptr, &out.memory), "vkAllocateMemory");
    check(api_.vkBindBufferMemory(device_, out.buffer, out.memory, 0), "vkBindBufferMemory");
    const VkMemoryPropertyFlags given =
        physical_.memory.memoryTypes[allocate.memoryTypeIndex].propertyFlags;
    const bool map = use == Use::kRows ? physical_.unified && !settings_.staging
                                       : use != Use::kScratch;
    if (map && (given & kMapped) == kMapped) {
      void* mapped = nullptr;
      check(api_.vkMapMemory(device_, out.memory, 0, VK_WHOLE_SIZE, 0, &mapped), "vkMapMemory");
      out.mapped = static_cast<char*>(mapped);
    }
    VkBufferDeviceAddressInfo address{};
    address.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
    address.buffer = out.buffer;
    out.address = api_.vkGetBufferDeviceAddress(device_, &address);
  } catch (...) {
    destroy_buffer(&out);
    throw;
  }
  return out;
}

void Context::destroy_buffer(Buffer* buffer) {
  if (buffer->buffer != VK_NULL_HANDLE) api_.vkDestroyBuffer(device_, buffer->buffer, nullptr);
  if (buffer->memory != VK_NULL_HANDLE) api_.vkFreeMemory(device_, buffer->memory, nullptr);
  *buffer = Buffer{};
}

uint64_t Context::free_bytes() const {
  const uint64_t total = physical_.info.memory_total_bytes;
  if (!physical_.memory_budget) return total - std::min(total, memory_->allocated_bytes());
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{};
  budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
  VkPhysicalDeviceMemoryProperties2 info{};
  info.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  info.pNext = &budget;
  instance_->api().vkGetPhysicalDeviceMemoryProperties2(physical_.handle, &info);
  const uint64_t may = budget.heapBudget[physical_.rows_heap];
  const uint64_t used = budget.heapUsage[physical_.rows_heap];
  return std::min(total, (may > used ? may - used : 0) + memory_->spare_bytes());
}

void Context::note(hive_status status) {
  if (status == HIVE_DEVICE_LOST || status == HIVE_DEVICE_TIMEOUT) lost_.store(true);
}

void Context::check_messages() const {
  if (!settings_.validate || instance_->messages().count() == 0) return;
  throw Error(HIVE_INTERNAL, "The validation layer has said " +
                                 std::to_string(instance_->messages().count()) +
                                 " thing(s); the first: " + instance_->messages().first());
}

}  // namespace hive::vulkan
