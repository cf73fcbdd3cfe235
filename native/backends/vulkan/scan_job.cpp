#include "scan_job.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "objects.h"

namespace hive::vulkan {
namespace {

constexpr uint32_t kStep = 32;            // elements of a step of the kernel
constexpr uint32_t kRowsAtOnce = 128;     // rows of a workgroup: a tile is a multiple
constexpr uint32_t kGroupsMax = 65535;    // workgroups in one dimension on every device
constexpr uint32_t kPlacesMax = 1u << 31;
constexpr uint32_t kCountRows = 1u;       // ScanPush::flags
// A submission must end long before a watchdog resets the device: elements times queries.
constexpr uint64_t kWorkDiscrete = uint64_t{1} << 36;
constexpr uint64_t kWorkIntegrated = uint64_t{1} << 33;
constexpr uint64_t kWorkSoftware = uint64_t{1} << 25;
constexpr uint64_t kScratchBytes = uint64_t{256} << 20;
// Enough workgroups to fill a large device.
constexpr uint32_t kFillGroups = 2048;
// A search of a small collection ends sooner than a sleeping thread wakes.
constexpr uint64_t kSpinMicros = 400;

struct DeviceSegment {
  uint64_t data, inv_norms, scales, live, filter;
  uint32_t live_count, filter_count, row_count, first_tile;
  uint64_t reserved;
};
static_assert(sizeof(DeviceSegment) == 64);

uint64_t round_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

float value_of(uint32_t metric, uint32_t key) {
  const bool greater = metric == HIVE_METRIC_COSINE || metric == HIVE_METRIC_DOT;
  const uint32_t ascending = greater ? key : ~key;
  const uint32_t bits = (ascending >> 31) != 0 ? ascending ^ 0x80000000u : ~ascending;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

uint64_t micros_since(std::chrono::steady_clock::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                   std::chrono::steady_clock::now() - start)
                                   .count());
}

}  // namespace

// Where things are in the scratch buffers of a slice, bytes.
struct ScanJob::Layout {
  // parameters
  uint64_t segments, queries, norms, counter, params_end;
  // work
  uint64_t tile_keys, list, list_counts, values, work_end;
  uint32_t tile_stride;
  // results
  uint64_t pairs, counts, results_end;
  VkDeviceAddress params;  // where kernels read them
};

ScanJob::ScanJob(Context& context, const hive_scan_job& job, std::vector<JobSegment> segments)
    : context_(context), job_(job), segments_(std::move(segments)) {
  if (!segments_.empty()) dtype_ = segments_[0].segment->dtype;
  steps_ = (job_.dim + kStep - 1) / kStep;
  const uint32_t kind = context_.physical().info.kind;
  work_max_ = kind == HIVE_DEVICE_SOFTWARE     ? kWorkSoftware
              : kind == HIVE_DEVICE_INTEGRATED ? kWorkIntegrated
                                               : kWorkDiscrete;
  best_.resize(job_.query_count);
}

ScanJob::~ScanJob() {
  if (scratch_ == nullptr) return;
  const bool busy = submitted_ != 0 && context_.compute().wait(submitted_, 0) != VK_SUCCESS;
  if (busy) context_.scratch().abandon(std::move(scratch_));
  else context_.scratch().give_back(std::move(scratch_));
}

bool ScanJob::start() {
  if (!next_slice()) return false;
  scratch_ = context_.scratch().take();
  submit_slice();
  return true;
}

// ---- slices -------------------------------------------------------------------------------------

void ScanJob::size_slice(uint32_t tile_rows) {
  slice_.tile_rows = tile_rows;
  slice_.first_tile.clear();
  uint64_t tiles = 0;
  for (size_t i = slice_.first_segment; i < slice_.end_segment; ++i) {
    slice_.first_tile.push_back(static_cast<uint32_t>(tiles));
    tiles += (segments_[i].row_count + uint64_t{tile_rows} - 1) / tile_rows;
  }
  slice_.tiles = static_cast<uint32_t>(tiles);
  slice_.listed = std::min(job_.k, slice_.tiles);
}

