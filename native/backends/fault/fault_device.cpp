#include "fault_device.h"

#include <algorithm>
#include <cstdio>

namespace hive::fault {
namespace {

struct Dtype {
  size_t bytes;
  bool scaled;
};
constexpr Dtype kDtypes[] = {
#define HIVE_DTYPE(NAME, name, number, bytes, scale) {bytes, scale != 0},
#include "hive_dtypes.def"
#undef HIVE_DTYPE
};
constexpr uint32_t kDimMax = 65536;
constexpr uint32_t kRowsMax = 0x7fffffffu;
// The share of the budget one segment may take, so that a store needs several and evicts.
constexpr uint64_t kSegmentShare = 4;

}  // namespace

hive_status fail(hive_error* err, hive_status status, const std::string& message) noexcept {
  if (err != nullptr && err->struct_size > offsetof(hive_error, message)) {
    const size_t room = err->struct_size - offsetof(hive_error, message);
    std::snprintf(err->message, std::min(room, sizeof err->message), "%s", message.c_str());
  }
  return status;
}

size_t row_bytes(uint32_t dtype, uint32_t dim) {
  if (dtype >= HIVE_DTYPE_COUNT || dim < 1 || dim > kDimMax) return 0;
  return kDtypes[dtype].bytes * dim;
}

bool has_row_scale(uint32_t dtype) { return kDtypes[dtype].scaled; }

void disguise(const Config& config, hive_device_info* info) {
  if (!config.sim) return;
  const std::string name = "sim of " + std::string(info->name);
  std::snprintf(info->name, sizeof info->name, "%s", name.c_str());
  info->kind = HIVE_DEVICE_DISCRETE;
  info->caps = 0;
  info->memory_total_bytes = config.budget_bytes;
  info->max_segment_bytes =
      std::min(info->max_segment_bytes, config.budget_bytes / kSegmentShare);
}

Device::Device(const Config& config, const Inner& inner, const hive_device_info& inner_info,
               std::atomic<bool>& poisoned, std::function<void(int32_t, const char*)> log)
    : config_(config),
      inner_(inner),
      inner_info_(inner_info),
      poisoned_(poisoned),
      log_(std::move(log)),
      plan_(config.fails),
      thread_([this] { pump(); }) {}

Device::~Device() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& [handle, ticket] : tickets_) ticket->cancelled.store(true);
  }
  wake_.notify_all();
  thread_.join();
  tickets_.clear();
  segments_.clear();
  bits_.clear();
  inner_.table->device_close(inner_.device);
}

hive_status Device::gate(Slot slot, hive_error* err) {
  if (poisoned_.load()) {
    return fail(err, HIVE_DEVICE_POISONED, "The fault backend is poisoned (poison_after).");
  }
  {
    const std::lock_guard lock(mutex_);
    if (lost_) {
      return fail(err, HIVE_DEVICE_LOST, "The device is lost (lost_after); open it again.");
    }
  }
  const hive_status status = plan_.next(slot);
  if (status == HIVE_OK) return status;
  return fail(err, status, std::string("A rule of the fault backend made ") + slot_name(slot) +
                               " fail with " + status_name(status) + ".");
}

bool Device::reserve(uint64_t bytes) {
  uint64_t used = used_.load();
  do {
    if (config_.budget_bytes > 0 &&
        (bytes > config_.budget_bytes || used > config_.budget_bytes - bytes)) {
      return false;
    }
  } while (!used_.compare_exchange_weak(used, used + bytes));
  return true;
}

void Device::violation(const std::string& what) {
  {
    const std::lock_guard lock(mutex_);
    ++violations_;
    last_violation_ = what;
  }
  if (log_) log_(HIVE_LOG_WARN, what.c_str());
}

hive_status Device::supports(const hive_op_desc* op, hive_error* err) {
  const hive_status status = gate(Slot::supports, err);
  return status == HIVE_OK ? inner_.table->supports(inner_.device, op, err) : status;
}

