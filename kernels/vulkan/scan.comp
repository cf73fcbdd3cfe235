// Scan of rows: the exact value of every (query, row) pair, and of those
//   LISTED = false  the key of the closest row of each tile, for each query
//   LISTED = true   the keys of all rows of the tiles that a list names, query by query
// Eight invocations share a row: invocation t holds lanes 4t .. 4t+3 of the 32 virtual lanes, so a
// step reads 128 bytes of f32 side by side and the sums are those of the definition; there is no
// cheaper first pass to correct. A workgroup of 256 takes 32 rows x ROWS at a time, each invocation
// with ROWS x QUERIES pairs, and joins lanes in a butterfly that halves the pairs at each level.
#version 460
#extension GL_GOOGLE_include_directive : require

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint METRIC = 0;
layout(constant_id = 1) const uint DTYPE = 0;
layout(constant_id = 2) const uint STEPS = 0;       // 32-element steps of a row; 0: from the job
layout(constant_id = 3) const bool WHOLE = false;   // dim is a multiple of 32
layout(constant_id = 4) const uint SUBGROUP = 32;   // 8, 16, 32 or 64
layout(constant_id = 5) const bool LISTED = false;

#include "memory.glsl"
#include "decode.glsl"
#include "metric.glsl"

#ifndef QUERIES
#define QUERIES 1
#endif
#define ROWS 4
#define PAIRS (QUERIES * ROWS)

const uint kGroups = 32;        // rows side by side: one word of a bitset
const uint kChunk = 32;         // steps of the queries that are kept in shared memory
const uint kCountRows = 1u;     // flag

struct Segment {
  uvec2 data;
  uvec2 inv_norms;
  uvec2 scales;
  uvec2 live;
  uvec2 filter_bits;
  uint live_count;
  uint filter_count;
  uint row_count;
  uint first_tile;
  uvec2 reserved;
};
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Segments { Segment v[]; };

layout(push_constant) uniform Job {
  uvec2 segments;
  uvec2 queries;      // [query][steps * 8] vec4, padded with zeros
  uvec2 query_norms;  // [query], cosine
  uvec2 list;         // LISTED: [query][stride] tiles; 0 = tile i is i
  uvec2 list_counts;  // LISTED: [query]; 0 = stride for all
  uvec2 keys;         // out [query][stride], LISTED: [query][stride][tile_rows]
  uvec2 counter;      // rows whose bits are set
  uint segment_count;
  uint tile_rows;
  uint blocks;        // 4-element blocks of a stored row
  uint steps;
  uint query_count;
  uint groups;        // query groups that a workgroup takes one after the other
  uint query_blocks;  // workgroups per tile
  uint stride;
  uint total;         // workgroups that have work
  uint flags;
} job;

shared vec4 s_query[QUERIES * kChunk * 8];
shared uint s_best[QUERIES];

uint step_count() { return STEPS == 0u ? job.steps : STEPS; }

Segment find_segment(uint tile) {
  Segments all = Segments(job.segments);
  uint low = 0u;
  uint high = job.segment_count;
  while (high - low > 1u) {
    const uint middle = (low + high) / 2u;
    if (all.v[middle].first_tile <= tile) low = middle;
    else high = middle;
  }
  return all.v[low];
}

// 32 bits of a bitset; slots past its end count as set.
uint bits_at(uvec2 words, uint count, uint slot) {
  if (slot >= count) return 0xffffffffu;
  const uint word = Words(words).v[slot >> 5];
  const uint known = count - slot;
  return known < 32u ? word | (0xffffffffu << known) : word;
}

uint alive_at(Segment s, uint slot) {
  if (slot >= s.row_count) return 0u;
  const uint rows = s.row_count - slot;
  const uint all = rows < 32u ? (1u << rows) - 1u : 0xffffffffu;
  return all & bits_at(s.live, s.live_count, slot) & bits_at(s.filter_bits, s.filter_count, slot);
}

void load_queries(uint tid, uint first, uint step, uint steps) {
  const uint per_query = min(kChunk, steps - step) * 8u;
  Vec4s from = Vec4s(job.queries);
  for (uint i = tid; i < QUERIES * per_query; i += 256u) {
    const uint q = i / per_query;
    const uint block = i % per_query;
    vec4 x = vec4(0);
    if (first + q < job.query_count) x = from.v[(first + q) * steps * 8u + step * 8u + block];
    s_query[q * (kChunk * 8u) + block] = x;
  }
}

