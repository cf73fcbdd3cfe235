// What one search needs on the device for a moment; kept for the next one.
#pragma once

#include "context.h"

namespace hive::vulkan {

struct Scratch {
  Buffer params;    // written by the host
  Buffer copied;    // the same on the device, where params cannot be read in place
  Buffer work;      // keys and lists
  Buffer results;   // read by the host
  VkCommandPool pool = VK_NULL_HANDLE;
  VkCommandBuffer commands = VK_NULL_HANDLE;
};

class ScratchPool {
 public:
  explicit ScratchPool(Context& context) : context_(context) {}
  ~ScratchPool();
  std::unique_ptr<Scratch> take();
  void give_back(std::unique_ptr<Scratch> scratch);
  // Keeps what a lost or hung device may still write to until the context ends.
  void abandon(std::unique_ptr<Scratch> scratch);
  // Makes a buffer at least this large; its contents are lost.
  void grow(Buffer* buffer, uint64_t bytes, Use use);

 private:
  void destroy(Scratch* scratch);

  Context& context_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> spare_;
  std::vector<std::unique_ptr<Scratch>> abandoned_;
};

}  // namespace hive::vulkan
