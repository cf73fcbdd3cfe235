// Compute pipelines, made when first needed and kept; what the driver compiled is kept on disk.
#pragma once

#include "context.h"

namespace hive::vulkan {

// Addresses are two words in the kernels; a 64-bit integer has the same bytes.
struct ScanPush {
  uint64_t segments = 0;
  uint64_t queries = 0;
  uint64_t query_norms = 0;
  uint64_t list = 0;
  uint64_t list_counts = 0;
  uint64_t keys = 0;
  uint64_t counter = 0;
  uint32_t segment_count = 0;
  uint32_t tile_rows = 0;
  uint32_t blocks = 0;
  uint32_t steps = 0;
  uint32_t query_count = 0;
  uint32_t groups = 0;
  uint32_t query_blocks = 0;
  uint32_t stride = 0;
  uint32_t total = 0;
  uint32_t flags = 0;
};
static_assert(sizeof(ScanPush) == 96);

struct SelectPush {
  uint64_t keys = 0;
  uint64_t key_counts = 0;
  uint64_t list = 0;
  uint64_t selected = 0;
  uint64_t counts = 0;
  uint64_t counter = 0;
  uint32_t key_stride = 0;
  uint32_t count = 0;
  uint32_t list_stride = 0;
  uint32_t tile_rows = 0;
  uint32_t k = 0;
  uint32_t pairs = 0;
};
static_assert(sizeof(SelectPush) == 72);

inline constexpr uint32_t kPushBytes = 128;  // every device has as many
inline constexpr uint32_t kBatchQueries = 4;  // queries of the scan kernel for batches

struct ScanKind {
  uint32_t metric;
  uint32_t dtype;
  uint32_t dim;
  bool batch;   // kBatchQueries queries at a time
  bool listed;  // keys of listed tiles instead of each tile's best
};

class Pipelines {
 public:
  explicit Pipelines(Context& context);
  ~Pipelines();
  VkPipelineLayout layout() const { return layout_; }
  VkPipeline scan(const ScanKind& kind);
  VkPipeline select();

 private:
  struct Constants {
    std::vector<uint32_t> values;  // of constant_id 0, 1, 2 ...
  };
  VkPipeline get(uint32_t module, const std::vector<uint32_t>& constants);
  VkPipeline create(uint32_t module, const std::vector<uint32_t>& constants);
  std::string cache_file() const;
  void load_cache();
  void save_cache();

  Context& context_;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::mutex mutex_;
  std::map<std::vector<uint32_t>, VkPipeline> pipelines_;
  std::vector<VkShaderModule> modules_;
  bool changed_ = false;
};

}  // namespace hive::vulkan
