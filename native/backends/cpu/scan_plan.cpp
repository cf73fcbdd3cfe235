#include "scan_plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace hive::cpu {
namespace {

constexpr size_t kElementBytes[] = {4, 2, 2, 1};
// Rows of a tile: small enough to share work evenly, large enough to hide the hand-over.
constexpr size_t kTileBytes = 512 * 1024;
// Up to this many queries, one pass per query over a cached block beats the panel kernels.
constexpr uint32_t kSingleMax = 4;
// Rows are gathered when at most one in this many passes the filter.
constexpr uint32_t kGatherShare = 3;
constexpr double kUnit = 0x1p-24;  // rounding unit of f32
// Absolute slack of a threshold: covers products that underflow, and rows whose inverse norm is 0.
constexpr float kSlack = 1e-30f;

uint32_t round_up(uint32_t x, uint32_t to) { return (x + to - 1) / to * to; }

uint64_t low_bits(uint32_t count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

// Relative error of the panel's sum: d fused steps in a row, gamma_d <= d u / (1 - d u).
double panel_error(uint32_t dim) { return 1.05 * dim * kUnit; }
// Relative error of the defined sum: d / 32 steps in a lane, five levels of the tree, norms.
double value_error(uint32_t dim) { return 1.05 * (dim / 32.0 + 10) * kUnit; }

}  // namespace

uint64_t Bits::word64(uint32_t first) const {
  if (first >= count) return ~uint64_t{0};
  const size_t word = first / 32;
  uint64_t out = words[word];
  if (word + 1 < words.size()) out |= static_cast<uint64_t>(words[word + 1]) << 32;
  const uint32_t known = count - first;
  return known < 64 ? out | ~low_bits(known) : out;
}

ScanPlan::ScanPlan(const CpuKernels& kernels, const hive_scan_job& job,
                   std::vector<ScanSegment> segments)
    : kernels_(kernels), job_(job), segments_(std::move(segments)) {
  dtype_ = segments_.empty() ? 0 : segments_[0].rows->dtype;
  scan_ = kernels_.scan[job_.metric][dtype_];
  gather_ = kernels_.gather[job_.metric][dtype_];
  padded_dim_ = round_up(job_.dim, 32);
  batched_ = job_.query_count > kSingleMax;
  make_tiles();
  pad_queries();
  if (batched_) pack_panels();
}

void ScanPlan::make_tiles() {
  const size_t row_bytes = size_t{job_.dim} * kElementBytes[dtype_];
  const size_t rows = std::max<size_t>(kScanRows, kTileBytes / row_bytes / kScanRows * kScanRows);
  for (uint32_t s = 0; s < segments_.size(); ++s) {
    for (size_t first = 0; first < segments_[s].row_count; first += rows) {
      const size_t count = std::min<size_t>(rows, segments_[s].row_count - first);
      tiles_.push_back({s, static_cast<uint32_t>(first), static_cast<uint32_t>(count)});
    }
  }
  // Near the golden ratio, so that the first tiles are a sample of all: rows are seldom stored in
  // random order, and a threshold from one corner lets too many others through.
  const auto count = static_cast<uint32_t>(tiles_.size());
  stride_ = std::max(1u, static_cast<uint32_t>(count * 0.618));
  while (std::gcd(stride_, count) > 1) ++stride_;
}

void ScanPlan::pad_queries() {
  padded_.assign(size_t{job_.query_count} * padded_dim_, 0.0f);
  for (uint32_t q = 0; q < job_.query_count; ++q) {
    std::memcpy(&padded_[size_t{q} * padded_dim_], job_.queries + size_t{q} * job_.dim,
                size_t{job_.dim} * sizeof(float));
  }
}

// Queries in lanes: panel p holds element i of its queries side by side. The last panel is the
// narrowest that holds what is left; lanes without a query hold zeros and never survive.
void ScanPlan::pack_panels() {
  const uint32_t kind = job_.metric == HIVE_METRIC_L1     ? kPanelL1
                        : job_.metric == HIVE_METRIC_LINF ? kPanelLinf
                                                          : kPanelDot;
  panel_of_.resize(job_.query_count);
  size_t slots = 0;
  for (uint32_t first = 0; first < job_.query_count;) {
    const uint32_t left = job_.query_count - first;
    uint32_t index = 0;
    while (index + 1 < 3 && kernels_.panel_width[index + 1] >= left) ++index;
    const uint32_t width = kernels_.panel_width[index];
    const Panel panel{first, width, kernels_.panel[kind][index], packed_.size(), slots};
    packed_.resize(packed_.size() + size_t{width} * job_.dim, 0.0f);
    const uint32_t used = std::min(width, left);
    for (uint32_t q = 0; q < used; ++q) {
      panel_of_[first + q] = static_cast<uint32_t>(panels_.size());
      const float* query = job_.queries + size_t{first + q} * job_.dim;
      for (uint32_t i = 0; i < job_.dim; ++i) {
        packed_[panel.offset + size_t{i} * width + q] = query[i];
      }
    }
    slots += width;
    first += used;
    panels_.push_back(panel);
  }
  shared_ = std::make_unique<std::atomic<float>[]>(job_.query_count);
  query_norms_.resize(job_.query_count);
  for (uint32_t q = 0; q < job_.query_count; ++q) {
    shared_[q].store(-std::numeric_limits<float>::infinity(), std::memory_order_relaxed);
    double sum = 0;
    const float* query = job_.queries + size_t{q} * job_.dim;
    for (uint32_t i = 0; i < job_.dim; ++i) sum += static_cast<double>(query[i]) * query[i];
    query_norms_[q] = std::sqrt(sum);
  }
}

void ScanPlan::prepare(Worker& worker) const {
  worker.best.resize(job_.query_count);
  for (TopK& best : worker.best) best.reset(job_.k);
  worker.rows = 0;
  if (!batched_) return;
  const size_t slots = panels_.back().slot + panels_.back().width;
  // Lanes without a query: nothing reaches an infinite limit (l1, linf: nothing is below -1).
  const bool sums = panels_[0].run == nullptr || job_.metric <= HIVE_METRIC_L2;
  worker.factor.assign(slots, 0.0f);
  worker.bias.assign(slots, sums ? std::numeric_limits<float>::infinity() : -1.0f);
  worker.limit.resize(job_.query_count);
  worker.survivors.resize(size_t{kScanRows} * panels_[0].width);
  if (dtype_ != HIVE_DTYPE_F32) worker.decoded.resize(size_t{kScanRows} * job_.dim);
  for (uint32_t q = 0; q < job_.query_count; ++q) {
    set_threshold(panels_[panel_of_[q]], q, worker.best[q].threshold(), worker);
  }
}

/*
 * The test that lets a pair pass to the defined value. Let s be the exact dot product, a the
 * panel's sum, c1 and c2 the relative errors above: |a - s| <= c1 |x||q|, and the defined dot
 * differs from s by at most c2 |x||q|. A pair with key >= threshold t must survive.
 *   dot     a >= t - (c1 + c2) |x||q|
 *   cosine  key = s inv_x inv_q within (c2 + 8u): a >= |x| |q| (t - (c1 + c2 + 8u))
 *   l2      value v <= -t. v (1 - c2) <= -t gives s >= (|x|^2 + |q|^2 + t (1 + 2 c2)) / 2, and
 *           |x||q| <= (|x|^2 + |q|^2) / 2 turns c1's share into a factor (1 - c1) of the squares.
 *   l1      all terms are positive: a <= v (1 + c1 + c2 + ...), v <= -t
 *   linf    the maximum is exact in any order: a <= -t
 * |x| comes from 1 / inv_norm (relative error 2u). The rounding of the limit itself is at most
 * a few u of its terms; 16u and a factor 1.1 cover it. kSlack covers underflow.
 */
void ScanPlan::set_threshold(const Panel& panel, uint32_t query, float threshold,
                             Worker& worker) const {
  const size_t slot = panel.slot + (query - panel.first);
  worker.limit[query] = threshold;
  float& factor = worker.factor[slot];
  float& bias = worker.bias[slot];
  const double t = threshold;
  const double norm = query_norms_[query];
  const double c = 1.1 * (panel_error(job_.dim) + value_error(job_.dim) + 16 * kUnit);
  const bool open = std::isinf(threshold);
  switch (job_.metric) {
    case HIVE_METRIC_DOT:
      factor = static_cast<float>(-c * norm);
      bias = open ? threshold : static_cast<float>(t - std::fabs(t) * 8 * kUnit - kSlack);
      break;
    case HIVE_METRIC_COSINE:
      factor = open ? 0.0f : static_cast<float>(norm * (t - c));
      bias = open ? threshold : -kSlack;
      break;
    case HIVE_METRIC_L2:
      factor = static_cast<float>((1 - c) / 2);
      bias = open ? threshold
                  : static_cast<float>((norm * norm * (1 - c) + t * (1 + 2 * c)) / 2 - kSlack);
      break;
    case HIVE_METRIC_L1:
      bias = static_cast<float>(-t * (1 + 2 * c));
      break;
    default:
      bias = -threshold;
  }
}

void ScanPlan::adopt_thresholds(Worker& worker) const {
  for (uint32_t q = 0; q < job_.query_count; ++q) {
    const float threshold = shared_[q].load(std::memory_order_relaxed);
    if (threshold > worker.limit[q]) set_threshold(panels_[panel_of_[q]], q, threshold, worker);
  }
}

void ScanPlan::share_threshold(uint32_t query, float threshold) const {
  std::atomic<float>& shared = shared_[query];
  float known = shared.load(std::memory_order_relaxed);
  while (known < threshold &&
         !shared.compare_exchange_weak(known, threshold, std::memory_order_relaxed)) {
  }
}

void ScanPlan::row_terms(const ScanSegment& s, uint32_t first, uint32_t count, float* terms) const {
  for (uint32_t r = 0; r < count; ++r) {
    const float inv = s.rows->view.inv_norms[first + r];
    const float norm = inv > 0 ? 1.0f / inv : (job_.metric == HIVE_METRIC_COSINE ? 0.0f : kSlack);
    terms[r] = job_.metric == HIVE_METRIC_L2 ? norm * norm : norm;
  }
}

void ScanPlan::run_tile(uint32_t turn, Worker& worker) const {
  if (batched_) adopt_thresholds(worker);
  const Tile& tile = tiles_[batched_ ? uint64_t{turn} * stride_ % tiles_.size() : turn];
  const ScanSegment& s = segments_[tile.segment];
  if (s.filter != nullptr && !batched_ && gather_tile(tile, worker)) return;
  for (uint32_t first = tile.first; first < tile.first + tile.count; first += kScanRows) {
    const uint32_t count = std::min(kScanRows, tile.first + tile.count - first);
    uint64_t alive = low_bits(count);
    if (s.live != nullptr) alive &= s.live->word64(first);
    if (s.filter != nullptr) alive &= s.filter->word64(first);
    if (alive == 0) continue;
    worker.rows += static_cast<uint64_t>(__builtin_popcountll(alive));
    if (batched_) run_block_panels(s, first, count, alive, worker);
    else run_block_single(s, first, count, alive, worker);
  }
}

// When few rows of a tile pass, reads only those. False when whole blocks are better, which read
// ahead in one stream and share their loads.
bool ScanPlan::gather_tile(const Tile& tile, Worker& worker) const {
  const ScanSegment& s = segments_[tile.segment];
  std::vector<uint32_t>& slots = worker.slots;
  slots.clear();
  const uint32_t* const words = s.filter->words.data();
  for (uint32_t first = tile.first; first < tile.first + tile.count; first += kScanRows) {
    // Most words of a sparse filter are empty: the quickest look comes first.
    const bool whole = s.filter->count - first >= kScanRows && s.filter->count > first;
    if (whole && (words[first / 32] | words[first / 32 + 1]) == 0) continue;
    uint64_t alive = s.filter->word64(first);
    if (alive == 0) continue;
    alive &= low_bits(tile.first + tile.count - first);
    if (s.live != nullptr) alive &= s.live->word64(first);
    for (; alive != 0; alive &= alive - 1) {
      slots.push_back(first + static_cast<uint32_t>(__builtin_ctzll(alive)));
    }
    if (slots.size() > size_t{tile.count} / kGatherShare) return false;
  }
  const auto total = static_cast<uint32_t>(slots.size());
  worker.rows += total;
  float keys[kScanRows];
  for (uint32_t from = 0; from < total; from += kScanRows) {
    const uint32_t count = std::min(kScanRows, total - from);
    const uint32_t ahead = std::min(kScanRows, total - from - count);
    for (uint32_t q = 0; q < job_.query_count; ++q) {
      TopK& best = worker.best[q];
      const QueryView query{&padded_[size_t{q} * padded_dim_],
                            job_.metric == HIVE_METRIC_COSINE ? job_.query_inv_norms[q] : 1.0f};
      uint64_t mask = gather_(s.rows->view, &slots[from], count, ahead, job_.dim, query,
                              best.threshold(), keys);
      for (; mask != 0; mask &= mask - 1) {
        const auto r = static_cast<uint32_t>(__builtin_ctzll(mask));
        best.push(keys[r], static_cast<uint64_t>(s.index) << 32 | slots[from + r]);
      }
    }
  }
  return true;
}

void ScanPlan::run_block_single(const ScanSegment& s, uint32_t first, uint32_t count,
                                uint64_t alive, Worker& worker) const {
  float keys[kScanRows];
  for (uint32_t q = 0; q < job_.query_count; ++q) {
    TopK& best = worker.best[q];
    const QueryView query{&padded_[size_t{q} * padded_dim_],
                          job_.metric == HIVE_METRIC_COSINE ? job_.query_inv_norms[q] : 1.0f};
    uint64_t mask = scan_(s.rows->view, first, count, job_.dim, query, best.threshold(), keys);
    for (mask &= alive; mask != 0; mask &= mask - 1) {
      const auto r = static_cast<uint32_t>(__builtin_ctzll(mask));
      best.push(keys[r], static_cast<uint64_t>(s.index) << 32 | (first + r));
    }
  }
}

void ScanPlan::run_block_panels(const ScanSegment& s, uint32_t first, uint32_t count,
                                uint64_t alive, Worker& worker) const {
  const char* data = static_cast<const char*>(s.rows->view.data) +
                     size_t{first} * job_.dim * kElementBytes[dtype_];
  const float* rows = reinterpret_cast<const float*>(data);
  if (dtype_ != HIVE_DTYPE_F32) {
    const float* scales = s.rows->view.scales == nullptr ? nullptr : s.rows->view.scales + first;
    kernels_.decode[dtype_](data, scales, count, job_.dim, worker.decoded.data());
    rows = worker.decoded.data();
  }
  float terms[kScanRows];
  if (job_.metric <= HIVE_METRIC_L2) row_terms(s, first, count, terms);
  for (const Panel& panel : panels_) {
    const PanelArgs args{rows,
                         count,
                         job_.dim,
                         &packed_[panel.offset],
                         terms,
                         &worker.factor[panel.slot],
                         &worker.bias[panel.slot],
                         worker.survivors.data()};
    const uint32_t found = panel.run(args);
    if (found > 0) resolve_survivors(s, panel, first, found, alive, worker);
  }
}

void ScanPlan::resolve_survivors(const ScanSegment& s, const Panel& panel, uint32_t first,
                                 uint32_t found, uint64_t alive, Worker& worker) const {
  for (uint32_t i = 0; i < found; ++i) {
    const uint32_t r = worker.survivors[i] / 256;
    const uint32_t q = panel.first + worker.survivors[i] % 256;
    if (((alive >> r) & 1u) == 0 || q >= job_.query_count) continue;
    TopK& best = worker.best[q];
    const QueryView query{&padded_[size_t{q} * padded_dim_],
                          job_.metric == HIVE_METRIC_COSINE ? job_.query_inv_norms[q] : 1.0f};
    float key;
    if (scan_(s.rows->view, first + r, 1, job_.dim, query, worker.limit[q], &key) == 0) continue;
    if (best.push(key, static_cast<uint64_t>(s.index) << 32 | (first + r)) &&
        best.threshold() > worker.limit[q]) {
      set_threshold(panel, q, best.threshold(), worker);
      share_threshold(q, best.threshold());
    }
  }
}

void ScanPlan::finish(Worker* const* workers, uint32_t count) const {
  const bool greater = job_.metric == HIVE_METRIC_COSINE || job_.metric == HIVE_METRIC_DOT;
  for (uint32_t q = 0; q < job_.query_count; ++q) {
    TopK& into = workers[0]->best[q];
    for (uint32_t w = 1; w < count; ++w) {
      for (const Candidate& c : workers[w]->best[q].items()) into.push(c.key, c.position);
    }
    const std::vector<Candidate>& found = into.finish();
    hive_hit* out = job_.hits + size_t{q} * job_.k;
    for (size_t i = 0; i < found.size(); ++i) {
      const float value = greater ? found[i].key : -found[i].key;
      out[i] = {value + 0.0f, static_cast<uint32_t>(found[i].position >> 32),
                static_cast<uint32_t>(found[i].position)};
    }
    job_.hit_counts[q] = static_cast<uint32_t>(found.size());
  }
}

}  // namespace hive::cpu
