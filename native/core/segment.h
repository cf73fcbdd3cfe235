// Host memory of rows, and which of them live.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "hive_backend.h"

namespace hive {

size_t element_bytes(uint32_t dtype);

// An immutable bitset of live slots; a new version is made by copying. Slots past its end live.
struct LiveBits {
  explicit LiveBits(std::vector<uint32_t> w, uint32_t n);
  ~LiveBits();
  LiveBits(const LiveBits&) = delete;
  LiveBits& operator=(const LiveBits&) = delete;

  bool test(uint32_t slot) const {
    return slot >= count || ((words[slot / 32] >> (slot % 32)) & 1u) != 0;
  }

  const uint64_t id;  // unique in the process: names the bitset on devices
  const std::vector<uint32_t> words;
  const uint32_t count;
};

// Fixed room for rows of one dimension and dtype. Addresses are stable and memory that was never
// written costs nothing. Written by one batch at a time beyond what any snapshot shows.
class Segment {
 public:
  // rows: row number of every slot, ascending, for a compacted segment; empty when slot s is row
  // base_row + s.
  Segment(uint32_t dim, uint32_t dtype, uint32_t capacity, uint64_t base_row,
          std::vector<uint64_t> rows = {});
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  uint64_t row_at(uint32_t slot) const { return rows_.empty() ? base_row_ + slot : rows_[slot]; }
  uint64_t first_row() const { return row_at(0); }
  std::optional<uint32_t> slot_of(uint64_t row, uint32_t row_count) const;

  char* data(uint32_t slot) const { return data_ + size_t{slot} * row_bytes_; }
  float* inv_norms(uint32_t slot) const { return inv_norms_ + slot; }
  // Null for dtypes without a row scale.
  float* scales(uint32_t slot) const { return scales_ == nullptr ? nullptr : scales_ + slot; }
  size_t row_bytes() const { return row_bytes_; }
  uint32_t capacity() const { return capacity_; }
  uint32_t dtype() const { return dtype_; }
  bool compacted() const { return !rows_.empty(); }

  const uint64_t id;  // unique in the process: names the segment on devices

 private:
  const uint64_t base_row_;
  const std::vector<uint64_t> rows_;
  const size_t row_bytes_;
  const uint32_t dtype_;
  const uint32_t capacity_;
  size_t mapped_bytes_ = 0;
  void* mapping_ = nullptr;
  char* data_ = nullptr;
  float* inv_norms_ = nullptr;
  float* scales_ = nullptr;
};

class SegmentColumns;

struct SnapshotSegment {
  std::shared_ptr<const Segment> segment;
  uint32_t row_count = 0;
  uint32_t live_count = 0;
  std::shared_ptr<const LiveBits> live;  // null: all live
  std::shared_ptr<const SegmentColumns> columns;  // null: no row has metadata in columns

  bool alive(uint32_t slot) const { return live == nullptr || live->test(slot); }
};

// What a search sees: immutable, ordered by row.
struct Snapshot {
  std::vector<SnapshotSegment> segments;
  uint64_t end_row = 0;
  uint64_t live_rows = 0;
  uint64_t total_rows = 0;

  struct Place {
    size_t segment;
    uint32_t slot;
  };
  // Where a row is, dead or alive; nothing when the snapshot has no such row.
  std::optional<Place> find(uint64_t row) const;
};

}  // namespace hive
