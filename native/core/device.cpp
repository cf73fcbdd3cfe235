#include "device.h"

#include <chrono>
#include <cstdio>
#include <map>
#include <optional>

#include "failure.h"
#include "workers.h"

namespace hive {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);
// A budget that holds fewer segments could not keep some while others are streamed.
constexpr uint64_t kSegmentsInBudget = 8;

}  // namespace

Device::Device(const BackendReport& backend, const OpenOptions& options)
    : backend_(backend.name),
      index_(options.device_index),
      table_(backend.table),
      config_(options.config_for(backend.name)),
      host_threads_(options.host_threads) {
  hive_open_options open{};
  open.struct_size = sizeof open;
  open.host_threads = host_threads_;
  open.config = config_.c_str();
  hive_error error = new_error();
  hive_status status = table_->device_open(index_, &open, &handle_, &error);
  if (status != HIVE_OK) throw backend_failure(status, error);
  info_ = backend.devices[index_];
  const hive_memory_info memory = this->memory();
  uint64_t budget = options.memory_budget_bytes;
  if (budget == 0) budget = memory.free_bytes / 10 * 9;
  residency_ = std::make_unique<Residency>(table_, handle_, host_memory(), budget);
  if (waited_for()) thread_ = std::thread([this] { loop(); });
}

Device::~Device() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  residency_.reset();
  if (handle_ != nullptr) table_->device_close(handle_);
}

uint64_t Device::segment_bytes_max() const {
  if (host_memory()) return info_.max_segment_bytes;
  const uint64_t share = residency_->stats().budget_bytes / kSegmentsInBudget;
  return std::max<uint64_t>(1, std::min(info_.max_segment_bytes, share));
}

void Device::run(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    task_count_.store(tasks_.size());
  }
  wake_.notify_one();
}

void Device::loop() {
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      task_count_.store(tasks_.size());
    }
    task();
    // Who searches one query after the other asks again at once; waking up would cost more.
    const auto until = std::chrono::steady_clock::now() + kSpin;
    while (task_count_.load() == 0 && std::chrono::steady_clock::now() < until) {
      std::this_thread::yield();
    }
  }
}

bool Device::reopen() {
  hive_open_options open{};
  open.struct_size = sizeof open;
  open.host_threads = host_threads_;
  open.config = config_.c_str();
  // What was on the lost device goes with its handle.
  residency_->clear(false);
  const std::lock_guard lock(handle_mutex_);
  if (handle_ != nullptr) table_->device_close(handle_);
  handle_ = nullptr;
  hive_error error = new_error();
  if (table_->device_open(index_, &open, &handle_, &error) != HIVE_OK) {
    handle_ = nullptr;
    return false;
  }
  residency_->set_device(handle_);
  return true;
}

hive_memory_info Device::memory() const {
  hive_memory_info info{};
  info.struct_size = sizeof info;
  const std::lock_guard lock(handle_mutex_);
  hive_error error = new_error();
  if (handle_ != nullptr) (void)table_->memory_info(handle_, &info, &error);
  return info;
}

hive_health Device::health() const {
  hive_health health{};
  health.struct_size = sizeof health;
  const std::lock_guard lock(handle_mutex_);
  if (handle_ != nullptr) table_->health(handle_, &health);
  else health.status = HIVE_DEVICE_LOST;
  return health;
}

