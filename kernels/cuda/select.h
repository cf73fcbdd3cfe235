// K3 for any k: the k greatest candidates among dense keys, by radix selection over 64-bit
// candidates (key, then position), so ties fall as in every other path.
#pragma once

#include "exact.h"

namespace hive::gpu {

// Digit of a pass: its lowest bit and its width.
HIVE_DEVICE uint32_t digit_shift(uint32_t pass) {
  constexpr uint32_t kShifts[6] = {53, 42, 32, 21, 10, 0};
  return kShifts[pass];
}
HIVE_DEVICE uint32_t digit_mask(uint32_t pass) { return pass % 3 == 2 ? 1023u : 2047u; }

HIVE_DEVICE uint64_t candidate_of(uint32_t key, uint32_t position) {
  return static_cast<uint64_t>(key) << 32 | static_cast<uint32_t>(~position);
}

HIVE_DEVICE bool matches(uint64_t candidate, uint64_t prefix, uint32_t pass) {
  if (pass == 0) return true;
  const uint32_t shift = digit_shift(pass - 1);
  return (candidate >> shift) == (prefix >> shift);
}

// Counts the digit of the candidates that share the prefix. Grid: (any, queries).
HIVE_DEVICE void select_count_kernel(const SelectArgs& args) {
  auto* bins = reinterpret_cast<uint32_t*>(shared_memory());
  const uint32_t q = block_y();
  const SelectState& state = args.states[q];
  if (args.pass > 0 && state.settled != 0) return;
  for (uint32_t i = thread_index(); i < kDigitBins; i += kBlockThreads) bins[i] = 0;
  block_barrier();
  const uint32_t* keys = args.keys + uint64_t{q} * args.positions;
  const uint64_t prefix = args.pass > 0 ? state.prefix : 0;
  const uint32_t stride = grid_x() * kBlockThreads;
  for (uint32_t i = block_x() * kBlockThreads + thread_index(); i < args.positions; i += stride) {
    const uint32_t key = keys[i];
    if (key == 0) continue;
    const uint64_t candidate = candidate_of(key, i);
    if (!matches(candidate, prefix, args.pass)) continue;
    atomic_add(&bins[(candidate >> digit_shift(args.pass)) & digit_mask(args.pass)], 1);
  }
  block_barrier();
  for (uint32_t i = thread_index(); i < kDigitBins; i += kBlockThreads) {
    if (bins[i] != 0) atomic_add(&args.bins[q * kDigitBins + i], bins[i]);
  }
}

// Finds the digit of the k-th candidate. Grid: (1, queries).
HIVE_DEVICE void select_pick_kernel(const SelectArgs& args) {
  auto* sums = reinterpret_cast<uint32_t*>(shared_memory());
  const uint32_t thread = thread_index();
  const uint32_t q = block_y();
  SelectState& state = args.states[q];
  if (args.pass > 0 && state.settled != 0) return;
  constexpr uint32_t kEach = kDigitBins / kBlockThreads;
  uint32_t* bins = args.bins + q * kDigitBins;
  uint32_t sum = 0;
  for (uint32_t i = 0; i < kEach; ++i) sum += bins[thread * kEach + i];
  sums[thread] = sum;
  block_barrier();
  if (thread == 0) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < kBlockThreads; ++i) all += sums[i];
    uint32_t wanted = args.pass > 0 ? state.wanted : all < args.k ? all : args.k;
    if (args.pass == 0) {
      state.prefix = 0;
      state.collected = 0;
      state.hits = wanted;
      state.settled = wanted == 0;
    }
    if (wanted > 0) {
      uint32_t part = kBlockThreads - 1;
      while (sums[part] < wanted) wanted -= sums[part--];
      uint32_t bin = part * kEach + kEach - 1;
      while (bins[bin] < wanted) wanted -= bins[bin--];
      state.prefix |= static_cast<uint64_t>(bin) << digit_shift(args.pass);
      state.wanted = wanted;
      if (bins[bin] == wanted) state.settled = 1;
    }
  }
  block_barrier();
  for (uint32_t i = thread; i < kDigitBins; i += kBlockThreads) bins[i] = 0;
}

// Writes all candidates from the k-th on, in no order. Grid: (any, queries).
HIVE_DEVICE void select_collect_kernel(const SelectArgs& args) {
  const uint32_t q = block_y();
  SelectState& state = args.states[q];
  if (state.hits > 0) {
    const uint32_t* keys = args.keys + uint64_t{q} * args.positions;
    const uint32_t stride = grid_x() * kBlockThreads;
    for (uint32_t i = block_x() * kBlockThreads + thread_index(); i < args.positions;
         i += stride) {
      const uint32_t key = keys[i];
      // A settled prefix ends in zeros, so one comparison covers every digit.
      if (key == 0 || candidate_of(key, i) < state.prefix) continue;
      args.out[uint64_t{q} * args.k + atomic_add(&state.collected, 1)] = candidate_of(key, i);
    }
  }
  if (block_x() == 0 && thread_index() == 0) args.out_counts[q] = state.hits;
}

// After the collecting: tells the host. Grid: one block.
HIVE_DEVICE void select_done_kernel(const SelectArgs& args) {
  if (thread_index() != 0) return;
  if (args.out_scanned != nullptr) {
    *args.out_scanned = *reinterpret_cast<volatile unsigned long long*>(args.scanned);
    *args.scanned = 0;
  }
  fence_system();
  store_shared_state(args.flag, args.flag_value);
}

}  // namespace hive::gpu
