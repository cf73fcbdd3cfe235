// The oracle of the conformance suite: what hive_backend.h says about values and order, written
// down once more in the plainest way. It shares no code with the kernels on purpose, so that a
// mistake in one of the two shows as a difference.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "hive_backend.h"

namespace hive::test::oracle {

// ---- decoding, by the comment of hive_dtypes.def -------------------------------------------

// IEEE 754 binary16, by its definition: sign, five bits of exponent, ten bits of fraction.
inline float from_f16(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24)
                                         : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>((bits & 0x8000) != 0 ? -magnitude : magnitude);
}

// bfloat16 is the upper half of a binary32.
inline float from_bf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float out;
  std::memcpy(&out, &wide, sizeof out);
  return out;
}

inline float from_i8(int8_t element, float row_scale) {
  return static_cast<float>(element) * row_scale;
}

// ---- values --------------------------------------------------------------------------------

// Inlined into two functions, so that std::fma is one instruction where the processor has it. The
// result is the same either way: std::fma rounds once by definition.
template <uint32_t Metric>
[[gnu::always_inline]] inline float lanes_value(const float* x, const float* y, uint32_t dim) {
  float lane[32] = {};
  for (uint32_t base = 0; base < dim; base += 32) {
    const uint32_t width = dim - base < 32 ? dim - base : 32;
    for (uint32_t j = 0; j < width; ++j) {
      const float a = x[base + j];
      const float b = y[base + j];
      const float difference = a - b;
      if constexpr (Metric == HIVE_METRIC_L2) {
        lane[j] = std::fma(difference, difference, lane[j]);
      } else if constexpr (Metric == HIVE_METRIC_L1) {
        lane[j] = lane[j] + std::fabs(difference);
      } else if constexpr (Metric == HIVE_METRIC_LINF) {
        lane[j] = std::max(lane[j], std::fabs(difference));
      } else {
        lane[j] = std::fma(a, b, lane[j]);
      }
    }
  }
  for (uint32_t w : {16u, 8u, 4u, 2u, 1u}) {
    for (uint32_t j = 0; j < w; ++j) {
      lane[j] = Metric == HIVE_METRIC_LINF ? std::max(lane[j], lane[j + w]) : lane[j] + lane[j + w];
    }
  }
  return lane[0];
}

[[gnu::always_inline]] inline float raw_value(uint32_t metric, const float* x, const float* y,
                                              uint32_t dim) {
  switch (metric) {
    case HIVE_METRIC_L2:
      return lanes_value<HIVE_METRIC_L2>(x, y, dim);
    case HIVE_METRIC_L1:
      return lanes_value<HIVE_METRIC_L1>(x, y, dim);
    case HIVE_METRIC_LINF:
      return lanes_value<HIVE_METRIC_LINF>(x, y, dim);
    default:
      return lanes_value<HIVE_METRIC_DOT>(x, y, dim);
  }
}

inline float raw_value_plain(uint32_t metric, const float* x, const float* y, uint32_t dim) {
  return raw_value(metric, x, y, dim);
}

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] inline float raw_value_fma(uint32_t metric, const float* x,
                                                       const float* y, uint32_t dim) {
  return raw_value(metric, x, y, dim);
}
inline bool has_fma() {
  static const bool has = __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2");
  return has;
}
#endif

// x is the decoded row, y the query.
inline float value(uint32_t metric, const float* x, const float* y, uint32_t dim,
                   float row_inv_norm, float query_inv_norm) {
#if defined(__x86_64__)
  float v = has_fma() ? raw_value_fma(metric, x, y, dim) : raw_value_plain(metric, x, y, dim);
#else
  float v = raw_value_plain(metric, x, y, dim);
#endif
  if (metric == HIVE_METRIC_COSINE) {
    v = v * row_inv_norm;
    v = v * query_inv_norm;
  }
  return v == 0.0f ? 0.0f : v;
}

// The sum of |terms| that the tolerance between backends refers to.
inline double sum_of_terms(uint32_t metric, const float* x, const float* y, uint32_t dim,
                           float row_inv_norm, float query_inv_norm) {
  double sum = 0;
  for (uint32_t i = 0; i < dim; ++i) {
    const double a = x[i];
    const double b = y[i];
    if (metric == HIVE_METRIC_L2) sum += (a - b) * (a - b);
    else if (metric == HIVE_METRIC_L1) sum += std::fabs(a - b);
    else if (metric == HIVE_METRIC_LINF) sum = std::max(sum, std::fabs(a - b));
    else sum += std::fabs(a * b);
  }
  return metric == HIVE_METRIC_COSINE ? sum * row_inv_norm * query_inv_norm : sum;
}

// ---- order ---------------------------------------------------------------------------------

inline bool closer(uint32_t metric, const hive_hit& a, const hive_hit& b) {
  const bool greater_first = metric == HIVE_METRIC_COSINE || metric == HIVE_METRIC_DOT;
  if (a.value != b.value) return greater_first ? a.value > b.value : a.value < b.value;
  if (a.segment != b.segment) return a.segment < b.segment;
  return a.slot < b.slot;
}

// All candidates in, the k closest out, by sorting everything.
inline void keep_closest(uint32_t metric, uint32_t k, std::vector<hive_hit>* candidates) {
  std::sort(candidates->begin(), candidates->end(),
            [metric](const hive_hit& a, const hive_hit& b) { return closer(metric, a, b); });
  if (candidates->size() > k) candidates->resize(k);
}

}  // namespace hive::test::oracle
