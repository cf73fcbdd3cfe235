// Data chosen to be hard: cancellation, subnormals, extreme norms, ties and bad orders.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "conformance.h"
#include "oracle.h"

namespace hive::test {
namespace {

// Single queries and batches take different ways through a backend.
constexpr uint32_t kQueryCounts[] = {1, 4, 5, 24, 70};

std::vector<float> normals(Random& random, uint32_t rows, uint32_t dim, float scale) {
  std::vector<float> out(size_t{rows} * dim);
  for (float& x : out) x = random.normal() * scale;
  return out;
}

// Scales every row to a norm.
void set_norms(std::vector<float>* values, uint32_t dim, double norm) {
  for (size_t first = 0; first < values->size(); first += dim) {
    double sum = 0;
    for (uint32_t i = 0; i < dim; ++i) {
      const double x = (*values)[first + i];
      sum += x * x;
    }
    const double factor = sum > 0 ? norm / std::sqrt(sum) : 0;
    for (uint32_t i = 0; i < dim; ++i) {
      (*values)[first + i] = static_cast<float>((*values)[first + i] * factor);
    }
  }
}

void check_on_all(ScanCase& c, const std::vector<float>& queries) {
  std::vector<std::unique_ptr<OpenDevice>> devices;
  for (const Backend& backend : backends_under_test()) {
    devices.push_back(std::make_unique<OpenDevice>(backend, 2));
    REQUIRE_MESSAGE(bool(*devices.back()), devices.back()->problem);
  }
  const std::string name = c.name;
  for (const uint32_t query_count : kQueryCounts) {
    std::vector<float> some;
    while (some.size() < size_t{query_count} * c.dim) {
      some.insert(some.end(), queries.begin(), queries.end());
    }
    some.resize(size_t{query_count} * c.dim);
    c.set_queries(some);
    c.name = name + ", " + std::to_string(query_count) + " queries";
    const Expected expected = expect(c);
    for (size_t b = 0; b < devices.size(); ++b) {
      const Backend& backend = backends_under_test()[b];
      const std::string wrong = compare(c, expected, run_case(*devices[b], c), backend.exact);
      CHECK_MESSAGE(wrong.empty(), (backend.spec + ": " + c.name + ": " + wrong));
    }
  }
}

// Checks rows and queries under every metric.
void check_metrics(const std::string& name, uint32_t dtype, uint32_t dim, uint32_t k,
                   const std::vector<float>& rows, const std::vector<float>& queries) {
  for (uint32_t metric = 0; metric < HIVE_METRIC_COUNT; ++metric) {
    ScanCase c;
    c.name = name + ", metric " + std::to_string(metric) + " dtype " + std::to_string(dtype);
    c.metric = metric;
    c.dtype = dtype;
    c.dim = dim;
    c.k = k;
    c.add_segment(rows);
    check_on_all(c, queries);
  }
}

}  // namespace

TEST_CASE("near duplicates: rows one unit in the last place apart") {
  Random random(11);
  constexpr uint32_t kDim = 96;
  const std::vector<float> base = normals(random, 1, kDim, 1);
  std::vector<float> rows;
  for (uint32_t r = 0; r < 300; ++r) {
    rows.insert(rows.end(), base.begin(), base.end());
    float& x = rows[size_t{r} * kDim + random.below(kDim)];
    x = std::nextafter(x, random.below(2) == 0 ? 1e9f : -1e9f);
  }
  check_metrics("near duplicates", HIVE_DTYPE_F32, kDim, 20, rows, base);
  check_metrics("near duplicates of others", HIVE_DTYPE_F32, kDim, 20, rows,
                normals(random, 3, kDim, 1));
}

TEST_CASE("a large common offset: l2 loses nearly all digits when it is expanded") {
  Random random(12);
  constexpr uint32_t kDim = 100;
  std::vector<float> rows = normals(random, 400, kDim, 1e-3f);
  for (float& x : rows) x += 1000.0f;
  std::vector<float> queries = normals(random, 3, kDim, 1e-3f);
  for (float& x : queries) x += 1000.0f;
  check_metrics("offset", HIVE_DTYPE_F32, kDim, 10, rows, queries);
  check_metrics("offset", HIVE_DTYPE_F16, kDim, 10, rows, queries);
  check_metrics("offset", HIVE_DTYPE_BF16, kDim, 10, rows, queries);
}

TEST_CASE("long rows of one sign: the order of summation matters most") {
  Random random(18);
  constexpr uint32_t kDim = 2048;
  std::vector<float> rows = normals(random, 150, kDim, 1e-4f);
  for (float& x : rows) x += 1.0f;
  std::vector<float> queries = normals(random, 2, kDim, 1e-4f);
  for (float& x : queries) x += 0.7f;
  check_metrics("one sign", HIVE_DTYPE_F32, kDim, 5, rows, queries);
  check_metrics("one sign", HIVE_DTYPE_I8, kDim, 5, rows, queries);
}

TEST_CASE("subnormal elements and products that underflow") {
  Random random(13);
  constexpr uint32_t kDim = 64;
  for (const float scale : {1e-44f, 1e-41f, 1e-38f, 1e-25f, 1e-20f}) {
    const std::vector<float> rows = normals(random, 200, kDim, scale);
    check_metrics("subnormal " + std::to_string(std::log10(scale)), HIVE_DTYPE_F32, kDim, 10, rows,
                  normals(random, 2, kDim, scale));
    check_metrics("subnormal against normal", HIVE_DTYPE_F32, kDim, 10, rows,
                  normals(random, 2, kDim, 1));
  }
  // Products of a few subnormal units: every order of summation rounds to another value, and many
  // rows are one unit from the k-th.
  check_metrics("sums of subnormals", HIVE_DTYPE_F32, kDim, 10,
                normals(random, 800, kDim, 1e-22f), normals(random, 70, kDim, 1e-22f));
  // The smallest positive binary16 numbers.
  const std::vector<float> halves = normals(random, 200, kDim, 0x1p-22f);
  check_metrics("subnormal f16", HIVE_DTYPE_F16, kDim, 10, halves,
                normals(random, 2, kDim, 0x1p-22f));
}

TEST_CASE("norms at the ends of the range") {
  Random random(14);
  constexpr uint32_t kDim = 31;
  for (const double norm : {0.9e-30, 1.1e-30, 1e-18, 1e15, 8.99e18}) {
    std::vector<float> rows = normals(random, 150, kDim, 1);
    set_norms(&rows, kDim, norm);
    std::vector<float> queries = normals(random, 3, kDim, 1);
    check_metrics("norm " + std::to_string(std::log10(norm)), HIVE_DTYPE_F32, kDim, 10, rows,
                  queries);
    set_norms(&queries, kDim, norm);
    check_metrics("norms " + std::to_string(std::log10(norm)), HIVE_DTYPE_F32, kDim, 10, rows,
                  queries);
    check_metrics("norms bf16", HIVE_DTYPE_BF16, kDim, 10, rows, queries);
  }
  // Rows of very different size side by side.
  std::vector<float> mixed;
  for (const double norm : {1.1e-30, 1e-10, 1.0, 1e10, 8.99e18}) {
    std::vector<float> part = normals(random, 40, kDim, 1);
    set_norms(&part, kDim, norm);
    mixed.insert(mixed.end(), part.begin(), part.end());
  }
  check_metrics("mixed norms", HIVE_DTYPE_F32, kDim, 50, mixed, normals(random, 3, kDim, 1));
}

TEST_CASE("all rows identical: slots decide") {
  Random random(15);
  constexpr uint32_t kDim = 33;
  const std::vector<float> one = normals(random, 1, kDim, 1);
  std::vector<float> rows;
  for (uint32_t r = 0; r < 700; ++r) rows.insert(rows.end(), one.begin(), one.end());
  for (uint32_t dtype = 0; dtype < HIVE_DTYPE_COUNT; ++dtype) {
    check_metrics("identical", dtype, kDim, 100, rows, normals(random, 2, kDim, 1));
  }
  check_metrics("all zero", HIVE_DTYPE_I8, kDim, 10, std::vector<float>(kDim * 100),
                std::vector<float>(kDim));
}

TEST_CASE("the best rows come last: every row raises the threshold") {
  constexpr uint32_t kDim = 16;
  constexpr uint32_t kRows = 2000;
  std::vector<float> rows(size_t{kRows} * kDim);
  std::vector<float> query(kDim, 1.0f);
  for (uint32_t r = 0; r < kRows; ++r) {
    const float x = 1.0f - static_cast<float>(kRows - r) / (2.0f * kRows);
    for (uint32_t i = 0; i < kDim; ++i) rows[size_t{r} * kDim + i] = i % 2 == 0 ? x : 1.0f;
  }
  check_metrics("best last", HIVE_DTYPE_F32, kDim, 10, rows, query);
  check_metrics("best last", HIVE_DTYPE_F16, kDim, 1, rows, query);
  check_metrics("k = n", HIVE_DTYPE_F32, kDim, kRows, rows, query);
}

TEST_CASE("opposite signs: values that cancel to zero and to minus zero") {
  Random random(16);
  constexpr uint32_t kDim = 64;
  std::vector<float> rows;
  for (uint32_t r = 0; r < 200; ++r) {
    std::vector<float> row = normals(random, 1, kDim, 1);
    for (uint32_t i = 0; i < kDim / 2; ++i) row[i + 32] = r % 3 == 0 ? -row[i] : row[i];
    if (r % 5 == 0) std::fill(row.begin(), row.end(), -0.0f);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  const std::vector<float> ones(kDim, 1.0f);
  check_metrics("cancelling", HIVE_DTYPE_F32, kDim, 150, rows, ones);
  check_metrics("cancelling, minus zero", HIVE_DTYPE_F32, kDim, 150, rows,
                std::vector<float>(kDim, -0.0f));
}

TEST_CASE("many small segments") {
  ScanCase many = simple_case(5, 20, 3, 12, HIVE_METRIC_L1);
  Random random(17);
  for (uint32_t s = 0; s < 60; ++s) many.add_segment(normals(random, random.below(9), 20, 1));
  many.name = "61 segments";
  for (const Backend& backend : backends_under_test()) {
    OpenDevice device(backend, 2);
    CHECK_MESSAGE(verify(device, many, backend.exact).empty(), backend.spec);
  }
}

TEST_CASE("the harness sees wrong answers") {
  const ScanCase c = simple_case(50, 8, 1, 5);
  const Expected expected = expect(c);
  Answer right;
  right.status = HIVE_OK;
  right.hits = expected[0];
  right.hit_counts = {5};
  CHECK(compare(c, expected, right, true).empty());
  CHECK(compare(c, expected, right, false).empty());
  for (const bool exact : {true, false}) {
    Answer wrong = right;
    std::swap(wrong.hits[0], wrong.hits[1]);
    CHECK_FALSE(compare(c, expected, wrong, exact).empty());
    wrong = right;
    wrong.hits[4] = wrong.hits[3];
    CHECK_FALSE(compare(c, expected, wrong, exact).empty());
    wrong = right;
    wrong.hits[2].value *= 1.001f;
    CHECK_FALSE(compare(c, expected, wrong, exact).empty());
    wrong = right;
    wrong.hit_counts[0] = 4;
    CHECK_FALSE(compare(c, expected, wrong, exact).empty());
    wrong = right;
    wrong.hits[0].slot = 50;
    CHECK_FALSE(compare(c, expected, wrong, exact).empty());
  }
  Answer close = right;
  close.hits[2].value = std::nextafter(close.hits[2].value, 1e9f);
  CHECK_FALSE(compare(c, expected, close, true).empty());
  CHECK(compare(c, expected, close, false).empty());
}

}  // namespace hive::test
