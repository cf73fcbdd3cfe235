// The rules of the C ABI: struct sizes, refused arguments, opening and closing.
#include <doctest/doctest.h>

#include <cstring>
#include <functional>

#include "conformance.h"
#include "cpu_backend.h"

namespace hive::test {
namespace {

// Runs body for every backend under test, with its name in every message.
void for_each_device(const std::function<void(const Backend&, OpenDevice&)>& body) {
  for (const Backend& backend : backends_under_test()) {
    CAPTURE(backend.spec);
    OpenDevice device(backend, 2);
    REQUIRE_MESSAGE(bool(device), device.problem);
    body(backend, device);
  }
}

// The call was refused, and said why.
void check_refused(const char* what, hive_status status, const hive_error& error) {
  CAPTURE(what);
  CHECK(status != HIVE_OK);
  CHECK(status != HIVE_PENDING);
  CHECK(status != HIVE_INTERNAL);
  CHECK(error.message[0] != 0);
  CHECK(std::memchr(error.message, 0, sizeof error.message) != nullptr);
}

hive_segment_desc plain_desc(uint32_t dim = 8, uint32_t dtype = HIVE_DTYPE_F32) {
  hive_segment_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dim = dim;
  desc.dtype = dtype;
  desc.capacity_rows = 16;
  return desc;
}

// A struct that is filled by a call, with bytes behind the announced size that must stay.
template <class T>
void check_short_output(const std::function<void(T*)>& fill) {
  for (const uint32_t size : {uint32_t{4}, uint32_t{8}, uint32_t{sizeof(T) / 2 / 4 * 4}}) {
    alignas(T) unsigned char raw[sizeof(T)];
    std::memset(raw, 0x5c, sizeof raw);
    auto* out = reinterpret_cast<T*>(raw);
    out->struct_size = size;
    fill(out);
    CHECK(out->struct_size == size);
    bool untouched = true;
    for (size_t i = size; i < sizeof raw; ++i) untouched = untouched && raw[i] == 0x5c;
    CHECK(untouched);
  }
}

}  // namespace

TEST_CASE("table: every slot that is not optional is there; columns come whole") {
  for (const Backend& backend : backends_under_test()) {
    CAPTURE(backend.spec);
    const hive_backend_table& t = *backend.table;
    CHECK(t.struct_size >= offsetof(hive_backend_table, column_create));
    CHECK(t.abi == HIVE_BACKEND_ABI);
    REQUIRE(t.name != nullptr);
    CHECK(backend.spec.find(t.name) != std::string::npos);
    const void* const* slots = reinterpret_cast<const void* const*>(&t.device_info);
    const size_t optional = offsetof(hive_backend_table, column_create);
    const size_t count = (optional - offsetof(hive_backend_table, device_info)) / sizeof *slots;
    for (size_t i = 0; i < count; ++i) CHECK(slots[i] != nullptr);
    if (t.struct_size < sizeof t) continue;
    CHECK((t.column_create == nullptr) == (t.column_free == nullptr));
  }
}

TEST_CASE("outputs: nothing is written beyond struct_size") {
  for_each_device([](const Backend&, OpenDevice& d) {
    check_short_output<hive_device_info>([&](hive_device_info* out) {
      CHECK(d.table->device_info(0, out, nullptr) == HIVE_OK);
    });
    check_short_output<hive_memory_info>([&](hive_memory_info* out) {
      CHECK(d.table->memory_info(d.handle, out, nullptr) == HIVE_OK);
    });
    check_short_output<hive_health>([&](hive_health* out) { d.table->health(d.handle, out); });
    check_short_output<hive_error>([&](hive_error* out) {
      CHECK(d.table->device_info(9999, nullptr, out) != HIVE_OK);
    });
    hive_error error = new_error();
    check_refused("info into NULL", d.table->device_info(0, nullptr, &error), error);
    check_refused("memory into NULL", d.table->memory_info(d.handle, nullptr, &error), error);
    d.table->health(d.handle, nullptr);
  });
}

TEST_CASE("device: info is sane, wrong indexes are refused") {
  for_each_device([](const Backend& backend, OpenDevice& d) {
    CHECK(d.info.struct_size == sizeof d.info);
    CHECK(d.info.kind <= HIVE_DEVICE_SOFTWARE);
    CHECK(d.info.max_k >= 1024);
    CHECK(d.info.compute_units >= 1);
    CHECK(d.info.max_segment_bytes > 0);
    CHECK(d.info.name[0] != 0);
    CHECK(std::memchr(d.info.name, 0, sizeof d.info.name) != nullptr);
    hive_error error = new_error();
    hive_device* other = nullptr;
    const hive_open_options options = backend.options();
    check_refused("open 9999", d.table->device_open(9999, &options, &other, &error), error);
    check_refused("open into NULL", d.table->device_open(0, &options, nullptr, &error), error);
    // An error struct is optional.
    CHECK(d.table->device_open(9999, &options, &other, nullptr) != HIVE_OK);
    CHECK(other == nullptr);
  });
}

TEST_CASE("device: memory and health report what happens") {
  for_each_device([](const Backend&, OpenDevice& d) {
    hive_memory_info memory{};
    memory.struct_size = sizeof memory;
    REQUIRE(d.table->memory_info(d.handle, &memory, nullptr) == HIVE_OK);
    CHECK(memory.total_bytes > 0);
    CHECK(memory.used_bytes == 0);
    CHECK(memory.free_bytes <= memory.total_bytes);
    const hive_health fresh = d.health();
    CHECK(fresh.status == HIVE_OK);
    CHECK(fresh.jobs_submitted == 0);
    CHECK(fresh.jobs_finished == 0);
    CHECK(fresh.rows_scanned == 0);
    {
      const ScanCase c = simple_case();
      Uploaded uploaded(d, c);
      REQUIRE(uploaded.problem == "");
      REQUIRE(d.table->memory_info(d.handle, &memory, nullptr) == HIVE_OK);
      // Rows that are read in place take no memory of the device.
      if (!d.has(HIVE_CAP_HOST_MEMORY)) CHECK(memory.used_bytes >= 100 * 32 * 4);
    }
    REQUIRE(d.table->memory_info(d.handle, &memory, nullptr) == HIVE_OK);
    CHECK(memory.used_bytes == 0);
  });
}

TEST_CASE("device: open and close in a loop, also with objects left behind") {
  for (const Backend& backend : backends_under_test()) {
    CAPTURE(backend.spec);
    for (int i = 0; i < 12; ++i) {
      OpenDevice d(backend, 1 + i % 3);
      REQUIRE_MESSAGE(bool(d), d.problem);
      CHECK(verify(d, simple_case(40, 16, 2, 5), backend.exact) == "");
      // device_close frees what the device still owns.
      Area area(16 * 8 * 4);
      const std::vector<float> norms(16);
      hive_segment_desc desc = plain_desc();
      if (d.has(HIVE_CAP_HOST_MEMORY)) {
        desc.host_data = area.data();
        desc.host_inv_norms = norms.data();
      }
      hive_segment* segment = nullptr;
      CHECK(d.table->segment_create(d.handle, &desc, &segment, nullptr) == HIVE_OK);
      const uint32_t word = 5;
      hive_bits* bits = nullptr;
      CHECK(d.table->bits_create(d.handle, &word, 20, &bits, nullptr) == HIVE_OK);
      d.close();
    }
  }
}

TEST_CASE("two devices of one backend are independent") {
  for (const Backend& backend : backends_under_test()) {
    CAPTURE(backend.spec);
    OpenDevice a(backend, 1);
    OpenDevice b(backend, 1);
    REQUIRE(bool(a));
    REQUIRE(bool(b));
    CHECK(verify(a, simple_case(), backend.exact) == "");
    CHECK(a.health().jobs_submitted == 1);
    CHECK(b.health().jobs_submitted == 0);
    a.close();
    CHECK(verify(b, simple_case(), backend.exact) == "");
  }
}

TEST_CASE("supports: yes for the matrix, a reason for everything else") {
  for_each_device([](const Backend&, OpenDevice& d) {
    hive_op_desc op{sizeof(hive_op_desc), HIVE_OP_SCAN_TOPK, 0, 0, 128, 10, 1};
    for (op.metric = 0; op.metric < HIVE_METRIC_COUNT; ++op.metric) {
      for (op.dtype = 0; op.dtype < HIVE_DTYPE_COUNT; ++op.dtype) {
        CHECK(d.table->supports(d.handle, &op, nullptr) == HIVE_OK);
      }
    }
    const auto refuse = [&](const char* what, auto change) {
      hive_op_desc bad{sizeof(hive_op_desc), HIVE_OP_SCAN_TOPK, 0, 0, 128, 10, 1};
      change(bad);
      hive_error error = new_error();
      check_refused(what, d.table->supports(d.handle, &bad, &error), error);
    };
    refuse("op", [](hive_op_desc& o) { o.op = 77; });
    refuse("metric", [](hive_op_desc& o) { o.metric = HIVE_METRIC_COUNT; });
    refuse("dtype", [](hive_op_desc& o) { o.dtype = HIVE_DTYPE_COUNT; });
    refuse("dim 0", [](hive_op_desc& o) { o.dim = 0; });
    refuse("dim 65537", [](hive_op_desc& o) { o.dim = 65537; });
    refuse("k 0", [](hive_op_desc& o) { o.k = 0; });
    refuse("k too large", [](hive_op_desc& o) { o.k = 0xffffffffu; });
    refuse("no queries", [](hive_op_desc& o) { o.query_count = 0; });
    refuse("size 0", [](hive_op_desc& o) { o.struct_size = 0; });
    refuse("size 8", [](hive_op_desc& o) { o.struct_size = 8; });
    hive_error error = new_error();
    check_refused("NULL", d.table->supports(d.handle, nullptr, &error), error);
  });
}

TEST_CASE("segment_create refuses what it cannot hold") {
  for_each_device([](const Backend&, OpenDevice& d) {
    const auto refuse = [&](const char* what, auto change) {
      hive_segment_desc desc = plain_desc();
      change(desc);
      hive_segment* segment = nullptr;
      hive_error error = new_error();
      check_refused(what, d.table->segment_create(d.handle, &desc, &segment, &error), error);
      CHECK(segment == nullptr);
    };
    refuse("dim 0", [](hive_segment_desc& s) { s.dim = 0; });
    refuse("dim 65537", [](hive_segment_desc& s) { s.dim = 65537; });
    refuse("dtype", [](hive_segment_desc& s) { s.dtype = HIVE_DTYPE_COUNT; });
    refuse("no rows", [](hive_segment_desc& s) { s.capacity_rows = 0; });
    refuse("2^31 rows", [](hive_segment_desc& s) { s.capacity_rows = 0x80000000u; });
    refuse("size 0", [](hive_segment_desc& s) { s.struct_size = 0; });
    refuse("size 12", [](hive_segment_desc& s) { s.struct_size = 12; });
    hive_error error = new_error();
    hive_segment* segment = nullptr;
    check_refused("NULL", d.table->segment_create(d.handle, nullptr, &segment, &error), error);
    hive_segment_desc desc = plain_desc();
    check_refused("into NULL", d.table->segment_create(d.handle, &desc, nullptr, &error), error);
    d.table->segment_free(d.handle, nullptr);
    d.table->bits_free(d.handle, nullptr);
    d.table->ticket_free(d.handle, nullptr);
    d.table->cancel(d.handle, nullptr);
    CHECK(d.table->poll(d.handle, nullptr, nullptr) == HIVE_INVALID_ARGUMENT);
    CHECK(d.table->wait(d.handle, nullptr, 0, nullptr) == HIVE_INVALID_ARGUMENT);
    hive_bits* bits = nullptr;
    check_refused("bits NULL", d.table->bits_create(d.handle, nullptr, 40, &bits, &error), error);
    const uint32_t word = 1;
    check_refused("bits into NULL", d.table->bits_create(d.handle, &word, 1, nullptr, &error),
                  error);
  });
}

TEST_CASE("segment_append refuses rows that do not continue the segment") {
  for_each_device([](const Backend& backend, OpenDevice& d) {
    ScanCase c = simple_case(10, 8);
    c.segments[0].capacity = 16;
    c.segments[0].row_count = 10;
    Uploaded uploaded(d, c);
    REQUIRE(uploaded.problem == "");
    hive_segment* const segment = uploaded.segments()[0].segment;
    const Rows more = store_rows(HIVE_DTYPE_F32, 8, std::vector<float>(8 * 8, 1.0f));
    const auto refuse = [&](const char* what, auto change) {
      hive_rows rows{};
      rows.struct_size = sizeof rows;
      rows.first_slot = 10;
      rows.count = 4;
      rows.data = more.data.data();
      rows.inv_norms = more.inv_norms.data();
      change(rows);
      hive_ticket* ticket = nullptr;
      hive_error error = new_error();
      check_refused(what, d.table->segment_append(d.handle, segment, &rows, &ticket, &error),
                    error);
      CHECK(ticket == nullptr);
    };
    refuse("a gap", [](hive_rows& r) { r.first_slot = 11; });
    refuse("an overlap", [](hive_rows& r) { r.first_slot = 9; });
    refuse("no rows", [](hive_rows& r) { r.count = 0; });
    refuse("too many", [](hive_rows& r) { r.count = 7; });
    refuse("far too many", [](hive_rows& r) { r.count = 0xffffffffu; });
    refuse("size 0", [](hive_rows& r) { r.struct_size = 0; });
    refuse("size 12", [](hive_rows& r) { r.struct_size = 12; });
    if (!d.has(HIVE_CAP_HOST_MEMORY)) {
      refuse("no data", [](hive_rows& r) { r.data = nullptr; });
      refuse("no norms", [](hive_rows& r) { r.inv_norms = nullptr; });
    }
    hive_error error = new_error();
    hive_ticket* ticket = nullptr;
    check_refused("NULL", d.table->segment_append(d.handle, segment, nullptr, &ticket, &error),
                  error);
    hive_rows rows{};
    rows.struct_size = sizeof rows;
    check_refused("no segment",
                  d.table->segment_append(d.handle, nullptr, &rows, &ticket, &error), error);
    // What was refused left no trace.
    Answer answer;
    const hive_scan_job job = make_job(c, uploaded, &answer);
    answer.status = run_job(d, job);
    CHECK(compare(c, expect(c), answer, backend.exact) == "");
  });
}

TEST_CASE("submit refuses wrong jobs: no ticket, no notify, no count") {
  for_each_device([](const Backend& backend, OpenDevice& d) {
    const ScanCase c = simple_case(20, 8, 2, 4, HIVE_METRIC_COSINE);
    const ScanCase other = simple_case(20, 9, 2, 4, HIVE_METRIC_COSINE, HIVE_DTYPE_F16);
    Uploaded uploaded(d, c);
    Uploaded uploaded_other(d, other);
    Answer answer;
    int notified = 0;
    const auto refuse = [&](const char* what, auto change) {
      hive_scan_job job = make_job(c, uploaded, &answer);
      job.head.notify = [](void* ctx, hive_ticket*, hive_status) { ++*static_cast<int*>(ctx); };
      job.head.notify_ctx = &notified;
      std::vector<hive_scan_segment> segments = uploaded.segments();
      change(job, segments);
      if (job.segments != nullptr) job.segments = segments.data();
      hive_ticket* ticket = nullptr;
      hive_error error = new_error();
      check_refused(what, d.table->submit(d.handle, &job.head, &ticket, &error), error);
      CHECK(ticket == nullptr);
    };
    using Job = hive_scan_job;
    using Segments = std::vector<hive_scan_segment>;
    refuse("size 0", [](Job& j, Segments&) { j.head.struct_size = 0; });
    refuse("size of the head", [](Job& j, Segments&) { j.head.struct_size = sizeof(hive_job); });
    refuse("op", [](Job& j, Segments&) { j.head.op = 99; });
    refuse("metric", [](Job& j, Segments&) { j.metric = HIVE_METRIC_COUNT; });
    refuse("dim", [](Job& j, Segments&) { j.dim = 7; });
    refuse("dim 0", [](Job& j, Segments&) { j.dim = 0; });
    refuse("k 0", [](Job& j, Segments&) { j.k = 0; });
    refuse("no queries", [](Job& j, Segments&) { j.query_count = 0; });
    refuse("queries NULL", [](Job& j, Segments&) { j.queries = nullptr; });
    refuse("norms NULL", [](Job& j, Segments&) { j.query_inv_norms = nullptr; });
    refuse("hits NULL", [](Job& j, Segments&) { j.hits = nullptr; });
    refuse("counts NULL", [](Job& j, Segments&) { j.hit_counts = nullptr; });
    refuse("segments NULL", [](Job& j, Segments&) { j.segments = nullptr; });
    refuse("stride", [](Job& j, Segments&) { j.segment_size = 4; });
    refuse("row_count", [](Job&, Segments& s) { s[0].row_count = 21; });
    refuse("segment NULL", [](Job&, Segments& s) { s[0].segment = nullptr; });
    refuse("mixed dims", [&](Job& j, Segments& s) {
      s.push_back(uploaded_other.segments()[0]);
      j.segment_count = 2;
    });
    hive_error error = new_error();
    hive_ticket* ticket = nullptr;
    check_refused("NULL", d.table->submit(d.handle, nullptr, &ticket, &error), error);
    const Job job = make_job(c, uploaded, &answer);
    check_refused("into NULL", d.table->submit(d.handle, &job.head, nullptr, &error), error);
    CHECK(notified == 0);
    CHECK(d.health().jobs_submitted == 0);
    CHECK(verify(d, c, backend.exact) == "");
  });
}

TEST_CASE("a job without segments has no hits, and norms are read for cosine only") {
  for_each_device([](const Backend& backend, OpenDevice& d) {
    ScanCase c = simple_case(20, 8, 3, 4, HIVE_METRIC_DOT);
    Uploaded uploaded(d, c);
    Answer answer;
    hive_scan_job job = make_job(c, uploaded, &answer);
    job.query_inv_norms = nullptr;
    answer.status = run_job(d, job, &answer.problem);
    CHECK(compare(c, expect(c), answer, backend.exact) == "");
    job = make_job(c, uploaded, &answer);
    job.segment_count = 0;
    job.segments = nullptr;
    CHECK(run_job(d, job) == HIVE_OK);
    CHECK(answer.hit_counts == std::vector<uint32_t>{0, 0, 0});
  });
}

TEST_CASE("segments are read with the caller's stride") {
  for_each_device([](const Backend& backend, OpenDevice& d) {
    ScanCase c = simple_case(20, 8, 2, 4);
    ScanCase second = simple_case(15, 8, 1, 1, 0, 0, 9);
    c.segments.push_back(std::move(second.segments[0]));
    Uploaded uploaded(d, c);
    struct Longer {
      hive_scan_segment known;
      uint64_t newer[3];
    };
    std::vector<Longer> longer;
    for (const hive_scan_segment& s : uploaded.segments()) longer.push_back({s, {~0ull, 1, 2}});
    Answer answer;
    hive_scan_job job = make_job(c, uploaded, &answer);
    job.segments = &longer[0].known;
    job.segment_size = sizeof(Longer);
    answer.status = run_job(d, job, &answer.problem);
    CHECK(compare(c, expect(c), answer, backend.exact) == "");
  });
}

TEST_CASE("cpu: settings are checked, instruction sets are chosen by name") {
  const hive_backend_table* table = nullptr;
  hive_error error = new_error();
  hive_open_options options{};
  options.struct_size = sizeof options;
  for (const char* bad : {"isa=mmx", "isa=", "isa", "speed=high", "threads=0", "threads=-3",
                          "threads=x", "isa=scalar;nonsense=1"}) {
    CAPTURE(bad);
    options.config = bad;
    error = new_error();
    check_refused(bad, hive_cpu_backend_open(&options, &table, &error), error);
  }
  options.config = "threads=2;isa=scalar";
  CHECK(hive_cpu_backend_open(&options, &table, &error) == HIVE_OK);
  options.config = "";
  CHECK(hive_cpu_backend_open(&options, &table, &error) == HIVE_OK);
  CHECK(hive_cpu_backend_open(nullptr, &table, &error) == HIVE_OK);
  CHECK(hive_cpu_backend_open(nullptr, nullptr, &error) == HIVE_INVALID_ARGUMENT);
  CHECK(hive_cpu_backend_probe(nullptr, nullptr) == HIVE_INVALID_ARGUMENT);
  hive_probe_report report{};
  report.struct_size = sizeof report;
  CHECK(hive_cpu_backend_probe(nullptr, &report) == HIVE_OK);
  CHECK(report.status == HIVE_OK);
  CHECK(report.device_count == 1);
  for (const std::string& isa : cpu_isas()) {
    CAPTURE(isa);
    const bool listed = std::string(report.version).find(isa) != std::string::npos;
    const std::string config = "isa=" + isa;
    options.config = config.c_str();
    CHECK((hive_cpu_backend_open(&options, &table, &error) == HIVE_OK) == listed);
  }
}

TEST_CASE("options: fields beyond struct_size are not read") {
  for (const Backend& backend : backends_under_test()) {
    CAPTURE(backend.spec);
    if (backend.inner != nullptr) continue;  // needs inner, which is such a field
    hive_open_options options{};
    options.struct_size = offsetof(hive_open_options, config);
    options.host_threads = 1;
    options.config = "not a setting";
    hive_device* device = nullptr;
    hive_error error = new_error();
    CHECK_MESSAGE(backend.table->device_open(0, &options, &device, &error) == HIVE_OK,
                  error.message);
    if (device != nullptr) backend.table->device_close(device);
  }
}

}  // namespace hive::test
