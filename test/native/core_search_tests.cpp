// Searches of native/core on the CPU and on devices with memory of their own; faults and fallback.
#include <doctest/doctest.h>

#include <thread>

#include "core_fixture.h"

using namespace hive;
using namespace hive::test;

namespace {

constexpr uint32_t kDim = 32;

std::shared_ptr<Collection> filled(const std::shared_ptr<Runner>& runner, size_t rows,
                                   uint32_t metric = HIVE_METRIC_COSINE) {
  const uint64_t most = runner->choice().device->info().max_segment_bytes;
  auto collection = std::make_shared<Collection>(kDim, metric, HIVE_DTYPE_F32, most);
  for (size_t done = 0; done < rows; done += 20000) {
    write(collection, random_rows(std::min<size_t>(20000, rows - done), kDim, 100));
  }
  return collection;
}

bool same(const SearchResult& a, const SearchResult& b) {
  return a.rows == b.rows && a.values == b.values && a.counts == b.counts;
}

std::string code_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Failure& failure) {
    return failure.code();
  }
  return "none";
}

}  // namespace

TEST_CASE("core: inline and threaded searches give the same bits, batches too") {
  const auto runner = open_runner(options_for("cpu"));
  const auto collection = filled(runner, 5000);
  const auto snapshot = collection->snapshot();
  const auto queries = random_rows(33, kDim, 5);
  const SearchResult many = run_search(runner, *collection, snapshot, queries, 20);
  for (size_t q = 0; q < 33; ++q) {
    const auto from = queries.begin() + static_cast<std::ptrdiff_t>(q * kDim);
    const std::vector<float> one(from, from + kDim);
    Search search(runner, *collection, snapshot, one.data(), 1, 20);
    search.run_inline();
    CHECK(hit_rows(search.result(), 0, 20) == hit_rows(many, q, 20));
  }
}

TEST_CASE("core: the device with memory of its own answers like the CPU, in waves and after deletes") {
  const auto cpu = open_runner(options_for("cpu"));
  const auto sim = open_runner(options_for("fault", "inner=cpu;mode=sim;budget_bytes=2000000"));
  const auto on_sim = filled(sim, 60000);  // 7.7 MB of rows for 2 MB of memory
  const auto queries = random_rows(3, kDim, 6);
  for (int round = 0; round < 3; ++round) {
    const auto snapshot = on_sim->snapshot();
    const SearchResult expected = run_search(cpu, *on_sim, snapshot, queries, 50);
    const SearchResult got = run_search(sim, *on_sim, snapshot, queries, 50);
    CHECK(same(expected, got));
    CHECK(got.backend == "fault");
    std::vector<uint64_t> dead = hit_rows(expected, 0, 50);
    std::sort(dead.begin(), dead.end());
    write(on_sim, random_rows(500, kDim, 7), dead);
  }
  const ResidencyStats stats = sim->choice().device->residency().stats();
  CHECK(stats.evictions > 0);
  CHECK(stats.resident_bytes <= 2000000);
}

