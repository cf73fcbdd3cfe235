// The table of the Vulkan backend: arguments are checked here, everything else is in the classes.
#include <chrono>
#include <cstdio>
#include <cstring>

#include "objects.h"

using namespace hive::vulkan;

namespace {

constexpr size_t kElementBytes[] = {4, 2, 2, 1};
constexpr uint32_t kDimMax = 65536;
constexpr uint32_t kBlock = 4;  // elements the kernels load at once

hive_status fail(hive_error* err, hive_status status, const std::string& message) noexcept {
  if (err != nullptr && err->struct_size > offsetof(hive_error, message)) {
    const size_t room = err->struct_size - offsetof(hive_error, message);
    std::snprintf(err->message, std::min(room, sizeof err->message), "%s", message.c_str());
  }
  return status;
}

// Runs body; no exception leaves the C ABI.
template <class Body>
hive_status guarded(hive_error* err, Body body) noexcept {
  try {
    return body();
  } catch (const Error& e) {
    return fail(err, e.status(), e.what());
  } catch (const std::bad_alloc&) {
    return fail(err, HIVE_OUT_OF_MEMORY, "The host is out of memory.");
  } catch (const std::exception& e) {
    return fail(err, HIVE_INTERNAL, e.what());
  } catch (...) {
    return fail(err, HIVE_INTERNAL, "An unknown exception reached the Vulkan backend.");
  }
}

hive_status refuse(hive_error* err, const std::string& message) {
  return fail(err, HIVE_INVALID_ARGUMENT, message);
}

// Copies as much of a filled struct as the caller has room for.
template <class T>
hive_status give(const T& filled, T* out, hive_error* err) {
  if (out == nullptr || out->struct_size < sizeof(uint32_t)) {
    return refuse(err, "The output struct is missing or has no size.");
  }
  const uint32_t size = out->struct_size;
  std::memcpy(out, &filled, std::min<size_t>(size, sizeof(T)));
  out->struct_size = size;
  return HIVE_OK;
}

// ---- settings and devices -----------------------------------------------------------------------

// What hive_backend_open was given: defaults of device_open, and what device_info tells about.
struct Defaults {
  std::mutex mutex;
  Settings settings;
  // Devices by the settings that decide which are listed; drivers take tens of milliseconds to ask.
  std::map<std::string, std::vector<PhysicalDevice>> devices;
};

Defaults& defaults() {
  static auto* const all = new Defaults();
  return *all;
}

Settings settings_of(const hive_open_options* options) {
  constexpr size_t kEnd = offsetof(hive_open_options, config) + sizeof(const char*);
  const bool given = options != nullptr && options->struct_size >= kEnd &&
                     options->config != nullptr && options->config[0] != 0;
  if (given) return Settings::parse(options->config);
  const std::lock_guard lock(defaults().mutex);
  return defaults().settings;
}

std::vector<PhysicalDevice> devices_for(const Settings& settings, std::string* why) {
  const std::string key =
      std::to_string(static_cast<int>(settings.filter)) + (settings.validate ? "v" : "");
  Defaults& all = defaults();
  const std::lock_guard lock(all.mutex);
  const auto found = all.devices.find(key);
  if (found != all.devices.end()) return found->second;
  const std::shared_ptr<Instance> instance = Instance::get(settings.validate);
  std::vector<PhysicalDevice> devices = usable_devices(*instance, settings);
  if (devices.empty()) *why = explain(list_devices(*instance, settings));
  else all.devices.emplace(key, devices);
  return devices;
}

hive_status device_info(uint32_t index, hive_device_info* out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    std::string why;
    const std::vector<PhysicalDevice> devices = devices_for(settings_of(nullptr), &why);
    if (index >= devices.size()) {
      return refuse(err, "There is no Vulkan device " + std::to_string(index) + ".");
    }
    return give(devices[index].info, out, err);
  });
}

