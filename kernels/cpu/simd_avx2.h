// One vector register of AVX2 + FMA + F16C under the names simd_scan.h and simd_convert.h use.
// Included by isa_avx2.cpp only, inside its anonymous namespace.

struct Simd {
  using V = __m256;
  static constexpr uint32_t kWidth = 8;
  static constexpr uint32_t kGroup = 8;
  static constexpr uint32_t kRowsOnce = 2;
  static constexpr uint32_t kPanelRows = 6;
  static constexpr uint32_t kPanelVectors[3] = {2, 1, 0};

  static V zero() { return _mm256_setzero_ps(); }
  static V set1(float x) { return _mm256_set1_ps(x); }
  static V load(const float* p) { return _mm256_loadu_ps(p); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V add(V a, V b) { return _mm256_add_ps(a, b); }
  static V sub(V a, V b) { return _mm256_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  static V max(V a, V b) { return _mm256_max_ps(a, b); }
  static V abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }

  static V load_f16(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static V load_bf16(const uint16_t* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  static V load_i8(const int8_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }

  struct Tail {
    __m256i index;
    __m256 keep;
  };
  static Tail tail(uint32_t rest) {
    alignas(32) int32_t index[8];
    alignas(32) int32_t keep[8];
    for (uint32_t i = 0; i < 8; ++i) {
      index[i] = static_cast<int32_t>((8 - rest + i) % 8);
      keep[i] = i < rest ? -1 : 0;
    }
    return {_mm256_load_si256(reinterpret_cast<const __m256i*>(index)),
            _mm256_castsi256_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(keep)))};
  }
  static V shift_down(V v, const Tail& t) {
    return _mm256_and_ps(_mm256_permutevar8x32_ps(v, t.index), t.keep);
  }

  template <bool IsMax>
  static V join(V a, V b) {
    if constexpr (IsMax) return _mm256_max_ps(a, b);
    else return _mm256_add_ps(a, b);
  }
  template <bool IsMax>
  static void reduce_group(const V* acc, float* out) {
    V quad[4];
    for (int r = 0; r < 4; ++r) {
      quad[r] = join<IsMax>(_mm256_permute2f128_ps(acc[2 * r], acc[2 * r + 1], 0x20),
                            _mm256_permute2f128_ps(acc[2 * r], acc[2 * r + 1], 0x31));
    }
    const V x = join<IsMax>(_mm256_shuffle_ps(quad[0], quad[1], 0x44),
                            _mm256_shuffle_ps(quad[0], quad[1], 0xee));
    const V y = join<IsMax>(_mm256_shuffle_ps(quad[2], quad[3], 0x44),
                            _mm256_shuffle_ps(quad[2], quad[3], 0xee));
    const V z = join<IsMax>(_mm256_shuffle_ps(x, y, 0x88), _mm256_shuffle_ps(x, y, 0xdd));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_ps(out, _mm256_permutevar8x32_ps(z, order));
  }

  static uint32_t bits(V v) { return static_cast<uint32_t>(_mm256_movemask_ps(v)); }
  static uint32_t not_less(V a, V b) { return bits(_mm256_cmp_ps(a, b, _CMP_NLT_UQ)); }
  static uint32_t not_greater(V a, V b) { return bits(_mm256_cmp_ps(a, b, _CMP_NGT_UQ)); }
  static uint32_t at_least(V a, V b) { return bits(_mm256_cmp_ps(a, b, _CMP_GE_OQ)); }

  // ---- conversion
  using D = __m256d;
  static constexpr uint32_t kDoubleWidth = 4;
  static D zero_d() { return _mm256_setzero_pd(); }
  static D low_d(V v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
  static D high_d(V v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }
  static D square_add(D x, D acc) { return _mm256_fmadd_pd(x, x, acc); }
  static void store_d(double* p, D v) { _mm256_storeu_pd(p, v); }
  static void store(float* p, V v) { _mm256_storeu_ps(p, v); }
  static void store_f16(uint16_t* p, V v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  // Eight 32-bit lanes below 65 536 as eight 16-bit ones.
  static __m128i narrow(__m256i v) {
    return _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  }
  static void store_bf16(uint16_t* p, V v) {
    const __m256i b = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(b, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(_mm256_srli_epi32(rounded, 16)));
  }
  static void store_i8(int8_t* p, V x, V scale) {
    const __m256i q = _mm256_cvtps_epi32(_mm256_div_ps(x, scale));
    const __m256i clamped =
        _mm256_max_epi32(_mm256_min_epi32(q, _mm256_set1_epi32(127)), _mm256_set1_epi32(-127));
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(clamped), _mm256_extracti128_si256(clamped, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }
  static uint32_t not_finite(V v) {
    return not_less(abs(v), set1(__builtin_inff()));
  }
};
