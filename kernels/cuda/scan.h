// K2: one pass over the rows for NQ queries, with exact values, fused with the threshold.
//
// A warp takes 32 rows of a tile, 4 G at a time; teams of 8 lanes read a row 128 bytes (f32) per
// load. Values are final when a row has been read, so what passes the threshold needs no second
// look. Bytes moved: each row once per group of NQ queries; for NQ = 8 the groups of a launch run
// side by side and share rows in the second-level cache.
#pragma once

#include "finish.h"

namespace hive::gpu {

// Queries up to this size are copied to shared memory.
inline constexpr uint32_t kSharedQueryBytes = 32 * 1024;
inline constexpr uint32_t kCancelEvery = 16;  // tiles between looks at the cancel word

template <uint32_t NQ>
struct ScanState {
  ThresholdState<NQ> thresholds;
  uint32_t word;
  uint32_t cancelled;
};

// Where the queries of this block are, after they were copied to shared memory if they fit.
template <uint32_t NQ>
HIVE_DEVICE const float* place_queries(const ScanArgs& args, float* shared, uint32_t first,
                                       uint32_t queries) {
  const float* source = args.queries != nullptr ? args.queries + uint64_t{first} * args.dim_padded
                                                : args.inline_queries;
  if (NQ * args.dim_padded * sizeof(float) > kSharedQueryBytes) return source;
  for (uint32_t i = thread_index(); i < queries * args.dim_padded; i += kBlockThreads) {
    shared[i] = source[i];
  }
  return shared;
}

// Sums of NQ queries against 4 G rows: G rows per lane's team.
template <class T, class Op, uint32_t NQ, uint32_t G, uint32_t U>
HIVE_DEVICE void accumulate(const ScanArgs& args, const unsigned char* data,
                            const uint32_t (&rows)[G], const float (&scales)[G],
                            const float* queries, uint32_t s, float (&sums)[NQ * G][4]) {
  const uint32_t vectors = args.row_bytes / kVectorBytes<T>;
#pragma unroll
  for (uint32_t i = 0; i < NQ * G; ++i) {
#pragma unroll
    for (uint32_t e = 0; e < 4; ++e) sums[i][e] = 0;
  }
  for (uint32_t first = 0; first < vectors; first += 8 * U) {
    typename T::Raw raw[U][G];
#pragma unroll
    for (uint32_t u = 0; u < U; ++u) {
      const uint32_t v = first + u * 8 + s;
#pragma unroll
      for (uint32_t g = 0; g < G; ++g) {
        raw[u][g] = v < vectors ? T::load(data + (rows[g] + v * kVectorBytes<T>)) : T::zero();
      }
    }
#pragma unroll
    for (uint32_t u = 0; u < U; ++u) {
      const uint32_t v = first + u * 8 + s;
      // Queries end with zeros up to a multiple of 8 vectors; past that nothing may be read.
      if (first + u * 8 >= vectors) break;
      float x[G][4];
#pragma unroll
      for (uint32_t g = 0; g < G; ++g) T::decode(raw[u][g], scales[g], x[g]);
#pragma unroll
      for (uint32_t q = 0; q < NQ; ++q) {
        const float4 y = *reinterpret_cast<const float4*>(queries + q * args.dim_padded + v * 4);
#pragma unroll
        for (uint32_t g = 0; g < G; ++g) {
          float(&sum)[4] = sums[q * G + g];
          sum[0] = Op::step(x[g][0], y.x, sum[0]);
          sum[1] = Op::step(x[g][1], y.y, sum[1]);
          sum[2] = Op::step(x[g][2], y.z, sum[2]);
          sum[3] = Op::step(x[g][3], y.w, sum[3]);
        }
      }
    }
  }
}

// Keys of one tile: lane (team, s) gets NQ keys, all of query s * V / G.
template <class T, class Op, uint32_t NQ, uint32_t G, uint32_t U>
HIVE_DEVICE void tile_keys(const ScanArgs& args, const SegmentRef& segment, uint32_t row0,
                           uint32_t word, const float* queries, float query_term,
                           uint32_t (&keys)[NQ]) {
  constexpr uint32_t kRows = 4 * G;
  constexpr uint32_t V = NQ * G / 8;
  const uint32_t lane = thread_index() % 32;
  const uint32_t team = lane / 8;
  const uint32_t s = lane % 8;
#pragma unroll
  for (uint32_t sub = 0; sub < 32 / kRows; ++sub) {
    const uint32_t mine = kRows == 32 ? word : (word >> (sub * kRows)) & ((1u << kRows) - 1);
    if (mine == 0) {
#pragma unroll
      for (uint32_t i = 0; i < V; ++i) keys[sub * V + i] = 0;
      continue;
    }
    uint32_t rows[G];  // bytes; a segment has less than 4 GiB
    float scales[G];
#pragma unroll
    for (uint32_t g = 0; g < G; ++g) {
      uint32_t row = row0 + sub * kRows + 4 * g + team;
      if (row >= segment.rows) row = segment.rows - 1;
      rows[g] = row * args.row_bytes;
      scales[g] = T::kScaled ? segment.scales[row] : 1.0f;
    }
    float inv_norms[V];
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) {
      const uint32_t local = sub * kRows + 4 * ((s * V + i) % G) + team;
      inv_norms[i] = args.metric == kCosine && ((word >> local) & 1u) != 0
                         ? segment.inv_norms[row0 + local]
                         : 0.0f;
    }
    float sums[NQ * G][4];
    accumulate<T, Op, NQ, G, U>(args, segment.data, rows, scales, queries, s, sums);
    float values[V];
    reduce_team<Op, NQ * G>(sums, s, values);
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) {
      const uint32_t local = sub * kRows + 4 * ((s * V + i) % G) + team;
      keys[sub * V + i] = ((word >> local) & 1u) != 0
                              ? finish_value(args.metric, values[i], inv_norms[i], query_term)
                              : 0;
    }
  }
}

