// What one scan job needs on the CPU: prepared queries, tiles of rows, and the work on one tile.
// Used alike by the thread pool and by the inline path on the caller's thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "hive_backend.h"
#include "kernels.h"
#include "plan.h"

namespace hive::cpu {

// A bitset as the backend keeps it. Slots past its end count as set.
struct Bits {
  std::vector<uint32_t> words;
  uint32_t count = 0;

  bool test(uint32_t slot) const {
    return slot >= count || ((words[slot / 32] >> (slot % 32)) & 1u) != 0;
  }
  // Bits of slots [first, first + count), count <= 64, first a multiple of 64.
  uint64_t word64(uint32_t first) const;
};

// The rows of a segment, wherever they live.
struct SegmentRows {
  RowsView view{};
  uint32_t dtype = 0;
  uint32_t dim = 0;
};

struct ScanSegment {
  const SegmentRows* rows;
  uint32_t index;  // in the job's list
  uint32_t row_count;
  const Bits* live;
  const Bits* filter;
};

struct Tile {
  uint32_t segment;  // index in ScanPlan::segments
  uint32_t first;    // a multiple of 64
  uint32_t count;
};

class ScanPlan : public Plan {
 public:
  ScanPlan(const CpuKernels& kernels, const hive_scan_job& job, std::vector<ScanSegment> segments);

  uint32_t tile_count() const override { return static_cast<uint32_t>(tiles_.size()); }
  uint32_t query_count() const override { return job_.query_count; }
  void prepare(Worker& worker) const override;
  // turn: 0 .. tile_count() - 1, each once, in any order.
  void run_tile(uint32_t turn, Worker& worker) const override;
  // Merges the workers' selections into the job's outputs.
  void finish(Worker* const* workers, uint32_t count) const override;

 private:
  struct Panel {
    uint32_t first;   // first query
    uint32_t width;
    PanelFn run;
    size_t offset;    // of its [dim][width] floats in packed_
    size_t slot;      // of its thresholds in Worker::factor and bias
  };

  void make_tiles();
  void pad_queries();
  void pack_panels();
  bool gather_tile(const Tile& tile, Worker& worker) const;
  void run_block_single(const ScanSegment& s, uint32_t first, uint32_t count, uint64_t alive,
                        Worker& worker) const;
  void run_block_panels(const ScanSegment& s, uint32_t first, uint32_t count, uint64_t alive,
                        Worker& worker) const;
  void resolve_survivors(const ScanSegment& s, const Panel& panel, uint32_t first, uint32_t found,
                         uint64_t alive, Worker& worker) const;
  void set_threshold(const Panel& panel, uint32_t query, float threshold, Worker& worker) const;
  void adopt_thresholds(Worker& worker) const;
  void share_threshold(uint32_t query, float threshold) const;
  void row_terms(const ScanSegment& s, uint32_t first, uint32_t count, float* terms) const;

  const CpuKernels& kernels_;
  hive_scan_job job_;
  ScanFn scan_;
  GatherFn gather_;
  uint32_t dtype_ = 0;
  uint32_t padded_dim_;
  bool batched_;
  std::vector<ScanSegment> segments_;
  std::vector<Tile> tiles_;
  uint32_t stride_ = 1;  // from one tile of a batch to the next; coprime to their number
  std::vector<float> padded_;        // [query][padded_dim_]
  std::vector<float> packed_;        // panels
  std::vector<double> query_norms_;  // [query]
  std::vector<Panel> panels_;
  std::vector<uint32_t> panel_of_;   // [query]
  // [query] best k-th key of any worker: what lies below it is in nobody's answer.
  std::unique_ptr<std::atomic<float>[]> shared_;
};

}  // namespace hive::cpu
