// One vector register of Advanced SIMD (aarch64) under the names simd_scan.h and simd_convert.h use.
// Included by isa_neon.cpp only, inside its anonymous namespace.

struct Simd {
  using V = float32x4_t;
  static constexpr uint32_t kWidth = 4;
  static constexpr uint32_t kGroup = 4;
  static constexpr uint32_t kRowsOnce = 2;
  static constexpr uint32_t kPanelRows = 6;
  static constexpr uint32_t kPanelVectors[3] = {4, 2, 1};

  static V zero() { return vdupq_n_f32(0); }
  static V set1(float x) { return vdupq_n_f32(x); }
  static V load(const float* p) { return vld1q_f32(p); }
  static V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
  static V add(V a, V b) { return vaddq_f32(a, b); }
  static V sub(V a, V b) { return vsubq_f32(a, b); }
  static V mul(V a, V b) { return vmulq_f32(a, b); }
  static V max(V a, V b) { return vmaxq_f32(a, b); }
  static V abs(V a) { return vabsq_f32(a); }

  static V load_f16(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  static V load_bf16(const uint16_t* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
  }
  static V load_i8(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(four));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))));
  }

  struct Tail {
    uint8x16_t index;
  };
  static Tail tail(uint32_t rest) {
    uint8_t index[16];
    for (uint32_t i = 0; i < 16; ++i) {
      // An index beyond the table gives zero.
      index[i] = i / 4 < rest ? static_cast<uint8_t>((4 - rest) * 4 + i) : uint8_t{255};
    }
    return {vld1q_u8(index)};
  }
  static V shift_down(V v, const Tail& t) {
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(v), t.index));
  }

  template <bool IsMax>
  static V join(V a, V b) {
    if constexpr (IsMax) return vmaxq_f32(a, b);
    else return vaddq_f32(a, b);
  }
  template <bool IsMax>
  static void reduce_group(const V* acc, float* out) {
    // Lanes 0 and 1 of two rows beside each other, plus lanes 2 and 3.
    const V x = join<IsMax>(vcombine_f32(vget_low_f32(acc[0]), vget_low_f32(acc[1])),
                            vcombine_f32(vget_high_f32(acc[0]), vget_high_f32(acc[1])));
    const V y = join<IsMax>(vcombine_f32(vget_low_f32(acc[2]), vget_low_f32(acc[3])),
                            vcombine_f32(vget_high_f32(acc[2]), vget_high_f32(acc[3])));
    vst1q_f32(out, join<IsMax>(vuzp1q_f32(x, y), vuzp2q_f32(x, y)));
  }

  static uint32_t bits(uint32x4_t v) {
    const uint32x4_t weights = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(v, weights));
  }
  static uint32_t not_less(V a, V b) { return ~bits(vcltq_f32(a, b)) & 15u; }
  static uint32_t not_greater(V a, V b) { return ~bits(vcgtq_f32(a, b)) & 15u; }
  static uint32_t at_least(V a, V b) { return bits(vcgeq_f32(a, b)); }

  // ---- conversion
  using D = float64x2_t;
  static constexpr uint32_t kDoubleWidth = 2;
  static D zero_d() { return vdupq_n_f64(0); }
  static D low_d(V v) { return vcvt_f64_f32(vget_low_f32(v)); }
  static D high_d(V v) { return vcvt_high_f64_f32(v); }
  static D square_add(D x, D acc) { return vfmaq_f64(acc, x, x); }
  static void store_d(double* p, D v) { vst1q_f64(p, v); }
  static void store(float* p, V v) { vst1q_f32(p, v); }
  static void store_f16(uint16_t* p, V v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
  static void store_bf16(uint16_t* p, V v) {
    const uint32x4_t b = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(b, 16), vdupq_n_u32(1));
    vst1_u16(p, vshrn_n_u32(vaddq_u32(b, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16));
  }
  static void store_i8(int8_t* p, V x, V scale) {
    const int32x4_t q = vcvtnq_s32_f32(vdivq_f32(x, scale));
    const int32x4_t clamped = vmaxq_s32(vminq_s32(q, vdupq_n_s32(127)), vdupq_n_s32(-127));
    for (int i = 0; i < 4; ++i) {
      int32_t lanes[4];
      vst1q_s32(lanes, clamped);
      p[i] = static_cast<int8_t>(lanes[i]);
    }
  }
  static uint32_t not_finite(V v) { return not_less(abs(v), set1(__builtin_inff())); }
};