// Greatest key per query of a warp, into the block's state.
template <uint32_t NQ>
HIVE_DEVICE void note_greatest(ThresholdState<NQ>& state, uint32_t best) {
  const uint32_t lane = thread_index() % 32;
#pragma unroll
  for (uint32_t mask = 16; mask >= (NQ == 1 ? 1u : 8u); mask /= 2) {
    const uint32_t other = shuffle_xor(best, static_cast<int>(mask));
    best = other > best ? other : best;
  }
  if (lane < NQ) state.greatest[lane][thread_index() / 32] = best;
}

template <class T, class Op, uint32_t NQ, uint32_t G, uint32_t U>
HIVE_DEVICE void scan_kernel(const ScanArgs& args) {
  static_assert(NQ == 1 || NQ == 8);
  constexpr uint32_t V = NQ * G / 8;
  static_assert(V <= G && G % V == 0 && 32 % (4 * G) == 0);
  auto& state = *reinterpret_cast<ScanState<NQ>*>(shared_memory());
  auto* shared = reinterpret_cast<float*>(shared_memory() + (sizeof(ScanState<NQ>) + 15) / 16 * 16);
  const uint32_t lane = thread_index() % 32;
  const uint32_t warp = thread_index() / 32;
  const uint32_t s = lane % 8;
  const uint32_t first_query = block_y() * NQ;
  const uint32_t left = args.query_count - first_query;
  const uint32_t count = left < NQ ? left : NQ;
  threshold_init(state.thresholds);
  // Behind the last query there is room for NQ of them, whatever it holds.
  const float* queries = place_queries<NQ>(args, shared, first_query, count);
  const uint32_t my_query = s * V / G;
  const bool active = my_query < count;
  const uint32_t q = first_query + (active ? my_query : 0);
  const float query_term = args.queries != nullptr ? args.query_terms[q] : args.inline_terms[q];
  block_barrier();
  uint32_t best = 0;
  uint32_t rows = 0;
  uint32_t step = 0;
  for (uint32_t tile = block_x(); tile < args.tile_count; tile += grid_x(), ++step) {
    const SegmentRef& segment = segment_of(args, tile);
    const uint32_t row0 = (tile - segment.first_tile) * kTileRows + warp * 32;
    const uint32_t word = rows_searched(segment, row0);
    rows += bit_count(word);
    uint32_t keys[NQ];
    tile_keys<T, Op, NQ, G, U>(args, segment, row0, word, queries, query_term, keys);
    const uint32_t position = tile * kTileRows + warp * 32 + lane / 8;
#pragma unroll
    for (uint32_t i = 0; i < NQ; ++i) {
      if (!active) keys[i] = 0;
      best = keys[i] > best ? keys[i] : best;
    }
    if (args.thresholds != 0 && publishes(step)) {
      note_greatest(state.thresholds, best);
      exchange(args, state.thresholds, step, first_query, count);
    }
    const uint32_t threshold = state.thresholds.threshold[my_query];
#pragma unroll
    for (uint32_t i = 0; i < NQ; ++i) {
      const uint32_t at = position + i / V * (4 * G) + 4 * ((s * V + i % V) % G);
      if (args.dense != 0) {
        if (active) args.keys[uint64_t{q} * args.tile_count * kTileRows + at] = keys[i];
      } else if (args.thresholds == 0) {
        if (active) {
          args.candidates[uint64_t{q} * args.capacity + at] =
              keys[i] == 0 ? 0
                           : static_cast<uint64_t>(keys[i]) << 32 | static_cast<uint32_t>(~at);
        }
      } else if (keys[i] != 0 && keys[i] >= threshold) {
        add_candidate(args, q, keys[i], at);
      }
    }
    if (step % kCancelEvery == kCancelEvery - 1) {
      block_barrier();
      if (thread_index() == 0) state.cancelled = load_shared_state(args.cancel);
      block_barrier();
      if (state.cancelled != 0) break;
    }
  }
  if (args.count_rows != 0 && block_y() == 0 && lane == 0 && rows != 0) {
    atomic_add(args.scanned, rows);
  }
  if (args.finish == 0) return;
  if (!arrives_last(args, grid_x() * grid_y(), &state.word)) return;
  auto& finish = *reinterpret_cast<FinishState*>(shared_memory());
  block_barrier();
  for (uint32_t i = 0; i < args.query_count; ++i) finish_query<T>(args, i, finish);
  finish_job(args, grid_y());
}

}  // namespace hive::gpu