hive_status Device::make_segment(const hive_segment_desc& desc, Segment* segment,
                                 hive_error* err) {
  segment->dim = desc.dim;
  segment->dtype = desc.dtype;
  segment->capacity = desc.capacity_rows;
  segment->row_bytes = row_bytes(desc.dtype, desc.dim);
  const uint64_t bytes = uint64_t{desc.capacity_rows} * segment->row_bytes;
  hive_device_info seen = inner_info_;
  disguise(config_, &seen);
  if (bytes > seen.max_segment_bytes) {
    return fail(err, HIVE_INVALID_ARGUMENT,
                "The segment takes " + std::to_string(bytes) + " bytes; max_segment_bytes is " +
                    std::to_string(seen.max_segment_bytes) + ".");
  }
  if (!reserve(bytes)) {
    return fail(err, HIVE_DEVICE_OUT_OF_MEMORY,
                "The segment takes " + std::to_string(bytes) + " bytes; " +
                    std::to_string(used_.load()) + " of " +
                    std::to_string(config_.budget_bytes) + " are taken.");
  }
  segment->bytes = bytes;
  hive_segment_desc inner_desc = desc;
  inner_desc.struct_size = sizeof inner_desc;
  if (config_.sim) {
    segment->data = Buffer(bytes);
    segment->inv_norms = Buffer(size_t{desc.capacity_rows} * sizeof(float));
    if (has_row_scale(desc.dtype)) {
      segment->scales = Buffer(size_t{desc.capacity_rows} * sizeof(float));
    }
    const bool in_place = (inner_info_.caps & HIVE_CAP_HOST_MEMORY) != 0;
    inner_desc.host_data = in_place ? segment->data.data() : nullptr;
    inner_desc.host_scales = in_place ? segment->scales.floats() : nullptr;
    inner_desc.host_inv_norms = in_place ? segment->inv_norms.floats() : nullptr;
  }
  return inner_.table->segment_create(inner_.device, &inner_desc, &segment->handle, err);
}

hive_status Device::segment_create(const hive_segment_desc* desc, hive_segment** out,
                                   hive_error* err) {
  hive_status status = gate(Slot::segment_create, err);
  if (status != HIVE_OK) return status;
  if (!complete_struct(desc) || out == nullptr || row_bytes(desc->dtype, desc->dim) == 0 ||
      desc->capacity_rows < 1 || desc->capacity_rows > kRowsMax) {
    return fail(err, HIVE_INVALID_ARGUMENT,
                "The segment descriptor is missing, too small or out of range.");
  }
  const auto segment = std::make_shared<Segment>(inner_, used_);
  status = make_segment(*desc, segment.get(), err);
  if (status != HIVE_OK) return status;
  const std::lock_guard lock(mutex_);
  *out = new_handle<hive_segment>();
  segments_.emplace(*out, segment);
  return HIVE_OK;
}

hive_status Device::segment_append(hive_segment* handle, const hive_rows* rows, hive_ticket** out,
                                   hive_error* err) {
  const hive_status status = gate(Slot::segment_append, err);
  if (status != HIVE_OK) return status;
  if (!complete_struct(rows) || out == nullptr) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The rows are missing or their struct is too small.");
  }
  auto ticket = std::make_shared<Ticket>();
  std::shared_ptr<Segment> segment;
  const std::lock_guard one_append(append_mutex_);
  {
    const std::lock_guard lock(mutex_);
    const auto found = segments_.find(handle);
    if (found == segments_.end()) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The segment does not exist (any more).");
    }
    segment = found->second;
    if (rows->first_slot != segment->appended || rows->count < 1 ||
        rows->count > segment->capacity - segment->appended) {
      return fail(err, HIVE_INVALID_ARGUMENT, "Rows must continue the segment and fit it.");
    }
    if (config_.sim && (rows->data == nullptr || rows->inv_norms == nullptr ||
                        (has_row_scale(segment->dtype) && rows->scales == nullptr))) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The rows have no data, norms or scales.");
    }
  }
  ticket->work = Work::append;
  ticket->rows = *rows;
  if (!config_.sim) {
    const hive_status inner_status = inner_.table->segment_append(
        inner_.device, segment->handle, rows, &ticket->inner, err);
    if (inner_status != HIVE_OK) return inner_status;
  }
  ticket->used_segments.push_back(std::move(segment));
  enter(ticket, out);
  return HIVE_OK;
}

