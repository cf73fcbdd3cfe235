#include "residency.h"

#include <algorithm>
#include <optional>

#include "failure.h"

namespace hive {
namespace {

constexpr uint64_t kRowPadding = 16;  // bytes a backend may round rows up to
constexpr uint64_t kWindowShare = 4;

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

void Residency::acquire(const Snapshot& snapshot, std::vector<hive_scan_segment>* out) {
  const std::lock_guard lock(mutex_);
  const uint64_t now = ++clock_;
  Wave wave;
  for (const SnapshotSegment& s : snapshot.segments) (void)place(s, now, true, &wave);
  for (const uint64_t id : wave.pinned) segments_.at(id).pins -= 1;
  // Rows were only marked, so the tickets are finished.
  for (const auto& [id, ticket] : wave.uploads) table_->ticket_free(device_, ticket);
  out->insert(out->end(), wave.segments.begin(), wave.segments.end());
}

// ---- passes and waves ---------------------------------------------------------------------------

// What a segment takes; an upper bound while it is not on the device, which may pad rows.
uint64_t Residency::bytes_of(const SnapshotSegment& s) const {
  if (host_memory_) return 0;
  const uint64_t bits = s.live == nullptr ? 0 : s.live->words.size() * sizeof(uint32_t);
  const auto found = segments_.find(s.segment->id);
  if (found != segments_.end()) return found->second.bytes + bits;
  const uint64_t row = (s.segment->row_bytes() + kRowPadding - 1) / kRowPadding * kRowPadding;
  const uint64_t extra = sizeof(float) * (s.segment->scales(0) == nullptr ? 1 : 2);
  return uint64_t{s.segment->capacity()} * (row + extra) + bits;
}

size_t Residency::kept_of(const Snapshot& snapshot, uint64_t* need, uint64_t* window) const {
  *need = 0;
  uint64_t largest = 0;
  for (const SnapshotSegment& s : snapshot.segments) {
    const uint64_t bytes = bytes_of(s);
    *need += bytes;
    largest = std::max(largest, bytes);
  }
  *window = 0;
  if (*need <= budget_bytes_) return snapshot.segments.size();
  *window = std::min(budget_bytes_, std::max(budget_bytes_ / kWindowShare, 2 * largest));
  uint64_t kept_bytes = 0;
  size_t kept = 0;
  for (; kept < snapshot.segments.size(); ++kept) {
    kept_bytes += bytes_of(snapshot.segments[kept]);
    if (kept_bytes > budget_bytes_ - *window) break;
  }
  return kept;
}

Pass Residency::begin(const Snapshot& snapshot) {
  const std::lock_guard lock(mutex_);
  Pass pass;
  pass.clock = ++clock_;
  uint64_t need = 0;
  uint64_t window = 0;
  pass.kept = kept_of(snapshot, &need, &window);
  pass.wave_bytes = window / 2;
  return pass;
}

Outlook Residency::outlook(const Snapshot& snapshot) const {
  const std::lock_guard lock(mutex_);
  Outlook out;
  uint64_t window = 0;
  out.segments = snapshot.segments.size();
  out.kept = kept_of(snapshot, &out.need_bytes, &window);
  out.budget_bytes = budget_bytes_;
  return out;
}

Wave Residency::acquire_wave(const Snapshot& snapshot, size_t first, const Pass& pass) {
  const std::lock_guard lock(mutex_);
  Wave wave;
  uint64_t streamed = 0;
  try {
    for (wave.end = first; wave.end < snapshot.segments.size(); ++wave.end) {
      const bool keep = wave.end < pass.kept;
      const SnapshotSegment& s = snapshot.segments[wave.end];
      if (!keep && pass.wave_bytes > 0) {
        streamed += bytes_of(s);
        if (streamed > pass.wave_bytes && wave.end > first) break;
      }
      if (!place(s, pass.clock, keep, &wave)) break;
    }
  } catch (const Failure&) {
    for (const uint64_t id : wave.pinned) segments_.at(id).pins -= 1;
    for (const auto& [id, ticket] : wave.uploads) {
      table_->ticket_free(device_, ticket);
      drop(id);
    }
    throw;
  }
  return wave;
}

void Residency::settle(Wave* wave) {
  const std::lock_guard lock(mutex_);
  for (const uint64_t id : wave->pinned) segments_.at(id).pins -= 1;
  std::optional<Failure> failure;
  for (const auto& [id, ticket] : wave->uploads) {
    hive_error error = new_error();
    const hive_status status = table_->wait(device_, ticket, UINT64_MAX, &error);
    table_->ticket_free(device_, ticket);
    if (status == HIVE_OK) continue;
    // How many rows arrived is unknown, so the next search starts this segment anew.
    drop(id);
    if (!failure) failure = backend_failure(status, error);
  }
  wave->pinned.clear();
  wave->uploads.clear();
  if (failure) throw Failure(*failure);
}

// False when the device has no room left beside what is pinned or kept.
bool Residency::place(const SnapshotSegment& s, uint64_t now, bool keep, Wave* wave) {
  auto it = segments_.find(s.segment->id);
  if (it == segments_.end()) {
    if (!create(s, now)) return false;
    it = segments_.find(s.segment->id);
  }
  ResidentSegment& resident = it->second;
  resident.used = now;
  if (keep) resident.kept = now;
  hive_scan_segment entry{};
  resident.pins += 1;
  bool placed = false;
  try {
    placed = ensure_bits(s, now, &entry.live);
  } catch (const Failure&) {
    resident.pins -= 1;
    throw;
  }
  if (!placed) {
    resident.pins -= 1;
    return false;
  }
  try {
    if (hive_ticket* ticket = upload(s, &resident)) wave->uploads.emplace_back(it->first, ticket);
  } catch (const Failure&) {
    drop(it->first);
    throw;
  }
  entry.segment = resident.handle;
  entry.row_count = s.row_count;
  wave->segments.push_back(entry);
  wave->pinned.push_back(it->first);
  return true;
}

void Residency::drop(uint64_t id) {
  const auto it = segments_.find(id);
  if (it == segments_.end()) return;
  table_->segment_free(device_, it->second.handle);
  resident_bytes_ -= it->second.bytes;
  segments_.erase(it);
}

uint64_t Residency::used_on_device() const {
  hive_memory_info info{};
  info.struct_size = sizeof info;
  return table_->memory_info(device_, &info, nullptr) == HIVE_OK ? info.used_bytes : 0;
}

bool Residency::create(const SnapshotSegment& s, uint64_t now) {
  const Segment& segment = *s.segment;
  uint64_t bytes = bytes_of(s);
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
  uint64_t before = 0;
  for (;;) {
    if (!host_memory_) before = used_on_device();
    hive_error error = new_error();
    const hive_status status = table_->segment_create(device_, &desc, &resident.handle, &error);
    if (status == HIVE_OK) break;
    // The device knows best what it has: whatever the budget says, give something back and retry.
    if (status != HIVE_DEVICE_OUT_OF_MEMORY) throw backend_failure(status, error);
    if (!evict_one(now)) return false;
  }
  const uint64_t after = host_memory_ ? 0 : used_on_device();
  if (after > before) bytes = after - before;
  resident.bytes = bytes;
  resident_bytes_ += bytes;
  segments_.emplace(segment.id, resident);
  return true;
}

// Starts to copy what the device lacks; null when that is nothing. The rows stay in host memory as
// long as the snapshot, so nobody has to wait before the search.
hive_ticket* Residency::upload(const SnapshotSegment& s, ResidentSegment* resident) {
  if (resident->appended >= s.row_count) return nullptr;
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
  const hive_status status =
      table_->segment_append(device_, resident->handle, &rows, &ticket, &error);
  if (status != HIVE_OK) throw backend_failure(status, error);
  resident->appended = s.row_count;
  return ticket;
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

// Evicts the segment that was used least recently; of those that this search has streamed, any that
// no wave uses.
bool Residency::evict_one(uint64_t now) {
  auto oldest = segments_.end();
  for (auto it = segments_.begin(); it != segments_.end(); ++it) {
    const ResidentSegment& resident = it->second;
    if (resident.pins > 0 || resident.bytes == 0 || resident.kept == now) continue;
    if (oldest == segments_.end() || resident.used < oldest->second.used) oldest = it;
  }
  if (oldest == segments_.end()) return false;
  drop(oldest->first);
  ++evictions_;
  return true;
}

void Residency::forget_segment(uint64_t id) {
  const std::lock_guard lock(mutex_);
  drop(id);
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
