// The scalar instruction set: the definition of values, one pair at a time. It is the oracle the
// SIMD sets are compared with bit for bit, so it favours plainness over speed.
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "value.h"

namespace hive::cpu {
namespace {

constexpr size_t kElementBytes[] = {4, 2, 2, 1};

const void* row_at(const void* data, uint32_t dtype, uint32_t dim, uint32_t row) {
  return static_cast<const char*>(data) + size_t{row} * dim * kElementBytes[dtype];
}

template <uint32_t Metric, uint32_t Dtype>
uint64_t scan(const RowsView& rows, uint32_t first, uint32_t count, uint32_t dim,
              const QueryView& query, float threshold, float* keys) {
  uint64_t mask = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t row = first + i;
    const float scale = Dtype == HIVE_DTYPE_I8 ? rows.scales[row] : 1.0f;
    const float inv_norm = Metric == HIVE_METRIC_COSINE ? rows.inv_norms[row] : 1.0f;
    const float v = value::pair_value(Metric, Dtype, dim, query.padded, query.inv_norm,
                                      row_at(rows.data, Dtype, dim, row), scale, inv_norm);
    keys[i] = value::greater_is_closer(Metric) ? v : -v;
    if (keys[i] >= threshold) mask |= uint64_t{1} << i;
  }
  return mask;
}

constexpr uint32_t kWidth = 8;

template <uint32_t Kind>
uint32_t panel(const PanelArgs& a) {
  uint32_t found = 0;
  for (uint32_t r = 0; r < a.count; ++r) {
    for (uint32_t q = 0; q < kWidth; ++q) {
      float acc = 0;
      for (uint32_t i = 0; i < a.dim; ++i) {
        const float x = a.rows[size_t{r} * a.dim + i];
        const float y = a.panel[size_t{i} * kWidth + q];
        if constexpr (Kind == kPanelDot) acc = std::fma(x, y, acc);
        if constexpr (Kind == kPanelL1) acc += std::fabs(x - y);
        if constexpr (Kind == kPanelLinf) acc = std::fabs(x - y) > acc ? std::fabs(x - y) : acc;
      }
      const bool out = Kind == kPanelDot
                           ? acc < std::fma(a.row_term[r], a.query_factor[q], a.query_bias[q])
                           : acc > a.query_bias[q];
      if (!out) a.survivors[found++] = r * 256 + q;
    }
  }
  return found;
}

// f64 sum of squares in 16 virtual lanes and a fixed tree: the same bits on every instruction set.
double sum_of_squares(uint32_t dtype, const void* row, float scale, uint32_t dim) {
  double lane[16] = {};
  for (uint32_t i = 0; i < dim; ++i) {
    const double x = value::decode(dtype, row, i, scale);
    lane[i % 16] += x * x;
  }
  for (uint32_t w = 8; w > 0; w /= 2) {
    for (uint32_t j = 0; j < w; ++j) lane[j] += lane[j + w];
  }
  return lane[0];
}

bool finish_row(uint32_t dtype, const void* row, float scale, uint32_t dim, float* inv_norm) {
  const double norm = std::sqrt(sum_of_squares(dtype, row, scale, dim));
  *inv_norm = norm < kNormMin ? 0.0f : static_cast<float>(1.0 / norm);
  return norm <= kNormMax;
}

template <uint32_t Dtype>
EncodeResult encode(const float* source, uint32_t count, uint32_t dim, void* data, float* scales,
                    float* inv_norms) {
  for (uint32_t r = 0; r < count; ++r) {
    const float* x = source + size_t{r} * dim;
    void* row = static_cast<char*>(data) + size_t{r} * dim * kElementBytes[Dtype];
    float largest = 0;
    for (uint32_t i = 0; i < dim; ++i) {
      if (!std::isfinite(x[i])) return {RowFault::kNonFinite, r, i};
      largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
    }
    const float scale = Dtype == HIVE_DTYPE_I8 ? largest / 127.0f : 1.0f;
    for (uint32_t i = 0; i < dim; ++i) {
      if constexpr (Dtype == HIVE_DTYPE_F32) static_cast<float*>(row)[i] = x[i];
      if constexpr (Dtype == HIVE_DTYPE_F16) {
        static_cast<uint16_t*>(row)[i] = value::encode_f16(x[i]);
      }
      if constexpr (Dtype == HIVE_DTYPE_BF16) {
        static_cast<uint16_t*>(row)[i] = value::encode_bf16(x[i]);
      }
      if constexpr (Dtype == HIVE_DTYPE_I8) {
        const float q = scale > 0 ? std::nearbyint(x[i] / scale) : 0.0f;
        static_cast<int8_t*>(row)[i] =
            static_cast<int8_t>(q > 127.0f ? 127.0f : (q < -127.0f ? -127.0f : q));
      }
      if (!std::isfinite(value::decode(Dtype, row, i, scale))) return {RowFault::kOverflow, r, i};
    }
    if constexpr (Dtype == HIVE_DTYPE_I8) scales[r] = scale;
    if (!finish_row(Dtype, row, scale, dim, &inv_norms[r])) return {RowFault::kNormTooLarge, r, 0};
  }
  return {};
}

template <uint32_t Dtype>
void decode(const void* data, const float* scales, uint32_t count, uint32_t dim, float* out) {
  for (uint32_t r = 0; r < count; ++r) {
    const float scale = Dtype == HIVE_DTYPE_I8 ? scales[r] : 1.0f;
    for (uint32_t i = 0; i < dim; ++i) {
      out[size_t{r} * dim + i] = value::decode(Dtype, row_at(data, Dtype, dim, r), i, scale);
    }
  }
}

template <uint32_t Metric, uint32_t Dtype>
uint64_t gather(const RowsView& rows, const uint32_t* slots, uint32_t count, uint32_t, uint32_t dim,
                const QueryView& query, float threshold, float* keys) {
  uint64_t mask = 0;
  for (uint32_t i = 0; i < count; ++i) {
    mask |= scan<Metric, Dtype>(rows, slots[i], 1, dim, query, threshold, keys + i) << i;
  }
  return mask;
}

template <class T>
void range(const void* values, uint32_t count, uint64_t lo, uint64_t hi, uint64_t* out) {
  const T* p = static_cast<const T*>(values);
  std::memset(out, 0, (count + 63) / 64 * sizeof(uint64_t));
  for (uint32_t i = 0; i < count; ++i) {
    if (p[i] >= lo && p[i] <= hi) out[i / 64] |= uint64_t{1} << (i % 64);
  }
}

template <class T>
void equal(const void* values, uint32_t count, const uint64_t* list, uint32_t length,
           uint64_t* out) {
  const T* p = static_cast<const T*>(values);
  std::memset(out, 0, (count + 63) / 64 * sizeof(uint64_t));
  for (uint32_t i = 0; i < count; ++i) {
    for (uint32_t j = 0; j < length; ++j) {
      if (p[i] == list[j]) out[i / 64] |= uint64_t{1} << (i % 64);
    }
  }
}

uint64_t count_bits(const uint32_t* words, const uint32_t* mask, size_t count) {
  uint64_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    for (uint32_t w = mask == nullptr ? words[i] : words[i] & mask[i]; w != 0; w &= w - 1) ++total;
  }
  return total;
}

