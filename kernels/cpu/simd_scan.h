// Scan and panel kernels, written once over `Simd` and compiled per instruction set.
// Included inside the anonymous namespace of an isa_*.cpp file, after its simd_*.h. No standard
// containers or algorithms here: an inline function compiled for AVX-512 must never be the copy
// that the linker keeps for everybody.

using V = Simd::V;
constexpr uint32_t kW = Simd::kWidth;
constexpr uint32_t kAccs = value_lanes / kW;  // registers that hold a row's 32 lanes

template <uint32_t Dtype>
struct Element;
template <>
struct Element<HIVE_DTYPE_F32> {
  using T = float;
  static V load(const T* p) { return Simd::load(p); }
};
template <>
struct Element<HIVE_DTYPE_F16> {
  using T = uint16_t;
  static V load(const T* p) { return Simd::load_f16(p); }
};
template <>
struct Element<HIVE_DTYPE_BF16> {
  using T = uint16_t;
  static V load(const T* p) { return Simd::load_bf16(p); }
};
template <>
struct Element<HIVE_DTYPE_I8> {
  using T = int8_t;
  static V load(const T* p) { return Simd::load_i8(p); }
};

template <uint32_t Metric>
inline V step(V x, V y, V acc) {
  if constexpr (Metric == HIVE_METRIC_L2) {
    const V d = Simd::sub(x, y);
    return Simd::fma(d, d, acc);
  } else if constexpr (Metric == HIVE_METRIC_L1) {
    return Simd::add(acc, Simd::abs(Simd::sub(x, y)));
  } else if constexpr (Metric == HIVE_METRIC_LINF) {
    return Simd::max(acc, Simd::abs(Simd::sub(x, y)));
  } else {
    return Simd::fma(x, y, acc);
  }
}

// How a row ends: its last kW elements hold `rest` that no whole register took (kW when the row is
// a whole number of registers).
inline Simd::Tail make_tail(uint32_t dim) { return Simd::tail(dim % kW == 0 ? kW : dim % kW); }

// The last register of a row: its rest in lanes 0.., zeros behind. Reads inside the row only.
template <uint32_t Dtype>
inline V load_rest(const typename Element<Dtype>::T* row, uint32_t dim, const Simd::Tail& tail) {
  using T = typename Element<Dtype>::T;
  if (dim >= kW) return Simd::shift_down(Element<Dtype>::load(row + dim - kW), tail);
  T padded[kW] = {};
  for (uint32_t i = 0; i < dim; ++i) padded[i] = row[i];
  return Element<Dtype>::load(padded);
}

// Accumulates Rows rows against one query; out[r] is row r's 32 lanes folded into one register.
template <uint32_t Metric, uint32_t Dtype, uint32_t Rows>
inline void accumulate(const typename Element<Dtype>::T* const* row, uint32_t dim,
                       const float* query, const float* scales, const Simd::Tail& tail, V* out) {
  V acc[Rows][kAccs];
  V scale[Rows];
  for (uint32_t r = 0; r < Rows; ++r) {
    for (uint32_t a = 0; a < kAccs; ++a) acc[r][a] = Simd::zero();
    if constexpr (Dtype == HIVE_DTYPE_I8) scale[r] = Simd::set1(scales[r]);
  }
  const auto decoded = [&](V x, uint32_t r) {
    if constexpr (Dtype == HIVE_DTYPE_I8) return Simd::mul(x, scale[r]);
    else return x;
  };
  uint32_t i = 0;
  for (; i + value_lanes <= dim; i += value_lanes) {
    for (uint32_t a = 0; a < kAccs; ++a) {
      const V y = Simd::load(query + i + a * kW);
      for (uint32_t r = 0; r < Rows; ++r) {
        const V x = decoded(Element<Dtype>::load(row[r] + i + a * kW), r);
        acc[r][a] = step<Metric>(x, y, acc[r][a]);
      }
    }
  }
  // What is left is shorter than 32: Parts registers, the last of which may be partial. Parts is a
  // constant in each call, so that the accumulators stay in registers.
  const auto end = [&]<uint32_t Parts>() {
    for (uint32_t a = 0; a < Parts; ++a) {
      const V y = Simd::load(query + i + a * kW);
      for (uint32_t r = 0; r < Rows; ++r) {
        const V x = a + 1 < Parts ? Element<Dtype>::load(row[r] + i + a * kW)
                                  : load_rest<Dtype>(row[r], dim, tail);
        acc[r][a] = step<Metric>(decoded(x, r), y, acc[r][a]);
      }
    }
  };
  const auto pick = [&]<uint32_t... P>(std::integer_sequence<uint32_t, P...>) {
    const uint32_t parts = (dim - i + kW - 1) / kW;
    (void)((parts == P + 1 && (end.template operator()<P + 1>(), true)) || ...);
  };
  if (i < dim) pick(std::make_integer_sequence<uint32_t, kAccs>());
  for (uint32_t r = 0; r < Rows; ++r) {
    for (uint32_t half = kAccs / 2; half > 0; half /= 2) {
      for (uint32_t c = 0; c < half; ++c) {
        acc[r][c] = Metric == HIVE_METRIC_LINF ? Simd::max(acc[r][c], acc[r][c + half])
                                               : Simd::add(acc[r][c], acc[r][c + half]);
      }
    }
    out[r] = acc[r][0];
  }
}

