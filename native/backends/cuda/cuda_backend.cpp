// The exports and the table of the CUDA backend: checks of arguments, and the way to Device.
#include <sched.h>

#include <thread>

#include "device.h"

using namespace hive::cuda;

struct hive_device {
  std::unique_ptr<Device> device;
};

namespace {

// The driver that the last hive_backend_open asked for: device_info has no options of its own.
std::atomic<const Driver*> g_driver{nullptr};

const Driver& current_driver() {
  const Driver* driver = g_driver.load();
  return driver != nullptr ? *driver : Driver::load("");
}

// What is read of a hive_scan_segment; callers may have a longer one.
constexpr uint32_t kScanSegmentLeast =
    offsetof(hive_scan_segment, filter) + sizeof(const hive_bits*);
constexpr uint32_t kVendorNvidia = 0x10de;

unsigned upload_threads(const hive_open_options* options) {
  constexpr size_t kEnd = offsetof(hive_open_options, host_threads) + sizeof(uint32_t);
  const uint32_t asked =
      options != nullptr && options->struct_size >= kEnd ? options->host_threads : 0;
  const unsigned there = std::max(1u, std::thread::hardware_concurrency());
  return std::clamp(asked != 0 ? asked : there / 2, 1u, 8u);
}

hive_status device_info(uint32_t index, hive_device_info* out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    const Driver& driver = current_driver();
    if (index >= driver.devices().size()) {
      return fail(err, HIVE_INVALID_ARGUMENT,
                  "There is no CUDA device " + std::to_string(index) + "; this machine has " +
                      std::to_string(driver.devices().size()) + ".");
    }
    const DeviceNumber device = driver.devices()[index];
    hive_device_info info{};
    info.kind = driver.attribute(device, kAttributeIntegrated) != 0 ? HIVE_DEVICE_INTEGRATED
                                                                    : HIVE_DEVICE_DISCRETE;
    info.compute_units = static_cast<uint32_t>(driver.attribute(device, kAttributeMultiprocessors));
    info.vendor_id = kVendorNvidia;
    info.max_k = kKMost;
    size_t bytes = 0;
    driver.check(driver.device_memory(&bytes, device), "cuDeviceTotalMem");
    info.memory_total_bytes = bytes;
    info.max_segment_bytes = kSegmentBytesMost;
    driver.check(driver.device_name(info.name, sizeof info.name - 1, device), "cuDeviceGetName");
    std::snprintf(info.vendor, sizeof info.vendor, "NVIDIA");
    std::snprintf(info.driver, sizeof info.driver, "%s, compute capability %d.%d, L2 %d MiB",
                  driver.version_text().c_str(), driver.attribute(device, kAttributeMajor),
                  driver.attribute(device, kAttributeMinor),
                  driver.attribute(device, kAttributeL2Bytes) >> 20);
    driver.check(driver.device_bus_id(info.bus_id, sizeof info.bus_id - 1, device),
                 "cuDeviceGetPCIBusId");
    return give(info, out, err);
  });
}

hive_status device_open(uint32_t index, const hive_open_options* options, hive_device** out,
                        hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    const Config config = parse_config(options);
    const Driver& driver =
        config.driver.empty() && g_driver.load() != nullptr ? current_driver()
                                                            : Driver::load(config.driver);
    if (driver.status() != HIVE_OK) return fail(err, driver.status(), driver.reason());
    if (index >= driver.devices().size()) {
      return fail(err, HIVE_INVALID_ARGUMENT,
                  "There is no CUDA device " + std::to_string(index) + ".");
    }
    if (out == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "out is NULL.");
    auto handle = std::make_unique<hive_device>();
    handle->device = std::make_unique<Device>(driver, index, config, upload_threads(options));
    *out = handle.release();
    return HIVE_OK;
  });
}

void device_close(hive_device* device) noexcept { delete device; }

hive_status check_op(const hive_op_desc& op, hive_error* err) {
  if (op.op != HIVE_OP_SCAN_TOPK) {
    return fail(err, HIVE_UNSUPPORTED, "Unknown operation " + std::to_string(op.op) + ".");
  }
  if (op.metric >= HIVE_METRIC_COUNT) {
    return fail(err, HIVE_INVALID_ARGUMENT, "Unknown metric " + std::to_string(op.metric) + ".");
  }
  if (op.dtype >= HIVE_DTYPE_COUNT) {
    return fail(err, HIVE_INVALID_ARGUMENT, "Unknown dtype " + std::to_string(op.dtype) + ".");
  }
  if (op.dim < 1 || op.dim > kDimMost) {
    return fail(err, HIVE_INVALID_ARGUMENT, "dim must be 1 to 65536.");
  }
  if (op.k < 1 || op.k > kKMost) {
    return fail(err, HIVE_INVALID_ARGUMENT, "k must be 1 to 1048576.");
  }
  if (op.query_count < 1) return fail(err, HIVE_INVALID_ARGUMENT, "query_count must be >= 1.");
  return HIVE_OK;
}