void Device::segment_free(hive_segment* handle) {
  if (handle == nullptr) return;
  std::shared_ptr<Segment> segment;
  {
    const std::lock_guard lock(mutex_);
    const auto found = segments_.find(handle);
    if (found != segments_.end()) {
      segment = std::move(found->second);
      segments_.erase(found);
    }
  }
  if (segment == nullptr) return violation("segment_free of a segment that does not exist.");
  if (segment.use_count() > 1) violation("segment_free of a segment that a ticket still uses.");
  segment->data.poison();
  segment->scales.poison();
  segment->inv_norms.poison();
}

hive_status Device::bits_create(const uint32_t* words, uint32_t bit_count, hive_bits** out,
                                hive_error* err) {
  hive_status status = gate(Slot::bits_create, err);
  if (status != HIVE_OK) return status;
  if (out == nullptr || (words == nullptr && bit_count > 0)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The words of the bitset are missing.");
  }
  const auto bits = std::make_shared<Bits>(inner_, used_);
  const size_t bytes = (size_t{bit_count} + 31) / 32 * sizeof(uint32_t);
  if (!reserve(bytes)) {
    return fail(err, HIVE_DEVICE_OUT_OF_MEMORY,
                "The bitset takes " + std::to_string(bytes) + " bytes; the budget is used up.");
  }
  bits->bytes = bytes;
  if (config_.sim && bytes > 0) {
    bits->words = Buffer(bytes);
    bits->words.write(0, words, bytes);
    words = static_cast<const uint32_t*>(bits->words.data());
  }
  status = inner_.table->bits_create(inner_.device, words, bit_count, &bits->handle, err);
  if (status != HIVE_OK) return status;
  const std::lock_guard lock(mutex_);
  *out = new_handle<hive_bits>();
  bits_.emplace(*out, bits);
  return HIVE_OK;
}

void Device::bits_free(hive_bits* handle) {
  if (handle == nullptr) return;
  std::shared_ptr<Bits> bits;
  {
    const std::lock_guard lock(mutex_);
    const auto found = bits_.find(handle);
    if (found != bits_.end()) {
      bits = std::move(found->second);
      bits_.erase(found);
    }
  }
  if (bits == nullptr) return violation("bits_free of a bitset that does not exist.");
  if (bits.use_count() > 1) violation("bits_free of a bitset that a ticket still uses.");
  bits->words.poison();
}

hive_status Device::memory_info(hive_memory_info* out, hive_error* err) {
  const hive_status status = gate(Slot::memory_info, err);
  if (status != HIVE_OK) return status;
  if (!config_.sim) return inner_.table->memory_info(inner_.device, out, err);
  hive_memory_info info{};
  info.total_bytes = config_.budget_bytes;
  info.used_bytes = used_.load();
  info.free_bytes = info.total_bytes - info.used_bytes;
  return give(info, out, err);
}

void Device::health(hive_health* out) {
  hive_health inner{};
  inner.struct_size = sizeof inner;
  inner_.table->health(inner_.device, &inner);
  hive_health report{};
  report.rows_scanned = inner.rows_scanned;
  report.status = inner.status;
  std::snprintf(report.detail, sizeof report.detail, "%s", inner.detail);
  {
    const std::lock_guard lock(mutex_);
    report.jobs_submitted = jobs_submitted_;
    report.jobs_finished = jobs_finished_;
    report.jobs_failed = jobs_failed_;
    if (lost_) report.status = HIVE_DEVICE_LOST;
    if (violations_ > 0) {
      std::snprintf(report.detail, sizeof report.detail, "%llu broken rules of use; the last: %s",
                    static_cast<unsigned long long>(violations_), last_violation_.c_str());
    }
  }
  if (poisoned_.load()) report.status = HIVE_DEVICE_POISONED;
  (void)give(report, out, nullptr);
}

}  // namespace hive::fault