// How far ahead of the rows being read the next ones are asked for.
// Rows beyond this length are streams of their own to the hardware.
constexpr size_t kPrefetchRowBytes = 1536;
constexpr size_t kAheadBytes = 16384;

// Native value to key: cosine's norms, the sign, and -0 to 0.
template <uint32_t Metric>
inline float finish_key(float sum, float inv_norm, float query_inv_norm) {
  if constexpr (Metric == HIVE_METRIC_COSINE) return (sum * inv_norm) * query_inv_norm + 0.0f;
  else if constexpr (Metric == HIVE_METRIC_DOT) return sum + 0.0f;
  else return -(sum + 0.0f);
}

inline uint64_t at_least(const float* keys, uint32_t count, float threshold) {
  uint64_t mask = 0;
  const V limit = Simd::set1(threshold);
  uint32_t r = 0;
  for (; r + kW <= count; r += kW) {
    mask |= static_cast<uint64_t>(Simd::at_least(Simd::load(keys + r), limit)) << r;
  }
  for (; r < count; ++r) mask |= static_cast<uint64_t>(keys[r] >= threshold) << r;
  return mask;
}

template <uint32_t Metric, uint32_t Dtype>
uint64_t scan(const RowsView& rows, uint32_t first, uint32_t count, uint32_t dim,
              const QueryView& query, float threshold, float* keys) {
  using T = typename Element<Dtype>::T;
  constexpr uint32_t kGroup = Simd::kGroup;
  const T* data = static_cast<const T*>(rows.data) + size_t{first} * dim;
  const float* scales = Dtype == HIVE_DTYPE_I8 ? rows.scales + first : nullptr;
  const Simd::Tail tail = make_tail(dim);
  constexpr bool kMax = Metric == HIVE_METRIC_LINF;
  const size_t group_bytes = sizeof(T) * kGroup * dim;
  uint32_t i = 0;
  for (; i + kGroup <= count; i += kGroup) {
    // Eight rows are read side by side, which the hardware's prefetcher does not recognise as one
    // stream. A prefetch past the end of the memory is harmless.
    const char* ahead = reinterpret_cast<const char*>(data + size_t{i} * dim) + kAheadBytes;
    if (group_bytes <= kGroup * kPrefetchRowBytes) {
      for (size_t b = 0; b < group_bytes; b += 64) __builtin_prefetch(ahead + b);
    }
    V folded[kGroup];
    for (uint32_t r = 0; r < kGroup; r += Simd::kRowsOnce) {
      const float* s = Dtype == HIVE_DTYPE_I8 ? scales + i + r : nullptr;
      const T* row[Simd::kRowsOnce];
      for (uint32_t j = 0; j < Simd::kRowsOnce; ++j) row[j] = data + size_t{i + r + j} * dim;
      accumulate<Metric, Dtype, Simd::kRowsOnce>(row, dim, query.padded, s, tail, folded + r);
    }
    Simd::template reduce_group<kMax>(folded, keys + i);
  }
  for (; i < count; ++i) {
    V folded[kGroup];
    const float* s = Dtype == HIVE_DTYPE_I8 ? scales + i : nullptr;
    const T* row = data + size_t{i} * dim;
    accumulate<Metric, Dtype, 1>(&row, dim, query.padded, s, tail, folded);
    for (uint32_t r = 1; r < kGroup; ++r) folded[r] = Simd::zero();
    float sums[kGroup];
    Simd::template reduce_group<kMax>(folded, sums);
    keys[i] = sums[0];
  }
  for (uint32_t r = 0; r < count; ++r) {
    const float inv_norm = Metric == HIVE_METRIC_COSINE ? rows.inv_norms[first + r] : 0.0f;
    keys[r] = finish_key<Metric>(keys[r], inv_norm, query.inv_norm);
  }
  return at_least(keys, count, threshold);
}

