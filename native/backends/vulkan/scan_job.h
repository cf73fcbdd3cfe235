// One HIVE_OP_SCAN_TOPK: cut into slices of bounded work, each one submission; whoever waits for the
// ticket drives it from slice to slice.
//
// A slice, for Q queries over T tiles of rows:
//   1. scan: the best key of every (query, tile)
//   2. select: for each query the k best tiles. They hold the k best rows: of any row outside them, k
//      rows are closer, or as close and before it.
//   3. scan: the keys of the rows of those tiles
//   4. select: the k best of them, in the order of rows
// When k reaches T all tiles are chosen, and 1 and 2 are left out.
#pragma once

#include <string>
#include <vector>

#include "pipelines.h"
#include "scratch.h"

struct hive_segment;

namespace hive::vulkan {

struct JobSegment {
  const hive_segment* segment;
  uint32_t index;  // in the job's list
  uint32_t row_count;
  const hive_bits* live;
  const hive_bits* filter;
};

class ScanJob {
 public:
  ScanJob(Context& context, const hive_scan_job& job, std::vector<JobSegment> segments);
  ~ScanJob();

  // Submits the first slice. False: there is nothing to do.
  bool start();
  // Waits for the slice under way; takes its hits and submits the next one. True when all is done.
  // Throws; DEVICE_TIMEOUT only when the slice has taken longer than the settings allow.
  bool step(uint64_t timeout_us, bool* pending);
  // Waits for what is under way without using it.
  void drain();
  // Writes the outputs.
  void finish();
  uint64_t rows_scanned() const { return rows_scanned_; }

 private:
  struct Hit {
    uint32_t key;
    uint32_t segment;
    uint32_t slot;
  };
  struct Slice {
    uint32_t first_query = 0;
    uint32_t queries = 0;
    size_t first_segment = 0;
    size_t end_segment = 0;
    uint32_t tile_rows = 0;
    uint32_t tiles = 0;
    uint32_t listed = 0;          // tiles a query's second scan looks at
    std::vector<uint32_t> first_tile;  // of each segment
  };
  struct Layout;

  bool next_slice();
  void size_slice(uint32_t tile_rows);
  uint64_t slice_bytes(uint32_t queries) const;
  void submit_slice();
  uint64_t write_params(const Layout& at, uint64_t base);
  void record(const Layout& at);
  void record_scan(const Layout& at, bool batch, bool listed, ScanPush push);
  void take_hits();
  void barrier(VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
               VkAccessFlags reads);

  Context& context_;
  const hive_scan_job job_;
  const std::vector<JobSegment> segments_;
  uint32_t dtype_ = 0;
  uint32_t steps_ = 0;
  uint64_t work_max_ = 0;  // elements of a submission
  Slice slice_;
  std::unique_ptr<Scratch> scratch_;
  uint64_t submitted_ = 0;  // value of the compute timeline; 0 = nothing under way
  uint64_t waited_us_ = 0;
  std::vector<std::vector<Hit>> best_;
  uint64_t rows_scanned_ = 0;
  uint64_t slice_rows_ = 0;
};

}  // namespace hive::vulkan