uint64_t ScanJob::slice_bytes(uint32_t queries) const {
  const uint64_t per_query = uint64_t{slice_.tiles} * 4 +
                             uint64_t{slice_.listed} * (4 + uint64_t{slice_.tile_rows} * 4) +
                             uint64_t{job_.k} * 8 + uint64_t{steps_} * kStep * 4;
  return per_query * queries;
}

// Moves on to the next part of the job: all queries that fit, over all segments that fit.
bool ScanJob::next_slice() {
  const uint64_t row_work = uint64_t{steps_} * kStep;
  if (slice_.queries != 0 && slice_.end_segment < segments_.size()) {
    slice_.first_segment = slice_.end_segment;
  } else {
    slice_.first_query += slice_.queries;
    slice_.first_segment = 0;
    if (slice_.first_query >= job_.query_count) return false;
    uint64_t rows = 0;
    for (const JobSegment& s : segments_) rows += s.row_count;
    const uint64_t fit = work_max_ / std::max<uint64_t>(1, rows * row_work);
    const uint32_t left = job_.query_count - slice_.first_query;
    slice_.queries = static_cast<uint32_t>(std::min<uint64_t>(left, std::max<uint64_t>(fit, 8)));
  }
  if (segments_.empty()) return false;
  uint64_t rows = 0;
  uint64_t places = 0;
  size_t end = slice_.first_segment;
  for (; end < segments_.size(); ++end) {
    rows += segments_[end].row_count;
    places += round_up(segments_[end].row_count, 1024);
    const bool fits = rows * row_work * slice_.queries <= work_max_ && places < kPlacesMax;
    if (!fits && end > slice_.first_segment) break;
  }
  slice_.end_segment = end;
  // About as many tiles as rows in the chosen ones; small tiles while queries share their rows.
  const uint64_t large = rows >= (uint64_t{4} << 20) ? 512 : 256;
  const bool batch = slice_.queries > 1;
  size_slice(rows < (uint64_t{1} << 18) || batch ? kRowsAtOnce : static_cast<uint32_t>(large));
  // Queries that do not fit the scratch wait for the next round; it starts again at segment 0, so
  // only a slice that holds all segments may be cut.
  const bool whole = slice_.first_segment == 0 && slice_.end_segment == segments_.size();
  while (whole && slice_.queries > 1 && slice_bytes(slice_.queries) > kScratchBytes) {
    slice_.queries = (slice_.queries + 1) / 2;
  }
  return true;
}

// ---- submission ---------------------------------------------------------------------------------

void ScanJob::submit_slice() {
  const uint32_t queries = slice_.queries;
  const size_t segments = slice_.end_segment - slice_.first_segment;
  Layout at{};
  at.segments = 0;
  at.queries = round_up(segments * sizeof(DeviceSegment), 256);
  at.norms = at.queries + uint64_t{queries} * steps_ * kStep * 4;
  at.counter = at.norms + uint64_t{queries} * 4;
  at.params_end = at.counter + 4;
  at.tile_stride = slice_.tiles;
  at.list = round_up(uint64_t{queries} * at.tile_stride * 4, 256);
  at.list_counts = at.list + round_up(uint64_t{queries} * slice_.listed * 4, 256);
  at.values = at.list_counts + round_up(uint64_t{queries} * 4, 256);
  at.work_end = at.values + uint64_t{queries} * slice_.listed * slice_.tile_rows * 4;
  at.counts = round_up(uint64_t{queries} * job_.k * 8, 256);
  at.results_end = at.counts + uint64_t{queries} * 4 + 4;
  ScratchPool& pool = context_.scratch();
  pool.grow(&scratch_->params, at.params_end, Use::kParams);
  if (!context_.params_in_place()) pool.grow(&scratch_->copied, at.params_end, Use::kScratch);
  pool.grow(&scratch_->work, at.work_end, Use::kScratch);
  pool.grow(&scratch_->results, at.results_end, Use::kResults);
  at.params = context_.params_in_place() ? scratch_->params.address : scratch_->copied.address;
  const uint64_t arrives = write_params(at, 0);
  slice_rows_ = 0;
  if (slice_.tiles == 0) {
    // Nothing to look at: as if an empty slice had run.
    std::memset(scratch_->results.mapped + at.counts, 0, uint64_t{queries} * 4 + 4);
    return;
  }
  record(at);
  const bool uploading = arrives > context_.transfer().completed();
  submitted_ = context_.compute().submit(scratch_->commands,
                                         uploading ? &context_.transfer() : nullptr, arrives);
  waited_us_ = 0;
}

