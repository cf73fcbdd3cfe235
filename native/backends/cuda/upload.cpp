#include "upload.h"

namespace hive::cuda {
namespace {

constexpr size_t kBufferBytes = size_t{4} << 20;
// Appends up to this size are copied by the caller: cheaper than a hop to another thread.
constexpr size_t kSmallBytes = size_t{256} << 10;
constexpr unsigned kEventNoTiming = 2;
constexpr unsigned kStreamNonBlocking = 1;

}  // namespace

Uploader::Uploader(const Driver& driver, Context context, unsigned threads)
    : driver_(driver), context_(context), thread_count_(threads) {
  open(&small_);
}

Uploader::~Uploader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Uploader::Lane::~Lane() {
  if (driver == nullptr) return;
  for (Event event : events) {
    if (event != nullptr) (void)driver->event_destroy(event);
  }
  if (stream != nullptr) (void)driver->stream_destroy(stream);
}

void Uploader::open(Lane* lane) {
  lane->driver = &driver_;
  driver_.check(driver_.stream_create(&lane->stream, kStreamNonBlocking, 0), "cuStreamCreate");
  for (Event& event : lane->events) {
    driver_.check(driver_.event_create(&event, kEventNoTiming), "cuEventCreate");
  }
}

void Uploader::pack(const Part& part, unsigned char* to) {
  if (part.source_bytes == part.row_bytes) {
    std::memcpy(to, part.from, size_t{part.rows} * part.row_bytes);
    return;
  }
  for (uint32_t r = 0; r < part.rows; ++r) {
    unsigned char* row = to + size_t{r} * part.row_bytes;
    std::memcpy(row, part.from + size_t{r} * part.source_bytes, part.source_bytes);
    std::memset(row + part.source_bytes, 0, part.row_bytes - part.source_bytes);
  }
}

void Uploader::done(const Part& part, hive_status status, const std::string& message) {
  AppendTicket& ticket = *part.ticket;
  hive_segment& segment = *ticket.segment;
  if (status != HIVE_OK) {
    segment.broken.store(true);
    const std::lock_guard lock(ticket.mutex);
    ticket.message = message;
  }
  if (ticket.parts.fetch_sub(1) != 1) return;
  const bool broken = segment.broken.load();
  segment.copying.fetch_sub(ticket.rows);
  // The owner may free the ticket as soon as its status is final.
  ticket.status.store(!broken ? HIVE_OK : status != HIVE_OK ? status : HIVE_DEVICE_LOST,
                      std::memory_order_release);
}

void Uploader::split(hive_segment* segment, const hive_rows& rows, AppendTicket* ticket,
                     std::vector<Part>* parts) const {
  const auto add = [&](Pointer to, const void* from, uint32_t source, uint32_t padded) {
    const auto per_part = static_cast<uint32_t>(std::max<size_t>(1, kBufferBytes / padded));
    for (uint32_t first = 0; first < rows.count; first += per_part) {
      parts->push_back({ticket, to + uint64_t{first} * padded,
                        static_cast<const unsigned char*>(from) + size_t{first} * source,
                        std::min(per_part, rows.count - first), source, padded});
    }
  };
  const uint64_t first = rows.first_slot;
  add(segment->range.base + first * segment->row_bytes, rows.data, segment->source_bytes,
      segment->row_bytes);
  add(segment->inv_norms + first * sizeof(float), rows.inv_norms, sizeof(float), sizeof(float));
  if (segment->scales != 0) {
    add(segment->scales + first * sizeof(float), rows.scales, sizeof(float), sizeof(float));
  }
}

void Uploader::append(hive_segment* segment, const hive_rows& rows, AppendTicket* ticket) {
  std::vector<Part> parts;
  split(segment, rows, ticket, &parts);
  ticket->segment = segment;
  ticket->rows = rows.count;
  ticket->parts.store(static_cast<uint32_t>(parts.size()));
  const size_t bytes = size_t{rows.count} * segment->row_bytes;
  if (bytes > kSmallBytes) {
    const std::lock_guard lock(mutex_);
    // Before the first part can end.
    segment->copying.fetch_add(rows.count);
    for (const Part& part : parts) queue_.push_back(part);
    start_threads();
    wake_.notify_all();
    return;
  }
  const std::lock_guard lock(small_mutex_);
  segment->copying.fetch_add(rows.count);
  size_t used = 0;
  try {
    small_.buffers[0].reserve(driver_, 2 * kSmallBytes + 64 * 1024);
    for (const Part& part : parts) {
      unsigned char* at = small_.buffers[0].data() + used;
      pack(part, at);
      const size_t part_bytes = size_t{part.rows} * part.row_bytes;
      driver_.check(driver_.copy_to_device(part.to, at, part_bytes, small_.stream),
                    "cuMemcpyHtoDAsync");
      used += (part_bytes + 15) / 16 * 16;
    }
    driver_.check(driver_.stream_synchronize(small_.stream), "copying rows");
  } catch (const Fault&) {
    segment->broken.store(true);
    segment->copying.fetch_sub(rows.count);
    throw;
  }
  for (const Part& part : parts) done(part, HIVE_OK, "");
}

void Uploader::copy_now(Pointer to, const void* from, size_t bytes) {
  const std::lock_guard lock(small_mutex_);
  small_.buffers[0].reserve(driver_, 2 * kSmallBytes + 64 * 1024);
  for (size_t first = 0; first < bytes; first += kSmallBytes) {
    const size_t part = std::min(kSmallBytes, bytes - first);
    std::memcpy(small_.buffers[0].data(), static_cast<const unsigned char*>(from) + first, part);
    driver_.check(
        driver_.copy_to_device(to + first, small_.buffers[0].data(), part, small_.stream),
        "cuMemcpyHtoDAsync");
    driver_.check(driver_.stream_synchronize(small_.stream), "copying to the device");
  }
}

// With mutex_ held.
void Uploader::start_threads() {
  while (threads_.size() < thread_count_) threads_.emplace_back([this] { run(); });
}

void Uploader::copy_part(Lane& lane, int side, const Part& part) {
  const size_t bytes = size_t{part.rows} * part.row_bytes;
  lane.buffers[side].reserve(driver_, std::max(bytes, kBufferBytes));
  pack(part, lane.buffers[side].data());
  driver_.check(driver_.copy_to_device(part.to, lane.buffers[side].data(), bytes, lane.stream),
                "cuMemcpyHtoDAsync");
  driver_.check(driver_.event_record(lane.events[side], lane.stream), "cuEventRecord");
  lane.under_way[side].push_back(part);
}

// Waits until the buffer's transfer has ended.
void Uploader::settle(Lane& lane, int side) {
  if (lane.under_way[side].empty()) return;
  const Result result = driver_.event_synchronize(lane.events[side]);
  hive_status status = HIVE_OK;
  std::string message;
  try {
    driver_.check(result, "copying rows");
  } catch (const Fault& fault) {
    status = fault.status();
    message = fault.what();
  }
  for (const Part& part : lane.under_way[side]) done(part, status, message);
  lane.under_way[side].clear();
}

void Uploader::run() {
  Lane lane;
  std::string problem;
  hive_status status = HIVE_OK;
  try {
    driver_.check(driver_.context_set(context_), "cuCtxSetCurrent");
    open(&lane);
  } catch (const Fault& fault) {
    problem = fault.what();
    status = fault.status();
  }
  int side = 0;
  for (;;) {
    Part part;
    {
      std::unique_lock lock(mutex_);
      // A transfer that nobody follows has to be settled now; otherwise wait for work.
      if (queue_.empty() && (!lane.under_way[0].empty() || !lane.under_way[1].empty())) {
        lock.unlock();
        settle(lane, side);
        settle(lane, 1 - side);
        lock.lock();
      }
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      part = queue_.front();
      queue_.pop_front();
    }
    if (status != HIVE_OK) {
      done(part, status, problem);
      continue;
    }
    settle(lane, side);
    try {
      copy_part(lane, side, part);
    } catch (const Fault& fault) {
      done(part, fault.status(), fault.what());
    } catch (const std::bad_alloc&) {
      done(part, HIVE_OUT_OF_MEMORY, "The host is out of memory.");
    }
    side = 1 - side;
  }
}

}  // namespace hive::cuda
