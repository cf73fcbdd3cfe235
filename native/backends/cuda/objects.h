// The objects behind the opaque pointers of the ABI.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "args.h"
#include "memory.h"

struct hive_segment {
  uint32_t dim = 0;
  uint32_t dtype = 0;
  uint32_t capacity = 0;
  uint32_t row_bytes = 0;    // on the device: padded to 16
  uint32_t source_bytes = 0;  // in the caller's rows: no padding
  hive::cuda::Range range;
  hive::cuda::Pointer inv_norms = 0;
  hive::cuda::Pointer scales = 0;  // dtypes with a row scale
  // What the segment counts for: memory for its whole capacity.
  uint64_t bytes = 0;
  std::mutex mutex;  // appends follow one another
  std::atomic<uint32_t> appended{0};
  // Rows of appends whose copies have not ended yet; jobs wait for them.
  std::atomic<uint32_t> copying{0};
  std::atomic<bool> broken{false};  // an append failed
};

struct hive_bits {
  hive::cuda::Pointer words = 0;
  uint32_t count = 0;
  uint64_t bytes = 0;
};

struct hive_ticket {
  std::atomic<hive_status> status{HIVE_PENDING};
  std::mutex mutex;  // message
  std::string message;
  virtual ~hive_ticket() = default;

  bool final() const { return status.load(std::memory_order_acquire) != HIVE_PENDING; }
  void finish(hive_status s, const std::string& text) {
    {
      const std::lock_guard lock(mutex);
      message = text;
    }
    status.store(s, std::memory_order_release);
  }
};

namespace hive::cuda {

inline constexpr size_t kElementBytes[] = {4, 2, 2, 1};
inline constexpr uint32_t kDimMost = 65536;
inline constexpr uint32_t kKMost = 1u << 20;
// Offsets of rows within a segment are 32-bit numbers on the device.
inline constexpr uint64_t kSegmentBytesMost = uint64_t{2} << 30;

}  // namespace hive::cuda