hive_status device_open(uint32_t index, const hive_open_options* options, hive_device** out,
                        hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr) return refuse(err, "out is NULL.");
    const Settings settings = settings_of(options);
    auto device = std::make_unique<hive_device>();
    device->context = Context::get(index, settings);
    device->memory_limit = settings.memory_limit;
    *out = device.release();
    return HIVE_OK;
  });
}

// Takes memory within the device's limit.
Memory::Piece take_memory(hive_device* device, uint64_t bytes) {
  if (device->context->lost()) throw Error(HIVE_DEVICE_LOST, "The device is lost; open it again.");
  const uint64_t used = device->used_bytes.fetch_add(bytes) + bytes;
  try {
    if (device->memory_limit != 0 && used > device->memory_limit) {
      throw Error(HIVE_DEVICE_OUT_OF_MEMORY,
                  "memory_limit=" + std::to_string(device->memory_limit) + " does not hold " +
                      std::to_string(bytes) + " bytes more.");
    }
    return device->context->memory().allocate(bytes);
  } catch (...) {
    device->used_bytes.fetch_sub(bytes);
    throw;
  }
}

void give_memory(hive_device* device, const Memory::Piece& piece, uint64_t bytes, uint64_t arrives) {
  device->used_bytes.fetch_sub(bytes);
  Context& context = *device->context;
  // A lost or hung device may still write; its context frees everything when it is idle.
  if (context.lost()) return;
  // A copy on its way would write into what the next owner stores.
  if (arrives != 0) (void)context.transfer().wait(arrives, UINT64_MAX);
  context.memory().free(piece);
}

void device_close(hive_device* device) noexcept {
  if (device == nullptr) return;
  (void)guarded(nullptr, [&]() -> hive_status {
    for (hive_segment* segment : device->segments) {
      give_memory(device, segment->piece, 0, segment->arrives.load());
      delete segment;
    }
    for (hive_bits* bits : device->bits) {
      give_memory(device, bits->piece, 0, bits->arrives);
      delete bits;
    }
    return HIVE_OK;
  });
  delete device;
}

hive_status check_op(const hive_device* device, const hive_op_desc& op, hive_error* err) {
  if (op.op != HIVE_OP_SCAN_TOPK) {
    return fail(err, HIVE_UNSUPPORTED, "The Vulkan backend has no operation " +
                                           std::to_string(op.op) + ".");
  }
  if (op.metric >= HIVE_METRIC_COUNT) {
    return refuse(err, "Unknown metric " + std::to_string(op.metric) + ".");
  }
  if (op.dtype >= HIVE_DTYPE_COUNT) {
    return refuse(err, "Unknown dtype " + std::to_string(op.dtype) + ".");
  }
  if (op.dim < 1 || op.dim > kDimMax) return refuse(err, "dim must be 1 to 65536.");
  const uint32_t most = device->context->physical().info.max_k;
  if (op.k < 1 || op.k > most) return refuse(err, "k must be 1 to " + std::to_string(most) + ".");
  if (op.query_count < 1) return refuse(err, "query_count must be >= 1.");
  return HIVE_OK;
}

hive_status supports(hive_device* device, const hive_op_desc* op, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (op == nullptr || op->struct_size < sizeof(hive_op_desc)) {
      return refuse(err, "The op descriptor is missing or too small.");
    }
    return check_op(device, *op, err);
  });
}

// ---- memory -------------------------------------------------------------------------------------

uint64_t segment_bytes(const hive_segment& s) {
  const uint64_t scaled = s.dtype == HIVE_DTYPE_I8 ? 4 : 0;
  return s.capacity * (s.stride + 4 + scaled);
}