// Returns the value of the transfer timeline by which everything that is read has arrived.
uint64_t ScanJob::write_params(const Layout& at, uint64_t base) {
  char* const to = scratch_->params.mapped + base;
  uint64_t arrives = 0;
  auto* table = reinterpret_cast<DeviceSegment*>(to + at.segments);
  for (size_t i = slice_.first_segment; i < slice_.end_segment; ++i, ++table) {
    const JobSegment& s = segments_[i];
    const VkDeviceAddress address = s.segment->piece.address;
    DeviceSegment row{};
    row.data = address;
    row.inv_norms = address + s.segment->norms_at;
    row.scales = address + s.segment->scales_at;
    row.row_count = s.row_count;
    row.first_tile = slice_.first_tile[i - slice_.first_segment];
    arrives = std::max(arrives, s.segment->arrives.load());
    for (const hive_bits* bits : {s.live, s.filter}) {
      if (bits == nullptr) continue;
      (bits == s.live ? row.live : row.filter) = bits->piece.address;
      (bits == s.live ? row.live_count : row.filter_count) = bits->count;
      arrives = std::max(arrives, bits->arrives);
    }
    if (s.live == s.filter) {
      row.filter = row.live;
      row.filter_count = row.live_count;
    }
    *table = row;
  }
  const uint64_t padded = uint64_t{steps_} * kStep;
  for (uint32_t q = 0; q < slice_.queries; ++q) {
    char* row = to + at.queries + q * padded * 4;
    const float* query = job_.queries + size_t{slice_.first_query + q} * job_.dim;
    std::memcpy(row, query, size_t{job_.dim} * 4);
    std::memset(row + size_t{job_.dim} * 4, 0, (padded - job_.dim) * 4);
  }
  if (job_.metric == HIVE_METRIC_COSINE) {
    std::memcpy(to + at.norms, job_.query_inv_norms + slice_.first_query,
                size_t{slice_.queries} * 4);
  }
  std::memset(to + at.counter, 0, 4);
  return arrives;
}

void ScanJob::barrier(VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
                      VkAccessFlags reads) {
  VkMemoryBarrier memory{};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = wrote;
  memory.dstAccessMask = reads;
  context_.api().vkCmdPipelineBarrier(scratch_->commands, from, to, 0, 1, &memory, 0, nullptr, 0,
                                      nullptr);
}

void ScanJob::record_scan(const Layout& at, bool batch, bool listed, ScanPush push) {
  push.segments = at.params + at.segments;
  push.queries = at.params + at.queries;
  push.query_norms = at.params + at.norms;
  push.counter = at.params + at.counter;
  push.segment_count = static_cast<uint32_t>(slice_.end_segment - slice_.first_segment);
  push.tile_rows = slice_.tile_rows;
  push.blocks = (job_.dim + 3) / 4;
  push.steps = steps_;
  push.query_count = slice_.queries;
  const DeviceApi& api = context_.api();
  api.vkCmdBindPipeline(scratch_->commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                        context_.pipelines().scan({job_.metric, dtype_, job_.dim, batch, listed}));
  api.vkCmdPushConstants(scratch_->commands, context_.pipelines().layout(),
                         VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, &push);
  const uint32_t x = std::min(push.total, kGroupsMax);
  api.vkCmdDispatch(scratch_->commands, x, (push.total + x - 1) / x, 1);
}

