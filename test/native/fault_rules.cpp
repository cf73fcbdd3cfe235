// The fault backend fails what it is told to fail, with the status it is told, and nothing else.
#include <doctest/doctest.h>

#include <atomic>

#include "fault_support.h"

namespace hive::test {
namespace {

constexpr uint64_t kForever = UINT64_MAX;

// Calls one slot in a way that is right but for the rule; returns its status.
struct Calls {
  explicit Calls(OpenDevice& device)
      : d(device), c(simple_case(20, 8, 1, 4)), uploaded(device, c) {}

  hive_status run(const std::string& slot, hive_error* err) {
    if (slot == "supports") {
      const hive_op_desc op{sizeof(hive_op_desc), HIVE_OP_SCAN_TOPK, 0, 0, 8, 4, 1};
      return d.table->supports(d.handle, &op, err);
    }
    if (slot == "memory_info") {
      hive_memory_info info{};
      info.struct_size = sizeof info;
      return d.table->memory_info(d.handle, &info, err);
    }
    if (slot == "bits_create") {
      const uint32_t word = 3;
      hive_bits* bits = nullptr;
      const hive_status status = d.table->bits_create(d.handle, &word, 32, &bits, err);
      CHECK((bits != nullptr) == (status == HIVE_OK));
      d.table->bits_free(d.handle, bits);
      return status;
    }
    if (slot == "segment_create" || slot == "segment_append") return run_segment(slot, err);
    return run_job_slot(slot, err);
  }

  hive_status run_segment(const std::string& slot, hive_error* err) {
    const Rows rows = store_rows(HIVE_DTYPE_F32, 8, std::vector<float>(16, 1.0f));
    hive_segment_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dim = 8;
    desc.capacity_rows = 2;
    if (d.has(HIVE_CAP_HOST_MEMORY)) {
      desc.host_data = rows.data.data();
      desc.host_inv_norms = rows.inv_norms.data();
    }
    hive_segment* segment = nullptr;
    hive_status status = d.table->segment_create(d.handle, &desc, &segment, err);
    CHECK((segment != nullptr) == (status == HIVE_OK));
    if (slot == "segment_append" && status == HIVE_OK) {
      hive_rows append{};
      append.struct_size = sizeof append;
      append.count = 2;
      append.data = rows.data.data();
      append.inv_norms = rows.inv_norms.data();
      hive_ticket* ticket = nullptr;
      status = d.table->segment_append(d.handle, segment, &append, &ticket, err);
      CHECK((ticket != nullptr) == (status == HIVE_OK));
      d.table->ticket_free(d.handle, ticket);
    }
    d.table->segment_free(d.handle, segment);
    return status;
  }

  hive_status run_job_slot(const std::string& slot, hive_error* err) {
    Answer answer;
    const hive_scan_job job = make_job(c, uploaded, &answer);
    hive_ticket* ticket = nullptr;
    hive_status status = d.table->submit(d.handle, &job.head, &ticket, err);
    CHECK((ticket != nullptr) == (status == HIVE_OK));
    if (status == HIVE_OK && slot == "poll") {
      do status = d.table->poll(d.handle, ticket, err);
      while (status == HIVE_PENDING);
    } else if (status == HIVE_OK) {
      status = d.table->wait(d.handle, ticket, kForever, err);
    }
    d.table->ticket_free(d.handle, ticket);
    return status;
  }