hive_status supports(hive_device*, const hive_op_desc* op, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (op == nullptr || op->struct_size < sizeof(hive_op_desc)) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The op descriptor is missing or too small.");
    }
    return check_op(*op, err);
  });
}

void release(Device& device, hive_segment* segment) {
  const size_t floats = size_t{segment->capacity} * sizeof(float);
  device.memory().give_back(std::move(segment->range));
  device.memory().give_back_block(segment->inv_norms, floats);
  device.memory().give_back_block(segment->scales, floats);
  delete segment;
}

hive_status segment_create(hive_device* handle, const hive_segment_desc* desc, hive_segment** out,
                           hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (desc == nullptr || desc->struct_size < sizeof(hive_segment_desc) || out == nullptr) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The segment descriptor is missing or too small.");
    }
    if (desc->dtype >= HIVE_DTYPE_COUNT || desc->dim < 1 || desc->dim > kDimMost ||
        desc->capacity_rows < 1 || desc->capacity_rows > 0x7fffffffu) {
      return fail(err, HIVE_INVALID_ARGUMENT, "dim, dtype or capacity_rows is out of range.");
    }
    Device& device = *handle->device;
    device.enter();
    device.load(desc->dtype);
    auto* segment = new hive_segment();
    try {
      segment->dim = desc->dim;
      segment->dtype = desc->dtype;
      segment->capacity = desc->capacity_rows;
      segment->source_bytes = desc->dim * static_cast<uint32_t>(kElementBytes[desc->dtype]);
      segment->row_bytes = (segment->source_bytes + 15) / 16 * 16;
      const uint64_t data = uint64_t{segment->capacity} * segment->row_bytes;
      if (data > 2 * kSegmentBytesMost) {
        throw Fault(HIVE_DEVICE_OUT_OF_MEMORY, "A segment of this backend holds at most 4 GiB.");
      }
      const size_t floats = size_t{segment->capacity} * sizeof(float);
      segment->range = device.memory().take_range(data, 0);
      segment->inv_norms = device.memory().take_block(floats);
      if (desc->dtype == HIVE_DTYPE_I8) segment->scales = device.memory().take_block(floats);
      segment->bytes = data + floats * (segment->scales != 0 ? 2 : 1);
      const std::lock_guard lock(device.owned_mutex);
      device.segments.insert(segment);
    } catch (...) {
      release(device, segment);
      throw;
    }
    device.used_bytes.fetch_add(segment->bytes);
    *out = segment;
    return HIVE_OK;
  });
}

hive_status segment_append(hive_device* handle, hive_segment* segment, const hive_rows* rows,
                           hive_ticket** out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (segment == nullptr || rows == nullptr || rows->struct_size < sizeof(hive_rows) ||
        out == nullptr) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The rows are missing or their struct is too small.");
    }
    const std::lock_guard lock(segment->mutex);
    const uint32_t have = segment->appended.load();
    if (rows->first_slot != have || rows->count < 1 || rows->count > segment->capacity - have) {
      return fail(err, HIVE_INVALID_ARGUMENT, "Rows must continue the segment and fit it.");
    }
    if (rows->data == nullptr || rows->inv_norms == nullptr ||
        (segment->scales != 0 && rows->scales == nullptr)) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The rows have no data, norms or scales.");
    }
    Device& device = *handle->device;
    device.enter();
    device.memory().back(&segment->range, uint64_t{have + rows->count} * segment->row_bytes);
    auto ticket = std::make_unique<AppendTicket>();
    device.uploader().append(segment, *rows, ticket.get());
    segment->appended.store(have + rows->count);
    *out = ticket.release();
    return HIVE_OK;
  });
}

void segment_free(hive_device* handle, hive_segment* segment) noexcept {
  if (segment == nullptr) return;
  (void)guarded(nullptr, [&]() -> hive_status {
    Device& device = *handle->device;
    {
      const std::lock_guard lock(device.owned_mutex);
      device.segments.erase(segment);
    }
    device.used_bytes.fetch_sub(segment->bytes);
    release(device, segment);
    return HIVE_OK;
  });
}

