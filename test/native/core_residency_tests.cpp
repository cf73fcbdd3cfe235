// What does not fit a device: streaming through a window, growth, faults on the way, the CPU below
// that. On the pretended device always, on Vulkan where it is.
#include <doctest/doctest.h>

#include <functional>

#include "conformance.h"
#include "core_fixture.h"

using namespace hive;
using namespace hive::test;

namespace {

constexpr uint32_t kDim = 32;
constexpr size_t kRows = 60000;  // 7.7 MB of f32
constexpr uint64_t kNeed = kRows * (kDim * 4 + 4);

struct Place {
  std::string name;
  OpenOptions options;
};

// The devices with memory of their own that are here, with a budget.
std::vector<Place> places(uint64_t budget, const std::string& vulkan_more = "") {
  OpenOptions sim = options_for("fault", "inner=cpu;mode=sim;budget_bytes=67108864");
  OpenOptions vulkan = options_for("vulkan");
  vulkan.backend_config["vulkan"] = "devices=any;staging=1" + vulkan_more;
  sim.memory_budget_bytes = vulkan.memory_budget_bytes = budget;
  std::vector<Place> out = {{"sim", sim}};
  const BackendReport report = probe_backend("vulkan", vulkan);
  if (report.usable) out.push_back({"vulkan", vulkan});
  else note("skipped vulkan (residency): " + report.reason);
  return out;
}

std::shared_ptr<Collection> filled(const std::shared_ptr<Runner>& runner, size_t rows) {
  auto collection = std::make_shared<Collection>(
      kDim, HIVE_METRIC_L2, HIVE_DTYPE_F32, runner->choice().device->segment_bytes_max());
  write(collection, random_rows(rows, kDim, 100));
  return collection;
}

// The same rows, values within the tolerance between backends.
void check_same(const SearchResult& got, const SearchResult& expected) {
  CHECK(got.counts == expected.counts);
  CHECK(got.rows == expected.rows);
  for (size_t i = 0; i < expected.values.size(); ++i) {
    CHECK(got.values[i] == doctest::Approx(expected.values[i]).epsilon(1e-5));
  }
}

std::string reasons_of(const std::shared_ptr<Runner>& runner, const Collection& collection) {
  std::string all;
  for (const std::string& reason :
       plan_search(*runner, collection, *collection.snapshot(), 1).reasons) {
    all += reason + "\n";
  }
  return all;
}

}  // namespace

TEST_CASE("residency: half of the needed memory gives the same answers, the first rows stay") {
  const auto cpu = open_runner(options_for("cpu"));
  for (const Place& place : places(kNeed / 2)) {
    CAPTURE(place.name);
    const auto runner = open_runner(place.options);
    const auto collection = filled(runner, kRows);
    const auto queries = random_rows(5, kDim, 6);
    CHECK(reasons_of(runner, *collection).find("streamed") != std::string::npos);
    uint64_t evictions = 0;
    for (int round = 0; round < 3; ++round) {
      const auto snapshot = collection->snapshot();
      const SearchResult expected = run_search(cpu, *collection, snapshot, queries, 30);
      check_same(run_search(runner, *collection, snapshot, queries, 30), expected);
      const ResidencyStats stats = runner->choice().device->residency().stats();
      CHECK(stats.resident_bytes <= stats.budget_bytes);
      // Some segments pass through, but those that are kept are not uploaded again.
      if (round > 0) {
        CHECK(stats.evictions > evictions);
        CHECK(stats.evictions - evictions <= snapshot->segments.size() * 3 / 4);
      }
      evictions = stats.evictions;
      std::vector<uint64_t> dead = hit_rows(expected, 0, 30);
      std::sort(dead.begin(), dead.end());
      write(collection, {}, dead);
    }
  }
}

TEST_CASE("residency: what fits stays, and growth uploads new rows only") {
  for (const Place& place : places(kNeed * 4)) {
    CAPTURE(place.name);
    const auto runner = open_runner(place.options);
    const auto collection = filled(runner, 20000);
    const auto query = random_rows(1, kDim, 6);
    CHECK(reasons_of(runner, *collection).find("stay there") != std::string::npos);
    for (int round = 0; round < 4; ++round) {
      write(collection, random_rows(5000, kDim, 200 + static_cast<uint32_t>(round)));
      const auto result = run_search(runner, *collection, collection->snapshot(), query, 3);
      CHECK(result.counts[0] == 3);
    }
    CHECK(runner->choice().device->residency().stats().evictions == 0);
  }
}

