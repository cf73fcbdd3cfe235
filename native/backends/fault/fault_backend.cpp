// The exports of the fault backend: a backend for tests that wraps another one, makes chosen calls
// fail, and in sim mode pretends to be a device with memory of its own.
#include <exception>
#include <map>

#include "fault_device.h"

namespace hive::fault {
namespace {

// No machine has more; a wrapped table that answers for ever must not hang the probe.
constexpr uint32_t kDevicesMax = 64;

// State of the process. hive_backend_open starts it afresh, as a new process would.
struct Process {
  std::mutex mutex;
  std::string default_config;
  const hive_backend_table* inner = nullptr;
  // Calls of device_info and device_open, which no device can count, per config text.
  std::map<std::string, std::shared_ptr<FailPlan>> plans;
  std::map<hive_device*, std::shared_ptr<Device>> devices;
  uintptr_t next_handle = 0x1000;
  std::atomic<bool> poisoned{false};
};

// Never destroyed: threads of devices that were not closed may outlive static destructors.
Process& process() {
  static Process& state = *new Process;
  return state;
}

// Runs body; no exception leaves the C ABI.
template <class Body>
hive_status guarded(hive_error* err, Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(err, HIVE_OUT_OF_MEMORY, "The host is out of memory.");
  } catch (const std::exception& e) {
    return fail(err, HIVE_INTERNAL, e.what());
  } catch (...) {
    return fail(err, HIVE_INTERNAL, "An unknown exception reached the fault backend.");
  }
}

// The options of one call, as far as the caller's struct reaches; the defaults fill the gaps.
struct Options {
  uint32_t host_threads = 0;
  std::string config;
  const hive_backend_table* inner = nullptr;
  void (*log)(void* log_ctx, int32_t level, const char* message) = nullptr;
  void* log_ctx = nullptr;
};

Options read_options(const hive_open_options* given, Process& state) {
  Options out;
  {
    const std::lock_guard lock(state.mutex);
    out.config = state.default_config;
    out.inner = state.inner;
  }
  if (given == nullptr) return out;
  const auto has = [&](size_t end) { return given->struct_size >= end; };
  if (has(offsetof(hive_open_options, config))) out.host_threads = given->host_threads;
  if (has(offsetof(hive_open_options, inner)) && given->config != nullptr && *given->config != 0) {
    out.config = given->config;
  }
  if (has(offsetof(hive_open_options, log)) && given->inner != nullptr) out.inner = given->inner;
  if (has(sizeof(hive_open_options))) {
    out.log = given->log;
    out.log_ctx = given->log_ctx;
  }
  return out;
}

hive_status check_options(const Options& options, Config* config, hive_error* err) {
  std::string problem;
  if (!parse_config(options.config, config, &problem)) {
    return fail(err, HIVE_INVALID_ARGUMENT, problem);
  }
  if (options.inner == nullptr) {
    return fail(err, HIVE_INVALID_ARGUMENT,
                "The fault backend wraps another one; name it with inner=<backend>.");
  }
  if (options.inner->struct_size < sizeof(hive_backend_table) ||
      options.inner->abi != HIVE_BACKEND_ABI) {
    return fail(err, HIVE_ABI_MISMATCH, "The wrapped backend was built for another ABI.");
  }
  return HIVE_OK;
}

std::shared_ptr<FailPlan> plan_of(const Options& options, const Config& config, Process& state) {
  const std::lock_guard lock(state.mutex);
  std::shared_ptr<FailPlan>& plan = state.plans[options.config];
  if (plan == nullptr) plan = std::make_shared<FailPlan>(config.fails);
  return plan;
}

hive_status planned(FailPlan& plan, Slot slot, hive_error* err) {
  if (process().poisoned.load()) {
    return fail(err, HIVE_DEVICE_POISONED, "The fault backend is poisoned (poison_after).");
  }
  const hive_status status = plan.next(slot);
  if (status == HIVE_OK) return HIVE_OK;
  return fail(err, status, std::string("A rule of the fault backend made ") + slot_name(slot) +
                               " fail with " + status_name(status) + ".");
}

hive_status device_info(uint32_t index, hive_device_info* out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    Config config;
    const Options options = read_options(nullptr, process());
    hive_status status = check_options(options, &config, err);
    if (status != HIVE_OK) return status;
    status = planned(*plan_of(options, config, process()), Slot::device_info, err);
    if (status != HIVE_OK) return status;
    hive_device_info info{};
    info.struct_size = sizeof info;
    status = options.inner->device_info(index, &info, err);
    if (status != HIVE_OK) return status;
    disguise(config, &info);
    return give(info, out, err);
  });
}