// Adds steps [step, step + count) of the rows to the lanes.
void add_steps(inout vec4 lanes[PAIRS], uvec2 rows[ROWS], float scales[ROWS], uint t, uint step,
               uint count) {
  [[unroll]] for (uint s = 0u; s < count; ++s) {
    const uint block = (step + s) * 8u + t;
    vec4 x[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; ++r) {
      x[r] = vec4(0);
      if (WHOLE || block < job.blocks) x[r] = load4(rows[r], block, scales[r]);
    }
    [[unroll]] for (uint q = 0u; q < QUERIES; ++q) {
      const vec4 y = s_query[q * (kChunk * 8u) + s * 8u + t];
      [[unroll]] for (uint r = 0u; r < ROWS; ++r) {
        lanes[q * ROWS + r] = accumulate(lanes[q * ROWS + r], x[r], y);
      }
    }
  }
}

#if QUERIES == 4
#define RESULTS 2
#else
#define RESULTS 1
#endif

// Joins the lanes of eight invocations. Afterwards invocation t holds the sums of RESULTS pairs.
void join_lanes(vec4 lanes[PAIRS], uint t, out float sums[RESULTS]) {
  vec4 half_of[PAIRS / 2];
  const bool up4 = (t & 4u) != 0u;
  [[unroll]] for (uint i = 0u; i < PAIRS / 2; ++i) {
    const vec4 keep = up4 ? lanes[i + PAIRS / 2] : lanes[i];
    const vec4 give = up4 ? lanes[i] : lanes[i + PAIRS / 2];
    half_of[i] = join(keep, subgroupShuffleXor(give, 4u));
  }
  vec4 quarter[PAIRS / 4];
  const bool up2 = (t & 2u) != 0u;
  [[unroll]] for (uint i = 0u; i < PAIRS / 4; ++i) {
    const vec4 keep = up2 ? half_of[i + PAIRS / 4] : half_of[i];
    const vec4 give = up2 ? half_of[i] : half_of[i + PAIRS / 4];
    quarter[i] = join(keep, subgroupShuffleXor(give, 2u));
  }
#if QUERIES == 4
  const bool up1 = (t & 1u) != 0u;
  [[unroll]] for (uint i = 0u; i < 2u; ++i) {
    const vec4 keep = up1 ? quarter[i + 2u] : quarter[i];
    const vec4 give = up1 ? quarter[i] : quarter[i + 2u];
    sums[i] = join_last(join(keep, subgroupShuffleXor(give, 1u)));
  }
#else
  sums[0] = join_last(join(quarter[0], subgroupShuffleXor(quarter[0], 1u)));
#endif
}

