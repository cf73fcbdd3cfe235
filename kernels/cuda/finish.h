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
      const uint64_t x = load_shared_state(numbers + i);
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

// Gathers the candidates whose key reaches the threshold, in shared memory as far as they fit.
HIVE_DEVICE uint32_t gather(const uint64_t* candidates, uint32_t n, uint32_t threshold,
                            uint64_t least, FinishState& state) {
  if (thread_index() == 0) state.found = 0;
  block_barrier();
  for (uint32_t i = thread_index(); i < n; i += kBlockThreads) {
    const uint64_t x = load_shared_state(candidates + i);
    if (x == 0 || x < least || static_cast<uint32_t>(x >> 32) < threshold) continue;
    const uint32_t at = atomic_add(&state.found, 1);
    if (at < kSortMost) state.sorted[at] = x;
  }
  block_barrier();
  return state.found;
}

// A key that at least k candidates reach: the k-th greatest of the threads' own maxima.
HIVE_DEVICE uint32_t lower_key(const uint64_t* candidates, uint32_t n, uint32_t k,
                               FinishState& state) {
  if (n <= 2 * k || n <= 64 || k > kBlockThreads) return 0;
  uint32_t most = 0;
  for (uint32_t i = thread_index(); i < n; i += kBlockThreads) {
    const auto key = static_cast<uint32_t>(load_shared_state(candidates + i) >> 32);
    most = key > most ? key : most;
  }
  state.bins[thread_index()] = most;
  block_barrier();
  if (thread_index() < 32) {
    uint32_t there = 0;
    const uint32_t found = kth_greatest(state.bins, kBlockThreads, k, thread_index(), &there);
    if (thread_index() == 0) state.threshold = found;
  }
  block_barrier();
  return state.threshold;
}

// Few candidates: each thread reads its own once.
HIVE_DEVICE uint32_t gather_few(const uint64_t* candidates, uint32_t n, uint32_t k,
                                FinishState& state) {
  constexpr uint32_t kEach = kSortMost / kBlockThreads;
  uint64_t mine[kEach];
  uint64_t most = 0;
#pragma unroll
  for (uint32_t i = 0; i < kEach; ++i) {
    const uint32_t at = i * kBlockThreads + thread_index();
    mine[i] = at < n ? load_shared_state(candidates + at) : 0;
    most = mine[i] > most ? mine[i] : most;
  }
  if (thread_index() == 0) {
    state.found = 0;
    state.threshold = 0;
  }
  state.bins[thread_index()] = static_cast<uint32_t>(most >> 32);
  block_barrier();
  if (n > 2 * k && n > 64 && k <= kBlockThreads) {
    if (thread_index() < 32) {
      uint32_t there = 0;
      const uint32_t found = kth_greatest(state.bins, kBlockThreads, k, thread_index(), &there);
      if (thread_index() == 0) state.threshold = found;
    }
    block_barrier();
  }
#pragma unroll
  for (uint32_t i = 0; i < kEach; ++i) {
    if (mine[i] == 0 || static_cast<uint32_t>(mine[i] >> 32) < state.threshold) continue;
    state.sorted[atomic_add(&state.found, 1)] = mine[i];
  }
  block_barrier();
  return state.found;
}

// The exact candidate of one whose key is only a bound; a team of 8 lanes does one.
template <class T>
HIVE_DEVICE uint64_t exact_candidate(const ScanArgs& args, uint32_t q, uint64_t candidate) {
  const uint32_t s = thread_index() % 8;
  const bool real = candidate != 0;
  const uint32_t position = real ? ~static_cast<uint32_t>(candidate) : 0;
  const SegmentRef& segment = segment_of(args, position / kTileRows);
  const uint32_t row = position - segment.first_tile * kTileRows;
  const float scale = T::kScaled ? segment.scales[row] : 1.0f;
  const unsigned char* data = segment.data + uint64_t{row} * args.row_bytes;
  const float* query = args.queries + uint64_t{q} * args.dim_padded;
  const float sum = args.metric == kL2
                        ? team_sum<T, SumSquares>(data, scale, args.row_bytes, query, s)
                        : team_sum<T, SumProducts>(data, scale, args.row_bytes, query, s);
  const uint32_t key =
      finish_value(args.metric, sum, segment.inv_norms[row], args.query_terms[q]);
  return real ? static_cast<uint64_t>(key) << 32 | static_cast<uint32_t>(~position) : 0;
}

