// Predicates over columns of unsigned integers, 64 values at a time to one word of a bitset.
// Included like simd_scan.h. `Compare` turns 64 values into a word; what an instruction set does not
// specialise goes through bytes of 0 and 1, which compilers vectorise.

// Eight bytes of 0 or 1 to eight bits, first byte lowest.
inline uint64_t pack_bytes(const uint8_t* bytes) {
  uint64_t word = 0;
  for (uint32_t i = 0; i < 8; ++i) {
    uint64_t eight;
    std::memcpy(&eight, bytes + i * 8, sizeof eight);
    word |= ((eight * 0x0102040810204080u) >> 56) << (i * 8);
  }
  return word;
}

template <class T>
struct Compare {
  static uint64_t in_range(const T* p, T lo, T span) {
    uint8_t pass[64];
    for (uint32_t i = 0; i < 64; ++i) pass[i] = static_cast<T>(p[i] - lo) <= span;
    return pack_bytes(pass);
  }
  static uint64_t equal(const T* p, T x) {
    uint8_t pass[64];
    for (uint32_t i = 0; i < 64; ++i) pass[i] = p[i] == x;
    return pack_bytes(pass);
  }
};

#if defined(__AVX512BW__)

// N vectors of 64 / N values give 64 / N bits each.
template <uint32_t N, class Test>
inline uint64_t join_masks(const void* p, const Test& test) {
  uint64_t word = 0;
  for (uint32_t i = 0; i < N; ++i) {
    const __m512i v = _mm512_loadu_si512(static_cast<const char*>(p) + i * 64);
    word |= static_cast<uint64_t>(test(v)) << (i * (64 / N));
  }
  return word;
}

#define HIVE_COMPARE_512(T, N, BITS, SET)                                            \
  template <>                                                                        \
  struct Compare<T> {                                                                \
    static uint64_t in_range(const T* p, T lo, T span) {                             \
      const __m512i low = SET(lo);                                                   \
      const __m512i most = SET(span);                                                \
      return join_masks<N>(p, [&](__m512i v) {                                       \
        return _mm512_cmple_epu##BITS##_mask(_mm512_sub_epi##BITS(v, low), most);    \
      });                                                                            \
    }                                                                                \
    static uint64_t equal(const T* p, T x) {                                         \
      const __m512i wanted = SET(x);                                                 \
      return join_masks<N>(                                                          \
          p, [&](__m512i v) { return _mm512_cmpeq_epi##BITS##_mask(v, wanted); });   \
    }                                                                                \
  };
#define HIVE_SET_8(x) _mm512_set1_epi8(static_cast<char>(x))
#define HIVE_SET_16(x) _mm512_set1_epi16(static_cast<int16_t>(x))
#define HIVE_SET_32(x) _mm512_set1_epi32(static_cast<int32_t>(x))
#define HIVE_SET_64(x) _mm512_set1_epi64(static_cast<int64_t>(x))
HIVE_COMPARE_512(uint8_t, 1, 8, HIVE_SET_8)
HIVE_COMPARE_512(uint16_t, 2, 16, HIVE_SET_16)
HIVE_COMPARE_512(uint32_t, 4, 32, HIVE_SET_32)
HIVE_COMPARE_512(uint64_t, 8, 64, HIVE_SET_64)
#undef HIVE_COMPARE_512
#undef HIVE_SET_8
#undef HIVE_SET_16
#undef HIVE_SET_32
#undef HIVE_SET_64

#elif defined(__AVX2__)

inline __m256i load_256(const void* p, uint32_t i) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p) + i);
}

template <>
struct Compare<uint8_t> {
  template <class Test>
  static uint64_t join(const uint8_t* p, const Test& test) {
    const auto low = static_cast<uint32_t>(_mm256_movemask_epi8(test(load_256(p, 0))));
    const auto high = static_cast<uint32_t>(_mm256_movemask_epi8(test(load_256(p, 1))));
    return static_cast<uint64_t>(high) << 32 | low;
  }
  static uint64_t in_range(const uint8_t* p, uint8_t lo, uint8_t span) {
    const __m256i low = _mm256_set1_epi8(static_cast<char>(lo));
    const __m256i most = _mm256_set1_epi8(static_cast<char>(span));
    return join(p, [&](__m256i v) {
      const __m256i x = _mm256_sub_epi8(v, low);
      return _mm256_cmpeq_epi8(_mm256_min_epu8(x, most), x);
    });
  }
  static uint64_t equal(const uint8_t* p, uint8_t x) {
    const __m256i wanted = _mm256_set1_epi8(static_cast<char>(x));
    return join(p, [&](__m256i v) { return _mm256_cmpeq_epi8(v, wanted); });
  }
};