void scan_tile(Segment s, uint first_row, uint first_query, uint tid, uint out_base) {
  const uint t = tid & 7u;
  const uint group = tid >> 3;
  const uint steps = step_count();
#if QUERIES == 4
  const uint my_query = t >> 1;
  const uint my_row = (t & 1u) * 2u;
#else
  const uint my_query = 0u;
  const uint my_row = t >> 1;
#endif
  const uint row_bytes = job.blocks * (DTYPE == kF32 ? 16u : DTYPE == kI8 ? 4u : 8u);
  float query_norm = 1.0;
  if (METRIC == kCosine && first_query + my_query < job.query_count) {
    query_norm = Floats(job.query_norms).v[first_query + my_query];
  }
  if (steps <= kChunk) {
    load_queries(tid, first_query, 0u, steps);
    barrier();
  }
  uint best = 0u;
  for (uint base = 0u; base < job.tile_rows; base += kGroups * ROWS) {
    uint alive[ROWS];
    uint any = 0u;
    uvec2 rows[ROWS];
    float scales[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; ++r) {
      const uint word_row = first_row + base + r * kGroups;
      alive[r] = alive_at(s, word_row);
      any |= alive[r];
      // A row that is not searched reads row 0 instead, which stays in the cache.
      const uint row = ((alive[r] >> group) & 1u) != 0u ? word_row + group : 0u;
      rows[r] = row_address(s.data, row, row_bytes);
      scales[r] = DTYPE == kI8 ? Floats(s.scales).v[row] : 1.0;
    }
    if (any == 0u && !LISTED) continue;
    vec4 lanes[PAIRS];
    [[unroll]] for (uint p = 0u; p < PAIRS; ++p) lanes[p] = vec4(0);
    if (any != 0u) {
      for (uint step = 0u; step < steps; step += kChunk) {
        if (steps > kChunk) {
          barrier();
          load_queries(tid, first_query, step, steps);
          barrier();
        }
        add_steps(lanes, rows, scales, t, step, min(kChunk, steps - step));
      }
    }
    float sums[RESULTS];
    join_lanes(lanes, t, sums);
    [[unroll]] for (uint i = 0u; i < RESULTS; ++i) {
      const uint r = my_row + i;
      const uint word = r == 0u ? alive[0] : r == 1u ? alive[1] : r == 2u ? alive[2] : alive[3];
      uint key = 0u;
      if (((word >> group) & 1u) != 0u) {
        precise float value = sums[i];
        if (METRIC == kCosine) {
          const uint row = first_row + base + r * kGroups + group;
          precise const float scaled = sums[i] * Floats(s.inv_norms).v[row];
          value = scaled * query_norm;
        }
        key = key_of(value);
      }
      if (LISTED) {
        // Two invocations hold the same pair of a single query.
        if ((t & 1u) == 0u) OutWords(job.keys).v[out_base + base + r * kGroups + group] = key;
      } else {
        best = max(best, key);
      }
    }
  }
  if (LISTED) return;
  best = max(best, subgroupShuffleXor(best, 1u));
#if QUERIES == 1
  best = max(best, subgroupShuffleXor(best, 2u));
  best = max(best, subgroupShuffleXor(best, 4u));
#endif
  [[unroll]] for (uint other = 8u; other < SUBGROUP; other *= 2u) {
    best = max(best, subgroupShuffleXor(best, other));
  }
  if (tid < QUERIES) s_best[tid] = 0u;
  barrier();
  const bool speaks = gl_SubgroupInvocationID < 8u && (t & 1u) == 0u && (QUERIES > 1 || t == 0u);
  if (speaks) atomicMax(s_best[my_query], best);
  barrier();
  if (tid < QUERIES && first_query + tid < job.query_count) {
    OutWords(job.keys).v[(first_query + tid) * job.stride + out_base] = s_best[tid];
  }
}

void count_rows(Segment s, uint first_row, uint tid) {
  if (tid != 0u) return;
  uint rows = 0u;
  for (uint base = 0u; base < job.tile_rows; base += 32u) {
    rows += uint(bitCount(alive_at(s, first_row + base)));
  }
  if (rows != 0u) atomicAdd(Counter(job.counter).value, rows);
}

void main() {
  const uint tid = gl_SubgroupID * SUBGROUP + gl_SubgroupInvocationID;
  const uint id = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  if (id >= job.total) return;
  uint tile;
  uint query = 0u;
  if (LISTED) {
    query = id / job.stride;
    const uint place = id % job.stride;
    tile = place;
    if (job.list_counts != uvec2(0)) {
      if (place >= Words(job.list_counts).v[query]) return;
      tile = Words(job.list).v[id];
    }
  } else {
    tile = id / job.query_blocks;
  }
  const Segment s = find_segment(tile);
  const uint first_row = (tile - s.first_tile) * job.tile_rows;
  if (LISTED) {
    if ((job.flags & kCountRows) != 0u && query == 0u) count_rows(s, first_row, tid);
    scan_tile(s, first_row, query, tid, id * job.tile_rows);
    return;
  }
  const uint block = id % job.query_blocks;
  if (block == 0u) count_rows(s, first_row, tid);
  for (uint g = 0u; g < job.groups; ++g) {
    const uint first_query = (block * job.groups + g) * QUERIES;
    if (first_query >= job.query_count) break;
    // The queries of the group before are still being read.
    if (g > 0u) barrier();
    scan_tile(s, first_row, first_query, tid, tile);
  }
}