hive_status bits_create(hive_device* handle, const uint32_t* words, uint32_t bit_count,
                        hive_bits** out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr || (words == nullptr && bit_count > 0)) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The words of the bitset are missing.");
    }
    Device& device = *handle->device;
    device.enter();
    auto bits = std::make_unique<hive_bits>();
    bits->count = bit_count;
    const size_t bytes = (size_t{bit_count} + 31) / 32 * sizeof(uint32_t);
    bits->bytes = std::max<size_t>(bytes, sizeof(uint32_t));
    bits->words = device.memory().take_block(bits->bytes);
    try {
      if (bytes > 0) device.uploader().copy_now(bits->words, words, bytes);
      const std::lock_guard lock(device.owned_mutex);
      device.bits.insert(bits.get());
    } catch (...) {
      device.memory().give_back_block(bits->words, bits->bytes);
      throw;
    }
    device.used_bytes.fetch_add(bits->bytes);
    *out = bits.release();
    return HIVE_OK;
  });
}

void bits_free(hive_device* handle, hive_bits* bits) noexcept {
  if (bits == nullptr) return;
  (void)guarded(nullptr, [&]() -> hive_status {
    Device& device = *handle->device;
    {
      const std::lock_guard lock(device.owned_mutex);
      device.bits.erase(bits);
    }
    device.used_bytes.fetch_sub(bits->bytes);
    device.memory().give_back_block(bits->words, bits->bytes);
    delete bits;
    return HIVE_OK;
  });
}

hive_status add_segments(const hive_scan_job& job, ScanTicket* ticket, hive_error* err) {
  uint64_t tiles = 0;
  ticket->dtype = HIVE_DTYPE_F32;
  for (uint32_t i = 0; i < job.segment_count; ++i) {
    const auto* s = reinterpret_cast<const hive_scan_segment*>(
        reinterpret_cast<const char*>(job.segments) + size_t{i} * job.segment_size);
    if (s->segment == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "A segment is NULL.");
    const hive_segment& segment = *s->segment;
    if (i == 0) ticket->dtype = segment.dtype;
    if (segment.dim != job.dim || segment.dtype != ticket->dtype ||
        s->row_count > segment.appended.load()) {
      return fail(err, HIVE_INVALID_ARGUMENT,
                  "A segment has another dim or dtype, or fewer rows than row_count.");
    }
    if (s->row_count == 0) continue;
    hive::gpu::SegmentRef ref{};
    ref.data = reinterpret_cast<const unsigned char*>(segment.range.base);
    ref.inv_norms = reinterpret_cast<const float*>(segment.inv_norms);
    ref.scales = reinterpret_cast<const float*>(segment.scales);
    if (s->live != nullptr) {
      ref.live = reinterpret_cast<const uint32_t*>(s->live->words);
      ref.live_bits = s->live->count;
    }
    if (s->filter != nullptr) {
      ref.filter = reinterpret_cast<const uint32_t*>(s->filter->words);
      ref.filter_bits = s->filter->count;
    }
    ref.rows = s->row_count;
    ref.first_tile = static_cast<uint32_t>(tiles);
    tiles += (s->row_count + hive::gpu::kTileRows - 1) / hive::gpu::kTileRows;
    ticket->rows += s->row_count;
    ticket->has_bits = ticket->has_bits || s->live != nullptr || s->filter != nullptr;
    ticket->segments.push_back(ref);
    ticket->numbers.push_back(i);
    ticket->sources.push_back(s->segment);
  }
  if (tiles * hive::gpu::kTileRows > 0xffffffffull) {
    return fail(err, HIVE_UNSUPPORTED, "A job of this backend searches at most 2^32 rows.");
  }
  ticket->tiles = static_cast<uint32_t>(tiles);
  return HIVE_OK;
}

hive_status submit(hive_device* handle, const hive_job* head, hive_ticket** out,
                   hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "out is NULL.");
    if (head == nullptr || head->struct_size < sizeof(hive_job)) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The job is missing or too small.");
    }
    if (head->op != HIVE_OP_SCAN_TOPK) {
      return fail(err, HIVE_UNSUPPORTED, "Unknown operation " + std::to_string(head->op) + ".");
    }
    if (head->struct_size < sizeof(hive_scan_job)) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The scan job is too small.");
    }
    const auto& job = *reinterpret_cast<const hive_scan_job*>(head);
    if (job.segment_count > 0 &&
        (job.segments == nullptr || job.segment_size < kScanSegmentLeast)) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The segments of the job are missing or too small.");
    }
    auto ticket = std::make_unique<ScanTicket>();
    ticket->job = job;
    hive_status status = add_segments(job, ticket.get(), err);
    if (status != HIVE_OK) return status;
    const hive_op_desc op{sizeof(hive_op_desc), head->op, job.metric,     ticket->dtype,
                          job.dim,              job.k,    job.query_count};
    status = check_op(op, err);
    if (status != HIVE_OK) return status;
    if (job.queries == nullptr || job.hits == nullptr || job.hit_counts == nullptr ||
        (job.metric == HIVE_METRIC_COSINE && job.query_inv_norms == nullptr)) {
      return fail(err, HIVE_INVALID_ARGUMENT, "Queries, norms or outputs of the job are missing.");
    }
    handle->device->enter();
    handle->device->submit(std::move(ticket), out);
    return HIVE_OK;
  });
}

