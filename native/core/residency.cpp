#include "residency.h"

#include <algorithm>

#include "failure.h"

namespace hive {
namespace {

// All residencies of the process, so that a dying segment reaches the devices that hold it.
std::mutex& list_mutex() {
  static auto* const mutex = new std::mutex();
  return *mutex;
}
std::vector<Residency*>& list() {
  static auto* const all = new std::vector<Residency*>();
  return *all;
}

}  // namespace

void forget_segment_everywhere(uint64_t id) {
  const std::lock_guard lock(list_mutex());
  for (Residency* residency : list()) residency->forget_segment(id);
}

void forget_bits_everywhere(uint64_t id) {
  const std::lock_guard lock(list_mutex());
  for (Residency* residency : list()) residency->forget_bits(id);
}

Residency::Residency(const hive_backend_table* table, hive_device* device, bool host_memory,
                     uint64_t budget_bytes)
    : table_(table), device_(device), host_memory_(host_memory), budget_bytes_(budget_bytes) {
  const std::lock_guard lock(list_mutex());
  list().push_back(this);
}

Residency::~Residency() {
  {
    const std::lock_guard lock(list_mutex());
    std::erase(list(), this);
  }
  clear(true);
}

size_t Residency::acquire(const Snapshot& snapshot, size_t first,
                          std::vector<hive_scan_segment>* out) {
  const std::lock_guard lock(mutex_);
  const uint64_t now = ++clock_;
  size_t next = first;
  for (; next < snapshot.segments.size(); ++next) {
    hive_scan_segment entry{};
    if (!place(snapshot.segments[next], now, &entry)) break;
    out->push_back(entry);
  }
  if (next == first && first < snapshot.segments.size()) {
    throw Failure("DEVICE_OUT_OF_MEMORY",
                  "A single segment does not fit the device's memory budget of " +
                      std::to_string(budget_bytes_) + " bytes.");
  }
  return next;
}

// False when the device has no room left beside what this search already uses.
bool Residency::place(const SnapshotSegment& s, uint64_t now, hive_scan_segment* out) {
  auto it = segments_.find(s.segment->id);
  if (it == segments_.end()) {
    if (!create(s, now)) return false;
    it = segments_.find(s.segment->id);
  }
  it->second.used = now;
  try {
    upload(s, &it->second);
  } catch (const Failure&) {
    // How many rows arrived is unknown, so the next search starts this segment anew.
    table_->segment_free(device_, it->second.handle);
    resident_bytes_ -= it->second.bytes;
    segments_.erase(it);
    throw;
  }
  if (!ensure_bits(s, now, &out->live)) return false;
  out->segment = it->second.handle;
  out->row_count = s.row_count;
  return true;
}

bool Residency::create(const SnapshotSegment& s, uint64_t now) {
  const Segment& segment = *s.segment;
  const uint64_t bytes =
      host_memory_ ? 0 : uint64_t{segment.capacity()} * (segment.row_bytes() + sizeof(float));
  if (!make_room(bytes, now)) return false;
  hive_segment_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dim = static_cast<uint32_t>(segment.row_bytes() / element_bytes(segment.dtype()));
  desc.dtype = segment.dtype();
  desc.capacity_rows = segment.capacity();
  if (host_memory_) {
    desc.host_data = segment.data(0);
    desc.host_scales = segment.scales(0);
    desc.host_inv_norms = segment.inv_norms(0);
  }
  ResidentSegment resident;
  resident.bytes = bytes;
  for (;;) {
    hive_error error = new_error();
    const hive_status status = table_->segment_create(device_, &desc, &resident.handle, &error);
    if (status == HIVE_OK) break;
    // The device knows best what it has: whatever the budget says, give something back and retry.
    if (status != HIVE_DEVICE_OUT_OF_MEMORY) throw backend_failure(status, error);
    if (!evict_one(now)) return false;
  }
  resident_bytes_ += bytes;
  segments_.emplace(segment.id, resident);
  return true;
}

void Residency::upload(const SnapshotSegment& s, ResidentSegment* resident) {
  if (resident->appended >= s.row_count) return;
  const uint32_t first = resident->appended;
  hive_rows rows{};
  rows.struct_size = sizeof rows;
  rows.first_slot = first;
  rows.count = s.row_count - first;
  rows.data = s.segment->data(first);
  rows.scales = s.segment->scales(first);
  rows.inv_norms = s.segment->inv_norms(first);
  hive_ticket* ticket = nullptr;
  hive_error error = new_error();
  hive_status status = table_->segment_append(device_, resident->handle, &rows, &ticket, &error);
  if (status != HIVE_OK) throw backend_failure(status, error);
  // The rows stay in host memory as long as the snapshot, so only the outcome has to be awaited.
  status = table_->wait(device_, ticket, UINT64_MAX, &error);
  table_->ticket_free(device_, ticket);
  if (status != HIVE_OK) throw backend_failure(status, error);
  resident->appended = s.row_count;
}

bool Residency::ensure_bits(const SnapshotSegment& s, uint64_t now, const hive_bits** out) {
  *out = nullptr;
  if (s.live == nullptr) return true;
  auto it = bits_.find(s.live->id);
  if (it == bits_.end()) {
    ResidentBits resident;
    resident.bytes = host_memory_ ? 0 : s.live->words.size() * sizeof(uint32_t);
    if (!make_room(resident.bytes, now)) return false;
    for (;;) {
      hive_error error = new_error();
      const hive_status status = table_->bits_create(device_, s.live->words.data(), s.live->count,
                                                     &resident.handle, &error);
      if (status == HIVE_OK) break;
      if (status != HIVE_DEVICE_OUT_OF_MEMORY) throw backend_failure(status, error);
      if (!evict_one(now)) return false;
    }
    resident_bytes_ += resident.bytes;
    it = bits_.emplace(s.live->id, resident).first;
  }
  it->second.used = now;
  *out = it->second.handle;
  return true;
}

bool Residency::make_room(uint64_t bytes, uint64_t now) {
  while (resident_bytes_ + bytes > budget_bytes_ && bytes > 0) {
    if (!evict_one(now)) return false;
  }
  return true;
}

// Evicts the least recently used segment that the search `now` does not use.
bool Residency::evict_one(uint64_t now) {
  auto oldest = segments_.end();
  for (auto it = segments_.begin(); it != segments_.end(); ++it) {
    if (it->second.used == now || it->second.bytes == 0) continue;
    if (oldest == segments_.end() || it->second.used < oldest->second.used) oldest = it;
  }
  if (oldest == segments_.end()) return false;
  table_->segment_free(device_, oldest->second.handle);
  resident_bytes_ -= oldest->second.bytes;
  segments_.erase(oldest);
  ++evictions_;
  return true;
}

void Residency::forget_segment(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto it = segments_.find(id);
  if (it == segments_.end()) return;
  table_->segment_free(device_, it->second.handle);
  resident_bytes_ -= it->second.bytes;
  segments_.erase(it);
}

void Residency::forget_bits(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto it = bits_.find(id);
  if (it == bits_.end()) return;
  table_->bits_free(device_, it->second.handle);
  resident_bytes_ -= it->second.bytes;
  bits_.erase(it);
}

void Residency::clear(bool free_them) {
  const std::lock_guard lock(mutex_);
  if (free_them) {
    for (const auto& [id, segment] : segments_) table_->segment_free(device_, segment.handle);
    for (const auto& [id, bits] : bits_) table_->bits_free(device_, bits.handle);
  }
  segments_.clear();
  bits_.clear();
  resident_bytes_ = 0;
}

void Residency::set_device(hive_device* device) {
  const std::lock_guard lock(mutex_);
  device_ = device;
}

ResidencyStats Residency::stats() const {
  const std::lock_guard lock(mutex_);
  return {budget_bytes_, resident_bytes_, evictions_};
}

}  // namespace hive
