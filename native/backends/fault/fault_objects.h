// What a device of the fault backend owns: segments, bitsets and tickets.
//
// The handles that callers get are numbers that are never given out twice, not addresses: a handle
// that was freed is recognised for ever and never dereferenced.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "hive_backend.h"

namespace hive::fault {

using Clock = std::chrono::steady_clock;

// Every byte of memory that holds nothing (any more) has this value. Four of them read as the f32
// -2.87e-16, so a row read too early or too late is wrong but never looks like a zero row.
inline constexpr unsigned char kPoison = 0xA5;

// Memory of the pretended device.
class Buffer {
 public:
  Buffer() = default;
  // 64-byte aligned, as hive_segment_desc.host_data has to be. Throws std::bad_alloc.
  explicit Buffer(size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    data_ = static_cast<unsigned char*>(::operator new(bytes, std::align_val_t{64}));
    poison();
  }
  Buffer(Buffer&& other) noexcept : data_(other.data_), bytes_(other.bytes_) {
    other.data_ = nullptr;
    other.bytes_ = 0;
  }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer() {
    if (data_ == nullptr) return;
    poison();
    ::operator delete(data_, std::align_val_t{64});
  }

  void poison() noexcept {
    if (data_ != nullptr) std::memset(data_, kPoison, bytes_);
  }
  void write(size_t at, const void* source, size_t bytes) {
    std::memcpy(data_ + at, source, bytes);
  }
  void* data() const { return data_; }
  const float* floats() const { return reinterpret_cast<const float*>(data_); }
  size_t size() const { return bytes_; }

 private:
  unsigned char* data_ = nullptr;
  size_t bytes_ = 0;
};

// The device that does the work.
struct Inner {
  const hive_backend_table* table = nullptr;
  hive_device* device = nullptr;
};

struct Segment {
  Segment(const Inner& i, std::atomic<uint64_t>& u) : inner(i), used(u) {}
  ~Segment() {
    if (handle != nullptr) inner.table->segment_free(inner.device, handle);
    used.fetch_sub(bytes);
  }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  const Inner& inner;
  std::atomic<uint64_t>& used;
  hive_segment* handle = nullptr;  // of the inner device
  uint64_t bytes = 0;              // taken from the budget
  uint32_t dim = 0;
  uint32_t dtype = 0;
  uint32_t capacity = 0;
  uint32_t appended = 0;  // rows that submit may search; guarded by the device's mutex
  size_t row_bytes = 0;
  // sim: the device's own copy of the rows.
  Buffer data;
  Buffer scales;
  Buffer inv_norms;
};

struct Bits {
  Bits(const Inner& i, std::atomic<uint64_t>& u) : inner(i), used(u) {}
  ~Bits() {
    if (handle != nullptr) inner.table->bits_free(inner.device, handle);
    used.fetch_sub(bytes);
  }
  Bits(const Bits&) = delete;
  Bits& operator=(const Bits&) = delete;

  const Inner& inner;
  std::atomic<uint64_t>& used;
  hive_bits* handle = nullptr;
  uint64_t bytes = 0;
  Buffer words;  // sim
};

enum class Work : uint32_t { append, scan };

// Work under way. Fields without a note are set before the device thread sees the ticket and are
// its own from then on.
struct Ticket {
  Work work = Work::scan;
  hive_ticket* id = nullptr;  // the handle that the caller knows
  hive_ticket* inner = nullptr;
  Clock::time_point due;                // not finished before
  hive_status forced = HIVE_OK;         // final status that a rule or a lost device decided
  hive_job head{};                      // notify of the caller
  hive_scan_job job{};                  // what the inner device gets
  hive_scan_job outer{};                // what the caller gave
  hive_rows rows{};
  std::vector<hive_scan_segment> segments;
  // Keep what the job uses alive, even when the caller frees it too early.
  std::vector<std::shared_ptr<Segment>> used_segments;
  std::vector<std::shared_ptr<Bits>> used_bits;
  // sim: queries taken at submit, outputs given at completion.
  std::vector<float> queries;
  std::vector<float> query_inv_norms;
  std::vector<hive_hit> hits;
  std::vector<uint32_t> hit_counts;

  std::atomic<bool> cancelled{false};
  // Guarded by the device's mutex.
  hive_status status = HIVE_PENDING;
  std::string message;
  bool closed = false;  // notify has returned; the ticket may go
};

}  // namespace hive::fault
