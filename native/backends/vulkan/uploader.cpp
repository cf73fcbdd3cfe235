#include "uploader.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace hive::vulkan {
namespace {

constexpr uint64_t kSlotBytes = uint64_t{16} << 20;
constexpr uint64_t kSharedFill = uint64_t{2} << 20;  // fills above this are spread over the team
constexpr uint64_t kWaitNanos = 20'000'000'000;
constexpr uint32_t kTeamMax = 11;
// Fills of a stream follow each other closely; waking up would cost as much as copying.
constexpr auto kSpin = std::chrono::microseconds(300);

void copy_rows(char* to, const Source& s, uint64_t first, uint64_t count) {
  const char* from = s.data + first * s.row_bytes;
  if (s.row_bytes == s.stride) {
    std::memcpy(to, from, count * s.row_bytes);
    return;
  }
  for (uint64_t r = 0; r < count; ++r, to += s.stride, from += s.row_bytes) {
    std::memcpy(to, from, s.row_bytes);
    std::memset(to + s.row_bytes, 0, s.stride - s.row_bytes);
  }
}

}  // namespace

Uploader::Uploader(Context& context) : context_(context) {}

Uploader::~Uploader() {
  {
    const std::lock_guard lock(team_mutex_);
    team_stop_ = true;
  }
  team_wake_.notify_all();
  for (std::thread& thread : team_) thread.join();
  for (Slot& slot : slots_) {
    if (slot.pool != VK_NULL_HANDLE) {
      context_.api().vkDestroyCommandPool(context_.device(), slot.pool, nullptr);
    }
    context_.destroy_buffer(&slot.buffer);
  }
}

uint64_t Uploader::upload(const Memory::Piece& to, const std::vector<Source>& sources) {
  if (to.mapped != nullptr) {
    for (const Source& s : sources) copy_rows(to.mapped + s.offset, s, 0, s.rows);
    return 0;
  }
  const std::lock_guard lock(mutex_);
  for (const Source& s : sources) copy(to, s);
  flush();
  // Submissions are counted in order, so the last one stands for all.
  return slots_[(slot_ + kSlots - 1) % kSlots].value;
}

void Uploader::open_slot(Slot* slot) {
  slot->buffer = context_.create_buffer(kSlotBytes, Use::kStaging);
  VkCommandPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT;
  pool.queueFamilyIndex = context_.physical().transfer_family;
  check(context_.api().vkCreateCommandPool(context_.device(), &pool, nullptr, &slot->pool),
        "vkCreateCommandPool");
  VkCommandBufferAllocateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = slot->pool;
  info.commandBufferCount = 1;
  check(context_.api().vkAllocateCommandBuffers(context_.device(), &info, &slot->commands),
        "vkAllocateCommandBuffers");
}

// Makes the current slot ready to be filled.
void Uploader::next_slot() {
  Slot& slot = slots_[slot_];
  if (slot.pool == VK_NULL_HANDLE) open_slot(&slot);
  if (slot.value != 0) {
    check(context_.transfer().wait(slot.value, kWaitNanos), "An upload");
    check(context_.api().vkResetCommandPool(context_.device(), slot.pool, 0), "vkResetCommandPool");
  }
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  check(context_.api().vkBeginCommandBuffer(slot.commands, &begin), "vkBeginCommandBuffer");
  used_ = 0;
  recording_ = true;
}

void Uploader::flush() {
  if (!recording_) return;
  recording_ = false;
  Slot& slot = slots_[slot_];
  check(context_.api().vkEndCommandBuffer(slot.commands), "vkEndCommandBuffer");
  slot.value = context_.transfer().submit(slot.commands, nullptr, 0);
  slot_ = (slot_ + 1) % kSlots;
}

void Uploader::copy(const Memory::Piece& to, const Source& s) {
  for (uint64_t row = 0; row < s.rows;) {
    if (!recording_) next_slot();
    const uint64_t room = (kSlotBytes - used_) / s.stride;
    if (room == 0) {
      flush();
      continue;
    }
    const uint64_t count = std::min(room, s.rows - row);
    Slot& slot = slots_[slot_];
    fill(slot.buffer.mapped + used_, s, row, count);
    const VkBufferCopy region{used_, to.offset + s.offset + row * s.stride, count * s.stride};
    context_.api().vkCmdCopyBuffer(slot.commands, slot.buffer.buffer, Memory::buffer_of(to), 1,
                                   &region);
    used_ += (count * s.stride + 15) / 16 * 16;
    if (used_ > kSlotBytes) used_ = kSlotBytes;
    row += count;
  }
}

void Uploader::fill(char* to, const Source& s, uint64_t first, uint64_t count) {
  const uint32_t helpers = std::min(kTeamMax, std::max(1u, std::thread::hardware_concurrency()) - 1);
  if (count * s.stride < kSharedFill || helpers == 0) return copy_rows(to, s, first, count);
  std::unique_lock lock(team_mutex_);
  while (team_.size() < helpers) team_.emplace_back([this] { help(); });
  const uint64_t parts = helpers + 1;
  const uint64_t share = (count + parts - 1) / parts;
  for (uint64_t from = share; from < count; from += share) {
    const uint64_t rows = std::min(share, count - from);
    team_tasks_.push_back([=, &s] { copy_rows(to + from * s.stride, s, first + from, rows); });
    ++team_busy_;
  }
  team_queued_.store(team_tasks_.size());
  lock.unlock();
  team_wake_.notify_all();
  copy_rows(to, s, first, std::min(share, count));
  lock.lock();
  team_done_.wait(lock, [this] { return team_busy_ == 0; });
}

void Uploader::help() {
  std::unique_lock lock(team_mutex_);
  for (;;) {
    team_wake_.wait(lock, [this] { return team_stop_ || !team_tasks_.empty(); });
    if (team_tasks_.empty()) return;
    const std::function<void()> task = std::move(team_tasks_.front());
    team_tasks_.pop_front();
    team_queued_.store(team_tasks_.size());
    lock.unlock();
    task();
    lock.lock();
    if (--team_busy_ == 0) team_done_.notify_one();
    lock.unlock();
    const auto until = std::chrono::steady_clock::now() + kSpin;
    while (team_queued_.load() == 0 && std::chrono::steady_clock::now() < until) {
      std::this_thread::yield();
    }
    lock.lock();
  }
}

}  // namespace hive::vulkan