  OpenDevice& d;
  ScanCase c;
  Uploaded uploaded;
};

const char* const kModes[] = {"mode=pass", "mode=sim"};

// Opens a device with a config; false when the fault backend was not built.
bool open(const std::string& config, Backend* backend, std::unique_ptr<OpenDevice>* device) {
  *backend = fault_backend(config);
  if (backend->table == nullptr) return false;
  *device = std::make_unique<OpenDevice>(*backend, 1);
  REQUIRE_MESSAGE(bool(**device), (*device)->problem);
  return true;
}

struct Known {
  const char* name;
  hive_status status;
};

}  // namespace

TEST_CASE("fault: each slot fails on order, with its status, and the device stays usable") {
  const Known statuses[] = {{"DEVICE_LOST", HIVE_DEVICE_LOST},
                            {"DEVICE_OUT_OF_MEMORY", HIVE_DEVICE_OUT_OF_MEMORY},
                            {"DEVICE_TIMEOUT", HIVE_DEVICE_TIMEOUT},
                            {"INTERNAL", HIVE_INTERNAL}};
  const char* const slots[] = {"supports",    "segment_create", "segment_append", "bits_create",
                               "submit",      "poll",           "wait",           "memory_info",
                               "complete"};
  for (const char* mode : kModes) {
    for (const char* slot : slots) {
      for (const Known& known : statuses) {
        // The upload of the test itself creates one segment, appends once and waits once.
        const std::string name = slot;
        const bool used = name == "segment_create" || name == "segment_append" || name == "wait" ||
                          name == "complete";
        const std::string config = std::string(mode) + ";fail=" + slot + (used ? ":2:" : ":1:") +
                                   known.name + (name == "segment_append" ? ":1" : "");
        CAPTURE(config);
        Backend backend;
        std::unique_ptr<OpenDevice> device;
        if (!open(config, &backend, &device)) return;
        Calls calls(*device);
        REQUIRE(calls.uploaded.problem == "");
        hive_error error = new_error();
        CHECK(calls.run(slot, &error) == known.status);
        CHECK(error.message[0] != 0);
        CHECK(device->health().status == HIVE_OK);
        CHECK(calls.run(slot, nullptr) == HIVE_OK);
        CHECK(verify(*device, simple_case(), true) == "");
      }
    }
  }
}

TEST_CASE("fault: rules count calls, repeat and combine") {
  Backend backend;
  std::unique_ptr<OpenDevice> device;
  if (!open("fail=memory_info:3:DEVICE_TIMEOUT:2,memory_info:7,supports:1:UNSUPPORTED:always",
            &backend, &device)) {
    return;
  }
  Calls calls(*device);
  const hive_status want[] = {HIVE_OK, HIVE_OK, HIVE_DEVICE_TIMEOUT, HIVE_DEVICE_TIMEOUT,
                              HIVE_OK, HIVE_OK, HIVE_INTERNAL,       HIVE_OK};
  for (const hive_status status : want) CHECK(calls.run("memory_info", nullptr) == status);
  for (int i = 0; i < 5; ++i) CHECK(calls.run("supports", nullptr) == HIVE_UNSUPPORTED);
}

TEST_CASE("fault: device_info and device_open fail on order") {
  const Backend backend =
      fault_backend("fail=device_info:2:NO_DEVICE,device_open:2:DRIVER_TOO_OLD");
  if (backend.table == nullptr) return;
  hive_device_info info{};
  info.struct_size = sizeof info;
  const hive_open_options options = backend.options(1);
  const hive_status info_want[] = {HIVE_OK, HIVE_NO_DEVICE, HIVE_OK};
  const hive_status open_want[] = {HIVE_OK, HIVE_DRIVER_TOO_OLD, HIVE_OK};
  for (int i = 0; i < 3; ++i) {
    CHECK(backend.table->device_info(0, &info, nullptr) == info_want[i]);
    hive_device* device = nullptr;
    CHECK(backend.table->device_open(0, &options, &device, nullptr) == open_want[i]);
    if (device != nullptr) backend.table->device_close(device);
  }
}

TEST_CASE("fault: a forced final status reaches notify as well") {
  Backend backend;
  std::unique_ptr<OpenDevice> device;
  if (!open("mode=pass;fail=complete:2:DEVICE_LOST", &backend, &device)) return;
  const ScanCase c = simple_case();
  Uploaded uploaded(*device, c);
  Answer answer;
  hive_scan_job job = make_job(c, uploaded, &answer);
  std::atomic<int> told{-1};
  job.head.notify_ctx = &told;
  job.head.notify = [](void* ctx, hive_ticket*, hive_status status) {
    *static_cast<std::atomic<int>*>(ctx) = status;
  };
  CHECK(run_job(*device, job) == HIVE_DEVICE_LOST);
  CHECK(told == HIVE_DEVICE_LOST);
  CHECK(device->health().jobs_failed == 1);
}

TEST_CASE("fault: settings are strict") {
  if (fault_backend("mode=pass").table == nullptr) return;
  struct {
    const char* config;
    const char* names;
  } const bad[] = {{"colour=red", "colour"},
                   {"mode=fast", "mode"},
                   {"mode", "mode"},
                   {"fail=submit", "fail"},
                   {"fail=launch:1", "launch"},
                   {"fail=submit:0", "0"},
                   {"fail=submit:x", "x"},
                   {"fail=submit:1:BROKEN", "BROKEN"},
                   {"fail=submit:1:OK", "OK"},
                   {"fail=submit:1:INTERNAL:0", "0"},
                   {"fail=submit:1:INTERNAL:2:3", "submit"},
                   {"fail=submit:1,", "fail"},
                   {"delay_us=-1", "delay_us"},
                   {"delay_us=99999999999", "delay_us"},
                   {"budget_bytes=0", "budget_bytes"},
                   {"budget_bytes=1k", "budget_bytes"},
                   {"lost_after=0", "lost_after"},
                   {"poison_after=", "poison_after"}};
  for (const auto& [config, names] : bad) {
    CAPTURE(config);
    Backend backend;
    std::string reason;
    CHECK_FALSE(load_backend(std::string("fault:inner=cpu;") + config, &backend, &reason));
    CHECK_MESSAGE(reason.find(names) != std::string::npos, reason);
  }
  Backend backend;
  std::string reason;
  CHECK_FALSE(load_backend("fault:mode=sim", &backend, &reason));
  CHECK_MESSAGE(reason.find("inner") != std::string::npos, reason);
}

TEST_CASE("fault: settings for the wrapped backend are handed on") {
  Backend backend;
  std::unique_ptr<OpenDevice> device;
  if (!open("inner.isa=scalar;inner.threads=1", &backend, &device)) return;
  CHECK(verify(*device, simple_case(), true) == "");
  const Backend wrong = fault_backend("inner.isa=mmx");
  const OpenDevice refused(wrong, 1);
  CHECK_FALSE(bool(refused));
  CHECK(refused.problem.find("mmx") != std::string::npos);
}

TEST_CASE("fault: a lost device answers DEVICE_LOST until it is opened again") {
  for (const char* mode : kModes) {
    CAPTURE(mode);
    Backend backend;
    std::unique_ptr<OpenDevice> device;
    if (!open(std::string(mode) + ";lost_after=3", &backend, &device)) return;
    {
      Calls calls(*device);
      CHECK(calls.run("wait", nullptr) == HIVE_OK);
      CHECK(calls.run("wait", nullptr) == HIVE_OK);
      hive_error error = new_error();
      CHECK(calls.run("wait", &error) == HIVE_DEVICE_LOST);
      CHECK(error.message[0] != 0);
      for (const char* slot : {"supports", "segment_create", "bits_create", "submit",
                               "memory_info"}) {
        CAPTURE(slot);
        CHECK(calls.run(slot, nullptr) == HIVE_DEVICE_LOST);
      }
      const hive_health health = device->health();
      CHECK(health.status == HIVE_DEVICE_LOST);
      CHECK(health.jobs_submitted == 3);
      CHECK(health.jobs_finished == 3);
      CHECK(health.jobs_failed == 1);
    }
    // The second device is opened while the first still is.
    hive_device* again = nullptr;
    const hive_open_options options = backend.options(1);
    REQUIRE(backend.table->device_open(0, &options, &again, nullptr) == HIVE_OK);
    OpenDevice fresh;
    fresh.table = backend.table;
    fresh.handle = again;
    fresh.info = device->info;
    CHECK(verify(fresh, simple_case(), true) == "");
  }
}

TEST_CASE("fault: a poisoned backend stays dead, also for devices opened later") {
  Backend backend;
  std::unique_ptr<OpenDevice> device;
  if (!open("poison_after=1", &backend, &device)) return;
  {
    Calls calls(*device);
    CHECK(calls.run("wait", nullptr) == HIVE_DEVICE_POISONED);
    CHECK(calls.run("submit", nullptr) == HIVE_DEVICE_POISONED);
    CHECK(device->health().status == HIVE_DEVICE_POISONED);
  }
  hive_device* again = nullptr;
  const hive_open_options options = backend.options(1);
  CHECK(backend.table->device_open(0, &options, &again, nullptr) == HIVE_DEVICE_POISONED);
  device.reset();
  // A new process, as far as the backend can tell.
  if (!open("mode=pass", &backend, &device)) return;
  CHECK(verify(*device, simple_case(), true) == "");
}

TEST_CASE("fault: pass mode is a full backend with the inner device's abilities") {
  Backend backend;
  std::unique_ptr<OpenDevice> device;
  if (!open("mode=pass", &backend, &device)) return;
  CHECK(device->has(HIVE_CAP_HOST_MEMORY));
  CHECK(device->has(HIVE_CAP_NOTIFY));
  for (uint32_t metric = 0; metric < HIVE_METRIC_COUNT; ++metric) {
    for (uint32_t dtype = 0; dtype < HIVE_DTYPE_COUNT; ++dtype) {
      CHECK(verify(*device, simple_case(150, 40, 6, 20, metric, dtype), true) == "");
    }
  }
}

}  // namespace hive::test
