// Memory for segments and bitsets: small pieces share blocks, large ones have their own, so that
// the driver's limit on the number of allocations is never near. Large blocks that were freed are
// kept for a while: streaming frees and takes the same sizes again and again, and drivers take
// milliseconds for that.
#pragma once

#include <list>
#include <map>

#include "context.h"

namespace hive::vulkan {

class Memory {
 public:
  struct Block;
  struct Piece {
    Block* block = nullptr;
    uint64_t offset = 0;  // in the block's buffer
    uint64_t size = 0;
    VkDeviceAddress address = 0;
    char* mapped = nullptr;
  };

  explicit Memory(Context& context) : context_(context) {}
  ~Memory();
  // Throws DEVICE_OUT_OF_MEMORY.
  Piece allocate(uint64_t bytes);
  void free(const Piece& piece);
  uint64_t allocated_bytes() const;
  // What is kept for reuse.
  uint64_t spare_bytes() const;
  static VkBuffer buffer_of(const Piece& piece);

  struct Block {
    Buffer buffer;
    std::map<uint64_t, uint64_t> gaps;  // offset -> size
  };

 private:
  Block* add_block(uint64_t bytes);
  Buffer make_buffer(uint64_t bytes);
  void drop_spares(uint64_t keep_bytes);
  bool take(Block* block, uint64_t bytes, Piece* out);

  Context& context_;
  mutable std::mutex mutex_;
  std::list<Block> blocks_;
  std::list<Buffer> spares_;  // oldest first
  uint64_t spare_bytes_ = 0;
};

}  // namespace hive::vulkan
