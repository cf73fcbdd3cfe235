// Rows, bitsets and cases.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <new>

#include "conformance.h"
#include "oracle.h"

namespace hive::test {
namespace {

std::mutex& notes_mutex() {
  static std::mutex mutex;
  return mutex;
}
std::vector<std::string>& all_notes() {
  static std::vector<std::string> lines;
  return lines;
}

// The nearest binary16; ties go to the even one because nearbyint does that.
uint16_t to_f16(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double magnitude = std::fabs(static_cast<double>(x));
  if (magnitude < 0x1p-14) {
    return static_cast<uint16_t>(sign | static_cast<int>(std::nearbyint(magnitude * 0x1p24)));
  }
  const int exponent = std::min(std::ilogb(magnitude), 15);
  const int fraction = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  // A fraction that rounds up to 2048 carries into the exponent by itself.
  const int bits = ((exponent + 14) << 10) + fraction;
  return static_cast<uint16_t>(sign | std::min(bits, 0x7bff));
}

uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  // Truncation: the suite needs some bfloat16 near x, not the nearest.
  return static_cast<uint16_t>(bits >> 16);
}

void store_row_i8(const float* from, Rows* rows, uint32_t r) {
  float largest = 0;
  for (uint32_t i = 0; i < rows->dim; ++i) largest = std::max(largest, std::fabs(from[i]));
  const float scale = largest > 0 ? largest / 127.0f : 0.0f;
  auto* out = reinterpret_cast<int8_t*>(rows->data.data()) + size_t{r} * rows->dim;
  for (uint32_t i = 0; i < rows->dim; ++i) {
    const double q = scale > 0 ? std::nearbyint(static_cast<double>(from[i]) / scale) : 0;
    out[i] = static_cast<int8_t>(std::min(127.0, std::max(-127.0, q)));
    rows->decoded[size_t{r} * rows->dim + i] = oracle::from_i8(out[i], scale);
  }
  rows->scales[r] = scale;
}

void store_elements(const std::vector<float>& source, Rows* rows) {
  if (rows->dtype == HIVE_DTYPE_F32) {
    if (!source.empty()) std::memcpy(rows->data.data(), source.data(), source.size() * 4);
    rows->decoded = source;
    return;
  }
  auto* out = reinterpret_cast<uint16_t*>(rows->data.data());
  const bool half = rows->dtype == HIVE_DTYPE_F16;
  for (size_t i = 0; i < source.size(); ++i) {
    out[i] = half ? to_f16(source[i]) : to_bf16(source[i]);
    rows->decoded[i] = half ? oracle::from_f16(out[i]) : oracle::from_bf16(out[i]);
  }
}

}  // namespace

void note(const std::string& line) {
  const std::lock_guard lock(notes_mutex());
  all_notes().push_back(line);
}

const std::vector<std::string>& notes() { return all_notes(); }

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t z = a + 0x9e3779b97f4a7c15ull * (b + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

uint64_t Random::next() { return mix(state_++, 0); }

float Random::normal() {
  // The sum of 16-bit uniforms is close enough to normal and needs no mathematics library.
  const uint64_t bits = next();
  int64_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<int64_t>((bits >> (16 * i)) & 0xffff);
  return static_cast<float>(static_cast<double>(sum - 131070) / 37837.0);
}

void Area::Free::operator()(char* p) const { ::operator delete(p, std::align_val_t{64}); }

Area::Area(size_t bytes)
    : data_(static_cast<char*>(::operator new(bytes > 0 ? bytes : 1, std::align_val_t{64}))),
      size_(bytes) {
  std::memset(data_.get(), 0, bytes);
}

size_t element_bytes(uint32_t dtype) {
  constexpr size_t kBytes[] = {
#define HIVE_DTYPE(NAME, name, number, bytes, scale) bytes,
#include "hive_dtypes.def"
#undef HIVE_DTYPE
  };
  return kBytes[dtype];
}

bool has_scale(uint32_t dtype) { return dtype == HIVE_DTYPE_I8; }

float inverse_norm(const float* row, uint32_t dim) {
  double sum = 0;
  for (uint32_t i = 0; i < dim; ++i) sum += static_cast<double>(row[i]) * row[i];
  const double norm = std::sqrt(sum);
  return norm < 1e-30 ? 0.0f : static_cast<float>(1.0 / norm);
}

Rows store_rows(uint32_t dtype, uint32_t dim, const std::vector<float>& source) {
  Rows rows;
  rows.dtype = dtype;
  rows.dim = dim;
  rows.count = static_cast<uint32_t>(source.size() / dim);
  rows.data = Area(source.size() * element_bytes(dtype));
  rows.decoded.resize(source.size());
  rows.inv_norms.resize(rows.count);
  if (has_scale(dtype)) {
    rows.scales.resize(rows.count);
    for (uint32_t r = 0; r < rows.count; ++r) store_row_i8(&source[size_t{r} * dim], &rows, r);
  } else {
    store_elements(source, &rows);
  }
  for (uint32_t r = 0; r < rows.count; ++r) {
    rows.inv_norms[r] = inverse_norm(&rows.decoded[size_t{r} * dim], dim);
  }
  return rows;
}

void ScanCase::set_queries(std::vector<float> values) {
  queries = std::move(values);
  query_count = static_cast<uint32_t>(queries.size() / dim);
  query_inv_norms.resize(query_count);
  for (uint32_t q = 0; q < query_count; ++q) {
    query_inv_norms[q] = inverse_norm(&queries[size_t{q} * dim], dim);
  }
}

void ScanCase::add_segment(const std::vector<float>& rows) {
  CaseSegment s;
  s.rows = store_rows(dtype, dim, rows);
  s.row_count = s.rows.count;
  s.capacity = std::max(1u, s.rows.count);
  segments.push_back(std::move(s));
}

uint64_t ScanCase::rows_searched() const {
  uint64_t rows = 0;
  for (const CaseSegment& s : segments) {
    for (uint32_t slot = 0; slot < s.row_count; ++slot) rows += s.searched(slot);
  }
  return rows;
}

ScanCase simple_case(uint32_t rows, uint32_t dim, uint32_t query_count, uint32_t k,
                     uint32_t metric, uint32_t dtype, uint64_t seed) {
  ScanCase c;
  c.name = "simple";
  c.metric = metric;
  c.dtype = dtype;
  c.dim = dim;
  c.k = k;
  Random random(seed);
  std::vector<float> values(size_t{rows} * dim);
  for (float& v : values) v = random.normal();
  c.add_segment(values);
  values.resize(size_t{query_count} * dim);
  for (float& v : values) v = random.normal();
  c.set_queries(values);
  return c;
}

}  // namespace hive::test
