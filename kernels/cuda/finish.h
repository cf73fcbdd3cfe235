// From the candidates of a query to its k closest rows, by one block. Candidates of the matrix pass
// get their exact values first.
#pragma once

#include "threshold.h"

namespace hive::gpu {

struct FinishState {
  uint64_t sorted[kSortMost];
  uint32_t bins[256];
  uint32_t threshold;
  uint32_t found;
  uint32_t rank;
  uint32_t digit;
};

// Sorts the first `size` (a power of two) numbers, greatest first.
HIVE_DEVICE void sort_descending(uint64_t* numbers, uint32_t size) {
  for (uint32_t width = 2; width <= size; width *= 2) {
    for (uint32_t step = width / 2; step > 0; step /= 2) {
      block_barrier();
      for (uint32_t i = thread_index(); i < size / 2; i += kBlockThreads) {
        const uint32_t a = 2 * i - (i & (step - 1));
        const uint32_t b = a + step;
        const uint64_t x = numbers[a];
        const uint64_t y = numbers[b];
        const bool falling = (a & width) == 0;
        if ((x < y) == falling) {
          numbers[a] = y;
          numbers[b] = x;
        }
      }
    }
  }
  block_barrier();
}

// The k-th greatest of n different numbers (0 stands for none); 0 when there are fewer.
HIVE_DEVICE uint64_t select_kth(const uint64_t* numbers, uint32_t n, uint32_t k,
                                FinishState& state) {
  uint64_t prefix = 0;
  if (thread_index() == 0) state.rank = k;
  for (uint32_t shift = 64; shift > 0;) {
    shift -= 8;
    for (uint32_t i = thread_index(); i < 256; i += kBlockThreads) state.bins[i] = 0;
    block_barrier();
    for (uint32_t i = thread_index(); i < n; i += kBlockThreads) {
      const uint64_t x = numbers[i];
      const bool match = shift == 56 || (x >> (shift + 8)) == (prefix >> (shift + 8));
      if (match) atomic_add(&state.bins[(x >> shift) & 255u], 1);
    }
    block_barrier();
    if (thread_index() == 0) {
      uint32_t rank = state.rank;
      uint32_t digit = 255;
      while (digit > 0 && state.bins[digit] < rank) rank -= state.bins[digit--];
      state.rank = rank;
      state.digit = digit;
    }
    block_barrier();
    prefix |= static_cast<uint64_t>(state.digit) << shift;
  }
  return prefix;
}

// Replaces the bounds of candidates by exact keys; those that cannot be among the k closest by 0.
template <class T>
HIVE_DEVICE void rerank(const ScanArgs& args, uint32_t q, uint64_t* candidates, uint32_t n,
                        FinishState& state) {
  const uint32_t lane = thread_index() % 32;
  const uint32_t s = lane % 8;
  if (thread_index() < 32) {
    const uint32_t found = kth_greatest(args.maxima + uint64_t{q} * args.maxima_count,
                                        args.maxima_count, args.k, lane);
    if (lane == 0) state.threshold = found;
  }
  block_barrier();
  const float* query = args.queries + uint64_t{q} * args.dim_padded;
  const float query_term = args.query_terms[q];
  const uint32_t team = thread_index() / 8;
  constexpr uint32_t kTeams = kBlockThreads / 8;
  for (uint32_t base = team / 4 * 4; base < n; base += kTeams) {
    const uint32_t at = base + team % 4;
    const uint64_t candidate = at < n ? candidates[at] : 0;
    const bool keep = at < n && static_cast<uint32_t>(candidate >> 32) >= state.threshold;
    if (ballot(keep) == 0) {
      if (at < n && s == 0) candidates[at] = 0;
      continue;
    }
    const uint32_t position = keep ? ~static_cast<uint32_t>(candidate) : 0;
    const SegmentRef& segment = segment_of(args, position / kTileRows);
    const uint32_t row = keep ? position - segment.first_tile * kTileRows : 0;
    const float scale = T::kScaled ? segment.scales[row] : 1.0f;
    const unsigned char* data = segment.data + uint64_t{row} * args.row_bytes;
    const float sum = args.metric == kL2
                          ? team_sum<T, SumSquares>(data, scale, args.row_bytes, query, s)
                          : team_sum<T, SumProducts>(data, scale, args.row_bytes, query, s);
    if (s == 0 && at < n) {
      const uint32_t key = finish_value(args.metric, sum, segment.inv_norms[row], query_term);
      candidates[at] =
          keep ? static_cast<uint64_t>(key) << 32 | static_cast<uint32_t>(~position) : 0;
    }
  }
  fence_device();
  block_barrier();
}

// Writes the k closest of one query and clears what the next job needs cleared.
template <class T>
HIVE_DEVICE void finish_query(const ScanArgs& args, uint32_t q, FinishState& state) {
  const uint32_t thread = thread_index();
  const uint32_t count = args.thresholds != 0 ? load_shared_state(args.counts + q)
                                              : args.tile_count * kTileRows;
  const uint32_t n = count < args.capacity ? count : args.capacity;
  uint64_t* candidates = args.candidates + uint64_t{q} * args.capacity;
  const uint64_t output = args.first_query + q;
  if (args.rerank != 0 && count <= args.capacity) rerank<T>(args, q, candidates, n, state);
  const bool direct = n <= kSortMost;
  const uint64_t kth = direct || count > args.capacity ? 0 : select_kth(candidates, n, args.k, state);
  if (thread == 0) state.found = 0;
  block_barrier();
  for (uint32_t i = thread; i < n && count <= args.capacity; i += kBlockThreads) {
    const uint64_t x = load_shared_state(candidates + i);
    if (x == 0 || x < kth) continue;
    state.sorted[atomic_add(&state.found, 1)] = x;
  }
  block_barrier();
  const uint32_t found = state.found;
  uint32_t size = 2;
  while (size < found) size *= 2;
  for (uint32_t i = found + thread; i < size; i += kBlockThreads) state.sorted[i] = 0;
  sort_descending(state.sorted, size);
  const uint32_t hits = found < args.k ? found : args.k;
  for (uint32_t i = thread; i < hits; i += kBlockThreads) {
    args.out[output * args.k + i] = state.sorted[i];
  }
  if (thread == 0) {
    args.out_counts[output] = count > args.capacity ? kOverflow : hits;
    args.counts[q] = 0;
  }
  for (uint32_t i = thread; i < args.maxima_count; i += kBlockThreads) {
    args.maxima[uint64_t{q} * args.maxima_count + i] = 0;
  }
  block_barrier();
}

// What the last block of a job does when all queries are written.
HIVE_DEVICE void finish_job(const ScanArgs& args, uint32_t groups) {
  for (uint32_t i = thread_index(); i < groups; i += kBlockThreads) args.published[i] = 0;
  if (thread_index() == 0) {
    *args.done = 0;
    if (args.flag_value != 0) {
      *args.out_scanned = *reinterpret_cast<volatile unsigned long long*>(args.scanned);
      *args.scanned = 0;
      fence_system();
      store_shared_state(args.flag, args.flag_value);
    }
  }
}

// True in the block that arrives last, once everything the others wrote can be read.
HIVE_DEVICE bool arrives_last(const ScanArgs& args, uint32_t blocks, uint32_t* shared_word) {
  fence_system();
  block_barrier();
  if (thread_index() == 0) *shared_word = atomic_add(args.done, 1) + 1 == blocks;
  block_barrier();
  const bool last = *shared_word != 0;
  if (last) fence_device();
  return last;
}

// One block per query; groups = gridDim.y of the scan before it.
template <class T>
HIVE_DEVICE void finish_kernel(const ScanArgs& args) {
  auto& state = *reinterpret_cast<FinishState*>(shared_memory());
  finish_query<T>(args, block_x(), state);
  if (arrives_last(args, grid_x(), &state.found)) finish_job(args, args.query_count);
}

}  // namespace hive::gpu