hive_status segment_create(hive_device* device, const hive_segment_desc* desc, hive_segment** out,
                           hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    constexpr size_t kKnown = offsetof(hive_segment_desc, host_data);
    if (desc == nullptr || desc->struct_size < kKnown || out == nullptr) {
      return refuse(err, "The segment descriptor is missing or too small.");
    }
    if (desc->dtype >= HIVE_DTYPE_COUNT || desc->dim < 1 || desc->dim > kDimMax ||
        desc->capacity_rows < 1 || desc->capacity_rows > 0x7fffffffu) {
      return refuse(err, "dim, dtype or capacity_rows is out of range.");
    }
    auto segment = std::make_unique<hive_segment>();
    segment->dim = desc->dim;
    segment->dtype = desc->dtype;
    segment->capacity = desc->capacity_rows;
    segment->stride = uint64_t{(desc->dim + kBlock - 1) / kBlock * kBlock} * kElementBytes[desc->dtype];
    segment->norms_at = segment->stride * segment->capacity;
    segment->scales_at = segment->norms_at + uint64_t{segment->capacity} * 4;
    segment->piece = take_memory(device, segment_bytes(*segment));
    const std::lock_guard lock(device->owned_mutex);
    device->segments.insert(segment.get());
    *out = segment.release();
    return HIVE_OK;
  });
}

hive_status check_rows(const hive_segment& segment, const hive_rows& rows, hive_error* err) {
  const uint32_t have = segment.appended.load();
  if (rows.first_slot != have || rows.count < 1 || rows.count > segment.capacity - have) {
    return refuse(err, "Rows must continue the segment and fit it.");
  }
  if (rows.data == nullptr || rows.inv_norms == nullptr ||
      (segment.dtype == HIVE_DTYPE_I8 && rows.scales == nullptr)) {
    return refuse(err, "The rows have no data, norms or scales.");
  }
  return HIVE_OK;
}

hive_status segment_append(hive_device* device, hive_segment* segment, const hive_rows* rows,
                           hive_ticket** out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (segment == nullptr || rows == nullptr || rows->struct_size < sizeof(hive_rows) ||
        out == nullptr) {
      return refuse(err, "The rows are missing or their struct is too small.");
    }
    const hive_status status = check_rows(*segment, *rows, err);
    if (status != HIVE_OK) return status;
    auto ticket = std::make_unique<hive_ticket>();
    const uint64_t first = rows->first_slot;
    const uint64_t bytes = uint64_t{segment->dim} * kElementBytes[segment->dtype];
    std::vector<Source> sources;
    sources.push_back({static_cast<const char*>(rows->data), rows->count, bytes, segment->stride,
                       first * segment->stride});
    sources.push_back({reinterpret_cast<const char*>(rows->inv_norms), rows->count, 4, 4,
                       segment->norms_at + first * 4});
    if (segment->dtype == HIVE_DTYPE_I8) {
      sources.push_back({reinterpret_cast<const char*>(rows->scales), rows->count, 4, 4,
                         segment->scales_at + first * 4});
    }
    try {
      ticket->arrives = device->context->uploader().upload(segment->piece, sources);
    } catch (const Error& e) {
      device->context->note(e.status());
      throw;
    }
    segment->arrives.store(std::max(segment->arrives.load(), ticket->arrives));
    segment->appended.store(rows->first_slot + rows->count);
    *out = ticket.release();
    return HIVE_OK;
  });
}

void segment_free(hive_device* device, hive_segment* segment) noexcept {
  if (segment == nullptr) return;
  (void)guarded(nullptr, [&]() -> hive_status {
    give_memory(device, segment->piece, segment_bytes(*segment), segment->arrives.load());
    const std::lock_guard lock(device->owned_mutex);
    device->segments.erase(segment);
    return HIVE_OK;
  });
  delete segment;
}

