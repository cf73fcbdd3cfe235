// Which segments and bitsets are on a device, within its budget. The policy is here for every
// backend alike; a backend only allocates, copies and frees.
//
// A snapshot that fits stays on the device; what was used least recently leaves for it. Of one that
// does not fit, the first segments stay and the others pass through a window, a quarter of the
// budget: keeping the most recent ones instead would evict each segment just before it is needed
// again. A wave takes half of the window, so that the next one is uploaded while it is searched.
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

// How one search goes over a snapshot.
struct Pass {
  uint64_t clock = 0;
  size_t kept = 0;           // segments [0, kept) stay
  uint64_t wave_bytes = 0;   // 0: everything in one wave
};

// Segments that are on the device until settle(); their rows may still be on the way.
struct Wave {
  size_t end = 0;  // index after the last segment
  std::vector<hive_scan_segment> segments;
  std::vector<uint64_t> pinned;
  std::vector<std::pair<uint64_t, hive_ticket*>> uploads;  // by segment
};

// What a search of a snapshot would find, for explain.
struct Outlook {
  uint64_t need_bytes = 0;
  uint64_t budget_bytes = 0;
  size_t kept = 0;
  size_t segments = 0;
};

class Residency {
 public:
  Residency(const hive_backend_table* table, hive_device* device, bool host_memory,
            uint64_t budget_bytes);
  ~Residency();
  Residency(const Residency&) = delete;
  Residency& operator=(const Residency&) = delete;

  // For devices that read host memory: makes all segments known and appends them to out.
  void acquire(const Snapshot& snapshot, std::vector<hive_scan_segment>* out);

  // For all others; one thread at a time may search the device.
  Pass begin(const Snapshot& snapshot);
  // Brings snapshot.segments[first..] onto the device, as many as the pass allows and fit beside
  // what is pinned. An empty wave: nothing fits until an earlier one is settled. Throws the device's
  // Failure for any other error.
  Wave acquire_wave(const Snapshot& snapshot, size_t first, const Pass& pass);
  // Waits for the wave's uploads and lets its segments go. Throws the Failure of an upload.
  void settle(Wave* wave);
  Outlook outlook(const Snapshot& snapshot) const;

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
    uint64_t kept = 0;  // clock of the last search that keeps it
    uint32_t pins = 0;  // waves under way that use it
  };
  struct ResidentBits {
    hive_bits* handle = nullptr;
    uint64_t bytes = 0;
    uint64_t used = 0;
  };

  bool place(const SnapshotSegment& s, uint64_t now, bool keep, Wave* wave);
  bool create(const SnapshotSegment& s, uint64_t now);
  hive_ticket* upload(const SnapshotSegment& s, ResidentSegment* resident);
  void drop(uint64_t id);
  uint64_t bytes_of(const SnapshotSegment& s) const;
  uint64_t used_on_device() const;
  size_t kept_of(const Snapshot& snapshot, uint64_t* need, uint64_t* window) const;
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
