// What a value is: the scalar definition that every kernel of every backend has to reproduce.
// The contract is in native/include/hive_backend.h (HIVE_OP_SCAN_TOPK); this is its plain form,
// written to be read, and the oracle of the `scalar` instruction set.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "hive_backend.h"

namespace hive::value {

// Number of virtual lanes a sum is spread over; element i belongs to lane i % kLanes.
inline constexpr uint32_t kLanes = 32;

// IEEE binary16 to binary32, exactly. Bit arithmetic, so that no instruction set is needed.
inline float decode_f16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t fraction = half & 0x3ffu;
  uint32_t bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000u | (fraction << 13);
  } else if (exponent != 0) {
    bits = sign | ((exponent + 112u) << 23) | (fraction << 13);
  } else {
    // Subnormal: fraction * 2^-24 is exact in binary32.
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    uint32_t m;
    std::memcpy(&m, &magnitude, 4);
    bits = sign | m;
  }
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

inline float decode_bf16(uint16_t stored) {
  const uint32_t bits = static_cast<uint32_t>(stored) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

// binary32 to binary16, round to nearest even. Too large becomes infinity.
inline uint16_t encode_f16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x7f800000u) {
    return static_cast<uint16_t>(sign | (magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u));
  }
  if (magnitude < 0x38800000u) {
    // Below the smallest normal half: adding 0.5 leaves round-to-nearest-even in the low bits.
    float shifted;
    std::memcpy(&shifted, &magnitude, 4);
    shifted += 0.5f;
    uint32_t r;
    std::memcpy(&r, &shifted, 4);
    return static_cast<uint16_t>(sign | (r - 0x3f000000u));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  const uint32_t rounded = magnitude + 0xfffu + odd;
  const uint32_t half = (rounded - 0x38000000u) >> 13;
  return static_cast<uint16_t>(sign | (half > 0x7c00u ? 0x7c00u : half));
}

inline uint16_t encode_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Element i of a stored row as f32. scale is read for dtypes with a row scale only.
inline float decode(uint32_t dtype, const void* row, uint32_t i, float scale) {
  switch (dtype) {
    case HIVE_DTYPE_F32:
      return static_cast<const float*>(row)[i];
    case HIVE_DTYPE_F16:
      return decode_f16(static_cast<const uint16_t*>(row)[i]);
    case HIVE_DTYPE_BF16:
      return decode_bf16(static_cast<const uint16_t*>(row)[i]);
    default:
      return static_cast<float>(static_cast<const int8_t*>(row)[i]) * scale;
  }
}

inline bool greater_is_closer(uint32_t metric) {
  return metric == HIVE_METRIC_COSINE || metric == HIVE_METRIC_DOT;
}

// The native value of one (query, row) pair.
inline float pair_value(uint32_t metric, uint32_t dtype, uint32_t dim, const float* query,
                        float query_inv_norm, const void* row, float scale, float inv_norm) {
  float lane[kLanes] = {};
  for (uint32_t i = 0; i < dim; ++i) {
    const float x = decode(dtype, row, i, scale);
    const float y = query[i];
    float& acc = lane[i % kLanes];
    switch (metric) {
      case HIVE_METRIC_L2:
        acc = std::fma(x - y, x - y, acc);
        break;
      case HIVE_METRIC_L1:
        acc = acc + std::fabs(x - y);
        break;
      case HIVE_METRIC_LINF:
        acc = std::fabs(x - y) > acc ? std::fabs(x - y) : acc;
        break;
      default:
        acc = std::fma(x, y, acc);
    }
  }
  for (uint32_t w = kLanes / 2; w > 0; w /= 2) {
    for (uint32_t j = 0; j < w; ++j) {
      const float other = lane[j + w];
      lane[j] = metric == HIVE_METRIC_LINF ? (other > lane[j] ? other : lane[j]) : lane[j] + other;
    }
  }
  const float value =
      metric == HIVE_METRIC_COSINE ? (lane[0] * inv_norm) * query_inv_norm : lane[0];
  return value + 0.0f;  // -0 becomes 0, so that equal values have equal bits
}

}  // namespace hive::value