// The same for rows that lie anywhere. Each row is its own stream, so all of them are asked for
// some rows before they are read.
template <uint32_t Metric, uint32_t Dtype>
uint64_t gather(const RowsView& rows, const uint32_t* slots, uint32_t count, uint32_t ahead,
                uint32_t dim, const QueryView& query, float threshold, float* keys) {
  using T = typename Element<Dtype>::T;
  constexpr uint32_t kGroup = Simd::kGroup;
  constexpr bool kMax = Metric == HIVE_METRIC_LINF;
  const T* data = static_cast<const T*>(rows.data);
  const Simd::Tail tail = make_tail(dim);
  const size_t row_bytes = sizeof(T) * dim;
  for (uint32_t i = 0; i < count; i += kGroup) {
    const uint32_t valid = count - i < kGroup ? count - i : kGroup;
    const T* row[kGroup];
    float scale[kGroup];
    for (uint32_t r = 0; r < kGroup; ++r) {
      // Rows past the end repeat the last one; their results are not looked at.
      const uint32_t slot = slots[i + (r < valid ? r : valid - 1)];
      row[r] = data + size_t{slot} * dim;
      scale[r] = Dtype == HIVE_DTYPE_I8 ? rows.scales[slot] : 1.0f;
    }
    for (uint32_t r = i + kGroup; r < i + 2 * kGroup && r < count + ahead; ++r) {
      const char* next = reinterpret_cast<const char*>(data + size_t{slots[r]} * dim);
      for (size_t b = 0; b < row_bytes + 63 && b < kPrefetchRowBytes; b += 64) {
        __builtin_prefetch(next + b);
      }
    }
    V folded[kGroup];
    for (uint32_t r = 0; r < kGroup; r += Simd::kRowsOnce) {
      accumulate<Metric, Dtype, Simd::kRowsOnce>(row + r, dim, query.padded, scale + r, tail,
                                                 folded + r);
    }
    float sums[kGroup];
    Simd::template reduce_group<kMax>(folded, sums);
    for (uint32_t r = 0; r < valid; ++r) {
      const float inv_norm = Metric == HIVE_METRIC_COSINE ? rows.inv_norms[slots[i + r]] : 0.0f;
      keys[i + r] = finish_key<Metric>(sums[r], inv_norm, query.inv_norm);
    }
  }
  return at_least(keys, count, threshold);
}

template <uint32_t Kind>
inline V panel_step(V x, V y, V acc) {
  if constexpr (Kind == kPanelDot) return Simd::fma(x, y, acc);
  else if constexpr (Kind == kPanelL1) return Simd::add(acc, Simd::abs(Simd::sub(x, y)));
  else return Simd::max(acc, Simd::abs(Simd::sub(x, y)));
}

// Queries lie in lanes, rows are broadcast straight from their row-major place: kPanelRows x
// Vectors accumulators, and nothing is packed per row.
template <uint32_t Kind, uint32_t Vectors>
uint32_t panel(const PanelArgs& args) {
  constexpr uint32_t kRows = Simd::kPanelRows;
  constexpr uint32_t kPanelWidth = Vectors * kW;
  const size_t dim = args.dim;
  uint32_t found = 0;
  for (uint32_t base = 0; base < args.count; base += kRows) {
    const uint32_t valid = args.count - base < kRows ? args.count - base : kRows;
    const float* row[kRows];
    for (uint32_t r = 0; r < kRows; ++r) {
      // Rows past the end repeat the last one; their results are not looked at.
      row[r] = args.rows + size_t{base + (r < valid ? r : valid - 1)} * dim;
    }
    V acc[kRows][Vectors];
    for (uint32_t r = 0; r < kRows; ++r) {
      for (uint32_t v = 0; v < Vectors; ++v) acc[r][v] = Simd::zero();
    }
    const float* q = args.panel;
    for (size_t i = 0; i < dim; ++i, q += kPanelWidth) {
      V y[Vectors];
      for (uint32_t v = 0; v < Vectors; ++v) y[v] = Simd::load(q + v * kW);
      for (uint32_t r = 0; r < kRows; ++r) {
        const V x = Simd::set1(row[r][i]);
        for (uint32_t v = 0; v < Vectors; ++v) acc[r][v] = panel_step<Kind>(x, y[v], acc[r][v]);
      }
    }
    for (uint32_t r = 0; r < kRows; ++r) {
      if (r >= valid) break;
      uint32_t mask[Vectors];
      uint32_t any = 0;
      for (uint32_t v = 0; v < Vectors; ++v) {
        const V bias = Simd::load(args.query_bias + v * kW);
        if constexpr (Kind == kPanelDot) {
          const V term = Simd::set1(args.row_term[base + r]);
          const V limit = Simd::fma(term, Simd::load(args.query_factor + v * kW), bias);
          mask[v] = Simd::not_less(acc[r][v], limit);
        } else {
          mask[v] = Simd::not_greater(acc[r][v], bias);
        }
        any |= mask[v];
      }
      // One well-predicted branch per row: survivors are rare.
      if (__builtin_expect(any == 0, 1)) continue;
      for (uint32_t v = 0; v < Vectors; ++v) {
        for (; mask[v] != 0; mask[v] &= mask[v] - 1) {
          const auto lane = static_cast<uint32_t>(__builtin_ctz(mask[v]));
          args.survivors[found++] = (base + r) * 256 + v * kW + lane;
        }
      }
    }
  }
  return found;
}