// Replaces n bounds by exact candidates. Lanes of a warp stay together.
template <class T>
HIVE_DEVICE void make_exact(const ScanArgs& args, uint32_t q, uint64_t* candidates, uint32_t n,
                            uint32_t threshold) {
  const uint32_t team = thread_index() / 8;
  for (uint32_t base = team / 4 * 4; base < n; base += kBlockThreads / 8) {
    const uint32_t at = base + team % 4;
    // Only the lane that writes an entry reads it.
    const bool mine = thread_index() % 8 == 0 && at < n;
    uint64_t candidate = mine ? candidates[at] : 0;
    const uint32_t first_lane = thread_index() % 32 / 8 * 8;
    const uint32_t low = shuffle_from(static_cast<uint32_t>(candidate), first_lane);
    const uint32_t high = shuffle_from(static_cast<uint32_t>(candidate >> 32), first_lane);
    candidate = high >= threshold ? static_cast<uint64_t>(high) << 32 | low : 0;
    const uint64_t exact =
        ballot(candidate != 0) != 0 ? exact_candidate<T>(args, q, candidate) : 0;
    if (mine) candidates[at] = exact;
  }
  fence_device();
  block_barrier();
}

// Fills state.sorted with at least the k closest; returns how many there are.
template <class T>
HIVE_DEVICE uint32_t closest(const ScanArgs& args, uint32_t q, uint64_t* candidates, uint32_t n,
                             FinishState& state) {
  if (args.rerank != 0) {
    if (thread_index() < 32) {
      uint32_t there = 0;
      const uint32_t found = find_threshold(args, q, thread_index(), &there);
      if (thread_index() == 0) state.threshold = found;
    }
    block_barrier();
    const uint32_t threshold = state.threshold;
    const uint32_t kept = gather(candidates, n, threshold, 0, state);
    if (kept <= kSortMost) {
      make_exact<T>(args, q, state.sorted, kept, 0);
      return kept;
    }
    make_exact<T>(args, q, candidates, n, threshold);
  }
  if (n <= kSortMost) return gather_few(candidates, n, args.k, state);
  const uint32_t found = gather(candidates, n, lower_key(candidates, n, args.k, state), 0, state);
  if (found <= kSortMost) return found;
  return gather(candidates, n, 0, select_kth(candidates, n, args.k, state), state);
}

// Writes the k closest of one query and clears what the next job needs cleared.
template <class T>
HIVE_DEVICE void finish_query(const ScanArgs& args, uint32_t q, FinishState& state) {
  const uint32_t thread = thread_index();
  const uint32_t count = args.thresholds != 0 ? load_shared_state(args.counts + q)
                                              : args.tile_count * kTileRows;
  const bool overflow = count > args.capacity;
  uint64_t* candidates = args.candidates + uint64_t{q} * args.capacity;
  const uint64_t output = args.first_query + q;
  const uint32_t found = closest<T>(args, q, candidates, overflow ? 0 : count, state);
  uint32_t size = 2;
  while (size < found) size *= 2;
  for (uint32_t i = found + thread; i < size; i += kBlockThreads) state.sorted[i] = 0;
  sort_descending(state.sorted, size);
  const uint32_t hits = found < args.k ? found : args.k;
  for (uint32_t i = thread; i < hits; i += kBlockThreads) {
    args.out[output * args.k + i] = state.sorted[i];
  }
  if (thread == 0) args.out_counts[output] = overflow ? kOverflow : hits;
  if (args.thresholds == 0) return;
  if (thread == 0) {
    args.counts[q] = 0;
    args.thresholds_found[q] = 0;
  }
  for (uint32_t i = thread; i < args.maxima_count; i += kBlockThreads) {
    args.maxima[uint64_t{q} * args.maxima_count + i] = 0;
  }
}

// What the last block of a job does when all queries are written.
HIVE_DEVICE void finish_job(const ScanArgs& args, uint32_t groups) {
  block_barrier();
  if (args.thresholds != 0) {
    for (uint32_t i = thread_index(); i < groups; i += kBlockThreads) args.published[i] = 0;
  }
  if (thread_index() == 0) {
    *args.done = 0;
    if (args.flag_value == 0) return;
    if (args.report_rows != 0) {
      *args.out_scanned = *reinterpret_cast<volatile unsigned long long*>(args.scanned);
      *args.scanned = 0;
    }
    fence_system();
    store_shared_state(args.flag, args.flag_value);
  }
}

// True in the block that arrives last, once everything the others wrote can be read.
HIVE_DEVICE bool arrives_last(const ScanArgs& args, uint32_t blocks, uint32_t* shared_word) {
  block_barrier();
  if (thread_index() == 0) {
    // After the barrier one fence covers what all threads of the block wrote, host memory too.
    fence_system();
    *shared_word = atomic_add(args.done, 1) + 1 == blocks;
  }
  block_barrier();
  const bool last = *shared_word != 0;
  if (last) fence_device();
  return last;
}

// One block per query.
template <class T>
HIVE_DEVICE void finish_kernel(const ScanArgs& args) {
  auto& state = *reinterpret_cast<FinishState*>(shared_memory());
  finish_query<T>(args, block_x(), state);
  if (arrives_last(args, grid_x(), &state.found)) finish_job(args, args.query_count);
}

}  // namespace hive::gpu
