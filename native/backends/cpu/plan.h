// A job as the CPU runs it: tiles that any worker may take in any order, then one step that gathers
// the workers' results.
#pragma once

#include <cstdint>
#include <vector>

#include "topk.h"

namespace hive::cpu {

// Per worker: selections and scratch. Reused from job to job.
struct Worker {
  std::vector<TopK> best;
  std::vector<float> factor;     // [padded query count] thresholds of the panel test
  std::vector<float> bias;
  std::vector<float> limit;      // [query] the thresholds that factor and bias were made from
  std::vector<float> decoded;    // [64][dim]
  std::vector<uint32_t> survivors;
  std::vector<uint32_t> slots;   // rows of a tile that are gathered
  std::vector<uint64_t> stack;   // bitsets of a predicate
  uint64_t rows = 0;             // rows looked at
};

class Plan {
 public:
  virtual ~Plan() = default;
  virtual uint32_t tile_count() const = 0;
  // What rows_scanned counts for each row looked at.
  virtual uint32_t query_count() const = 0;
  virtual void prepare(Worker& worker) const = 0;
  virtual void run_tile(uint32_t tile, Worker& worker) const = 0;
  // Called once, after all tiles, unless the job was cancelled.
  virtual void finish(Worker* const* workers, uint32_t count) const = 0;
};

}  // namespace hive::cpu
