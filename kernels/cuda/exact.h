// The value of a (query, row) pair as hive_backend.h defines it, computed by teams of 8 lanes.
// Lane s of a team takes elements 32 c + 4 s + {0..3}: it holds virtual lanes 4 s + {0..3}, so the
// first three levels of the tree are exchanges between lanes and the last two stay in one lane.
#pragma once

#include "rows.h"

namespace hive::gpu {

inline constexpr uint32_t kCosine = 0, kDot = 1, kL2 = 2, kL1 = 3, kLinf = 4;  // hive_metrics.def

struct SumProducts {
  static HIVE_DEVICE float step(float x, float y, float sum) { return fused(x, y, sum); }
  static HIVE_DEVICE float join(float a, float b) { return a + b; }
};
struct SumSquares {
  static HIVE_DEVICE float step(float x, float y, float sum) {
    const float d = x - y;
    return fused(d, d, sum);
  }
  static HIVE_DEVICE float join(float a, float b) { return a + b; }
};
struct SumAbsolute {
  static HIVE_DEVICE float step(float x, float y, float sum) { return sum + fabsf(x - y); }
  static HIVE_DEVICE float join(float a, float b) { return a + b; }
};
struct MaxAbsolute {
  static HIVE_DEVICE float step(float x, float y, float most) { return fmaxf(most, fabsf(x - y)); }
  static HIVE_DEVICE float join(float a, float b) { return fmaxf(a, b); }
};

// Closeness as a key: greater is closer, never 0.
HIVE_DEVICE uint32_t key_of(float closeness) {
  const uint32_t bits = bits_of(closeness);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
HIVE_DEVICE float closeness_of(uint32_t key) {
  return float_of((key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key);
}

// The key of a finished sum.
HIVE_DEVICE uint32_t finish_value(uint32_t metric, float sum, float inv_norm,
                                  float query_inv_norm) {
  if (metric == kCosine) return key_of((sum * inv_norm) * query_inv_norm + 0.0f);
  if (metric == kDot) return key_of(sum + 0.0f);
  return key_of(-(sum + 0.0f));
}

// One level of the tree for N sums at once: the lanes that differ in `mask` hand each other the
// halves they do not keep, so N shrinks to N / 2 and no exchange is wasted.
template <class Op, uint32_t N>
HIVE_DEVICE void halve(float (&sums)[N][4], uint32_t mask, bool upper) {
#pragma unroll
  for (uint32_t i = 0; i < N / 2; ++i) {
#pragma unroll
    for (uint32_t e = 0; e < 4; ++e) {
      const float low = sums[i][e];
      const float high = sums[i + N / 2][e];
      const float got = shuffle_xor(upper ? low : high, static_cast<int>(mask));
      sums[i][e] = Op::join(upper ? high : low, got);
    }
  }
}

// N sums per lane of a team become N / 8 finished ones: lane s ends with sums s * N / 8 + i.
template <class Op, uint32_t N>
HIVE_DEVICE void reduce_team(float (&sums)[N][4], uint32_t s, float (&out)[N / 8]) {
  static_assert(N % 8 == 0);
  halve<Op, N>(sums, 4, (s & 4u) != 0);
  halve<Op, N / 2>(reinterpret_cast<float(&)[N / 2][4]>(sums), 2, (s & 2u) != 0);
  halve<Op, N / 4>(reinterpret_cast<float(&)[N / 4][4]>(sums), 1, (s & 1u) != 0);
#pragma unroll
  for (uint32_t i = 0; i < N / 8; ++i) {
    const float even = Op::join(sums[i][0], sums[i][2]);
    const float odd = Op::join(sums[i][1], sums[i][3]);
    out[i] = Op::join(even, odd);
  }
}

// One row against one query by one team; every lane of it gets the sum.
template <class T, class Op>
HIVE_DEVICE float team_sum(const unsigned char* row, float scale, uint32_t row_bytes,
                           const float* query, uint32_t s) {
  float sum[4] = {0, 0, 0, 0};
  const uint32_t vectors = row_bytes / kVectorBytes<T>;
  for (uint32_t v = s; v < vectors; v += 8) {
    float x[4];
    T::decode(T::load(row + v * kVectorBytes<T>), scale, x);
#pragma unroll
    for (uint32_t e = 0; e < 4; ++e) sum[e] = Op::step(x[e], query[v * 4 + e], sum[e]);
  }
#pragma unroll
  for (uint32_t mask = 4; mask > 0; mask /= 2) {
#pragma unroll
    for (uint32_t e = 0; e < 4; ++e) {
      sum[e] = Op::join(sum[e], shuffle_xor(sum[e], static_cast<int>(mask)));
    }
  }
  return Op::join(Op::join(sum[0], sum[2]), Op::join(sum[1], sum[3]));
}

}  // namespace hive::gpu