TEST_CASE("core: memory of the device is given back with the collection") {
  const auto sim = open_runner(options_for("fault", "inner=cpu;mode=sim;delay_us=1"));
  {
    const auto collection = filled(sim, 20000);
    (void)run_search(sim, *collection, collection->snapshot(), random_rows(1, kDim, 1), 5);
    CHECK(sim->choice().device->residency().stats().resident_bytes > 0);
  }
  // The search's last reference goes on the device's thread, a moment after its answer.
  const auto resident = [&] { return sim->choice().device->residency().stats().resident_bytes; };
  for (int i = 0; i < 1000 && resident() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(resident() == 0);
  CHECK(sim->choice().device->memory().used_bytes == 0);
}

TEST_CASE("core: a large batch runs as several jobs; k beyond the rows gives all of them") {
  const auto runner = open_runner(options_for("cpu"));
  const auto collection = filled(runner, 3000);
  const auto snapshot = collection->snapshot();
  const auto queries = random_rows(500, kDim, 8);
  const SearchResult all = run_search(runner, *collection, snapshot, queries, 100000);
  for (size_t q = 0; q < 500; ++q) CHECK(all.counts[q] == 3000);
  const SearchResult few = run_search(runner, *collection, snapshot, queries, 7);
  CHECK(hit_rows(few, 499, 7)[6] == all.rows[size_t{499} * 3000 + 6]);
}

TEST_CASE("core: an empty collection has no hits; bad queries are named") {
  const auto runner = open_runner(options_for("cpu"));
  const auto collection = filled(runner, 0);
  const auto none = run_search(runner, *collection, collection->snapshot(), random_rows(2, kDim, 1), 5);
  CHECK(none.counts == std::vector<uint32_t>{0, 0});
  auto queries = random_rows(3, kDim, 1);
  queries[2 * kDim + 7] = INFINITY;
  try {
    (void)run_search(runner, *collection, collection->snapshot(), queries, 5);
    FAIL("accepted");
  } catch (const Failure& failure) {
    CHECK(failure.code() == "HIVE_NON_FINITE");
    CHECK(failure.index() == 2);
    CHECK(failure.element() == 7);
  }
}

TEST_CASE("core: tiny queries rank like large ones, a zero query ties in row order") {
  const auto runner = open_runner(options_for("cpu"));
  const auto collection = filled(runner, 2000);
  auto queries = random_rows(1, kDim, 3);
  const auto large = run_search(runner, *collection, collection->snapshot(), queries, 10);
  for (float& x : queries) x *= 0x1p-80f;
  const auto tiny = run_search(runner, *collection, collection->snapshot(), queries, 10);
  CHECK(same(large, tiny));
  std::fill(queries.begin(), queries.end(), 0.0f);
  const auto zero = run_search(runner, *collection, collection->snapshot(), queries, 4);
  CHECK(hit_rows(zero, 0, 4) == std::vector<uint64_t>{0, 1, 2, 3});
  CHECK(zero.values[0] == 0.0f);
}

TEST_CASE("core: cancelling ends a search with CANCELLED or its answer") {
  for (const char* backend : {"cpu", "fault"}) {
    const auto runner = open_runner(options_for(backend, "inner=cpu;mode=sim"));
    const auto collection = filled(runner, 60000);
    const auto queries = random_rows(400, kDim, 2);
    for (int i = 0; i < 20; ++i) {
      const auto search = Search::make(runner, *collection, collection->snapshot(),
                                                   queries.data(), 400, 10);
      std::promise<std::optional<Failure>> done;
      search->start([&](std::optional<Failure> failure) { done.set_value(std::move(failure)); });
      std::this_thread::sleep_for(std::chrono::microseconds(i * 100));
      search->cancel();
      const auto failure = done.get_future().get();
      search->release();
      CHECK((!failure || failure->code() == "HIVE_CANCELLED"));
    }
  }
}

TEST_CASE("core: forced, a device fault is the answer") {
  const char* faults[] = {"DEVICE_OUT_OF_MEMORY", "DEVICE_POISONED", "DEVICE_TIMEOUT", "INTERNAL"};
  for (const char* fault : faults) {
    const std::string config = std::string("inner=cpu;mode=sim;fail=submit:1:") + fault;
    const auto runner = open_runner(options_for("fault", config));
    const auto collection = filled(runner, 100);
    const auto query = random_rows(1, kDim, 1);
    const auto search = [&] { (void)run_search(runner, *collection, collection->snapshot(), query, 3); };
    CHECK(code_of(search) == std::string("HIVE_") + fault);
  }
}

TEST_CASE("core: unforced, the CPU answers and each cause is reported once") {
  for (const char* slot : {"submit", "segment_create", "segment_append", "complete", "bits_create"}) {
    const std::string config =
        std::string("inner=cpu;mode=sim;delay_us=1;fail=") + slot + ":1:INTERNAL:1000";
    const auto runner = unforced_fault_runner(config);
    std::vector<std::string> reports;
    runner->on_fallback([&](const std::string& cause) { reports.push_back(cause); });
    const auto collection = filled(runner, 3000);
    write(collection, {}, {5});
    const auto query = random_rows(1, kDim, 1);
    for (int i = 0; i < 3; ++i) {
      const auto result = run_search(runner, *collection, collection->snapshot(), query, 3);
      CHECK(result.backend == "cpu");
      CHECK(result.counts[0] == 3);
    }
    CHECK(reports.size() == 1);
  }
}

TEST_CASE("core: a lost device is opened again and the search repeated") {
  const auto runner = open_runner(options_for("fault", "inner=cpu;mode=sim;delay_us=1;lost_after=2"));
  const auto collection = filled(runner, 3000);
  const auto query = random_rows(1, kDim, 1);
  for (int i = 0; i < 8; ++i) {
    const auto result = run_search(runner, *collection, collection->snapshot(), query, 3);
    CHECK(result.backend == "fault");
    CHECK(result.counts[0] == 3);
  }
}

TEST_CASE("core: a poisoned backend is left alone afterwards") {
  const auto runner = unforced_fault_runner("inner=cpu;mode=sim;delay_us=1;poison_after=1");
  int reports = 0;
  runner->on_fallback([&](const std::string&) { ++reports; });
  const auto collection = filled(runner, 3000);
  const auto query = random_rows(1, kDim, 1);
  for (int i = 0; i < 5; ++i) {
    CHECK(run_search(runner, *collection, collection->snapshot(), query, 3).counts[0] == 3);
  }
  CHECK(reports == 1);
  CHECK(runner->current()->backend() == "cpu");
}

TEST_CASE("core: searches while rows come and go see whole commits") {
  const auto runner = open_runner(options_for("cpu"));
  const auto collection = filled(runner, 4000);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  std::atomic<int> wrong{0};
  for (uint32_t t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      const auto query = random_rows(1, kDim, t);
      while (!stop.load()) {
        const auto snapshot = collection->snapshot();
        const auto a = run_search(runner, *collection, snapshot, query, 10);
        const auto b = run_search(runner, *collection, snapshot, query, 10);
        if (!same(a, b) || snapshot->live_rows != 4000) ++wrong;
      }
    });
  }
  uint64_t next = 4000;
  for (int i = 0; i < 40; ++i) {
    std::vector<uint64_t> dead;
    for (uint64_t r = next - 4000; r < next - 4000 + 100; ++r) dead.push_back(r);
    write(collection, random_rows(100, kDim, 1000 + static_cast<uint32_t>(i)), dead);
    next += 100;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
}

TEST_CASE("core: the registry explains what it cannot use") {
  OpenOptions options;
  options.search_paths = {HIVE_BACKENDS_DIR "/nowhere"};
  const auto reports = probe_backends(options);
  CHECK(reports.size() >= 6);
  for (const BackendReport& report : reports) {
    CHECK(report.usable == (report.name == "cpu"));
    if (!report.usable) CHECK_FALSE(report.reason.empty());
  }
  CHECK(code_of([&] { (void)choose_device(options_for("metal")); }) == "HIVE_LIBRARY_UNLOADABLE");
  CHECK(code_of([&] { (void)choose_device(options_for("abacus")); }) == "HIVE_INVALID_ARGUMENT");
  OpenOptions bad_isa = options_for("cpu");
  bad_isa.cpu_config = "isa=sse9";
  CHECK(code_of([&] { (void)choose_device(bad_isa); }) == "HIVE_UNSUPPORTED");
  OpenOptions second = options_for("cpu");
  second.device_index = 3;
  CHECK(code_of([&] { (void)choose_device(second); }) == "HIVE_NO_DEVICE");
}
