// An opened device: the backend's handle, what is resident on it, its health, and for a device that
// cannot call back the thread that waits for it. Opened once per (backend, index, settings) in a
// process and shared by all databases and environments.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "registry.h"
#include "residency.h"

namespace hive {

class Device {
 public:
  Device(const BackendReport& backend, const OpenOptions& options);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& backend() const { return backend_; }
  const hive_device_info& info() const { return info_; }
  uint32_t index() const { return index_; }
  const hive_backend_table* table() const { return table_; }
  hive_device* handle() const { return handle_; }
  Residency& residency() { return *residency_; }
  bool host_memory() const { return (info_.caps & HIVE_CAP_HOST_MEMORY) != 0; }
  // The greatest segment that leaves room for others within the budget.
  uint64_t segment_bytes_max() const;
  bool notifies() const { return (info_.caps & HIVE_CAP_NOTIFY) != 0; }

  // Searches run on the device's own thread, which uploads and waits.
  bool waited_for() const { return !host_memory() || !notifies(); }

  // Runs a task on the device's own thread (devices that are waited for). Tasks must not throw.
  void run(std::function<void()> task);
  // On the device's thread: closes and opens again after DEVICE_LOST. False when that failed.
  bool reopen();

  hive_memory_info memory() const;
  hive_health health() const;

 private:
  void loop();

  const std::string backend_;
  const uint32_t index_;
  const hive_backend_table* const table_;
  const std::string config_;
  const uint32_t host_threads_;
  mutable std::mutex handle_mutex_;  // reopen against memory() and health()
  hive_device* handle_ = nullptr;
  hive_device_info info_{};
  std::unique_ptr<Residency> residency_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::atomic<size_t> task_count_{0};  // of tasks_, for a look without the lock
  bool stopping_ = false;
  std::thread thread_;
};

// What openDevice gave: the chosen device, and the CPU behind it unless it was forced.
struct DeviceChoice {
  std::shared_ptr<Device> device;
  std::shared_ptr<Device> fallback;  // null: forced, or the CPU itself was chosen
  bool forced = false;
  std::vector<std::string> reasons;
};

// Chooses by score, or opens the forced one. Throws a Failure with the reason.
DeviceChoice choose_device(const OpenOptions& options);

}  // namespace hive