namespace {

// The opened devices of this process by what they were opened with.
std::shared_ptr<Device> open_shared(const BackendReport& backend, const OpenOptions& options) {
  static std::mutex mutex;
  static auto* const opened = new std::map<std::string, std::weak_ptr<Device>>();
  const std::string key = backend.name + "|" + std::to_string(options.device_index) + "|" +
                          options.config_for(backend.name) + "|" +
                          std::to_string(options.host_threads) + "|" +
                          std::to_string(options.memory_budget_bytes);
  const std::lock_guard lock(mutex);
  std::weak_ptr<Device>& slot = (*opened)[key];
  if (std::shared_ptr<Device> device = slot.lock()) return device;
  // The last owner may be a search that ends on one of the device's own threads, which could not
  // wait for themselves: the device is taken down on another one.
  const auto take_down = [](Device* d) { Workers::shared().run([d] { delete d; }); };
  std::shared_ptr<Device> device(new Device(backend, options), take_down);
  slot = device;
  return device;
}

struct BusId {
  unsigned domain = 0, bus = 0, device = 0, function = 0;
  bool operator==(const BusId&) const = default;
};

// "domain:bus:device.function" in hexadecimal digits, as lspci and nvidia-smi write it; drivers
// disagree on how many digits a domain has. The domain may be left out.
std::optional<BusId> parse_bus_id(const std::string& text) {
  BusId id;
  int end = 0;
  const auto whole = [&] { return end > 0 && static_cast<size_t>(end) == text.size(); };
  if (std::sscanf(text.c_str(), "%x:%x:%x.%x%n", &id.domain, &id.bus, &id.device, &id.function,
                  &end) == 4 && whole()) {
    return id;
  }
  id = {};
  end = 0;
  if (std::sscanf(text.c_str(), "%x:%x.%x%n", &id.bus, &id.device, &id.function, &end) == 3 &&
      whole()) {
    return id;
  }
  return std::nullopt;
}

uint32_t index_of(const std::string& bus_id, const BackendReport& report) {
  const std::optional<BusId> wanted = parse_bus_id(bus_id);
  if (!wanted) {
    throw Failure("INVALID_ARGUMENT",
                  "\"" + bus_id + "\" is no PCI bus id; one looks like 0000:0a:00.0.");
  }
  std::string known;
  for (uint32_t i = 0; i < report.devices.size(); ++i) {
    if (parse_bus_id(report.devices[i].bus_id) == wanted) return i;
    if (report.devices[i].bus_id[0] != 0) known += std::string(" ") + report.devices[i].bus_id;
  }
  throw Failure("NO_DEVICE", "The backend \"" + report.name + "\" has no device at " + bus_id +
                                 (known.empty() ? "; its devices have no PCI bus ids."
                                                : "; it has devices at" + known + "."));
}

DeviceChoice open_forced(OpenOptions options) {
  DeviceChoice choice;
  const BackendReport report = probe_backend(options.backend, options);
  if (!report.usable) {
    throw Failure(status_name(report.status),
                  "The backend \"" + options.backend + "\" was asked for but cannot be used: " +
                      report.reason);
  }
  if (!options.bus_id.empty()) options.device_index = index_of(options.bus_id, report);
  if (options.device_index >= report.devices.size()) {
    throw Failure("NO_DEVICE", "The backend \"" + options.backend + "\" has " +
                                   std::to_string(report.devices.size()) +
                                   " device(s); there is no device " +
                                   std::to_string(options.device_index) + ".");
  }
  choice.device = open_shared(report, options);
  choice.forced = true;
  choice.reasons.push_back(options.backend + ": chosen because it was asked for");
  return choice;
}

}  // namespace

DeviceChoice choose_device(const OpenOptions& options) {
  if (!options.backend.empty()) return open_forced(options);
  DeviceChoice choice;
  for (const BackendReport& report : probe_backends(options)) {
    if (!report.selectable) continue;
    const bool enough = options.device_index < report.devices.size() || report.name == "cpu";
    if (!report.usable || !enough) {
      choice.reasons.push_back(report.name + ": " +
                               (report.usable ? "no such device" : report.reason));
      continue;
    }
    OpenOptions local = options;
    if (report.name == "cpu") local.device_index = 0;
    try {
      std::shared_ptr<Device> device = open_shared(report, local);
      if (choice.device == nullptr) {
        choice.device = device;
        choice.reasons.push_back(report.name + ": chosen, the best usable backend");
      } else if (report.name == "cpu") {
        choice.fallback = device;
      }
    } catch (const Failure& failure) {
      choice.reasons.push_back(report.name + ": " + failure.what());
    }
    if (choice.device != nullptr && report.name == "cpu") break;
  }
  if (choice.device == nullptr) {
    throw Failure("NO_DEVICE", "No backend can be used, not even the CPU: " +
                                   (choice.reasons.empty() ? "" : choice.reasons.back()));
  }
  return choice;
}

}  // namespace hive
