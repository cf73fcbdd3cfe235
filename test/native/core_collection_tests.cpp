// Batches, snapshots, tombstones and compaction of native/core.
#include <doctest/doctest.h>

#include <numeric>

#include "core_fixture.h"

using namespace hive;
using namespace hive::test;

namespace {

constexpr uint32_t kDim = 8;

std::shared_ptr<Collection> make(uint64_t max_segment_bytes = uint64_t{1} << 40,
                                 uint32_t dtype = HIVE_DTYPE_F32) {
  return std::make_shared<Collection>(kDim, HIVE_METRIC_L2, dtype, max_segment_bytes);
}

std::vector<uint64_t> range(uint64_t from, uint64_t to) {
  std::vector<uint64_t> rows(to - from);
  std::iota(rows.begin(), rows.end(), from);
  return rows;
}

}  // namespace

TEST_CASE("core: rows are invisible until commit and numbered without gaps") {
  const auto collection = make();
  const auto batch = collection->begin();
  const auto rows = random_rows(100, kDim, 1);
  batch->push(rows.data(), 100);
  CHECK_FALSE(finish(*batch).has_value());
  CHECK(collection->snapshot()->total_rows == 0);
  batch->commit({});
  CHECK(live_rows(*collection->snapshot()) == range(0, 100));
  write(collection, random_rows(50, kDim, 2));
  CHECK(live_rows(*collection->snapshot()) == range(0, 150));
  CHECK(collection->snapshot()->end_row == 150);
}

TEST_CASE("core: an aborted batch leaves nothing and its row numbers are used again") {
  const auto collection = make();
  write(collection, random_rows(10, kDim, 1));
  const auto doomed = collection->begin();
  const auto rows = random_rows(5000, kDim, 2);
  doomed->push(rows.data(), 5000);
  doomed->abort();
  CHECK_THROWS_AS(doomed->commit({}), Failure);
  write(collection, random_rows(3, kDim, 3));
  CHECK(live_rows(*collection->snapshot()) == range(0, 13));
}

TEST_CASE("core: one batch at a time") {
  const auto collection = make();
  const auto first = collection->begin();
  CHECK_THROWS_AS(collection->begin(), Failure);
  first->abort();
  CHECK_NOTHROW(collection->begin()->abort());
}

TEST_CASE("core: a bad vector is named by its index in the whole batch, smallest first") {
  const auto collection = make();
  auto rows = random_rows(60000, kDim, 4);
  rows[40000 * kDim + 5] = std::nanf("");
  rows[50000 * kDim + 1] = INFINITY;
  const auto batch = collection->begin();
  batch->push(rows.data(), 30000);
  batch->push(rows.data() + 30000 * kDim, 30000);
  const auto failure = finish(*batch);
  REQUIRE(failure.has_value());
  CHECK(failure->code() == "HIVE_NON_FINITE");
  CHECK(failure->index() == 40000);
  CHECK(failure->element() == 5);
  batch->abort();
  CHECK(collection->snapshot()->total_rows == 0);
}

TEST_CASE("core: values that a dtype cannot hold are refused") {
  const auto code_of = [](uint32_t dtype, float value) {
    const auto collection = make(uint64_t{1} << 40, dtype);
    std::vector<float> row(kDim, 0.5f);
    row[3] = value;
    const auto batch = collection->begin();
    batch->push(row.data(), 1);
    const auto failure = finish(*batch);
    return failure ? failure->code() : std::string("stored");
  };
  CHECK(code_of(HIVE_DTYPE_F16, 65504.0f) == "stored");
  CHECK(code_of(HIVE_DTYPE_F16, 65520.0f) == "HIVE_DTYPE_OVERFLOW");
  CHECK(code_of(HIVE_DTYPE_BF16, 3.4028e38f) == "HIVE_DTYPE_OVERFLOW");
  CHECK(code_of(HIVE_DTYPE_F32, 8.9e18f) == "stored");
  CHECK(code_of(HIVE_DTYPE_F32, 1e30f) == "HIVE_NORM_TOO_LARGE");
  CHECK(code_of(HIVE_DTYPE_I8, 1e30f) == "HIVE_NORM_TOO_LARGE");
}

TEST_CASE("core: a snapshot keeps what it saw") {
  const auto collection = make();
  write(collection, random_rows(100, kDim, 1));
  const auto before = collection->snapshot();
  write(collection, random_rows(10, kDim, 2), {3, 50});
  CHECK(live_rows(*before) == range(0, 100));
  auto expected = range(0, 110);
  std::erase(expected, 3);
  std::erase(expected, 50);
  CHECK(live_rows(*collection->snapshot()) == expected);
  CHECK(collection->snapshot()->live_rows == 108);
}

