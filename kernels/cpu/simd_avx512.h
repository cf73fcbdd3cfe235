// One vector register of AVX-512 (F, BW, VL, DQ) under the names simd_scan.h and simd_convert.h use.
// Included by isa_avx512.cpp only, inside its anonymous namespace.

struct Simd {
  using V = __m512;
  static constexpr uint32_t kWidth = 16;
  static constexpr uint32_t kGroup = 8;     // rows reduced together
  static constexpr uint32_t kRowsOnce = 8;  // rows whose accumulators fit the registers
  static constexpr uint32_t kPanelRows = 8;
  static constexpr uint32_t kPanelVectors[3] = {3, 2, 1};

  static V zero() { return _mm512_setzero_ps(); }
  static V set1(float x) { return _mm512_set1_ps(x); }
  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V max(V a, V b) { return _mm512_max_ps(a, b); }
  static V abs(V a) { return _mm512_abs_ps(a); }

  static V load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static V load_bf16(const uint16_t* p) {
    const __m512i wide =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static V load_i8(const int8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  // Moves the last `rest` lanes to the front and clears the others. A load that ends at the row's
  // end followed by this costs half of a masked load.
  struct Tail {
    __m512i index;
    __mmask16 keep;
  };
  static Tail tail(uint32_t rest) {
    alignas(64) int32_t index[16];
    for (uint32_t i = 0; i < 16; ++i) index[i] = static_cast<int32_t>((16 - rest + i) % 16);
    return {_mm512_load_si512(index), static_cast<__mmask16>((1u << rest) - 1u)};
  }
  static V shift_down(V v, const Tail& t) {
    return _mm512_maskz_permutexvar_ps(t.keep, t.index, v);
  }

  template <bool IsMax>
  static __m256 join(__m256 a, __m256 b) {
    if constexpr (IsMax) return _mm256_max_ps(a, b);
    else return _mm256_add_ps(a, b);
  }
  // Sums (or maximises) each of eight registers by the tree 8, 4, 2, 1; result r is row r's.
  template <bool IsMax>
  static void reduce_group(const V* acc, float* out) {
    __m256 h[8];
    for (int r = 0; r < 8; ++r) {
      h[r] = join<IsMax>(_mm512_castps512_ps256(acc[r]), _mm512_extractf32x8_ps(acc[r], 1));
    }
    __m256 quad[4];
    for (int r = 0; r < 4; ++r) {
      quad[r] = join<IsMax>(_mm256_permute2f128_ps(h[2 * r], h[2 * r + 1], 0x20),
                            _mm256_permute2f128_ps(h[2 * r], h[2 * r + 1], 0x31));
    }
    const __m256 x = join<IsMax>(_mm256_shuffle_ps(quad[0], quad[1], 0x44),
                                 _mm256_shuffle_ps(quad[0], quad[1], 0xee));
    const __m256 y = join<IsMax>(_mm256_shuffle_ps(quad[2], quad[3], 0x44),
                                 _mm256_shuffle_ps(quad[2], quad[3], 0xee));
    const __m256 z = join<IsMax>(_mm256_shuffle_ps(x, y, 0x88), _mm256_shuffle_ps(x, y, 0xdd));
    // z holds rows 0 2 4 6 | 1 3 5 7.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_ps(out, _mm256_permutevar8x32_ps(z, order));
  }

  // Bit per lane: set unless a < b (so a NaN sets it).
  static uint32_t not_less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  static uint32_t not_greater(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NGT_UQ); }
  static uint32_t at_least(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }

  // ---- conversion
  using D = __m512d;
  static constexpr uint32_t kDoubleWidth = 8;
  static D zero_d() { return _mm512_setzero_pd(); }
  static D low_d(V v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
  static D high_d(V v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }
  // Not fused: x * x is exact in f64 for an f32 x, so both round the same way.
  static D square_add(D x, D acc) { return _mm512_fmadd_pd(x, x, acc); }
  static void store_d(double* p, D v) { _mm512_storeu_pd(p, v); }
  static void store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static void store_f16(uint16_t* p, V v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void store_bf16(uint16_t* p, V v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
  }
  static void store_i8(int8_t* p, V x, V scale) {
    const __m512i q = _mm512_cvtps_epi32(_mm512_div_ps(x, scale));
    const __m512i clamped =
        _mm512_max_epi32(_mm512_min_epi32(q, _mm512_set1_epi32(127)), _mm512_set1_epi32(-127));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(clamped));
  }
  static uint32_t not_finite(V v) { return _mm512_fpclass_ps_mask(v, 0x99); }
};