void ScanJob::record(const Layout& at) {
  const DeviceApi& api = context_.api();
  const VkCommandBuffer commands = scratch_->commands;
  constexpr auto kCompute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
  constexpr VkAccessFlags kBoth = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
  check(api.vkResetCommandPool(context_.device(), scratch_->pool, 0), "vkResetCommandPool");
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  check(api.vkBeginCommandBuffer(commands, &begin), "vkBeginCommandBuffer");
  if (!context_.params_in_place()) {
    const VkBufferCopy all{0, 0, at.params_end};
    api.vkCmdCopyBuffer(commands, scratch_->params.buffer, scratch_->copied.buffer, 1, &all);
    barrier(VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, kCompute, kBoth);
  }
  const VkDeviceAddress work = scratch_->work.address;
  const bool choose = slice_.listed < slice_.tiles;
  const uint32_t queries = slice_.queries;
  SelectPush select{};
  const auto record_select = [&] {
    api.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, context_.pipelines().select());
    api.vkCmdPushConstants(commands, context_.pipelines().layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                           sizeof select, &select);
    api.vkCmdDispatch(commands, queries, 1, 1);
  };
  ScanPush scan{};
  if (choose) {
    const bool batch = queries > 1;
    const uint32_t groups = batch ? (queries + kBatchQueries - 1) / kBatchQueries : 1;
    const uint32_t blocks = std::min(groups, (kFillGroups + slice_.tiles - 1) / slice_.tiles);
    scan.groups = (groups + blocks - 1) / blocks;
    scan.query_blocks = (groups + scan.groups - 1) / scan.groups;
    scan.keys = work + at.tile_keys;
    scan.stride = at.tile_stride;
    scan.total = slice_.tiles * scan.query_blocks;
    record_scan(at, batch, false, scan);
    barrier(kCompute, VK_ACCESS_SHADER_WRITE_BIT, kCompute, kBoth);
    select.keys = scan.keys;
    select.key_stride = at.tile_stride;
    select.count = slice_.tiles;
    select.k = slice_.listed;
    select.selected = work + at.list;
    select.counts = work + at.list_counts;
    record_select();
    barrier(kCompute, VK_ACCESS_SHADER_WRITE_BIT, kCompute, kBoth);
  }
  scan = ScanPush{};
  scan.list = choose ? work + at.list : 0;
  scan.list_counts = choose ? work + at.list_counts : 0;
  scan.keys = work + at.values;
  scan.stride = slice_.listed;
  scan.total = queries * slice_.listed;
  scan.flags = choose ? 0 : kCountRows;
  record_scan(at, false, true, scan);
  barrier(kCompute, VK_ACCESS_SHADER_WRITE_BIT, kCompute, kBoth);
  select = SelectPush{};
  select.keys = scan.keys;
  select.key_counts = scan.list_counts;
  select.list = scan.list;
  select.list_stride = slice_.listed;
  select.tile_rows = slice_.tile_rows;
  select.key_stride = slice_.listed * slice_.tile_rows;
  select.count = select.key_stride;
  select.k = job_.k;
  select.pairs = 1;
  select.selected = scratch_->results.address;
  select.counts = scratch_->results.address + at.counts;
  select.counter = at.params + at.counter;
  record_select();
  barrier(kCompute, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
  check(api.vkEndCommandBuffer(commands), "vkEndCommandBuffer");
}

// ---- results ------------------------------------------------------------------------------------