hive_status outcome(hive_ticket* ticket, hive_error* err) {
  const hive_status status = ticket->status.load(std::memory_order_acquire);
  if (status == HIVE_OK || status == HIVE_PENDING) return status;
  const std::lock_guard lock(ticket->mutex);
  return fail(err, status, ticket->message.empty() ? "The job failed." : ticket->message);
}

hive_status poll(hive_device* handle, hive_ticket* ticket, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (ticket == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "The ticket is NULL.");
    if (!ticket->final()) handle->device->progress();
    return outcome(ticket, err);
  });
}

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// Searches take some ten microseconds up to milliseconds: look without pause at first, then let
// other threads run, then sleep.
void wait_until_final(Device& device, hive_ticket* ticket, uint64_t timeout_us) {
  const auto start = Clock::now();
  for (uint32_t round = 0; !ticket->final(); ++round) {
    device.progress();
    if (ticket->final()) return;
    const auto spent =
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
    if (static_cast<uint64_t>(spent) >= timeout_us) return;
    if (spent < 200) relax();
    else if (spent < 20'000) sched_yield();
    else std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

hive_status wait(hive_device* handle, hive_ticket* ticket, uint64_t timeout_us,
                 hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (ticket == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "The ticket is NULL.");
    wait_until_final(*handle->device, ticket, timeout_us);
    return outcome(ticket, err);
  });
}

void cancel(hive_device* handle, hive_ticket* ticket) noexcept {
  (void)guarded(nullptr, [&]() -> hive_status {
    auto* scan = dynamic_cast<ScanTicket*>(ticket);
    if (scan != nullptr && !scan->final()) handle->device->cancel(scan);
    return HIVE_OK;
  });
}

void ticket_free(hive_device* handle, hive_ticket* ticket) noexcept {
  if (ticket == nullptr) return;
  (void)guarded(nullptr, [&]() -> hive_status {
    wait_until_final(*handle->device, ticket, UINT64_MAX);
    return HIVE_OK;
  });
  delete ticket;
}

hive_status memory_info(hive_device* handle, hive_memory_info* out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    return give(handle->device->memory_info(), out, err);
  });
}

void health(hive_device* handle, hive_health* out) noexcept {
  (void)guarded(nullptr, [&]() -> hive_status {
    if (out != nullptr) handle->device->health(out);
    return HIVE_OK;
  });
}

constexpr hive_backend_table kTable = {
    sizeof(hive_backend_table), HIVE_BACKEND_ABI, "cuda",         device_info,    device_open,
    device_close,               supports,         segment_create, segment_append, segment_free,
    bits_create,                bits_free,        submit,         poll,           wait,
    cancel,                     ticket_free,      memory_info,    health,
    nullptr,  // columns and predicates: the host evaluates them, filters come as bitsets
    nullptr,
};

}  // namespace

extern "C" {

HIVE_EXPORT uint32_t hive_backend_abi(void) { return HIVE_BACKEND_ABI; }

HIVE_EXPORT hive_status hive_backend_probe(const hive_open_options* options,
                                           hive_probe_report* out) {
  return guarded(nullptr, [&]() -> hive_status {
    hive_probe_report report{};
    try {
      const Driver& driver = Driver::load(parse_config(options).driver);
      report.status = driver.status();
      report.device_count = static_cast<uint32_t>(driver.devices().size());
      if (driver.version() > 0) {
        std::snprintf(report.version, sizeof report.version, "%s", driver.version_text().c_str());
      }
      std::snprintf(report.detail, sizeof report.detail, "%s", driver.reason().c_str());
    } catch (const Fault& fault) {
      report.status = HIVE_NO_DEVICE;
      std::snprintf(report.detail, sizeof report.detail, "%s", fault.what());
    }
    return give(report, out, nullptr);
  });
}

// Not part of the ABI: what the floors in the benchmarks are computed from.
HIVE_EXPORT hive_status hive_cuda_measure(hive_device* handle, double* copy, double* pinned,
                                          hive_error* err) {
  return guarded(err, [&]() -> hive_status {
    handle->device->measure(copy, pinned);
    return HIVE_OK;
  });
}

HIVE_EXPORT hive_status hive_backend_open(const hive_open_options* options,
                                          const hive_backend_table** out, hive_error* err) {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "out is NULL.");
    g_driver.store(&Driver::load(parse_config(options).driver));
    *out = &kTable;
    return HIVE_OK;
  });
}

}  // extern "C"