TEST_CASE("core: a tombstone for a row that is not live fails and changes nothing") {
  const auto collection = make();
  write(collection, random_rows(10, kDim, 1));
  write(collection, {}, {4});
  for (const std::vector<uint64_t>& bad : {std::vector<uint64_t>{4}, {10}, {2, 2}}) {
    const auto batch = collection->begin();
    CHECK_THROWS_AS(batch->commit(bad), Failure);
    batch->abort();
    CHECK(collection->snapshot()->live_rows == 9);
  }
}

TEST_CASE("core: rows run over segment borders; copies are bit-exact") {
  const auto collection = make(uint64_t{1024} * kDim, HIVE_DTYPE_I8);
  write(collection, random_rows(5000, kDim, 7));
  const auto before = collection->snapshot();
  CHECK(before->segments.size() > 1);
  const auto batch = collection->begin();
  batch->push_copies({4999, 0, 1234});
  CHECK_THROWS_AS(batch->push_copies({5000}), Failure);
  CHECK_FALSE(finish(*batch).has_value());
  batch->commit({4999});
  const auto after = collection->snapshot();
  const std::pair<uint64_t, uint64_t> pairs[] = {{4999, 5000}, {0, 5001}, {1234, 5002}};
  for (const auto& [from, to] : pairs) {
    const auto a = before->find(from);
    const auto b = after->find(to);
    REQUIRE((a && b));
    const Segment& x = *before->segments[a->segment].segment;
    const Segment& y = *after->segments[b->segment].segment;
    CHECK(std::equal(x.data(a->slot), x.data(a->slot) + kDim, y.data(b->slot)));
    CHECK(*x.scales(a->slot) == *y.scales(b->slot));
    CHECK(*x.inv_norms(a->slot) == *y.inv_norms(b->slot));
  }
}

TEST_CASE("core: compaction keeps row numbers, order and vectors, and drops dead segments") {
  const auto collection = make(uint64_t{1024} * kDim * 4);
  const auto rows = random_rows(8000, kDim, 9);
  write(collection, rows);
  std::vector<uint64_t> dead;
  std::vector<uint64_t> alive;
  for (uint64_t row = 0; row < 8000; ++row) {
    // Some segments entirely, others mostly.
    const bool lives = row >= 2048 && row % 5 == 0;
    (lives ? alive : dead).push_back(row);
  }
  write(collection, {}, dead);
  collection->settle();
  for (int round = 0; round < 8; ++round) {
    write(collection, {});
    collection->settle();
  }
  const auto snapshot = collection->snapshot();
  CHECK(live_rows(*snapshot) == alive);
  CHECK(snapshot->total_rows < 3000);
  for (const uint64_t row : alive) {
    const auto place = snapshot->find(row);
    REQUIRE(place);
    const auto* stored =
        reinterpret_cast<const float*>(snapshot->segments[place->segment].segment->data(place->slot));
    CHECK(std::equal(stored, stored + kDim, rows.begin() + static_cast<std::ptrdiff_t>(row * kDim)));
  }
  // Life goes on: compacted rows can die, new ones can come.
  write(collection, random_rows(10, kDim, 10), {alive[0], alive.back()});
  CHECK(collection->snapshot()->live_rows == alive.size() - 2 + 10);
}

TEST_CASE("core: rows that are replaced again and again do not pile up") {
  const auto collection = make();
  write(collection, random_rows(10000, kDim, 1));
  for (int round = 0; round < 10; ++round) {
    const auto old = live_rows(*collection->snapshot());
    write(collection, random_rows(10000, kDim, 2), old);
    collection->settle();
  }
  for (int round = 0; round < 200; ++round) {
    const auto old = live_rows(*collection->snapshot());
    write(collection, random_rows(100, kDim, 3), {old.begin(), old.begin() + 100});
    collection->settle();
  }
  const auto snapshot = collection->snapshot();
  CHECK(snapshot->live_rows == 10000);
  CHECK(snapshot->total_rows < 25000);
  CHECK(snapshot->segments.size() < 20);
}

TEST_CASE("core: random writes agree with a plain model, through compaction") {
  std::mt19937 random(20261124);
  for (int seed = 0; seed < 20; ++seed) {
    const auto collection = make(uint64_t{1024} * kDim * 4);
    std::vector<uint64_t> model;
    uint64_t next = 0;
    for (int step = 0; step < 40; ++step) {
      const size_t add = random() % 700;
      std::vector<uint64_t> dead;
      for (const uint64_t row : model) {
        if (random() % 4 == 0) dead.push_back(row);
      }
      write(collection, random_rows(add, kDim, static_cast<uint32_t>(step)), dead);
      std::erase_if(model, [&](uint64_t r) { return std::binary_search(dead.begin(), dead.end(), r); });
      for (size_t i = 0; i < add; ++i) model.push_back(next++);
      if (step % 7 == 0) collection->settle();
      const auto snapshot = collection->snapshot();
      REQUIRE(live_rows(*snapshot) == model);
      REQUIRE(snapshot->live_rows == model.size());
    }
  }
}