bool ScanJob::step(uint64_t timeout_us, bool* pending) {
  const auto start = std::chrono::steady_clock::now();
  *pending = false;
  if (submitted_ != 0) {
    Queue& queue = context_.compute();
    bool done = queue.completed() >= submitted_;
    for (uint64_t spent = 0; !done && spent < std::min(timeout_us, kSpinMicros);) {
      for (int i = 0; i < 20 && !done; ++i) done = queue.completed() >= submitted_;
      spent = micros_since(start);
      if (context_.physical().software) std::this_thread::yield();
    }
    const uint64_t limit_us = uint64_t{context_.settings().timeout_ms} * 1000;
    if (!done) {
      const uint64_t spent = micros_since(start);
      const uint64_t left = timeout_us - std::min(timeout_us, spent);
      const uint64_t may = limit_us - std::min(limit_us, waited_us_);
      const VkResult result = queue.wait(submitted_, std::min(left, may) * 1000);
      waited_us_ += micros_since(start);
      if (result == VK_TIMEOUT) {
        if (waited_us_ < limit_us) {
          *pending = true;
          return false;
        }
        throw Error(HIVE_DEVICE_TIMEOUT, "The device did not finish a submission within " +
                                             std::to_string(context_.settings().timeout_ms) +
                                             " ms.");
      }
      check(result, "Waiting for the device");
    }
    submitted_ = 0;
  }
  context_.check_messages();
  take_hits();
  if (!next_slice()) return true;
  submit_slice();
  return false;
}

void ScanJob::drain() {
  if (submitted_ == 0) return;
  const uint64_t limit = uint64_t{context_.settings().timeout_ms} * 1'000'000;
  const VkResult result = context_.compute().wait(submitted_, limit);
  if (result == VK_TIMEOUT) throw Error(HIVE_DEVICE_TIMEOUT, "The device did not finish in time.");
  check(result, "Waiting for the device");
  submitted_ = 0;
}

// Merges the slice's rows into the best so far. Those come first in ties: slices go in order.
void ScanJob::take_hits() {
  const uint64_t counts_at = round_up(uint64_t{slice_.queries} * job_.k * 8, 256);
  const char* results = scratch_->results.mapped;
  std::vector<Hit> found;
  std::vector<Hit> merged;
  for (uint32_t q = 0; q < slice_.queries; ++q) {
    uint32_t count;
    std::memcpy(&count, results + counts_at + uint64_t{q} * 4, 4);
    count = std::min(count, job_.k);
    found.clear();
    for (uint32_t i = 0; i < count; ++i) {
      uint32_t pair[2];
      std::memcpy(pair, results + (uint64_t{q} * job_.k + i) * 8, 8);
      const uint32_t tile = pair[1] / slice_.tile_rows;
      // The last segment that starts at or before the tile; those without rows start where the
      // next one does.
      const auto after = std::upper_bound(slice_.first_tile.begin(), slice_.first_tile.end(), tile);
      const auto s = static_cast<size_t>(after - slice_.first_tile.begin()) - 1;
      const uint32_t slot = pair[1] - slice_.first_tile[s] * slice_.tile_rows;
      found.push_back({pair[0], segments_[slice_.first_segment + s].index, slot});
    }
    const auto closer = [](const Hit& a, const Hit& b) { return a.key > b.key; };
    std::stable_sort(found.begin(), found.end(), closer);
    std::vector<Hit>& best = best_[slice_.first_query + q];
    if (best.empty()) {
      best = found;
      continue;
    }
    merged.clear();
    std::merge(best.begin(), best.end(), found.begin(), found.end(), std::back_inserter(merged),
               closer);
    if (merged.size() > job_.k) merged.resize(job_.k);
    best = merged;
  }
  uint32_t rows;
  std::memcpy(&rows, results + counts_at + uint64_t{slice_.queries} * 4, 4);
  rows_scanned_ += uint64_t{rows} * slice_.queries;
}

void ScanJob::finish() {
  for (uint32_t q = 0; q < job_.query_count; ++q) {
    hive_hit* out = job_.hits + size_t{q} * job_.k;
    for (const Hit& hit : best_[q]) *out++ = {value_of(job_.metric, hit.key), hit.segment, hit.slot};
    job_.hit_counts[q] = static_cast<uint32_t>(best_[q].size());
  }
}

}  // namespace hive::vulkan
