// Encoding, checking and decoding of rows, written once over `Simd`. Included like simd_scan.h.

// f64 sum of squares of a decoded row: 16 virtual lanes (element i in lane i % 16), tree 8, 4, 2, 1.
// A product of two f32 is exact in f64, so fused and unfused sums are the same.
template <uint32_t Dtype>
inline double sum_of_squares(const typename Element<Dtype>::T* row, float scale, uint32_t dim,
                             const Simd::Tail& tail) {
  constexpr uint32_t kDw = Simd::kDoubleWidth;
  constexpr uint32_t kParts = 16 / kDw;
  Simd::D acc[kParts];
  for (uint32_t p = 0; p < kParts; ++p) acc[p] = Simd::zero_d();
  const V factor = Simd::set1(scale);
  const auto take = [&](V x, uint32_t position) {
    if constexpr (Dtype == HIVE_DTYPE_I8) x = Simd::mul(x, factor);
    const uint32_t part = position / kDw;
    for (uint32_t p = 0; p + 1 < kParts; p += 2) {
      if (p == part) {
        acc[p] = Simd::square_add(Simd::low_d(x), acc[p]);
        acc[p + 1] = Simd::square_add(Simd::high_d(x), acc[p + 1]);
      }
    }
  };
  uint32_t i = 0;
  for (; i + kW <= dim; i += kW) take(Element<Dtype>::load(row + i), i % 16);
  if (i < dim) take(load_rest<Dtype>(row, dim, tail), i % 16);
  double lane[16];
  for (uint32_t p = 0; p < kParts; ++p) Simd::store_d(lane + p * kDw, acc[p]);
  for (uint32_t w = 8; w > 0; w /= 2) {
    for (uint32_t j = 0; j < w; ++j) lane[j] += lane[j + w];
  }
  return lane[0];
}

// First element that is not finite, or dim.
inline uint32_t find_non_finite(const float* x, uint32_t dim) {
  uint32_t i = 0;
  for (; i + kW <= dim; i += kW) {
    if (Simd::not_finite(Simd::load(x + i)) != 0) break;
  }
  for (; i < dim; ++i) {
    if (!(__builtin_fabsf(x[i]) < __builtin_inff())) return i;
  }
  return dim;
}

inline float largest_magnitude(const float* x, uint32_t dim) {
  V most = Simd::zero();
  uint32_t i = 0;
  for (; i + kW <= dim; i += kW) most = Simd::max(most, Simd::abs(Simd::load(x + i)));
  float lanes[kW];
  Simd::store(lanes, most);
  float out = 0;
  for (uint32_t j = 0; j < kW; ++j) out = lanes[j] > out ? lanes[j] : out;
  for (; i < dim; ++i) out = __builtin_fabsf(x[i]) > out ? __builtin_fabsf(x[i]) : out;
  return out;
}

template <uint32_t Dtype>
inline void store_elements(typename Element<Dtype>::T* to, V x, V scale) {
  if constexpr (Dtype == HIVE_DTYPE_F32) Simd::store(to, x);
  if constexpr (Dtype == HIVE_DTYPE_F16) Simd::store_f16(to, x);
  if constexpr (Dtype == HIVE_DTYPE_BF16) Simd::store_bf16(to, x);
  if constexpr (Dtype == HIVE_DTYPE_I8) Simd::store_i8(to, x, scale);
}

template <uint32_t Dtype>
EncodeResult encode(const float* source, uint32_t count, uint32_t dim, void* data, float* scales,
                    float* inv_norms) {
  using T = typename Element<Dtype>::T;
  const Simd::Tail tail = make_tail(dim);
  for (uint32_t r = 0; r < count; ++r) {
    const float* x = source + size_t{r} * dim;
    T* row = static_cast<T*>(data) + size_t{r} * dim;
    const uint32_t bad = find_non_finite(x, dim);
    if (bad < dim) return {RowFault::kNonFinite, r, bad};
    float scale = 1.0f;
    if constexpr (Dtype == HIVE_DTYPE_I8) {
      scale = largest_magnitude(x, dim) / 127.0f;
      scales[r] = scale;
    }
    // Dividing zeros by one stands for the zero row, whose scale is 0.
    const bool zero = Dtype == HIVE_DTYPE_I8 && !(scale > 0);
    const V factor = Simd::set1(zero ? 1.0f : scale);
    uint32_t i = 0;
    for (; i + kW <= dim; i += kW) {
      store_elements<Dtype>(row + i, zero ? Simd::zero() : Simd::load(x + i), factor);
    }
    if (i < dim) {
      float rest[kW] = {};
      for (uint32_t j = i; j < dim; ++j) rest[j - i] = zero ? 0.0f : x[j];
      T stored[kW];
      store_elements<Dtype>(stored, Simd::load(rest), factor);
      for (uint32_t j = i; j < dim; ++j) row[j] = stored[j - i];
    }
    if constexpr (Dtype == HIVE_DTYPE_F16 || Dtype == HIVE_DTYPE_BF16) {
      const T infinity = Dtype == HIVE_DTYPE_F16 ? T{0x7c00} : T{0x7f80};
      for (uint32_t j = 0; j < dim; ++j) {
        if ((row[j] & 0x7fff) >= infinity) return {RowFault::kOverflow, r, j};
      }
    }
    const double norm = __builtin_sqrt(sum_of_squares<Dtype>(row, scale, dim, tail));
    if (!(norm <= kNormMax)) return {RowFault::kNormTooLarge, r, 0};
    inv_norms[r] = norm < kNormMin ? 0.0f : static_cast<float>(1.0 / norm);
  }
  return {};
}

template <uint32_t Dtype>
void decode(const void* data, const float* scales, uint32_t count, uint32_t dim, float* out) {
  using T = typename Element<Dtype>::T;
  const Simd::Tail tail = make_tail(dim);
  for (uint32_t r = 0; r < count; ++r) {
    const T* row = static_cast<const T*>(data) + size_t{r} * dim;
    float* to = out + size_t{r} * dim;
    const V scale = Simd::set1(Dtype == HIVE_DTYPE_I8 ? scales[r] : 1.0f);
    const auto decoded = [&](V x) {
      return Dtype == HIVE_DTYPE_I8 ? Simd::mul(x, scale) : x;
    };
    uint32_t i = 0;
    for (; i + kW <= dim; i += kW) Simd::store(to + i, decoded(Element<Dtype>::load(row + i)));
    if (i < dim) {
      float rest[kW];
      Simd::store(rest, decoded(load_rest<Dtype>(row, dim, tail)));
      for (uint32_t j = i; j < dim; ++j) to[j] = rest[j - i];
    }
  }
}
