// The running threshold of a scan. Every block publishes the greatest key it has seen; the k-th
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

// The k-th greatest of count <= kMaximaMost numbers, rounded down in its last bits; 0 when there
// are fewer than k that are not 0. By one warp; all lanes get the result.
HIVE_DEVICE uint32_t kth_greatest(const uint32_t* numbers, uint32_t count, uint32_t k,
                                  uint32_t lane) {
  constexpr uint32_t kPerLane = kMaximaMost / 32;
  constexpr uint32_t kLowestBit = 4;
  uint32_t mine[kPerLane];
#pragma unroll
  for (uint32_t j = 0; j < kPerLane; ++j) {
    const uint32_t at = j * 32 + lane;
    mine[j] = at < count ? load_shared_state(numbers + at) : 0;
  }
  const uint32_t used = (count + 31) / 32;
  uint32_t prefix = 0;
  for (uint32_t bit = 32; bit-- > kLowestBit;) {
    const uint32_t tried = prefix | (1u << bit);
    uint32_t above = 0;
#pragma unroll
    for (uint32_t j = 0; j < kPerLane; ++j) {
      if (j < used) above += bit_count(ballot(mine[j] >= tried));
    }
    if (above >= k) prefix = tried;
  }
  return prefix;
}

// Shared memory of the threshold, for NQ queries of a block.
template <uint32_t NQ>
struct ThresholdState {
  uint32_t threshold[NQ];
  uint32_t greatest[NQ][kWarps];
};

template <uint32_t NQ>
HIVE_DEVICE void threshold_init(ThresholdState<NQ>& state) {
  for (uint32_t i = thread_index(); i < NQ * kWarps; i += kBlockThreads) {
    state.greatest[i / kWarps][i % kWarps] = 0;
  }
  for (uint32_t i = thread_index(); i < NQ; i += kBlockThreads) state.threshold[i] = 0;
}

HIVE_DEVICE bool publishes(uint32_t step) { return (step & (step + 1)) == 0; }

// Makes the block's maxima known and looks at those of the others. By all threads of the block,
// after state.greatest was updated.
template <uint32_t NQ>
HIVE_DEVICE void exchange(const ScanArgs& args, ThresholdState<NQ>& state, uint32_t step,
                          uint32_t first_query, uint32_t queries) {
  const uint32_t thread = thread_index();
  const uint32_t entries = args.maxima_per_block;
  block_barrier();
  for (uint32_t i = thread; i < queries * entries; i += kBlockThreads) {
    const uint32_t q = i / entries;
    const uint32_t e = i % entries;
    uint32_t most = 0;
    for (uint32_t w = e * kWarps / entries; w < (e + 1) * kWarps / entries; ++w) {
      most = state.greatest[q][w] > most ? state.greatest[q][w] : most;
    }
    store_shared_state(args.maxima + uint64_t{first_query + q} * args.maxima_count +
                           block_x() * entries + e,
                       most);
  }
  if (step == 0) {
    // The first threshold comes from the first tile of most blocks: worth a short wait, but never
    // one that depends on blocks which may not be running.
    fence_device();
    block_barrier();
    if (thread == 0) {
      uint32_t* published = args.published + block_y();
      atomic_add(published, 1);
      const uint32_t enough = (grid_x() * 3 + 3) / 4;
      for (uint32_t tries = 0; tries < 32 && load_shared_state(published) < enough; ++tries) {
        pause();
      }
    }
  }
  block_barrier();
  for (uint32_t q = thread / 32; q < queries; q += kWarps) {
    const uint32_t found =
        kth_greatest(args.maxima + uint64_t{first_query + q} * args.maxima_count,
                     args.maxima_count, args.k, thread % 32);
    if (thread % 32 == 0 && found > state.threshold[q]) state.threshold[q] = found;
  }
  block_barrier();
}

HIVE_DEVICE void add_candidate(const ScanArgs& args, uint32_t query, uint32_t key,
                               uint32_t position) {
  const uint32_t at = atomic_add(args.counts + query, 1);
  if (at < args.capacity) {
    args.candidates[uint64_t{query} * args.capacity + at] =
        static_cast<uint64_t>(key) << 32 | static_cast<uint32_t>(~position);
  }
}

}  // namespace hive::gpu