template <>
struct Compare<uint16_t> {
  template <class Test>
  static uint64_t join(const uint16_t* p, const Test& test) {
    uint64_t word = 0;
    for (uint32_t half = 0; half < 2; ++half) {
      const __m256i a = test(load_256(p, half * 2));
      const __m256i b = test(load_256(p, half * 2 + 1));
      // Packing works within 128-bit lanes; the permutation restores the order.
      const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8);
      const auto bits = static_cast<uint32_t>(_mm256_movemask_epi8(bytes));
      word |= static_cast<uint64_t>(bits) << (half * 32);
    }
    return word;
  }
  static uint64_t in_range(const uint16_t* p, uint16_t lo, uint16_t span) {
    const __m256i low = _mm256_set1_epi16(static_cast<int16_t>(lo));
    const __m256i most = _mm256_set1_epi16(static_cast<int16_t>(span));
    return join(p, [&](__m256i v) {
      const __m256i x = _mm256_sub_epi16(v, low);
      return _mm256_cmpeq_epi16(_mm256_min_epu16(x, most), x);
    });
  }
  static uint64_t equal(const uint16_t* p, uint16_t x) {
    const __m256i wanted = _mm256_set1_epi16(static_cast<int16_t>(x));
    return join(p, [&](__m256i v) { return _mm256_cmpeq_epi16(v, wanted); });
  }
};

template <>
struct Compare<uint32_t> {
  template <class Test>
  static uint64_t join(const uint32_t* p, const Test& test) {
    uint64_t word = 0;
    for (uint32_t i = 0; i < 8; ++i) {
      const __m256 pass = _mm256_castsi256_ps(test(load_256(p, i)));
      word |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_ps(pass))) << (i * 8);
    }
    return word;
  }
  static uint64_t in_range(const uint32_t* p, uint32_t lo, uint32_t span) {
    const __m256i low = _mm256_set1_epi32(static_cast<int32_t>(lo));
    const __m256i most = _mm256_set1_epi32(static_cast<int32_t>(span));
    return join(p, [&](__m256i v) {
      const __m256i x = _mm256_sub_epi32(v, low);
      return _mm256_cmpeq_epi32(_mm256_min_epu32(x, most), x);
    });
  }
  static uint64_t equal(const uint32_t* p, uint32_t x) {
    const __m256i wanted = _mm256_set1_epi32(static_cast<int32_t>(x));
    return join(p, [&](__m256i v) { return _mm256_cmpeq_epi32(v, wanted); });
  }
};

#endif

inline uint64_t count_bits(const uint32_t* words, const uint32_t* mask, size_t count) {
  uint64_t total = 0;
  size_t i = 0;
  for (; i + 2 <= count; i += 2) {
    uint64_t word;
    std::memcpy(&word, words + i, sizeof word);
    if (mask != nullptr) {
      uint64_t kept;
      std::memcpy(&kept, mask + i, sizeof kept);
      word &= kept;
    }
    total += static_cast<uint64_t>(__builtin_popcountll(word));
  }
  if (i == count) return total;
  const uint32_t last = mask == nullptr ? words[i] : words[i] & mask[i];
  return total + static_cast<uint64_t>(__builtin_popcount(last));
}

// Calls word(64 values) for each whole word, and once more for what is left, padded with zeros.
template <class T, class Word>
inline void each_word(const void* values, uint32_t count, uint64_t* out, const Word& word) {
  const T* p = static_cast<const T*>(values);
  uint32_t i = 0;
  for (; i + 64 <= count; i += 64) out[i / 64] = word(p + i);
  if (i == count) return;
  T rest[64] = {};
  std::memcpy(rest, p + i, (count - i) * sizeof(T));
  out[i / 64] = word(rest) & ((uint64_t{1} << (count - i)) - 1);
}

template <class T>
void range(const void* values, uint32_t count, uint64_t lo, uint64_t hi, uint64_t* out) {
  const T low = static_cast<T>(lo);
  const T span = static_cast<T>(hi - lo);
  each_word<T>(values, count, out,
               [&](const T* p) { return Compare<T>::in_range(p, low, span); });
}

template <class T>
void equal(const void* values, uint32_t count, const uint64_t* list, uint32_t length,
           uint64_t* out) {
  each_word<T>(values, count, out, [&](const T* p) {
    uint64_t word = 0;
    for (uint32_t j = 0; j < length; ++j) {
      word |= Compare<T>::equal(p, static_cast<T>(list[j]));
    }
    return word;
  });
}