hive_status bits_create(hive_device* device, const uint32_t* words, uint32_t bit_count,
                        hive_bits** out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr || (words == nullptr && bit_count > 0)) {
      return refuse(err, "The words of the bitset are missing.");
    }
    auto bits = std::make_unique<hive_bits>();
    const uint64_t count = (uint64_t{bit_count} + 31) / 32;
    bits->count = bit_count;
    bits->piece = take_memory(device, count * 4);
    try {
      const Source source{reinterpret_cast<const char*>(words), count, 4, 4, 0};
      bits->arrives = device->context->uploader().upload(bits->piece, {source});
    } catch (const Error& e) {
      device->context->note(e.status());
      give_memory(device, bits->piece, count * 4, 0);
      throw;
    }
    const std::lock_guard lock(device->owned_mutex);
    device->bits.insert(bits.get());
    *out = bits.release();
    return HIVE_OK;
  });
}

void bits_free(hive_device* device, hive_bits* bits) noexcept {
  if (bits == nullptr) return;
  (void)guarded(nullptr, [&]() -> hive_status {
    give_memory(device, bits->piece, (uint64_t{bits->count} + 31) / 32 * 4, bits->arrives);
    const std::lock_guard lock(device->owned_mutex);
    device->bits.erase(bits);
    return HIVE_OK;
  });
  delete bits;
}

// ---- jobs ---------------------------------------------------------------------------------------

// Hints behind the bitsets are not needed.
constexpr size_t kSegmentKnown = offsetof(hive_scan_segment, filter) + sizeof(const hive_bits*);

hive_status read_segments(const hive_scan_job& job, std::vector<JobSegment>* out, hive_error* err) {
  if (job.segment_count > 0 &&
      (job.segments == nullptr || job.segment_size < kSegmentKnown)) {
    return refuse(err, "The segments of the job are missing or too small.");
  }
  for (uint32_t i = 0; i < job.segment_count; ++i) {
    const auto* s = reinterpret_cast<const hive_scan_segment*>(
        reinterpret_cast<const char*>(job.segments) + size_t{i} * job.segment_size);
    if (s->segment == nullptr) return refuse(err, "A segment is NULL.");
    if (s->segment->dim != job.dim || s->row_count > s->segment->appended.load() ||
        (!out->empty() && s->segment->dtype != (*out)[0].segment->dtype)) {
      return refuse(err, "A segment has another dim or dtype, or fewer rows than row_count.");
    }
    out->push_back({s->segment, i, s->row_count, s->live, s->filter});
  }
  return HIVE_OK;
}

hive_status make_job(hive_device* device, const hive_job* head, std::unique_ptr<ScanJob>* out,
                     hive_error* err) {
  if (head == nullptr || head->struct_size < sizeof(hive_job)) {
    return refuse(err, "The job is missing or too small.");
  }
  if (head->op != HIVE_OP_SCAN_TOPK) {
    return fail(err, HIVE_UNSUPPORTED,
                "The Vulkan backend has no operation " + std::to_string(head->op) + ".");
  }
  if (head->struct_size < sizeof(hive_scan_job)) return refuse(err, "The scan job is too small.");
  const auto& job = *reinterpret_cast<const hive_scan_job*>(head);
  std::vector<JobSegment> segments;
  hive_status status = read_segments(job, &segments, err);
  if (status != HIVE_OK) return status;
  const uint32_t dtype = segments.empty() ? 0 : segments[0].segment->dtype;
  const hive_op_desc op{sizeof(hive_op_desc), head->op, job.metric,     dtype,
                        job.dim,              job.k,    job.query_count};
  status = check_op(device, op, err);
  if (status != HIVE_OK) return status;
  if (job.queries == nullptr || job.hits == nullptr || job.hit_counts == nullptr ||
      (job.metric == HIVE_METRIC_COSINE && job.query_inv_norms == nullptr)) {
    return refuse(err, "Queries, norms or outputs of the job are missing.");
  }
  *out = std::make_unique<ScanJob>(*device->context, job, std::move(segments));
  return HIVE_OK;
}

