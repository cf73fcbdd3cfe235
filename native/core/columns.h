// Metadata columns of a segment: what filters read instead of records.
//
// A column holds the values of one (path, JSON type) for the slots of one segment. Numbers are kept
// as the narrowest unsigned integers that hold them (value = base + stored), else as keys of 64 bits
// that order as the numbers do; strings are codes of a dictionary that the engine keeps; arrays are
// lists of such codes. Everything here is immutable once published, except that values of later
// slots may be written behind the ones a reader sees.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hive_backend.h"

namespace hive {

enum class ColumnKind : uint32_t { kPresence = 0, kNumber = 1, kCode = 2, kList = 3 };

// Values on their way into a column, in ascending order of their positions.
struct ColumnValues {
  ColumnKind kind = ColumnKind::kPresence;
  std::vector<uint32_t> positions;
  std::vector<double> numbers;   // kNumber: one per position, finite
  std::vector<uint32_t> codes;   // kCode: one per position; kList: all, one list after the other
  std::vector<uint32_t> lengths; // kList: one per position
};

// Memory of values: grows by copying, so that readers keep what they have.
class ColumnBuffer {
 public:
  explicit ColumnBuffer(size_t bytes) : data_(new char[bytes]), size_(bytes) {}
  char* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<char[]> data_;
  size_t size_;
};

struct ColumnChunk {
  ColumnKind kind = ColumnKind::kPresence;
  uint32_t encoding = HIVE_COLUMN_PRESENCE;
  uint32_t row_count = 0;    // slots from here on have no value
  uint32_t present = 0;      // slots that have one
  uint32_t value_count = 0;  // kList
  double base = 0;           // kNumber in 8, 16 or 32 bits: an integer
  double min = 0;            // kNumber, kCode, kList: of all values there ever were
  double max = 0;
  std::shared_ptr<ColumnBuffer> values;
  std::shared_ptr<ColumnBuffer> offsets;
  std::vector<uint32_t> valid;

  bool has(uint32_t slot) const {
    return slot < row_count && ((valid[slot / 32] >> (slot % 32)) & 1u) != 0;
  }
  bool full() const { return present == row_count; }
  double number(uint32_t slot) const;
  uint32_t code(uint32_t slot) const;
  // The codes of a list.
  std::pair<const uint32_t*, uint32_t> list(uint32_t slot) const;
  hive_column_desc desc() const;
  uint64_t bytes() const;
};

// A key of 64 bits that orders as numbers do (-0 is 0).
uint64_t number_key(double value);
double number_of_key(uint64_t key);

// The old chunk (or null) and values[first .. last), not empty, at slots >= its row_count: position p
// goes to slot p + shift (modulo 2^32). capacity: slots of the segment.
std::shared_ptr<const ColumnChunk> extend_chunk(const ColumnChunk* old, const ColumnValues& values,
                                                uint32_t first, uint32_t last, uint32_t shift,
                                                uint32_t capacity);

// Slots of a segment that pass a filter, dead or alive.
struct FilterBits {
  bool all = false;             // every slot; words is empty then
  uint32_t row_count = 0;
  std::vector<uint32_t> words;  // empty and not all: none
};

// The columns of a segment, and the filters that were evaluated over them.
class SegmentColumns {
 public:
  std::map<uint32_t, std::shared_ptr<const ColumnChunk>> chunks;

  const ColumnChunk* find(uint32_t id) const {
    const auto it = chunks.find(id);
    return it == chunks.end() ? nullptr : it->second.get();
  }
  // A filter that was evaluated before, for as many rows; null when there is none.
  std::shared_ptr<const FilterBits> cached(const std::string& key, uint32_t row_count) const;
  void remember(const std::string& key, std::shared_ptr<const FilterBits> bits) const;
  uint64_t bytes() const;

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const FilterBits> bits;
  };
  mutable std::mutex mutex_;
  mutable std::list<Entry> cache_;  // used last first
};

}  // namespace hive
