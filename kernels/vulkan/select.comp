// Selection: of a query's keys the k greatest, ties by place, in the order of places. One workgroup
// per query: a radix search over the bits of the keys finds the k-th greatest, then one ordered pass
// writes everything above it and as many of its equals as are still missing. Deterministic.
#version 460
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WORKGROUP = 1024;  // a power of two, at most 1024
layout(constant_id = 1) const uint SUBGROUP = 32;

#include "memory.glsl"

const uint kBins = 2048;
const uint kItems = 4;  // consecutive keys of an invocation

layout(push_constant) uniform Job {
  uvec2 keys;         // [query][key_stride]; 0 = no row
  uvec2 key_counts;   // [query] tiles that have keys; 0 = `count` keys for all
  uvec2 list;         // [query][list_stride] tile of every tile_rows keys; 0 = keys are in place
  uvec2 selected;     // out [query][k] places, or (key, place) pairs
  uvec2 counts;       // out [query], then, when there is a counter, its value
  uvec2 counter;      // rows searched; 0 = none
  uint key_stride;
  uint count;
  uint list_stride;
  uint tile_rows;
  uint k;
  uint pairs;         // 1: write pairs
} job;

shared uint s_bins[kBins];
shared uint s_parts[128];  // one word per subgroup
shared uint s_bin;
shared uint s_above;

// Exclusive sum over the workgroup in the order of tid; total for everybody.
uint exclusive_sum(uint x, out uint total) {
  const uint inclusive = subgroupInclusiveAdd(x);
  barrier();
  if (gl_SubgroupInvocationID == SUBGROUP - 1u) s_parts[gl_SubgroupID] = inclusive;
  barrier();
  uint before = 0u;
  total = 0u;
  for (uint i = 0u; i < WORKGROUP / SUBGROUP; ++i) {
    const uint part = s_parts[i];
    if (i < gl_SubgroupID) before += part;
    total += part;
  }
  return before + inclusive - x;
}

// Finds the bin, from the greatest down, in which the `need`-th key lies. False when there are fewer.
bool find_bin(uint tid, uint need) {
  const uint per = kBins / WORKGROUP;
  uint own = 0u;
  for (uint i = 0u; i < per; ++i) own += s_bins[kBins - 1u - (tid * per + i)];
  uint total;
  uint above = exclusive_sum(own, total);
  if (above < need && above + own >= need) {
    for (uint i = 0u; i < per; ++i) {
      const uint bin = kBins - 1u - (tid * per + i);
      if (above + s_bins[bin] >= need) {
        s_bin = bin;
        s_above = above;
        break;
      }
      above += s_bins[bin];
    }
  }
  barrier();
  return total >= need;
}

void main() {
  const uint tid = gl_SubgroupID * SUBGROUP + gl_SubgroupInvocationID;
  const uint query = gl_WorkGroupID.x;
  Words keys = Words(row_address(job.keys, query, job.key_stride * 4u));
  uint count = job.count;
  if (job.key_counts != uvec2(0)) count = Words(job.key_counts).v[query] * job.tile_rows;

  uint bound = 0u;
  uint mask = 0u;
  uint need = job.k;
  for (uint round = 0u; round < 3u; ++round) {
    const uint shift = round == 0u ? 21u : round == 1u ? 10u : 0u;
    const uint bins = round == 2u ? 1023u : 2047u;
    for (uint i = tid; i < kBins; i += WORKGROUP) s_bins[i] = 0u;
    barrier();
    for (uint i = tid; i < count; i += WORKGROUP) {
      const uint key = keys.v[i];
      if (key != 0u && (key & mask) == bound) atomicAdd(s_bins[(key >> shift) & bins], 1u);
    }
    barrier();
    if (!find_bin(tid, need)) {
      // Fewer rows than k: all of them.
      bound = 0u;
      need = 0u;
      break;
    }
    need -= s_above;
    bound |= s_bin << shift;
    mask |= bins << shift;
    barrier();
  }

  uint written = 0u;
  uint equals_before = 0u;
  for (uint base = 0u; base < count; base += WORKGROUP * kItems) {
    uint key[kItems];
    uint above = 0u;
    uint equal = 0u;
    for (uint c = 0u; c < kItems; ++c) {
      const uint i = base + tid * kItems + c;
      key[c] = i < count ? keys.v[i] : 0u;
      if (key[c] > bound) ++above;
      else if (key[c] == bound) ++equal;
    }
    // Both sums in one: at most WORKGROUP * kItems of each.
    uint totals;
    const uint before = exclusive_sum(above << 16 | equal, totals);
    uint at = written + (before >> 16);
    uint equals = equals_before + (before & 0xffffu);
    for (uint c = 0u; c < kItems; ++c) {
      const bool tie = key[c] == bound;
      if (key[c] > bound || (tie && equals < need)) {
        const uint i = base + tid * kItems + c;
        uint place = i;
        if (job.list != uvec2(0)) {
          const uint tile = Words(job.list).v[query * job.list_stride + i / job.tile_rows];
          place = tile * job.tile_rows + i % job.tile_rows;
        }
        const uint to = query * job.k + at + min(equals, need);
        if (job.pairs != 0u) OutPairs(job.selected).v[to] = uvec2(key[c], place);
        else OutWords(job.selected).v[to] = place;
      }
      if (key[c] > bound) ++at;
      else if (tie) ++equals;
    }
    written += totals >> 16;
    equals_before += totals & 0xffffu;
  }
  if (tid != 0u) return;
  OutWords(job.counts).v[query] = written + min(equals_before, need);
  if (query == 0u && job.counter != uvec2(0)) {
    OutWords(job.counts).v[gl_NumWorkGroups.x] = Words(job.counter).v[0];
  }
}
