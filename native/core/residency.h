// Which segments and bitsets are on a device, within its budget. The policy is here for every
// backend alike; a backend only allocates, copies and frees.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "segment.h"

namespace hive {

// Frees what devices hold for an object that ceases to exist. Called by the destructors of Segment
// and LiveBits: no search can be using them then, because searches hold their snapshot.
void forget_segment_everywhere(uint64_t id);
void forget_bits_everywhere(uint64_t id);

struct ResidencyStats {
  uint64_t budget_bytes = 0;
  uint64_t resident_bytes = 0;
  uint64_t evictions = 0;
};

class Residency {
 public:
  Residency(const hive_backend_table* table, hive_device* device, bool host_memory,
            uint64_t budget_bytes);
  ~Residency();
  Residency(const Residency&) = delete;
  Residency& operator=(const Residency&) = delete;

  // Brings as many of snapshot.segments[first..] onto the device as fit together, evicting what
  // was used least recently, and appends them to out (in order). Returns the index after the last
  // one. Throws the device's Failure when not even one fits, or for any other device error.
  // With host memory everything "fits"; otherwise one thread at a time may search the device.
  size_t acquire(const Snapshot& snapshot, size_t first, std::vector<hive_scan_segment>* out);

  void forget_segment(uint64_t id);
  void forget_bits(uint64_t id);
  // Drops all handles; free_them is false when the device is lost.
  void clear(bool free_them);
  void set_device(hive_device* device);
  ResidencyStats stats() const;

 private:
  struct ResidentSegment {
    hive_segment* handle = nullptr;
    uint32_t appended = 0;
    uint64_t bytes = 0;
    uint64_t used = 0;  // clock of the last search
  };
  struct ResidentBits {
    hive_bits* handle = nullptr;
    uint64_t bytes = 0;
    uint64_t used = 0;
  };

  bool place(const SnapshotSegment& s, uint64_t now, hive_scan_segment* out);
  bool create(const SnapshotSegment& s, uint64_t now);
  void upload(const SnapshotSegment& s, ResidentSegment* resident);
  bool ensure_bits(const SnapshotSegment& s, uint64_t now, const hive_bits** out);
  bool make_room(uint64_t bytes, uint64_t now);
  bool evict_one(uint64_t now);

  const hive_backend_table* const table_;
  hive_device* device_;
  const bool host_memory_;
  const uint64_t budget_bytes_;
  mutable std::mutex mutex_;
  std::map<uint64_t, ResidentSegment> segments_;
  std::map<uint64_t, ResidentBits> bits_;
  uint64_t clock_ = 0;
  uint64_t resident_bytes_ = 0;
  uint64_t evictions_ = 0;
};

}  // namespace hive
