// Filters of a search: from the engine's program to the slots of each segment that pass.
//
// The engine compiles a filter to a flat program over column ids and plain numbers, the same for all
// segments. Here it is specialised per segment (bounds in the encoding of its columns, constants
// folded against their smallest and largest values), evaluated, and remembered by the segment.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collection.h"
#include "columns.h"

namespace hive {

// Opcodes of the engine's program, a sequence of numbers in postfix order; engine/program.ts.
enum class FilterOp : uint32_t {
  kFalse = 0,
  kTrue = 1,
  kPresent = 2,  // column
  kRange = 3,    // column, low, high, flags (1: low itself is out, 2: high itself is out)
  kNumbers = 4,  // column, count, numbers ascending
  kCodes = 5,    // column, count, codes ascending; of a list: any
  kLength = 6,   // column, least, most
  kRows = 7,     // index of a list of rows
  kAnd = 8,      // count of operands, >= 1
  kOr = 9,
  kNot = 10
};

// A checked program.
class FilterProgram {
 public:
  struct Node {
    FilterOp op = FilterOp::kFalse;
    uint32_t column = 0;  // kRows: index of the list
    uint32_t flags = 0;
    double low = 0;
    double high = 0;
    std::vector<double> numbers;
    std::vector<std::unique_ptr<Node>> children;
  };

  // Throws INVALID_ARGUMENT for a program that is not well formed.
  FilterProgram(const double* words, size_t count, std::vector<std::vector<uint64_t>> rows);

  const Node& root() const { return *root_; }
  const std::vector<std::vector<uint64_t>>& rows() const { return rows_; }
  // Names the program in caches; "" when it must not be remembered.
  const std::string& key() const { return key_; }

 private:
  std::unique_ptr<Node> root_;
  std::vector<std::vector<uint64_t>> rows_;
  std::string key_;
};

// The slots of a snapshot that pass a filter.
class Selection {
 public:
  explicit Selection(std::shared_ptr<const Snapshot> snapshot);

  const Snapshot& snapshot() const { return *snapshot_; }
  // Live rows that pass.
  uint64_t total() const { return total_; }
  uint64_t passing(size_t segment) const { return passing_[segment]; }
  const FilterBits& bits(size_t segment) const { return *bits_[segment]; }
  bool passes(size_t segment, uint32_t slot) const;
  // The next live rows at or above from that pass, ascending, at most `most`.
  std::vector<double> rows_from(uint64_t from, uint64_t most) const;
  // What evaluation read, bytes; 0 for what was remembered.
  uint64_t column_bytes() const { return column_bytes_; }
  size_t cached_segments() const { return cached_; }

  // Evaluates one segment; different segments may be evaluated by different threads.
  void evaluate(const FilterProgram& program, size_t segment);
  // After all segments.
  void finish();

 private:
  const std::shared_ptr<const Snapshot> snapshot_;
  std::vector<std::shared_ptr<const FilterBits>> bits_;
  std::vector<uint64_t> passing_;
  std::vector<uint64_t> bytes_;
  std::vector<uint8_t> from_cache_;
  uint64_t total_ = 0;
  uint64_t column_bytes_ = 0;
  size_t cached_ = 0;
};

// Bytes of columns that evaluating the program would read.
uint64_t filter_bytes(const FilterProgram& program, const Snapshot& snapshot);

// Switches remembering off (benchmarks): HIVE_GPU_FILTER_CACHE=0 in the environment.
bool filter_cache_enabled();

}  // namespace hive
