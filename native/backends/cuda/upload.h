// Copies rows to the device: through pinned buffers, by several threads for large appends, so that
// copying into the buffers and the transfers overlap, and neither waits for searches.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "objects.h"

namespace hive::cuda {

// One append: its parts are counted down; the last one finishes the ticket.
struct AppendTicket : hive_ticket {
  hive_segment* segment = nullptr;
  std::atomic<uint32_t> parts{0};
  uint32_t rows = 0;
};

class Uploader {
 public:
  Uploader(const Driver& driver, Context context, unsigned threads);
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  // Starts to copy rows [first, first + count); small appends are done when this returns.
  void append(hive_segment* segment, const hive_rows& rows, AppendTicket* ticket);
  // Copies and waits.
  void copy_now(Pointer to, const void* from, size_t bytes);

 private:
  struct Part {
    AppendTicket* ticket = nullptr;
    Pointer to = 0;
    const unsigned char* from = nullptr;
    uint32_t rows = 0;
    uint32_t source_bytes = 0;  // per row
    uint32_t row_bytes = 0;     // per row, with padding
  };
  struct Lane {
    Stream stream = nullptr;
    Event events[2] = {nullptr, nullptr};
    Pinned buffers[2];
    std::deque<Part> under_way[2];
    ~Lane();
    const Driver* driver = nullptr;
  };

  static void pack(const Part& part, unsigned char* to);
  static void done(const Part& part, hive_status status, const std::string& message);
  void split(hive_segment* segment, const hive_rows& rows, AppendTicket* ticket,
             std::vector<Part>* parts) const;
  void open(Lane* lane);
  void start_threads();
  void run();
  void copy_part(Lane& lane, int side, const Part& part);
  void settle(Lane& lane, int side);

  const Driver& driver_;
  const Context context_;
  const unsigned thread_count_;
  std::mutex small_mutex_;
  Lane small_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Part> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hive::cuda
