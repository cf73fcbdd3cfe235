// Sim mode: a device with memory of its own, which is what a GPU is to the engine.
#include <doctest/doctest.h>

#include <cstring>
#include <thread>

#include "fault_support.h"

namespace hive::test {
namespace {

constexpr uint64_t kForever = UINT64_MAX;

hive_segment_desc desc_of(uint32_t dim, uint32_t capacity, uint32_t dtype = HIVE_DTYPE_F32) {
  hive_segment_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dim = dim;
  desc.dtype = dtype;
  desc.capacity_rows = capacity;
  return desc;
}

}  // namespace

TEST_CASE("sim: it looks like a discrete device") {
  const Backend backend = fault_backend("mode=sim;budget_bytes=1000000");
  if (backend.table == nullptr) return;
  OpenDevice d(backend, 1);
  REQUIRE(bool(d));
  CHECK(d.info.kind == HIVE_DEVICE_DISCRETE);
  CHECK(d.info.caps == 0);
  CHECK(std::strncmp(d.info.name, "sim of ", 7) == 0);
  CHECK(d.info.memory_total_bytes == 1000000);
  CHECK(d.info.max_segment_bytes == 250000);
}

TEST_CASE("sim: segments and bitsets count against the budget") {
  const Backend backend = fault_backend("mode=sim;budget_bytes=40000");
  if (backend.table == nullptr) return;
  OpenDevice d(backend, 1);
  REQUIRE(bool(d));
  const auto used = [&] {
    hive_memory_info info{};
    info.struct_size = sizeof info;
    CHECK(d.table->memory_info(d.handle, &info, nullptr) == HIVE_OK);
    CHECK(info.free_bytes + info.used_bytes == info.total_bytes);
    return info.used_bytes;
  };
  hive_error error = new_error();
  hive_segment* segments[5] = {};
  const hive_segment_desc desc = desc_of(25, 100);
  for (int i = 0; i < 4; ++i) {
    CHECK(used() == i * 10000u);
    CHECK(d.table->segment_create(d.handle, &desc, &segments[i], &error) == HIVE_OK);
  }
  CHECK(d.table->segment_create(d.handle, &desc, &segments[4], &error) ==
        HIVE_DEVICE_OUT_OF_MEMORY);
  const uint32_t words[10] = {};
  hive_bits* bits = nullptr;
  CHECK(d.table->bits_create(d.handle, words, 320, &bits, &error) == HIVE_DEVICE_OUT_OF_MEMORY);
  CHECK(used() == 40000);
  d.table->segment_free(d.handle, segments[1]);
  CHECK(used() == 30000);
  CHECK(d.table->bits_create(d.handle, words, 300, &bits, &error) == HIVE_OK);
  CHECK(used() == 30040);
  CHECK(d.table->segment_create(d.handle, &desc, &segments[1], &error) ==
        HIVE_DEVICE_OUT_OF_MEMORY);
  d.table->bits_free(d.handle, bits);
  CHECK(d.table->segment_create(d.handle, &desc, &segments[1], &error) == HIVE_OK);
  const hive_segment_desc larger = desc_of(25, 101);
  CHECK(d.table->segment_create(d.handle, &larger, &segments[4], &error) == HIVE_INVALID_ARGUMENT);
  for (hive_segment* segment : segments) d.table->segment_free(d.handle, segment);
  CHECK(used() == 0);
}

TEST_CASE("sim: the inner backend sees the device's memory only, poisoned when it is freed") {
  Backend backend = fault_backend("mode=sim");
  if (backend.table == nullptr) return;
  backend.inner = spy::table();
  OpenDevice d(backend, 1);
  REQUIRE(bool(d));
  spy::seen() = {};
  ScanCase c = simple_case(50, 16, 2, 5, HIVE_METRIC_COSINE);
  {
    Uploaded uploaded(d, c);
    REQUIRE(uploaded.problem == "");
    Answer answer;
    const hive_scan_job job = make_job(c, uploaded, &answer);
    answer.status = run_job(d, job, &answer.problem);
    CHECK(compare(c, expect(c), answer, true) == "");
    CHECK(spy::seen().host_data != nullptr);
    CHECK(spy::seen().queries != c.queries.data());
    CHECK(spy::seen().hits != answer.hits.data());
    CHECK(reinterpret_cast<uintptr_t>(spy::seen().host_data) % 64 == 0);
  }
  CHECK(spy::seen().segments_freed == 1);
  CHECK(spy::seen().poisoned_at_free);
  CHECK_FALSE(spy::seen().zero_norms_at_free);
}

TEST_CASE("sim: rows that were never copied are garbage, not zero") {
  // The append is accepted but fails: its slots keep what was there before.
  const Backend backend = fault_backend("mode=sim;fail=complete:1:DEVICE_LOST");
  if (backend.table == nullptr) return;
  OpenDevice d(backend, 1);
  REQUIRE(bool(d));
  const ScanCase c = simple_case(10, 8, 1, 10, HIVE_METRIC_L1);
  Uploaded uploaded(d, c);
  CHECK(uploaded.problem != "");
  Answer answer;
  hive_scan_job job = make_job(c, uploaded, &answer);
  const std::vector<float> zeros(8);
  job.queries = zeros.data();
  CHECK(run_job(d, job) == HIVE_OK);
  REQUIRE(answer.hit_counts[0] == 10);
  CHECK(answer.hits[0].value != 0.0f);
  uint32_t poison = 0xA5A5A5A5u;
  float value;
  std::memcpy(&value, &poison, sizeof value);
  CHECK(answer.hits[0].value == doctest::Approx(-8 * value));
}

TEST_CASE("sim: tickets are late, outputs come with the final status and not before") {
  const Backend backend = fault_backend("mode=sim;delay_us=200000");
  if (backend.table == nullptr) return;
  OpenDevice d(backend, 1);
  REQUIRE(bool(d));
  ScanCase c = simple_case(50, 16, 1, 5);
  const Expected expected = expect(c);
  Uploaded uploaded(d, c);
  Answer answer;
  const hive_scan_job job = make_job(c, uploaded, &answer);
  const std::vector<float> queries = c.queries;
  hive_ticket* ticket = nullptr;
  REQUIRE(d.table->submit(d.handle, &job.head, &ticket, nullptr) == HIVE_OK);
  // Queries were taken at submit: overwriting them changes nothing.
  for (float& x : c.queries) x = 1e6f;
  const uint32_t before = answer.hit_counts[0];
  CHECK(d.table->poll(d.handle, ticket, nullptr) == HIVE_PENDING);
  CHECK(before > 50);
  CHECK(d.table->wait(d.handle, ticket, kForever, nullptr) == HIVE_OK);
  d.table->ticket_free(d.handle, ticket);
  c.queries = queries;
  answer.status = HIVE_OK;
  CHECK(compare(c, expected, answer, true) == "");
  // A cancelled job ends without waiting for the delay and writes nothing, ever; here the inner
  // device has long had the answer.
  answer.hit_counts[0] = 77;
  REQUIRE(d.table->submit(d.handle, &job.head, &ticket, nullptr) == HIVE_OK);
  CHECK(d.table->wait(d.handle, ticket, 20000, nullptr) == HIVE_PENDING);
  d.table->cancel(d.handle, ticket);
  CHECK(d.table->wait(d.handle, ticket, kForever, nullptr) == HIVE_CANCELLED);
  d.table->ticket_free(d.handle, ticket);
  CHECK(answer.hit_counts[0] == 77);
}

TEST_CASE("sim: the source of an append is read late, so reusing it early shows") {
  const Backend backend = fault_backend("mode=sim;delay_us=200000");
  if (backend.table == nullptr) return;
  OpenDevice d(backend, 1);
  REQUIRE(bool(d));
  Rows rows = store_rows(HIVE_DTYPE_F32, 8, std::vector<float>(8, 1.0f));
  hive_segment* segment = nullptr;
  const hive_segment_desc desc = desc_of(8, 1);
  REQUIRE(d.table->segment_create(d.handle, &desc, &segment, nullptr) == HIVE_OK);
  hive_rows append{};
  append.struct_size = sizeof append;
  append.count = 1;
  append.data = rows.data.data();
  append.inv_norms = rows.inv_norms.data();
  hive_ticket* ticket = nullptr;
  REQUIRE(d.table->segment_append(d.handle, segment, &append, &ticket, nullptr) == HIVE_OK);
  // The mistake: the ticket has not finished.
  const std::vector<float> other(8, 3.0f);
  std::memcpy(rows.data.data(), other.data(), 8 * sizeof(float));
  CHECK(d.table->poll(d.handle, ticket, nullptr) == HIVE_PENDING);
  CHECK(d.table->wait(d.handle, ticket, kForever, nullptr) == HIVE_OK);
  d.table->ticket_free(d.handle, ticket);
  ScanCase c = simple_case(1, 8, 1, 1, HIVE_METRIC_DOT);
  c.set_queries(std::vector<float>(8, 1.0f));
  Uploaded unused(d, c);
  hive_scan_segment entry{};
  entry.segment = segment;
  entry.row_count = 1;
  Answer answer;
  hive_scan_job job = make_job(c, unused, &answer);
  job.segments = &entry;
  CHECK(run_job(d, job) == HIVE_OK);
  CHECK(answer.hits[0].value == 24.0f);
  d.table->segment_free(d.handle, segment);
}

TEST_CASE("fault: handles that were freed are recognised, not followed") {
  for (const char* mode : {"mode=sim", "mode=pass"}) {
    CAPTURE(mode);
    const Backend backend = fault_backend(mode);
    if (backend.table == nullptr) return;
    OpenDevice d(backend, 1);
    REQUIRE(bool(d));
    const ScanCase c = simple_case(20, 8, 1, 4);
    Uploaded uploaded(d, c);
    const uint32_t word = 1;
    hive_bits* bits = nullptr;
    REQUIRE(d.table->bits_create(d.handle, &word, 32, &bits, nullptr) == HIVE_OK);
    Answer answer;
    hive_scan_job job = make_job(c, uploaded, &answer);
    hive_scan_segment stale = uploaded.segments()[0];
    stale.filter = bits;
    job.segments = &stale;
    CHECK(run_job(d, job) == HIVE_OK);
    d.table->bits_free(d.handle, bits);
    CHECK(run_job(d, job) == HIVE_INVALID_ARGUMENT);
    stale.filter = nullptr;
    stale.live = bits;
    CHECK(run_job(d, job) == HIVE_INVALID_ARGUMENT);
    stale.live = nullptr;
    CHECK(run_job(d, job) == HIVE_OK);
    hive_ticket* ticket = nullptr;
    REQUIRE(d.table->submit(d.handle, &job.head, &ticket, nullptr) == HIVE_OK);
    d.table->ticket_free(d.handle, ticket);
    CHECK(d.table->poll(d.handle, ticket, nullptr) == HIVE_INVALID_ARGUMENT);
    CHECK(d.table->wait(d.handle, ticket, 1000, nullptr) == HIVE_INVALID_ARGUMENT);
    CHECK(d.health().detail[0] == 0);
    d.table->ticket_free(d.handle, ticket);
    d.table->bits_free(d.handle, bits);
    CHECK(std::string(d.health().detail).find("bits_free") != std::string::npos);
    // A segment that is freed for good.
    hive_segment* segment = nullptr;
    const hive_segment_desc desc = desc_of(8, 4);
    hive_segment_desc in_place = desc;
    const Rows rows = store_rows(HIVE_DTYPE_F32, 8, std::vector<float>(32, 1.0f));
    in_place.host_data = rows.data.data();
    in_place.host_inv_norms = rows.inv_norms.data();
    REQUIRE(d.table->segment_create(d.handle, d.info.caps != 0 ? &in_place : &desc, &segment,
                                    nullptr) == HIVE_OK);
    d.table->segment_free(d.handle, segment);
    stale.segment = segment;
    stale.row_count = 0;
    CHECK(run_job(d, job) == HIVE_INVALID_ARGUMENT);
    d.table->segment_free(d.handle, segment);
    CHECK(std::string(d.health().detail).find("segment_free") != std::string::npos);
  }
}

TEST_CASE("fault: a closed device is recognised, not followed") {
  const Backend backend = fault_backend("mode=sim");
  if (backend.table == nullptr) return;
  OpenDevice d(backend, 1);
  REQUIRE(bool(d));
  hive_device* const stale = d.handle;
  d.close();
  hive_error error = new_error();
  hive_ticket* ticket = nullptr;
  CHECK(backend.table->submit(stale, nullptr, &ticket, &error) == HIVE_INVALID_ARGUMENT);
  CHECK(backend.table->memory_info(stale, nullptr, &error) == HIVE_INVALID_ARGUMENT);
  backend.table->device_close(stale);
}

TEST_CASE("sim: closing with work under way ends it first") {
  const Backend backend = fault_backend("mode=sim;delay_us=200000");
  if (backend.table == nullptr) return;
  for (int i = 0; i < 3; ++i) {
    OpenDevice d(backend, 2);
    REQUIRE(bool(d));
    const ScanCase c = simple_case(500, 32, 4, 5);
    const Rows& rows = c.segments[0].rows;
    hive_scan_segment entry{};
    const hive_segment_desc desc = desc_of(32, 500);
    REQUIRE(d.table->segment_create(d.handle, &desc, &entry.segment, nullptr) == HIVE_OK);
    hive_rows append{};
    append.struct_size = sizeof append;
    append.count = 500;
    append.data = rows.data.data();
    append.inv_norms = rows.inv_norms.data();
    hive_ticket* ticket = nullptr;
    REQUIRE(d.table->segment_append(d.handle, entry.segment, &append, &ticket, nullptr) ==
            HIVE_OK);
    // The caller broke the rule that no ticket may be unfinished; nothing may be leaked or hang.
    d.close();
  }
}

}  // namespace hive::test
