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

struct ScanState {
  uint32_t word;
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

// 4 G rows of a warp's 32 rows of a tile. Units without a searched row are passed over.
struct Unit {
  uint32_t tile;
  uint32_t segment;  // index in the table
  uint32_t part;     // which 4 G of the 32 rows
  uint32_t word;     // searched rows of the 32
};

template <uint32_t G>
HIVE_DEVICE uint32_t unit_rows(const Unit& unit) {
  return G == 8 ? unit.word : (unit.word >> (unit.part * 4 * G)) & ((1u << (4 * G % 32)) - 1);
}

// Moves to the next unit; false at the end. Everything searched in the tiles entered is added to
// *rows.
template <uint32_t G>
HIVE_DEVICE bool next_unit(const ScanArgs& args, uint32_t warp, Unit* unit, uint32_t* rows) {
  constexpr uint32_t kParts = 8 / G;
  const SegmentRef* table = args.table != nullptr ? args.table : args.inline_segments;
  // Without thresholds every position gets a key, be it "no row".
  const bool all = args.thresholds == 0;
  for (;;) {
    if (++unit->part == kParts) {
      unit->part = 0;
      unit->tile += grid_x();
      if (unit->tile >= args.tile_count) return false;
      while (unit->segment + 1 < args.segment_count &&
             table[unit->segment + 1].first_tile <= unit->tile) {
        ++unit->segment;
      }
      const SegmentRef& segment = table[unit->segment];
      const uint32_t row0 = (unit->tile - segment.first_tile) * kTileRows + warp * 32;
      unit->word = rows_searched(segment, row0);
      *rows += bit_count(unit->word);
    }
    if (all || unit_rows<G>(*unit) != 0) return true;
  }
}

// First row of a unit within its segment.
template <uint32_t G>
HIVE_DEVICE uint32_t first_row(const Unit& unit, const SegmentRef& segment, uint32_t warp) {
  return (unit.tile - segment.first_tile) * kTileRows + warp * 32 + unit.part * 4 * G;
}

// The loads of one stage: U vectors of four elements of G rows per lane.
template <class T, uint32_t G, uint32_t U>
HIVE_DEVICE void load_stage(const ScanArgs& args, const SegmentRef& segment, uint32_t row0,
                            uint32_t first, typename T::Raw (&raw)[U][G]) {
  const uint32_t team = thread_index() % 32 / 8;
  const uint32_t vectors = args.row_bytes / kVectorBytes<T>;
  const uint32_t last = segment.rows - 1;
#pragma unroll
  for (uint32_t g = 0; g < G; ++g) {
    uint32_t row = row0 + 4 * g + team;
    row = row < last ? row : last;
    const unsigned char* data = segment.data + row * args.row_bytes;
#pragma unroll
    for (uint32_t u = 0; u < U; ++u) {
      const uint32_t v = first + u * 8 + thread_index() % 8;
      raw[u][g] = v < vectors ? T::load(data + v * kVectorBytes<T>) : T::zero();
    }
  }
}

template <class T, class Op, uint32_t NQ, uint32_t G, uint32_t U>
HIVE_DEVICE void add_stage(const ScanArgs& args, const typename T::Raw (&raw)[U][G],
                           const float (&scales)[G], const float* queries, uint32_t first,
                           float (&sums)[NQ * G][4]) {
  const uint32_t vectors = args.row_bytes / kVectorBytes<T>;
#pragma unroll
  for (uint32_t u = 0; u < U; ++u) {
    // Queries end with zeros up to a multiple of 8 vectors; past that nothing may be read.
    if (first + u * 8 >= vectors) break;
    const uint32_t v = first + u * 8 + thread_index() % 8;
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

// A warp's part in the threshold of its queries: lane s has query s (NQ = 8) or the only one.
template <uint32_t NQ>
struct Watch {
  uint32_t first_query;
  uint32_t count;
  uint32_t query;      // of this lane
  bool active;         // this lane has a query
  uint32_t best;       // greatest key so far
  uint32_t threshold;  // as known

  HIVE_DEVICE void publish(const ScanArgs& args, uint32_t warp) {
    const uint32_t lane = thread_index() % 32;
    uint32_t most = active ? best : 0;
#pragma unroll
    for (uint32_t mask = 16; mask >= (NQ == 1 ? 1u : 8u); mask /= 2) {
      const uint32_t other = shuffle_xor(most, static_cast<int>(mask));
      most = other > most ? other : most;
    }
    if (lane < NQ && active && most != 0) atomic_max(maximum_of(args, query, warp), most);
  }

  // Looks for the threshold of one query and makes it known.
  HIVE_DEVICE void find(const ScanArgs& args, uint32_t q, uint32_t enough) {
    const uint32_t lane = thread_index() % 32;
    uint32_t found = 0;
    for (uint32_t tries = 0; tries < 32; ++tries) {
      uint32_t there = 0;
      found = find_threshold(args, q, lane, &there);
      if (there >= enough) break;
      pause();
    }
    if (lane == 0 && found != 0) atomic_max(args.thresholds_found + q, found);
    if (query == q && found > threshold) threshold = found;
  }

  // Where no threshold is known yet, by whatever has been published.
  HIVE_DEVICE void find_missing(const ScanArgs& args) {
    for (uint32_t i = 0; i < count; ++i) {
      const bool missing = query == first_query + i && threshold == 0;
      if (ballot(missing) != 0) find(args, first_query + i, 0);
    }
  }

  // Appends the candidates of the lanes that have one: one atomic for all lanes of a query.
  HIVE_DEVICE void add(const ScanArgs& args, bool passes, uint32_t key, uint32_t position) {
    const uint32_t lane = thread_index() % 32;
    const uint32_t peers = ballot(passes) & (NQ == 1 ? 0xffffffffu : 0x01010101u << (lane % 8));
    const uint32_t leader = peers != 0 ? lowest_bit(peers) : 0;
    uint32_t at = 0;
    if (passes && lane == leader) {
      const uint32_t have = load_shared_state(args.counts + query);
      // Once there are too many, counting on would only make the rest wait.
      at = have > args.capacity ? have : atomic_add(args.counts + query, bit_count(peers));
    }
    at = shuffle_from(at, leader) + bit_count(peers & ((1u << lane) - 1));
    if (passes && at < args.capacity) {
      args.candidates[uint64_t{query} * args.capacity + at] =
          static_cast<uint64_t>(key) << 32 | static_cast<uint32_t>(~position);
    }
  }

  HIVE_DEVICE uint32_t look(const ScanArgs& args) const {
    return load_shared_state(args.thresholds_found + query);
  }
};

// The warp that looks for thresholds after the n-th publication, another one each time.
HIVE_DEVICE bool searches_threshold(uint32_t n) { return block_x() == (n * 41 + 1) % grid_x(); }

template <class T, class Op, uint32_t NQ, uint32_t G, uint32_t U>
HIVE_DEVICE void scan_units(const ScanArgs& args, const float* queries, Watch<NQ>& watch,
                            uint32_t* rows_total) {
  constexpr uint32_t V = NQ * G / 8;  // keys per lane and unit, all of one query
  const uint32_t lane = thread_index() % 32;
  const uint32_t warp = thread_index() / 32;
  const uint32_t team = lane / 8;
  const uint32_t s = lane % 8;
  const uint32_t vectors = args.row_bytes / kVectorBytes<T>;
  const SegmentRef* table = args.table != nullptr ? args.table : args.inline_segments;
  const float query_term =
      args.queries != nullptr ? args.query_terms[watch.query] : args.inline_terms[watch.query];
  uint32_t rows = 0;
  Unit unit{block_x() - grid_x(), 0, 8 / G - 1, 0};
  bool going = next_unit<G>(args, warp, &unit, &rows);
  typename T::Raw next[U][G];
  if (going) {
    const SegmentRef& segment = table[unit.segment];
    load_stage<T, G, U>(args, segment, first_row<G>(unit, segment, warp), 0, next);
  }
  uint32_t pending[V];
  uint32_t pending_at = 0;
  uint32_t published = 0;
#pragma unroll
  for (uint32_t i = 0; i < V; ++i) pending[i] = 0;
  const auto keep = [&] {
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) {
      const bool passes = pending[i] != 0 && pending[i] >= watch.threshold;
      if (ballot(passes) == 0) continue;
      watch.add(args, passes, pending[i], pending_at + 4 * ((s * V + i) % G));
    }
  };
  for (uint32_t done = 0; going; ++done) {
    const Unit now = unit;
    const SegmentRef& segment = table[now.segment];
    const uint32_t row0 = first_row<G>(now, segment, warp);
    const uint32_t mask = unit_rows<G>(now);
    const uint32_t seen = args.thresholds != 0 ? watch.look(args) : 0;
    const bool look = done % kCancelEvery == kCancelEvery - 1;
    const bool cancelled = look && load_shared_state(args.cancel) == args.sequence;
    float scales[G];
#pragma unroll
    for (uint32_t g = 0; g < G; ++g) {
      const uint32_t row = row0 + 4 * g + team;
      scales[g] = !T::kScaled ? 1.0f : row < segment.rows ? segment.scales[row] : 0.0f;
    }
    float inv_norms[V];
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) {
      const uint32_t local = 4 * ((s * V + i) % G) + team;
      inv_norms[i] = args.metric == kCosine && ((mask >> local) & 1u) != 0
                         ? segment.inv_norms[row0 + local]
                         : 0.0f;
    }
    going = next_unit<G>(args, warp, &unit, &rows);
    float sums[NQ * G][4];
#pragma unroll
    for (uint32_t i = 0; i < NQ * G; ++i) {
#pragma unroll
      for (uint32_t e = 0; e < 4; ++e) sums[i][e] = 0;
    }
    for (uint32_t first = 0; first < vectors; first += 8 * U) {
      typename T::Raw raw[U][G];
#pragma unroll
      for (uint32_t u = 0; u < U; ++u) {
#pragma unroll
        for (uint32_t g = 0; g < G; ++g) raw[u][g] = next[u][g];
      }
      // The next stage, be it of the next unit, is on its way while this one is added.
      if (first + 8 * U < vectors) {
        load_stage<T, G, U>(args, segment, row0, first + 8 * U, next);
      } else if (going) {
        const SegmentRef& after = table[unit.segment];
        load_stage<T, G, U>(args, after, first_row<G>(unit, after, warp), 0, next);
      }
      add_stage<T, Op, NQ, G, U>(args, raw, scales, queries, first, sums);
    }
    float values[V];
    reduce_team<Op, NQ * G>(sums, s, values);
    uint32_t keys[V];
    const uint32_t at = now.tile * kTileRows + warp * 32 + now.part * 4 * G + team;
#pragma unroll
    for (uint32_t i = 0; i < V; ++i) {
      const uint32_t local = 4 * ((s * V + i) % G) + team;
      keys[i] = watch.active && ((mask >> local) & 1u) != 0
                    ? finish_value(args.metric, values[i], inv_norms[i], query_term)
                    : 0;
      watch.best = keys[i] > watch.best ? keys[i] : watch.best;
    }
    if (args.thresholds == 0) {
#pragma unroll
      for (uint32_t i = 0; i < V; ++i) {
        const uint32_t position = at + 4 * ((s * V + i) % G);
        if (!watch.active) continue;
        if (args.dense != 0) {
          args.keys[uint64_t{watch.query} * args.tile_count * kTileRows + position] = keys[i];
        } else {
          const uint64_t key = static_cast<uint64_t>(keys[i]) << 32;
          args.candidates[uint64_t{watch.query} * args.capacity + position] =
              key == 0 ? 0 : key | static_cast<uint32_t>(~position);
        }
      }
    } else {
      if (seen > watch.threshold) watch.threshold = seen;
      // A unit is judged one unit later: by then the first maxima of the others are there.
      if (done > 0) {
        watch.find_missing(args);
        keep();
      }
#pragma unroll
      for (uint32_t i = 0; i < V; ++i) pending[i] = keys[i];
      pending_at = at;
      const uint32_t units = done + 1;
      if ((units & (units - 1)) == 0) {
        watch.publish(args, warp);
        const uint32_t enough = published == 0 ? args.maxima_count * 3 / 4 : 0;
        if (searches_threshold(published)) {
          if (NQ == 1 ? warp == published % kWarps : warp < watch.count) {
            watch.find(args, watch.first_query + (NQ == 1 ? 0 : warp), enough);
          }
        }
        ++published;
      }
    }
    if (ballot(cancelled) != 0) break;
  }
  if (args.thresholds != 0) {
    watch.publish(args, warp);
    const uint32_t seen = watch.look(args);
    if (seen > watch.threshold) watch.threshold = seen;
    watch.find_missing(args);
    keep();
  }
  *rows_total = rows;
}

template <class T, class Op, uint32_t NQ, uint32_t G, uint32_t U>
HIVE_DEVICE void scan_kernel(const ScanArgs& args) {
  static_assert(NQ == 1 || NQ == 8);
  constexpr uint32_t V = NQ * G / 8;
  static_assert(V <= G && G % V == 0 && 8 % G == 0);
  auto& state = *reinterpret_cast<ScanState*>(shared_memory());
  auto* shared = reinterpret_cast<float*>(shared_memory() + 16);
  const uint32_t lane = thread_index() % 32;
  const uint32_t first_query = block_y() * NQ;
  const uint32_t left = args.query_count - first_query;
  Watch<NQ> watch{};
  watch.first_query = first_query;
  watch.count = left < NQ ? left : NQ;
  const uint32_t mine = lane % 8 * V / G;
  watch.active = mine < watch.count;
  watch.query = first_query + (watch.active ? mine : 0);
  // Behind the last query there is room for NQ of them, whatever it holds.
  const float* queries = place_queries<NQ>(args, shared, first_query, watch.count);
  block_barrier();
  uint32_t rows = 0;
  scan_units<T, Op, NQ, G, U>(args, queries, watch, &rows);
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
