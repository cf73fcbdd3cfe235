// Copies from the caller's memory to the device: straight into mapped memory where the device shares
// the host's, else through a ring of staging buffers, so that filling one overlaps with the copy of
// the others. Large fills are spread over a few threads: one cannot keep up with the bus.
#pragma once

#include <condition_variable>
#include <deque>

#include "memory.h"

namespace hive::vulkan {

// Rows of one array. Padding between row_bytes and stride is filled with zeros.
struct Source {
  const char* data;
  uint64_t rows;
  uint64_t row_bytes;
  uint64_t stride;
  uint64_t offset;  // of the first row in the piece
};

class Uploader {
 public:
  explicit Uploader(Context& context);
  ~Uploader();
  // The sources may be reused when it returns. Returns what the transfer queue's timeline reaches
  // when the rows have arrived; 0 when they have.
  uint64_t upload(const Memory::Piece& to, const std::vector<Source>& sources);

 private:
  static constexpr size_t kSlots = 4;
  struct Slot {
    Buffer buffer;
    VkCommandPool pool = VK_NULL_HANDLE;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    uint64_t value = 0;
  };

  void open_slot(Slot* slot);
  void next_slot();
  void copy(const Memory::Piece& to, const Source& source);
  void flush();
  void fill(char* to, const Source& source, uint64_t first, uint64_t count);
  void help();

  Context& context_;
  std::mutex mutex_;  // one upload at a time
  Slot slots_[kSlots];
  size_t slot_ = 0;
  uint64_t used_ = 0;  // bytes of the current slot
  bool recording_ = false;

  std::mutex team_mutex_;
  std::condition_variable team_wake_;
  std::condition_variable team_done_;
  std::deque<std::function<void()>> team_tasks_;
  size_t team_busy_ = 0;
  std::atomic<size_t> team_queued_{0};  // of team_tasks_, for a look without the lock
  bool team_stop_ = false;
  std::vector<std::thread> team_;
};

}  // namespace hive::vulkan