hive_status open_device(uint32_t index, const Options& options, hive_device** out,
                        hive_error* err) {
  Config config;
  hive_status status = check_options(options, &config, err);
  if (status != HIVE_OK) return status;
  status = planned(*plan_of(options, config, process()), Slot::device_open, err);
  if (status != HIVE_OK) return status;
  hive_device_info info{};
  info.struct_size = sizeof info;
  status = options.inner->device_info(index, &info, err);
  if (status != HIVE_OK) return status;
  Inner inner{options.inner, nullptr};
  const hive_open_options forwarded{sizeof(hive_open_options),
                                    options.host_threads,
                                    config.inner_config.c_str(),
                                    nullptr,
                                    options.log,
                                    options.log_ctx};
  status = inner.table->device_open(index, &forwarded, &inner.device, err);
  if (status != HIVE_OK) return status;
  std::function<void(int32_t, const char*)> log;
  if (options.log != nullptr) {
    log = [call = options.log, ctx = options.log_ctx](int32_t level, const char* message) {
      call(ctx, level, message);
    };
  }
  Process& state = process();
  std::shared_ptr<Device> device;
  try {
    device = std::make_shared<Device>(config, inner, info, state.poisoned, std::move(log));
  } catch (...) {
    inner.table->device_close(inner.device);
    throw;
  }
  const std::lock_guard lock(state.mutex);
  state.next_handle += 16;
  *out = reinterpret_cast<hive_device*>(state.next_handle);
  state.devices.emplace(*out, std::move(device));
  return HIVE_OK;
}

hive_status device_open(uint32_t index, const hive_open_options* options, hive_device** out,
                        hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "out is NULL.");
    return open_device(index, read_options(options, process()), out, err);
  });
}

void device_close(hive_device* handle) noexcept {
  (void)guarded(nullptr, [&]() -> hive_status {
    std::shared_ptr<Device> device;
    Process& state = process();
    const std::lock_guard lock(state.mutex);
    const auto found = state.devices.find(handle);
    if (found == state.devices.end()) return HIVE_INVALID_ARGUMENT;
    device = std::move(found->second);
    state.devices.erase(found);
    return HIVE_OK;
  });
}

std::shared_ptr<Device> find_device(hive_device* handle) {
  Process& state = process();
  const std::lock_guard lock(state.mutex);
  const auto found = state.devices.find(handle);
  return found == state.devices.end() ? nullptr : found->second;
}

// Calls body with the device behind a handle.
template <class Body>
hive_status on_device(hive_device* handle, hive_error* err, Body body) noexcept {
  return guarded(err, [&]() -> hive_status {
    const std::shared_ptr<Device> device = find_device(handle);
    if (device == nullptr) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The device is not open (any more).");
    }
    return body(*device);
  });
}

hive_status supports(hive_device* d, const hive_op_desc* op, hive_error* err) noexcept {
  return on_device(d, err, [&](Device& device) { return device.supports(op, err); });
}

hive_status segment_create(hive_device* d, const hive_segment_desc* desc, hive_segment** out,
                           hive_error* err) noexcept {
  return on_device(d, err, [&](Device& device) { return device.segment_create(desc, out, err); });
}

hive_status segment_append(hive_device* d, hive_segment* segment, const hive_rows* rows,
                           hive_ticket** out, hive_error* err) noexcept {
  return on_device(
      d, err, [&](Device& device) { return device.segment_append(segment, rows, out, err); });
}

void segment_free(hive_device* d, hive_segment* segment) noexcept {
  (void)on_device(d, nullptr, [&](Device& device) -> hive_status {
    device.segment_free(segment);
    return HIVE_OK;
  });
}