// Ends a ticket's work with its final status. The ticket's mutex is held.
void conclude(hive_device* device, hive_ticket* ticket, hive_status status,
              const std::string& problem) {
  if (ticket->job != nullptr) {
    if (status == HIVE_OK) device->rows_scanned.fetch_add(ticket->job->rows_scanned());
    device->jobs_finished.fetch_add(1);
    if (status != HIVE_OK && status != HIVE_CANCELLED) device->jobs_failed.fetch_add(1);
    ticket->job.reset();
  }
  device->context->note(status);
  ticket->problem = problem;
  ticket->status.store(status);
}

hive_status submit(hive_device* device, const hive_job* head, hive_ticket** out,
                   hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr) return refuse(err, "out is NULL.");
    if (device->context->lost()) {
      return fail(err, HIVE_DEVICE_LOST, "The device is lost; open it again.");
    }
    auto ticket = std::make_unique<hive_ticket>();
    const hive_status status = make_job(device, head, &ticket->job, err);
    if (status != HIVE_OK) return status;
    bool work = false;
    try {
      work = ticket->job->start();
    } catch (const Error& e) {
      device->context->note(e.status());
      throw;
    }
    device->jobs_submitted.fetch_add(1);
    if (!work) {
      ticket->job->finish();
      conclude(device, ticket.get(), HIVE_OK, "");
    }
    *out = ticket.release();
    return HIVE_OK;
  });
}

// One look at the work: true when it is over. The ticket's mutex is held.
bool drive(hive_device* device, hive_ticket* ticket, uint64_t timeout_us) {
  try {
    if (ticket->job == nullptr) {
      const VkResult result = device->context->transfer().wait(
          ticket->arrives, std::min(timeout_us, UINT64_MAX / 2000) * 1000);
      if (result == VK_TIMEOUT) return false;
      check(result, "Waiting for an upload");
      device->context->check_messages();
      conclude(device, ticket, HIVE_OK, "");
      return true;
    }
    if (ticket->cancelled.load()) {
      ticket->job->drain();
      conclude(device, ticket, HIVE_CANCELLED, "The job was cancelled.");
      return true;
    }
    bool pending = false;
    if (ticket->job->step(timeout_us, &pending)) {
      ticket->job->finish();
      conclude(device, ticket, HIVE_OK, "");
      return true;
    }
    return false;
  } catch (const Error& e) {
    conclude(device, ticket, e.status(), e.what());
  } catch (const std::bad_alloc&) {
    conclude(device, ticket, HIVE_OUT_OF_MEMORY, "The host is out of memory.");
  }
  return true;
}

hive_status final_status(hive_ticket* ticket, hive_error* err) {
  const hive_status status = ticket->status.load();
  if (status == HIVE_OK || status == HIVE_PENDING) return status;
  return fail(err, status, ticket->problem);
}

// Between looks at the cancel flag while the device works.
constexpr uint64_t kLookMicros = 20'000;

hive_status wait(hive_device* device, hive_ticket* ticket, uint64_t timeout_us,
                 hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (ticket == nullptr) return refuse(err, "The ticket is NULL.");
    using Clock = std::chrono::steady_clock;
    constexpr uint64_t kLongest = uint64_t{1} << 50;  // chrono's nanoseconds must not overflow
    const auto end = Clock::now() + std::chrono::microseconds(std::min(timeout_us, kLongest));
    while (ticket->status.load() == HIVE_PENDING) {
      const auto now = Clock::now();
      const auto left = std::chrono::duration_cast<std::chrono::microseconds>(end - now).count();
      const uint64_t look = std::min(left < 0 ? 0 : static_cast<uint64_t>(left), kLookMicros);
      // By the system's clock: the thread sanitizer of GCC 12 does not know the steady one's lock.
      // A clock that is set meanwhile makes one look longer or shorter.
      std::unique_lock lock(ticket->mutex,
                            std::chrono::system_clock::now() + std::chrono::microseconds(look));
      if (lock.owns_lock() && ticket->status.load() == HIVE_PENDING) {
        (void)drive(device, ticket, look);
      }
      if (left <= 0) break;
    }
    return final_status(ticket, err);
  });
}

