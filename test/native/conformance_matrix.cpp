// The matrix: every dtype x metric x dimension x row count x query count x k, each with data,
// bitsets and a split into segments drawn from its own seed. A share of it runs by default.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "conformance.h"

namespace hive::test {
namespace {

constexpr uint32_t kDims[] = {1, 3, 31, 96, 100, 128, 768, 1536, 4096};
constexpr uint32_t kRowCounts[] = {0, 1, 31, 32, 33, 65, 257, 1000, 3000};
constexpr uint32_t kQueryCounts[] = {1, 2, 5, 17, 64, 130};
constexpr uint32_t kMoreThanRows = 0;  // stands for k = rows + 3
constexpr uint32_t kKs[] = {1, 10, kMoreThanRows, 1024};

// Cases above are left out: the oracle's time, and the memory of the smallest pretended device.
constexpr uint64_t kWorkMax = 16'000'000;
constexpr uint64_t kElementsMax = 3'000'000;
// After so many wrong answers the rest would say nothing new.
constexpr uint32_t kWrongMax = 8;

struct Shape {
  uint32_t metric, dtype, dim, rows, query_count, k;
};

std::vector<Shape> all_shapes() {
  std::vector<Shape> out;
  for (uint32_t metric = 0; metric < HIVE_METRIC_COUNT; ++metric)
    for (uint32_t dtype = 0; dtype < HIVE_DTYPE_COUNT; ++dtype)
      for (const uint32_t dim : kDims)
        for (const uint32_t rows : kRowCounts)
          for (const uint32_t query_count : kQueryCounts)
            for (const uint32_t k : kKs) {
              const uint64_t elements = uint64_t{rows} * dim;
              if (elements > kElementsMax || elements * query_count > kWorkMax) continue;
              out.push_back({metric, dtype, dim, rows, query_count,
                             k == kMoreThanRows ? rows + 3 : k});
            }
  return out;
}

enum class Kind : uint32_t { normal, ties, duplicates, zeros, count };

std::vector<float> make_values(Random& random, Kind kind, uint32_t rows, uint32_t dim) {
  std::vector<float> out(size_t{rows} * dim);
  for (uint32_t r = 0; r < rows; ++r) {
    float* row = &out[size_t{r} * dim];
    if (kind == Kind::duplicates && r >= 3 && random.below(4) != 0) {
      std::copy_n(&out[size_t{random.below(r)} * dim], dim, row);
      continue;
    }
    if (kind == Kind::zeros && random.below(5) == 0) continue;
    for (uint32_t i = 0; i < dim; ++i) {
      // Few small integers give equal values in every metric and dtype.
      row[i] = kind == Kind::ties ? static_cast<float>(static_cast<int>(random.below(5)) - 2)
                                  : random.normal();
    }
  }
  return out;
}

enum class Bits : uint32_t { none, all, half, few, dead, shorter, runs, count };

std::optional<BitSet> make_bits(Random& random, uint32_t rows) {
  // Half of the cases have no bitset, as most searches have none.
  const auto kind = random.below(2) == 0
                        ? Bits::none
                        : static_cast<Bits>(random.below(static_cast<uint32_t>(Bits::count)));
  if (kind == Bits::none) return std::nullopt;
  BitSet out;
  out.count = kind == Bits::shorter ? random.below(rows + 1) : rows + random.below(40);
  out.words.resize((size_t{out.count} + 31) / 32);
  for (uint32_t& word : out.words) {
    const auto bits = static_cast<uint32_t>(random.next());
    if (kind == Bits::all) word = ~0u;
    else if (kind == Bits::few) word = bits & (bits >> 7) & (bits >> 13) & (bits << 11);
    else if (kind == Bits::dead) word = 0;
    else if (kind == Bits::runs) word = (bits & 3) == 0 ? 0 : ~0u;
    else word = bits;
  }
  return out;
}

// How the rows are cut into segments, and what lies behind the part that is searched.
void make_segments(Random& random, Kind kind, uint32_t rows, ScanCase* c) {
  const uint32_t count = rows == 0 ? random.below(2) : 1 + random.below(3);
  uint32_t left = rows;
  for (uint32_t s = 0; s < count; ++s) {
    const uint32_t share = s + 1 == count ? left : random.below(left + 1);
    left -= share;
    std::vector<float> values = make_values(random, kind, share, c->dim);
    if (random.below(3) == 0) {
      // Rows that were appended but are not searched would win: they are the first query.
      for (uint32_t extra = 0; extra < 2; ++extra) {
        values.insert(values.end(), c->queries.begin(), c->queries.begin() + c->dim);
      }
    }
    c->add_segment(values);
    CaseSegment& segment = c->segments.back();
    segment.row_count = share;
    segment.capacity = std::max(1u, segment.rows.count + random.below(3) * 17);
    segment.live = make_bits(random, share);
    segment.filter = make_bits(random, share);
  }
}

ScanCase make_case(const Shape& shape, uint64_t seed) {
  Random random(seed);
  ScanCase c;
  c.metric = shape.metric;
  c.dtype = shape.dtype;
  c.dim = shape.dim;
  c.k = shape.k;
  const auto kind = static_cast<Kind>(random.below(static_cast<uint32_t>(Kind::count)));
  c.set_queries(make_values(random, kind, shape.query_count, shape.dim));
  make_segments(random, kind, shape.rows, &c);
  // A query that is a stored row: distance 0 and cosine 1.
  for (const CaseSegment& s : c.segments) {
    if (s.row_count == 0 || random.below(2) == 0) continue;
    std::vector<float> queries = c.queries;
    std::copy_n(s.rows.decoded.begin(), c.dim, queries.end() - c.dim);
    c.set_queries(std::move(queries));
  }
  char name[160];
  std::snprintf(name, sizeof name, "metric %u dtype %u dim %u rows %u queries %u k %u data %u",
                shape.metric, shape.dtype, shape.dim, shape.rows, shape.query_count, shape.k,
                static_cast<uint32_t>(kind));
  c.name = name;
  return c;
}

double share_wanted() {
  const char* text = std::getenv("HIVE_TEST_SHARE");
  return text == nullptr || *text == 0 ? 0.05 : std::clamp(std::atof(text), 0.0, 1.0);
}

uint64_t seed_wanted() {
  const char* text = std::getenv("HIVE_TEST_SEED");
  return text == nullptr || *text == 0 ? 20261124 : std::strtoull(text, nullptr, 10);
}

struct Run {
  const Backend* backend;
  std::unique_ptr<OpenDevice> device;
  uint64_t cases = 0;
  uint32_t wrong = 0;
};

void run_on_all(const ScanCase& c, bool late_wait, std::vector<Run>& runs) {
  const Expected expected = expect(c);
  for (Run& run : runs) {
    if (run.wrong >= kWrongMax) continue;
    const std::string wrong =
        compare(c, expected, run_case(*run.device, c, late_wait), run.backend->exact);
    ++run.cases;
    if (wrong.empty()) continue;
    ++run.wrong;
    const std::string text = run.backend->spec + ": " + c.name + ": " + wrong;
    FAIL_CHECK(text);
  }
}

}  // namespace

TEST_CASE("conformance matrix") {
  const std::vector<Shape> shapes = all_shapes();
  const double share = share_wanted();
  const uint64_t seed = seed_wanted();
  std::vector<Run> runs;
  for (const Backend& backend : backends_under_test()) {
    // Three threads, so that partial results have to be merged even on a small machine.
    auto device = std::make_unique<OpenDevice>(backend, 3);
    REQUIRE_MESSAGE(bool(*device), (backend.spec + ": " + device->problem));
    runs.push_back({&backend, std::move(device)});
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    const uint64_t draw = mix(seed, i);
    if (static_cast<double>(draw >> 11) * 0x1p-53 >= share) continue;
    run_on_all(make_case(shapes[i], draw), draw % 2 == 0, runs);
  }
  for (const Run& run : runs) {
    char line[256];
    std::snprintf(line, sizeof line, "conformance %s: %llu of %zu cases (%.3g %%), seed %llu",
                  run.backend->spec.c_str(), static_cast<unsigned long long>(run.cases),
                  shapes.size(), 100.0 * static_cast<double>(run.cases) / shapes.size(),
                  static_cast<unsigned long long>(seed));
    note(line);
    const hive_health health = run.device->health();
    if (health.detail[0] != 0) note("conformance " + run.backend->spec + ": " + health.detail);
    CHECK(run.wrong == 0);
  }
}

}  // namespace hive::test
