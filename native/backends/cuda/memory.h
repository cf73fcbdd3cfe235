// Memory of one device: growing address ranges for rows, small blocks, pinned host memory.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "driver.h"

namespace hive::cuda {

// An address range that is reserved once and backed with memory as far as it is needed, so rows
// never move when it grows.
struct Range {
  Pointer base = 0;
  size_t reserved = 0;
  size_t backed = 0;
  std::vector<std::pair<Allocation, size_t>> parts;
};

class Memory {
 public:
  Memory(const Driver& driver, DeviceNumber device);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // A range of at least `bytes`, possibly one that was given back, backed at least as far as
  // `backed`. Throws DEVICE_OUT_OF_MEMORY.
  Range take_range(size_t bytes, size_t backed);
  // Backs the first `bytes` of the range.
  void back(Range* range, size_t bytes);
  void give_back(Range range);

  // A block of at least `bytes`; blocks are kept for reuse, because the driver waits for the
  // whole device when memory is freed.
  Pointer take_block(size_t bytes);
  void give_back_block(Pointer block, size_t bytes);

  // Bytes kept for reuse.
  size_t kept_bytes() const;

 private:
  size_t round(size_t bytes) const {
    return (bytes + granularity_ - 1) / granularity_ * granularity_;
  }
  Result add_part(Range* range, size_t bytes);
  void destroy(Range* range);
  // Gives everything that is kept to the driver; true when there was something.
  bool trim();

  const Driver& driver_;
  AllocationProperties properties_{};
  AccessDescription access_{};
  size_t granularity_ = 0;
  mutable std::mutex mutex_;
  std::multimap<size_t, Range> ranges_;
  std::multimap<size_t, Pointer> blocks_;
  size_t kept_ = 0;
};

// Pinned host memory that the device sees too.
class Pinned {
 public:
  Pinned() = default;
  ~Pinned() { reset(); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  // At least `bytes`; what was there before is lost when it has to grow.
  void reserve(const Driver& driver, size_t bytes);
  void reset();
  unsigned char* data() const { return data_; }
  Pointer device() const { return device_; }
  size_t size() const { return size_; }

 private:
  const Driver* driver_ = nullptr;
  unsigned char* data_ = nullptr;
  Pointer device_ = 0;
  size_t size_ = 0;
};

// Device memory for scratch, grown as needed and zero when it is new.
class Scratch {
 public:
  ~Scratch() { reset(); }
  void reserve(const Driver& driver, Stream stream, size_t bytes, bool zero);
  void reset();
  size_t size() const { return size_; }
  Pointer at(size_t offset = 0) const { return base_ + offset; }

 private:
  const Driver* driver_ = nullptr;
  Pointer base_ = 0;
  size_t size_ = 0;
};

}  // namespace hive::cuda