#define HIVE_GATHER_ROW(M) {gather<M, 0>, gather<M, 1>, gather<M, 2>, gather<M, 3>}
#define HIVE_SCAN_ROW(M) {scan<M, 0>, scan<M, 1>, scan<M, 2>, scan<M, 3>}
constexpr CpuKernels kTable = {
    "scalar",
    {HIVE_SCAN_ROW(0), HIVE_SCAN_ROW(1), HIVE_SCAN_ROW(2), HIVE_SCAN_ROW(3), HIVE_SCAN_ROW(4)},
    {kWidth, 0, 0},
    {{panel<kPanelDot>, nullptr, nullptr},
     {panel<kPanelL1>, nullptr, nullptr},
     {panel<kPanelLinf>, nullptr, nullptr}},
    {encode<0>, encode<1>, encode<2>, encode<3>},
    {decode<0>, decode<1>, decode<2>, decode<3>},
    {HIVE_GATHER_ROW(0), HIVE_GATHER_ROW(1), HIVE_GATHER_ROW(2), HIVE_GATHER_ROW(3),
     HIVE_GATHER_ROW(4)},
    {range<uint8_t>, range<uint16_t>, range<uint32_t>, range<uint64_t>},
    {equal<uint8_t>, equal<uint16_t>, equal<uint32_t>, equal<uint64_t>},
    count_bits,
};

}  // namespace

const CpuKernels* scalar_kernels() { return &kTable; }

}  // namespace hive::cpu