hive_status poll(hive_device* device, hive_ticket* ticket, hive_error* err) noexcept {
  return wait(device, ticket, 0, err);
}

void cancel(hive_device*, hive_ticket* ticket) noexcept {
  if (ticket != nullptr) ticket->cancelled.store(true);
}

void ticket_free(hive_device* device, hive_ticket* ticket) noexcept {
  if (ticket == nullptr) return;
  (void)wait(device, ticket, UINT64_MAX, nullptr);
  delete ticket;
}

// ---- reports ------------------------------------------------------------------------------------

hive_status memory_info(hive_device* device, hive_memory_info* out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    hive_memory_info info{};
    info.used_bytes = device->used_bytes.load();
    info.total_bytes = device->context->physical().info.memory_total_bytes;
    info.free_bytes = device->context->free_bytes();
    if (device->memory_limit != 0) {
      info.total_bytes = std::min(info.total_bytes, device->memory_limit);
      info.free_bytes = std::min(info.free_bytes,
                                 info.total_bytes - std::min(info.total_bytes, info.used_bytes));
    }
    return give(info, out, err);
  });
}

void health(hive_device* device, hive_health* out) noexcept {
  (void)guarded(nullptr, [&]() -> hive_status {
    hive_health report{};
    report.status = device->context->lost() ? HIVE_DEVICE_LOST : HIVE_OK;
    report.jobs_submitted = device->jobs_submitted.load();
    report.jobs_finished = device->jobs_finished.load();
    report.jobs_failed = device->jobs_failed.load();
    report.rows_scanned = device->rows_scanned.load();
    if (device->context->lost()) {
      std::snprintf(report.detail, sizeof report.detail, "The device was lost or hung.");
    } else if (device->context->settings().validate) {
      std::snprintf(report.detail, sizeof report.detail, "validation layer on: %u messages",
                    device->context->instance().messages().count());
    }
    return give(report, out, nullptr);
  });
}

constexpr hive_backend_table kTable = {
    sizeof(hive_backend_table), HIVE_BACKEND_ABI, "vulkan",    device_info,   device_open,
    device_close,               supports,         segment_create, segment_append, segment_free,
    bits_create,                bits_free,        submit,      poll,          wait,
    cancel,                     ticket_free,      memory_info, health,
    nullptr,  // no columns: predicates are evaluated on the host
    nullptr,
};

}  // namespace

extern "C" {

HIVE_EXPORT uint32_t hive_backend_abi(void) { return HIVE_BACKEND_ABI; }

HIVE_EXPORT hive_status hive_backend_probe(const hive_open_options* options,
                                           hive_probe_report* out) {
  return guarded(nullptr, [&]() -> hive_status {
    hive_probe_report report{};
    report.status = HIVE_OK;
    try {
      const Settings settings = settings_of(options);
      std::string why;
      const std::vector<PhysicalDevice> devices = devices_for(settings, &why);
      report.device_count = static_cast<uint32_t>(devices.size());
      if (devices.empty()) throw Error(HIVE_NO_DEVICE, why);
      std::snprintf(report.version, sizeof report.version, "%s", devices[0].info.driver);
    } catch (const Error& e) {
      report.status = e.status();
      std::snprintf(report.detail, sizeof report.detail, "%s", e.what());
    }
    return give(report, out, nullptr);
  });
}

HIVE_EXPORT hive_status hive_backend_open(const hive_open_options* options,
                                          const hive_backend_table** out, hive_error* err) {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr) return refuse(err, "out is NULL.");
    const Settings settings = settings_of(options);
    {
      const std::lock_guard lock(defaults().mutex);
      defaults().settings = settings;
    }
    *out = &kTable;
    return HIVE_OK;
  });
}

}  // extern "C"
