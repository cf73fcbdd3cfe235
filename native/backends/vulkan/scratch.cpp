#include "scratch.h"

#include <algorithm>

namespace hive::vulkan {
namespace {

constexpr size_t kKept = 4;
constexpr uint64_t kKeptBytes = uint64_t{64} << 20;  // larger ones are not kept
constexpr uint64_t kSmallest = 64 * 1024;

}  // namespace

ScratchPool::~ScratchPool() {
  for (const auto& scratch : spare_) destroy(scratch.get());
  for (const auto& scratch : abandoned_) destroy(scratch.get());
}

void ScratchPool::abandon(std::unique_ptr<Scratch> scratch) {
  const std::lock_guard lock(mutex_);
  abandoned_.push_back(std::move(scratch));
}

std::unique_ptr<Scratch> ScratchPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      std::unique_ptr<Scratch> scratch = std::move(spare_.back());
      spare_.pop_back();
      return scratch;
    }
  }
  auto scratch = std::make_unique<Scratch>();
  const DeviceApi& api = context_.api();
  VkCommandPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT;
  pool.queueFamilyIndex = context_.physical().compute_family;
  check(api.vkCreateCommandPool(context_.device(), &pool, nullptr, &scratch->pool),
        "vkCreateCommandPool");
  VkCommandBufferAllocateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = scratch->pool;
  info.commandBufferCount = 1;
  const VkResult result =
      api.vkAllocateCommandBuffers(context_.device(), &info, &scratch->commands);
  if (result != VK_SUCCESS) destroy(scratch.get());
  check(result, "vkAllocateCommandBuffers");
  return scratch;
}

void ScratchPool::give_back(std::unique_ptr<Scratch> scratch) {
  const uint64_t bytes = scratch->work.size + scratch->params.size + scratch->results.size;
  const std::lock_guard lock(mutex_);
  if (spare_.size() < kKept && bytes <= kKeptBytes) spare_.push_back(std::move(scratch));
  else destroy(scratch.get());
}

void ScratchPool::grow(Buffer* buffer, uint64_t bytes, Use use) {
  if (buffer->size >= bytes) return;
  context_.destroy_buffer(buffer);
  uint64_t size = kSmallest;
  while (size < bytes) size *= 2;
  *buffer = context_.create_buffer(size, use);
}

void ScratchPool::destroy(Scratch* scratch) {
  if (scratch->pool != VK_NULL_HANDLE) {
    context_.api().vkDestroyCommandPool(context_.device(), scratch->pool, nullptr);
  }
  for (Buffer* buffer : {&scratch->params, &scratch->copied, &scratch->work, &scratch->results}) {
    context_.destroy_buffer(buffer);
  }
}

}  // namespace hive::vulkan
