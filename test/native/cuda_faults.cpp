// Faults of the CUDA backend, ordered from the emulated driver: memory, launches, silence.
#include <doctest/doctest.h>

#if defined(HIVE_FAKE_CUDA)

#include <dlfcn.h>

#include "conformance.h"
#include "core_fixture.h"

namespace hive::test {
namespace {

// Another name for the same driver, so that what happens to it here stays here.
std::string driver_named(const std::string& detour) {
  const std::string path = HIVE_FAKE_CUDA;
  const size_t slash = path.rfind('/');
  return path.substr(0, slash) + detour + path.substr(slash);
}

struct Fake {
  explicit Fake(const std::string& detour, const std::string& settings = "") {
    const std::string path = driver_named(detour);
    void* library = dlopen(path.c_str(), RTLD_NOW);
    REQUIRE(library != nullptr);
    control_ = reinterpret_cast<int (*)(const char*)>(dlsym(library, "hive_fake_cuda_control"));
    used_ = reinterpret_cast<int (*)(size_t*)>(dlsym(library, "hive_fake_cuda_used"));
    REQUIRE((control_ != nullptr && used_ != nullptr));
    std::string reason;
    REQUIRE_MESSAGE(load_backend("cuda:driver=" + path + ";" + settings, &backend, &reason),
                    reason);
  }
  ~Fake() { order("reset"); }
  void order(const char* what) const { CHECK(control_(what) == 0); }
  size_t used() const {
    size_t bytes = 0;
    used_(&bytes);
    return bytes;
  }
  Backend backend;

 private:
  int (*control_)(const char*) = nullptr;
  int (*used_)(size_t*) = nullptr;
};

hive_status search(OpenDevice& device, std::string* problem) {
  const ScanCase c = simple_case();
  const Answer answer = run_case(device, c);
  *problem = answer.problem;
  return answer.status;
}

}  // namespace

TEST_CASE("cuda: memory that is missing once is asked for again, missing memory is named") {
  const Fake fake("/./");
  OpenDevice device(fake.backend, 2);
  REQUIRE_MESSAGE(bool(device), device.problem);
  fake.order("fail=MemCreate:1:2");
  const ScanCase c = simple_case();
  {
    Uploaded uploaded(device, c);
    CHECK(uploaded.problem.find("OUT_OF_MEMORY") != std::string::npos);
  }
  CHECK(verify(device, c, true) == "");
  // The first case's memory is kept for reuse; giving it back makes room.
  fake.order("fail=MemCreate:1:2");
  ScanCase larger = simple_case(70'000, 16);
  CHECK(verify(device, larger, true) == "");
  CHECK(device.health().status == HIVE_OK);
}

TEST_CASE("cuda: a launch that fails for a passing reason fails one job") {
  const Fake fake("/././");
  OpenDevice device(fake.backend, 2);
  REQUIRE_MESSAGE(bool(device), device.problem);
  std::string problem;
  fake.order("fail=LaunchKernel:1:2");
  CHECK(search(device, &problem) == HIVE_DEVICE_OUT_OF_MEMORY);
  CHECK(problem.find("cuLaunchKernel") != std::string::npos);
  CHECK(search(device, &problem) == HIVE_OK);
  CHECK(device.health().jobs_failed == 1);
}

TEST_CASE("cuda: an error that stays with the context ends the backend, and says so") {
  const Fake fake("/../Release/");
  OpenDevice device(fake.backend, 2);
  REQUIRE_MESSAGE(bool(device), device.problem);
  std::string problem;
  CHECK(search(device, &problem) == HIVE_OK);
  fake.order("fail=LaunchKernel:1:719");
  CHECK(search(device, &problem) == HIVE_DEVICE_POISONED);
  CHECK(problem.find("until the process ends") != std::string::npos);
  CHECK(device.health().status == HIVE_DEVICE_POISONED);
  CHECK(device.health().detail[0] != 0);
  fake.order("reset");
  // The driver may have forgotten, the context has not.
  hive_error error = new_error();
  hive_device* other = nullptr;
  const hive_open_options options = fake.backend.options();
  CHECK(device.table->device_open(0, &options, &other, &error) == HIVE_DEVICE_POISONED);
  CHECK(error.message[0] != 0);
}

TEST_CASE("cuda: a kernel that never ends is given up") {
  const Fake fake("/./././", "timeout_ms=100");
  {
    OpenDevice device(fake.backend, 2);
    REQUIRE_MESSAGE(bool(device), device.problem);
    std::string problem;
    const ScanCase c = simple_case();
    Uploaded uploaded(device, c);
    Answer answer;
    const hive_scan_job job = make_job(c, uploaded, &answer);
    fake.order("hang=1");
    CHECK(run_job(device, job, &problem) == HIVE_DEVICE_TIMEOUT);
    CHECK(answer.hit_counts[0] != c.k);
    CHECK(device.health().status == HIVE_DEVICE_LOST);
    CHECK(run_job(device, job, &problem) == HIVE_DEVICE_LOST);
    fake.order("release");
  }
  OpenDevice again(fake.backend, 2);
  REQUIRE_MESSAGE(bool(again), again.problem);
  CHECK(verify(again, simple_case(), true) == "");
}

TEST_CASE("cuda: closing a device gives all of its memory back") {
  const Fake fake("/");
  const size_t before = fake.used();
  for (int i = 0; i < 3; ++i) {
    OpenDevice device(fake.backend, 2);
    REQUIRE_MESSAGE(bool(device), device.problem);
    CHECK(verify(device, simple_case(3000, 40, 12, 300), true) == "");
    CHECK(fake.used() > before);
  }
  CHECK(fake.used() == before);
}

TEST_CASE("cuda: several devices are listed with their bus ids") {
  const Fake fake("/");
  OpenDevice first(fake.backend, 1);
  hive_device_info second{};
  second.struct_size = sizeof second;
  REQUIRE(first.table->device_info(1, &second, nullptr) == HIVE_OK);
  CHECK(std::string(first.info.bus_id) != std::string(second.bus_id));
  CHECK(second.vendor_id == 0x10de);
}

TEST_CASE("cuda: a device is chosen by its PCI bus id") {
  OpenOptions options = options_for("cuda");
  options.backend_config["cuda"] = std::string("driver=") + HIVE_FAKE_CUDA;
  options.device_index = 1;
  const DeviceChoice second = choose_device(options);
  const std::string id = second.device->info().bus_id;
  options.device_index = 0;
  for (const std::string& text : {id, "0000" + id}) {
    options.bus_id = text;
    CHECK(choose_device(options).device->index() == 1);
  }
  for (const char* wrong : {"0000:7f:1f.7", "second", "0:0"}) {
    options.bus_id = wrong;
    CHECK_THROWS_AS(choose_device(options), Failure);
  }
}

}  // namespace hive::test

#endif
