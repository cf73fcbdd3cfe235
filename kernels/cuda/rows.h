// Storage types of rows: how four neighbouring elements are loaded and decoded.
#pragma once

#include "primitives.h"

namespace hive::gpu {

struct F32 {
  static constexpr uint32_t kBytes = 4;
  static constexpr bool kScaled = false;
  using Raw = uint4;
  static HIVE_DEVICE Raw load(const unsigned char* p) { return stream16(p); }
  static HIVE_DEVICE Raw zero() { return Raw{0, 0, 0, 0}; }
  static HIVE_DEVICE void decode(const Raw& raw, float, float (&x)[4]) {
    x[0] = float_of(raw.x);
    x[1] = float_of(raw.y);
    x[2] = float_of(raw.z);
    x[3] = float_of(raw.w);
  }
};

struct F16 {
  static constexpr uint32_t kBytes = 2;
  static constexpr bool kScaled = false;
  using Raw = uint2;
  static HIVE_DEVICE Raw load(const unsigned char* p) { return stream8(p); }
  static HIVE_DEVICE Raw zero() { return Raw{0, 0}; }
  static HIVE_DEVICE void decode(const Raw& raw, float, float (&x)[4]) {
    x[0] = half_to_float(raw.x & 0xffffu);
    x[1] = half_to_float(raw.x >> 16);
    x[2] = half_to_float(raw.y & 0xffffu);
    x[3] = half_to_float(raw.y >> 16);
  }
};

struct BF16 {
  static constexpr uint32_t kBytes = 2;
  static constexpr bool kScaled = false;
  using Raw = uint2;
  static HIVE_DEVICE Raw load(const unsigned char* p) { return stream8(p); }
  static HIVE_DEVICE Raw zero() { return Raw{0, 0}; }
  static HIVE_DEVICE void decode(const Raw& raw, float, float (&x)[4]) {
    x[0] = float_of(raw.x << 16);
    x[1] = float_of(raw.x & 0xffff0000u);
    x[2] = float_of(raw.y << 16);
    x[3] = float_of(raw.y & 0xffff0000u);
  }
};

struct I8 {
  static constexpr uint32_t kBytes = 1;
  static constexpr bool kScaled = true;
  using Raw = uint32_t;
  static HIVE_DEVICE Raw load(const unsigned char* p) { return stream4(p); }
  static HIVE_DEVICE Raw zero() { return 0; }
  // 2^23 + (element + 128) is exact in binary32, and cheaper than an integer conversion.
  static HIVE_DEVICE float element(uint32_t flipped, uint32_t shift) {
    return float_of(0x4b000000u | ((flipped >> shift) & 0xffu)) - 8388736.0f;
  }
  static HIVE_DEVICE void decode(const Raw& raw, float scale, float (&x)[4]) {
    const uint32_t flipped = raw ^ 0x80808080u;
    x[0] = element(flipped, 0) * scale;
    x[1] = element(flipped, 8) * scale;
    x[2] = element(flipped, 16) * scale;
    x[3] = element(flipped, 24) * scale;
  }
};

// Raw elements of storage type T that one load of four takes.
template <class T>
inline constexpr uint32_t kVectorBytes = 4 * T::kBytes;

}  // namespace hive::gpu