hive_status bits_create(hive_device* d, const uint32_t* words, uint32_t bit_count,
                        hive_bits** out, hive_error* err) noexcept {
  return on_device(
      d, err, [&](Device& device) { return device.bits_create(words, bit_count, out, err); });
}

void bits_free(hive_device* d, hive_bits* bits) noexcept {
  (void)on_device(d, nullptr, [&](Device& device) -> hive_status {
    device.bits_free(bits);
    return HIVE_OK;
  });
}

hive_status submit(hive_device* d, const hive_job* job, hive_ticket** out,
                   hive_error* err) noexcept {
  return on_device(d, err, [&](Device& device) { return device.submit(job, out, err); });
}

hive_status poll(hive_device* d, hive_ticket* ticket, hive_error* err) noexcept {
  return on_device(d, err, [&](Device& device) { return device.poll(ticket, err); });
}

hive_status wait(hive_device* d, hive_ticket* ticket, uint64_t timeout_us,
                 hive_error* err) noexcept {
  return on_device(d, err, [&](Device& device) { return device.wait(ticket, timeout_us, err); });
}

void cancel(hive_device* d, hive_ticket* ticket) noexcept {
  (void)on_device(d, nullptr, [&](Device& device) -> hive_status {
    device.cancel(ticket);
    return HIVE_OK;
  });
}

void ticket_free(hive_device* d, hive_ticket* ticket) noexcept {
  (void)on_device(d, nullptr, [&](Device& device) -> hive_status {
    device.ticket_free(ticket);
    return HIVE_OK;
  });
}

hive_status memory_info(hive_device* d, hive_memory_info* out, hive_error* err) noexcept {
  return on_device(d, err, [&](Device& device) { return device.memory_info(out, err); });
}

void health(hive_device* d, hive_health* out) noexcept {
  (void)on_device(d, nullptr, [&](Device& device) -> hive_status {
    device.health(out);
    return HIVE_OK;
  });
}

constexpr hive_backend_table kTable = {
    sizeof(hive_backend_table),
    HIVE_BACKEND_ABI,
    "fault",
    device_info,
    device_open,
    device_close,
    supports,
    segment_create,
    segment_append,
    segment_free,
    bits_create,
    bits_free,
    submit,
    poll,
    wait,
    cancel,
    ticket_free,
    memory_info,
    health,
    nullptr,  // no columns: core evaluates predicates on the host, as for every such device
    nullptr,
};

}  // namespace
}  // namespace hive::fault

extern "C" {

HIVE_EXPORT uint32_t hive_backend_abi(void) { return HIVE_BACKEND_ABI; }

HIVE_EXPORT hive_status hive_backend_probe(const hive_open_options* given,
                                           hive_probe_report* out) {
  using namespace hive::fault;
  return guarded(nullptr, [&]() -> hive_status {
    Process nothing;
    const Options options = read_options(given, nothing);
    hive_probe_report report{};
    report.status = HIVE_NO_DEVICE;
    Config config;
    hive_error error{sizeof(hive_error), ""};
    if (check_options(options, &config, &error) == HIVE_OK) {
      hive_device_info info{};
      info.struct_size = sizeof info;
      while (report.device_count < kDevicesMax &&
             options.inner->device_info(report.device_count, &info, &error) == HIVE_OK) {
        ++report.device_count;
      }
      if (report.device_count > 0) report.status = HIVE_OK;
    }
    if (report.status != HIVE_OK) {
      static_assert(sizeof report.detail < sizeof error.message);
      std::memcpy(report.detail, error.message, sizeof report.detail - 1);
    }
    return give(report, out, nullptr);
  });
}

HIVE_EXPORT hive_status hive_backend_open(const hive_open_options* given,
                                          const hive_backend_table** out, hive_error* err) {
  using namespace hive::fault;
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "out is NULL.");
    Process nothing;
    const Options options = read_options(given, nothing);
    Config config;
    const hive_status status = check_options(options, &config, err);
    if (status != HIVE_OK) return status;
    Process& state = process();
    const std::lock_guard lock(state.mutex);
    state.default_config = options.config;
    state.inner = options.inner;
    state.plans.clear();
    state.poisoned.store(false);
    *out = &kTable;
    return HIVE_OK;
  });
}

}  // extern "C"
