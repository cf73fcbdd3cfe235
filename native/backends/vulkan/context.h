// A logical device with its queues and memory. One per physical device and kind of validation in a
// process; devices that the ABI opens share it and count references.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "settings.h"

namespace hive::vulkan {

class Pipelines;
class Uploader;
class Memory;
class ScratchPool;

// A buffer with memory of its own.
struct Buffer {
  VkBuffer buffer = VK_NULL_HANDLE;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  VkDeviceAddress address = 0;
  uint64_t size = 0;
  char* mapped = nullptr;  // null: not visible to the host
};

enum class Use {
  kRows,     // device-local; mapped when the device shares the host's memory
  kScratch,  // device-local, read and written by kernels
  kParams,   // written by the host, read by kernels: device-local and mapped where that exists
  kStaging,  // host memory that copies read
  kResults   // host memory, cached, written by kernels
};

// Submissions to a queue in order, counted by a timeline semaphore.
class Queue {
 public:
  // guard: of the VkQueue; two of these may stand for the same one.
  void open(const DeviceApi& api, VkDevice device, uint32_t family, std::shared_ptr<std::mutex> guard);
  void close(const DeviceApi& api, VkDevice device);
  // Submits; other's timeline must have reached other_value before. Returns the value to wait for.
  uint64_t submit(VkCommandBuffer commands, const Queue* other, uint64_t other_value);
  uint64_t completed() const;
  // VK_SUCCESS, VK_TIMEOUT or an error.
  VkResult wait(uint64_t value, uint64_t timeout_ns) const;
  VkSemaphore timeline() const { return timeline_; }

 private:
  const DeviceApi* api_ = nullptr;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  std::shared_ptr<std::mutex> guard_;
  uint64_t submitted_ = 0;
};

// Once the process exits, drivers take themselves down and must not be called any more. The handler
// has to run before theirs, so it is registered again whenever a driver may have loaded something:
// after a device was created and after a pipeline was compiled.
void guard_exit();

class Context {
 public:
  // The shared context of a device; opens it when there is none or the last one was lost.
  static std::shared_ptr<Context> get(uint32_t index, const Settings& settings);
  Context(std::shared_ptr<Instance> instance, const PhysicalDevice& physical,
          const Settings& settings);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const DeviceApi& api() const { return api_; }
  VkDevice device() const { return device_; }
  const PhysicalDevice& physical() const { return physical_; }
  const Instance& instance() const { return *instance_; }
  const Settings& settings() const { return settings_; }
  Queue& compute() { return compute_; }
  Queue& transfer() { return transfer_; }
  Pipelines& pipelines() { return *pipelines_; }
  Uploader& uploader() { return *uploader_; }
  Memory& memory() { return *memory_; }
  ScratchPool& scratch() { return *scratch_; }

  Buffer create_buffer(uint64_t size, Use use);
  void destroy_buffer(Buffer* buffer);
  // Parameters are read from where the host wrote them.
  bool params_in_place() const { return params_in_place_; }
  uint64_t free_bytes() const;

  // Nothing may be submitted any more; also true once the process exits.
  bool lost() const;
  // Remembers a lost or hung device; rethrow-friendly.
  void note(hive_status status);
  // Throws INTERNAL when the validation layer has said something.
  void check_messages() const;

 private:
  void create_device();
  void open_queues();
  uint32_t memory_type(uint32_t allowed, Use use) const;

  const std::shared_ptr<Instance> instance_;
  const PhysicalDevice physical_;
  const Settings settings_;
  VkDevice device_ = VK_NULL_HANDLE;
  DeviceApi api_;
  Queue compute_;
  Queue transfer_;
  bool params_in_place_ = false;
  std::atomic<bool> lost_{false};
  std::unique_ptr<Pipelines> pipelines_;
  std::unique_ptr<Uploader> uploader_;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<ScratchPool> scratch_;
};

}  // namespace hive::vulkan
