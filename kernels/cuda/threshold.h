// The running threshold of a scan. Every warp publishes the greatest key it has seen; the k-th
// greatest of these maxima belongs to k different rows, so no row below it can be among the k
// closest. Nothing here changes a result: a late or missing maximum only lets more candidates by.
#pragma once

#include "exact.h"

namespace hive::gpu {

// The reference of a tile's segment, by its first tile.
HIVE_DEVICE const SegmentRef& segment_of(const ScanArgs& args, uint32_t tile) {
  const SegmentRef* table = args.table != nullptr ? args.table : args.inline_segments;
  uint32_t low = 0;
  uint32_t high = args.segment_count;
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    if (table[middle].first_tile <= tile) low = middle;
    else high = middle;
  }
  return table[low];
}

HIVE_DEVICE uint32_t bits_at(const uint32_t* words, uint32_t count, uint32_t first) {
  if (words == nullptr || first >= count) return 0xffffffffu;
  const uint32_t left = count - first;
  const uint32_t spare = left >= 32 ? 0u : 0xffffffffu << left;
  return words[first / 32] | spare;
}

// Which of the 32 rows from `first` (a multiple of 32) are searched.
HIVE_DEVICE uint32_t rows_searched(const SegmentRef& segment, uint32_t first) {
  if (first >= segment.rows) return 0;
  const uint32_t left = segment.rows - first;
  const uint32_t there = left >= 32 ? 0xffffffffu : ~(0xffffffffu << left);
  return there & bits_at(segment.live, segment.live_bits, first) &
         bits_at(segment.filter, segment.filter_bits, first);
}

// Bits of a threshold that are not looked for: a threshold may be too low, and finding each bit
// costs the same.
inline constexpr uint32_t kCoarse = 11;

// The k-th greatest of count <= kMaximaMost numbers, rounded down; 0 when there are fewer than k
// that are not 0. By one warp; all lanes get the result. there: how many are not 0.
HIVE_DEVICE uint32_t kth_greatest(const uint32_t* numbers, uint32_t count, uint32_t k,
                                  uint32_t lane, uint32_t* there) {
  constexpr uint32_t kPerLane = kMaximaMost / 32;
  uint32_t mine[kPerLane];
  uint32_t set = 0;
#pragma unroll
  for (uint32_t j = 0; j < kPerLane; ++j) {
    const uint32_t at = j * 32 + lane;
    mine[j] = at < count ? load_shared_state(numbers + at) : 0;
    set += mine[j] != 0 ? 1 : 0;
  }
  *there = group_sum(set);
  if (*there < k) return 0;
  uint32_t prefix = 0;
  for (uint32_t bit = 32; bit-- > kCoarse;) {
    const uint32_t tried = prefix | (1u << bit);
    uint32_t above = 0;
#pragma unroll
    for (uint32_t j = 0; j < kPerLane; ++j) above += mine[j] >= tried ? 1 : 0;
    if (group_sum(above) >= k) prefix = tried;
  }
  return prefix;
}

HIVE_DEVICE uint32_t find_threshold(const ScanArgs& args, uint32_t query, uint32_t lane,
                                    uint32_t* there) {
  return kth_greatest(args.maxima + uint64_t{query} * args.maxima_count, args.maxima_count, args.k,
                      lane, there);
}

HIVE_DEVICE uint32_t* maximum_of(const ScanArgs& args, uint32_t query, uint32_t warp) {
  return args.maxima + uint64_t{query} * args.maxima_count +
         (block_x() * kWarps + warp) % args.maxima_count;
}

HIVE_DEVICE void add_candidate(const ScanArgs& args, uint32_t query, uint32_t key,
                               uint32_t position) {
  // Once there are too many, counting on would only make the rest wait.
  if (load_shared_state(args.counts + query) > args.capacity) return;
  const uint32_t at = atomic_add(args.counts + query, 1);
  if (at < args.capacity) {
    args.candidates[uint64_t{query} * args.capacity + at] =
        static_cast<uint64_t>(key) << 32 | static_cast<uint32_t>(~position);
  }
}

}  // namespace hive::gpu