TEST_CASE("residency: below one segment the CPU answers, with one warning; forced, it is an error") {
  for (const Place& place : places(2000)) {
    CAPTURE(place.name);
    DeviceChoice choice = choose_device(place.options);
    const auto forced = std::make_shared<Runner>(choice);
    // A collection made for a larger device.
    auto collection = std::make_shared<Collection>(kDim, HIVE_METRIC_L2, HIVE_DTYPE_F32, 1 << 20);
    write(collection, random_rows(3000, kDim, 1));
    const auto query = random_rows(1, kDim, 6);
    CHECK_THROWS_AS(run_search(forced, *collection, collection->snapshot(), query, 3), Failure);
    choice.forced = false;
    choice.fallback = choose_device(options_for("cpu")).device;
    const auto runner = std::make_shared<Runner>(std::move(choice));
    int warnings = 0;
    runner->on_fallback([&](const std::string& why) {
      ++warnings;
      CHECK(why.find("budget") != std::string::npos);
    });
    for (int i = 0; i < 3; ++i) {
      const auto result = run_search(runner, *collection, collection->snapshot(), query, 3);
      CHECK(result.backend == "cpu");
      CHECK(result.counts[0] == 3);
    }
    CHECK(warnings == 1);
  }
}

TEST_CASE("residency: Vulkan behind the fault backend is lost, opened again and filled again") {
  OpenOptions options = options_for("fault", "inner=vulkan;lost_after=2");
  options.backend_config["vulkan"] = "devices=any";
  const BackendReport report = probe_backend("fault", options);
  if (!report.usable) return note("skipped vulkan (device lost): " + report.reason);
  const auto runner = open_runner(options);
  const auto collection = filled(runner, 3000);
  const auto query = random_rows(1, kDim, 1);
  const auto expected = run_search(open_runner(options_for("cpu")), *collection,
                                   collection->snapshot(), query, 3);
  for (int i = 0; i < 8; ++i) {
    check_same(run_search(runner, *collection, collection->snapshot(), query, 3), expected);
  }
}

TEST_CASE("residency: a Vulkan device that is full evicts, one that hangs is left for a new one") {
  for (const Place& place : places(uint64_t{1} << 30, ";memory_limit=6000000")) {
    if (place.name != "vulkan") continue;
    const auto runner = open_runner(place.options);
    // Two collections of 4.3 MB: each fits the limit, both do not.
    const auto make = [] {
      auto made = std::make_shared<Collection>(kDim, HIVE_METRIC_L2, HIVE_DTYPE_F32, 1 << 21);
      write(made, random_rows(20000, kDim, 100));
      return made;
    };
    const auto small = make();
    const auto other = make();
    const auto query = random_rows(1, kDim, 6);
    for (int i = 0; i < 3; ++i) {
      CHECK(run_search(runner, *small, small->snapshot(), query, 3).counts[0] == 3);
      CHECK(run_search(runner, *other, other->snapshot(), query, 3).counts[0] == 3);
    }
    CHECK(runner->choice().device->residency().stats().evictions > 0);
  }
  for (const Place& place : places(uint64_t{1} << 30, ";timeout_ms=0")) {
    if (place.name != "vulkan") continue;
    const auto runner = open_runner(place.options);
    const auto collection = filled(runner, kRows);
    const auto queries = random_rows(64, kDim, 6);
    try {
      (void)run_search(runner, *collection, collection->snapshot(), queries, 3);
      // A machine may be quick enough for the work to be done before it is looked at.
    } catch (const Failure& failure) {
      CHECK((failure.code() == "HIVE_DEVICE_TIMEOUT" || failure.code() == "HIVE_DEVICE_LOST"));
    }
  }
}

TEST_CASE("consistency: every backend that is present gives the same answers") {
  const auto cpu = open_runner(options_for("cpu"));
  std::string present = "cpu";
  for (const char* name : {"metal", "cuda", "rocm", "vulkan"}) {
    OpenOptions options = options_for(name);
    options.backend_config["vulkan"] = "devices=any";
    const BackendReport report = probe_backend(name, options);
    if (!report.usable) {
      note(std::string("skipped ") + name + " (consistency): " + report.reason);
      continue;
    }
    const auto runner = open_runner(options);
    for (uint32_t metric = 0; metric < HIVE_METRIC_COUNT; ++metric) {
      for (uint32_t dtype = 0; dtype < HIVE_DTYPE_COUNT; ++dtype) {
        CAPTURE(metric);
        CAPTURE(dtype);
        auto collection = std::make_shared<Collection>(
            kDim, metric, dtype, runner->choice().device->segment_bytes_max());
        write(collection, random_rows(4000, kDim, metric + 10 * dtype));
        write(collection, {}, {7, 1000, 3999});
        const auto snapshot = collection->snapshot();
        const auto queries = random_rows(6, kDim, 3);
        const auto expected = run_search(cpu, *collection, snapshot, queries, 25);
        const auto got = run_search(runner, *collection, snapshot, queries, 25);
        CHECK(got.backend == name);
        check_same(got, expected);
        // Alone or in a batch: the same bits.
        const std::vector<float> first(queries.begin(), queries.begin() + kDim);
        const auto alone = run_search(runner, *collection, snapshot, first, 25);
        CHECK(std::equal(alone.values.begin(), alone.values.end(), got.values.begin()));
        CHECK(hit_rows(alone, 0, 25) == hit_rows(got, 0, 25));
      }
    }
    present += " x " + std::string(name) + " (" + runner->choice().device->info().name + ")";
  }
  note("conformance between backends: " + present);
}
