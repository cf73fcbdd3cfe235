#include "cpu_backend.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cpu_host.h"
#include "cpu_objects.h"

using namespace hive::cpu;

namespace {

constexpr size_t kElementBytes[] = {4, 2, 2, 1};
constexpr uint32_t kDimMax = 65536;

// Copies as much of a filled struct as the caller has room for.
template <class T>
hive_status give(const T& filled, T* out, hive_error* err) {
  if (out == nullptr || out->struct_size < sizeof(uint32_t)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The output struct is missing or has no size.");
  }
  const uint32_t size = out->struct_size;
  std::memcpy(out, &filled, std::min<size_t>(size, sizeof(T)));
  out->struct_size = size;
  return HIVE_OK;
}

struct Config {
  const CpuKernels* kernels = nullptr;
  uint32_t threads = 0;
};

hive_status parse_config(const hive_open_options* options, Config* out, hive_error* err) {
  out->kernels = &best_kernels();
  // A field beyond struct_size is not there.
  const size_t size = options == nullptr ? 0 : options->struct_size;
  constexpr size_t kThreadsEnd = offsetof(hive_open_options, host_threads) + sizeof(uint32_t);
  constexpr size_t kConfigEnd = offsetof(hive_open_options, config) + sizeof(const char*);
  if (size >= kThreadsEnd) out->threads = options->host_threads;
  std::string text = size >= kConfigEnd && options->config != nullptr ? options->config : "";
  while (!text.empty()) {
    const size_t end = text.find(';');
    const std::string item = text.substr(0, end);
    text = end == std::string::npos ? "" : text.substr(end + 1);
    if (item.empty()) continue;
    const size_t equals = item.find('=');
    const std::string key = item.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : item.substr(equals + 1);
    if (key == "isa") {
      out->kernels = kernels_by_name(value.c_str());
      if (out->kernels == nullptr) {
        return fail(err, HIVE_UNSUPPORTED,
                    "This machine or build has no instruction set \"" + value + "\"; it has " +
                        available_kernels() + ".");
      }
    } else if (key == "threads") {
      const long threads = std::strtol(value.c_str(), nullptr, 10);
      if (threads < 1 || threads > 1024) {
        return fail(err, HIVE_INVALID_ARGUMENT, "threads must be 1 to 1024, got " + value + ".");
      }
      out->threads = static_cast<uint32_t>(threads);
    } else {
      return fail(err, HIVE_INVALID_ARGUMENT,
                  "Unknown setting \"" + key + "\" for the cpu backend; it has isa and threads.");
    }
  }
  if (out->threads == 0) out->threads = usable_threads();
  return HIVE_OK;
}

hive_status device_info(uint32_t index, hive_device_info* out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (index != 0) return fail(err, HIVE_INVALID_ARGUMENT, "The CPU is device 0.");
    hive_device_info info{};
    info.kind = HIVE_DEVICE_CPU;
    info.caps = HIVE_CAP_HOST_MEMORY | HIVE_CAP_NOTIFY;
    info.compute_units = usable_threads();
    info.max_k = 1u << 30;
    info.memory_total_bytes = memory_total_bytes();
    info.max_segment_bytes = uint64_t{1} << 40;
    std::snprintf(info.name, sizeof info.name, "%s", cpu_name().c_str());
    std::snprintf(info.driver, sizeof info.driver, "%s", best_kernels().name);
    return give(info, out, err);
  });
}

hive_status device_open(uint32_t index, const hive_open_options* options, hive_device** out,
                        hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (index != 0) return fail(err, HIVE_INVALID_ARGUMENT, "The CPU is device 0.");
    if (out == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "out is NULL.");
    Config config;
    const hive_status status = parse_config(options, &config, err);
    if (status != HIVE_OK) return status;
    *out = new hive_device(*config.kernels, config.threads);
    return HIVE_OK;
  });
}

void device_close(hive_device* device) noexcept {
  if (device == nullptr) return;
  for (hive_segment* segment : device->segments) delete segment;
  for (hive_bits* bits : device->bits) delete bits;
  for (hive_column* column : device->columns) delete column;
  delete device;
}

hive_status check_op(const hive_op_desc& op, hive_error* err) {
  if (op.op == HIVE_OP_PREDICATE) return HIVE_OK;
  if (op.op != HIVE_OP_SCAN_TOPK) {
    return fail(err, HIVE_UNSUPPORTED, "Unknown operation " + std::to_string(op.op) + ".");
  }
  if (op.metric >= HIVE_METRIC_COUNT) {
    return fail(err, HIVE_INVALID_ARGUMENT, "Unknown metric " + std::to_string(op.metric) + ".");
  }
  if (op.dtype >= HIVE_DTYPE_COUNT) {
    return fail(err, HIVE_INVALID_ARGUMENT, "Unknown dtype " + std::to_string(op.dtype) + ".");
  }
  if (op.dim < 1 || op.dim > kDimMax) {
    return fail(err, HIVE_INVALID_ARGUMENT, "dim must be 1 to 65536.");
  }
  if (op.k < 1 || op.k > (1u << 30)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "k must be 1 to 2^30.");
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

hive_status segment_create(hive_device* device, const hive_segment_desc* desc, hive_segment** out,
                           hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (desc == nullptr || desc->struct_size < sizeof(hive_segment_desc) || out == nullptr) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The segment descriptor is missing or too small.");
    }
    if (desc->dtype >= HIVE_DTYPE_COUNT || desc->dim < 1 || desc->dim > kDimMax ||
        desc->capacity_rows < 1 || desc->capacity_rows > 0x7fffffffu) {
      return fail(err, HIVE_INVALID_ARGUMENT, "dim, dtype or capacity_rows is out of range.");
    }
    auto segment = std::make_unique<hive_segment>();
    segment->rows.dim = desc->dim;
    segment->rows.dtype = desc->dtype;
    segment->capacity = desc->capacity_rows;
    segment->in_place = desc->host_data != nullptr;
    const bool scaled = desc->dtype == HIVE_DTYPE_I8;
    if (segment->in_place) {
      if (desc->host_inv_norms == nullptr || (scaled && desc->host_scales == nullptr)) {
        return fail(err, HIVE_INVALID_ARGUMENT, "host_data without host_inv_norms or scales.");
      }
      segment->rows.view = {desc->host_data, desc->host_scales, desc->host_inv_norms};
    } else {
      segment->data.resize(size_t{desc->capacity_rows} * desc->dim * kElementBytes[desc->dtype]);
      segment->inv_norms.resize(desc->capacity_rows);
      if (scaled) segment->scales.resize(desc->capacity_rows);
      segment->rows.view = {segment->data.data(), scaled ? segment->scales.data() : nullptr,
                            segment->inv_norms.data()};
      segment->bytes = segment->data.size() + segment->inv_norms.size() * sizeof(float);
    }
    const std::lock_guard lock(device->owned_mutex);
    device->segments.insert(segment.get());
    device->used_bytes.fetch_add(segment->bytes);
    *out = segment.release();
    return HIVE_OK;
  });
}

hive_status segment_append(hive_device*, hive_segment* segment, const hive_rows* rows,
                           hive_ticket** out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (segment == nullptr || rows == nullptr || rows->struct_size < sizeof(hive_rows) ||
        out == nullptr) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The rows are missing or their struct is too small.");
    }
    const uint32_t have = segment->appended.load();
    if (rows->first_slot != have || rows->count < 1 || rows->count > segment->capacity - have) {
      return fail(err, HIVE_INVALID_ARGUMENT, "Rows must continue the segment and fit it.");
    }
    auto ticket = std::make_unique<hive_ticket>();
    if (!segment->in_place) {
      if (rows->data == nullptr || rows->inv_norms == nullptr ||
          (!segment->scales.empty() && rows->scales == nullptr)) {
        return fail(err, HIVE_INVALID_ARGUMENT, "The rows have no data, norms or scales.");
      }
      const size_t row_bytes = size_t{segment->rows.dim} * kElementBytes[segment->rows.dtype];
      std::memcpy(segment->data.data() + have * row_bytes, rows->data, rows->count * row_bytes);
      std::memcpy(&segment->inv_norms[have], rows->inv_norms, rows->count * sizeof(float));
      if (!segment->scales.empty()) {
        std::memcpy(&segment->scales[have], rows->scales, rows->count * sizeof(float));
      }
    }
    segment->appended.store(have + rows->count);
    *out = ticket.release();
    return HIVE_OK;
  });
}

void segment_free(hive_device* device, hive_segment* segment) noexcept {
  if (segment == nullptr) return;
  device->used_bytes.fetch_sub(segment->bytes);
  {
    const std::lock_guard lock(device->owned_mutex);
    device->segments.erase(segment);
  }
  delete segment;
}

hive_status bits_create(hive_device* device, const uint32_t* words, uint32_t bit_count,
                        hive_bits** out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr || (words == nullptr && bit_count > 0)) {
      return fail(err, HIVE_INVALID_ARGUMENT, "The words of the bitset are missing.");
    }
    auto bits = std::make_unique<hive_bits>();
    bits->bits.count = bit_count;
    bits->bits.words.assign(words, words + (size_t{bit_count} + 31) / 32);
    const std::lock_guard lock(device->owned_mutex);
    device->bits.insert(bits.get());
    device->used_bytes.fetch_add(bits->bits.words.size() * sizeof(uint32_t));
    *out = bits.release();
    return HIVE_OK;
  });
}

void bits_free(hive_device* device, hive_bits* bits) noexcept {
  if (bits == nullptr) return;
  device->used_bytes.fetch_sub(bits->bits.words.size() * sizeof(uint32_t));
  {
    const std::lock_guard lock(device->owned_mutex);
    device->bits.erase(bits);
  }
  delete bits;
}

// Checks a job and makes its plan.
hive_status make_plan(hive_device* device, const hive_job* head, std::unique_ptr<Plan>* out,
                      hive_error* err) {
  if (head == nullptr || head->struct_size < sizeof(hive_job)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The job is missing or too small.");
  }
  if (head->op == HIVE_OP_PREDICATE) return make_predicate_plan(device, head, out, err);
  if (head->op != HIVE_OP_SCAN_TOPK) {
    return fail(err, HIVE_UNSUPPORTED, "Unknown operation " + std::to_string(head->op) + ".");
  }
  if (head->struct_size < sizeof(hive_scan_job)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The scan job is too small.");
  }
  const auto& job = *reinterpret_cast<const hive_scan_job*>(head);
  uint32_t dtype = HIVE_DTYPE_F32;
  std::vector<ScanSegment> segments;
  segments.reserve(job.segment_count);
  if (job.segment_count > 0 && (job.segments == nullptr || job.segment_size < 32)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The segments of the job are missing or too small.");
  }
  for (uint32_t i = 0; i < job.segment_count; ++i) {
    const auto* s = reinterpret_cast<const hive_scan_segment*>(
        reinterpret_cast<const char*>(job.segments) + size_t{i} * job.segment_size);
    if (s->segment == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "A segment is NULL.");
    const SegmentRows& rows = s->segment->rows;
    if (i == 0) dtype = rows.dtype;
    if (rows.dim != job.dim || rows.dtype != dtype ||
        s->row_count > s->segment->appended.load()) {
      return fail(err, HIVE_INVALID_ARGUMENT,
                  "A segment has another dim or dtype, or fewer rows than row_count.");
    }
    segments.push_back({&rows, i, s->row_count, s->live == nullptr ? nullptr : &s->live->bits,
                        s->filter == nullptr ? nullptr : &s->filter->bits});
  }
  const hive_op_desc op{sizeof(hive_op_desc), head->op, job.metric,     dtype,
                        job.dim,              job.k,    job.query_count};
  const hive_status status = check_op(op, err);
  if (status != HIVE_OK) return status;
  if (job.queries == nullptr || job.hits == nullptr || job.hit_counts == nullptr ||
      (job.metric == HIVE_METRIC_COSINE && job.query_inv_norms == nullptr)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "Queries, norms or outputs of the job are missing.");
  }
  *out = std::make_unique<ScanPlan>(device->kernels, job, std::move(segments));
  return HIVE_OK;
}

hive_status submit(hive_device* device, const hive_job* head, hive_ticket** out,
                   hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "out is NULL.");
    std::unique_ptr<Plan> plan;
    const hive_status status = make_plan(device, head, &plan, err);
    if (status != HIVE_OK) return status;
    auto ticket = std::make_unique<hive_ticket>();
    ticket->job = std::make_shared<Job>(std::move(plan), *head);
    ticket->job->ticket = ticket.get();
    const std::shared_ptr<Job> job = ticket->job;
    device->jobs_submitted.fetch_add(1);
    *out = ticket.release();
    if (job->plan->tile_count() == 0) device->pool.complete(*job);
    else device->pool.submit(job);
    return HIVE_OK;
  });
}

hive_status poll(hive_device*, hive_ticket* ticket, hive_error* err) noexcept {
  if (ticket == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "The ticket is NULL.");
  if (ticket->job == nullptr) return HIVE_OK;
  const hive_status status = ticket->job->status.load();
  if (status == HIVE_OUT_OF_MEMORY) return fail(err, status, "The host is out of memory.");
  if (status == HIVE_CANCELLED) return fail(err, status, "The job was cancelled.");
  return status;
}

hive_status wait(hive_device* device, hive_ticket* ticket, uint64_t timeout_us,
                 hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    if (ticket == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "The ticket is NULL.");
    if (ticket->job != nullptr) {
      Job& job = *ticket->job;
      const auto done = [&] { return job.status.load() != HIVE_PENDING; };
      std::unique_lock lock(job.mutex);
      constexpr uint64_t kLongest = uint64_t{1} << 50;  // chrono's nanoseconds must not overflow
      if (timeout_us >= kLongest) job.changed.wait(lock, done);
      else job.changed.wait_for(lock, std::chrono::microseconds(timeout_us), done);
    }
    return poll(device, ticket, err);
  });
}

void cancel(hive_device*, hive_ticket* ticket) noexcept {
  if (ticket != nullptr && ticket->job != nullptr) ticket->job->cancelled.store(true);
}

void ticket_free(hive_device*, hive_ticket* ticket) noexcept {
  if (ticket == nullptr) return;
  if (ticket->job != nullptr) {
    Job& job = *ticket->job;
    std::unique_lock lock(job.mutex);
    job.changed.wait(lock, [&] { return job.closed; });
  }
  delete ticket;
}

hive_status memory_info(hive_device* device, hive_memory_info* out, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    hive_memory_info info{};
    info.total_bytes = memory_total_bytes();
    info.free_bytes = memory_free_bytes();
    info.used_bytes = device->used_bytes.load();
    return give(info, out, err);
  });
}

void health(hive_device* device, hive_health* out) noexcept {
  hive_health report{};
  report.status = HIVE_OK;
  report.jobs_submitted = device->jobs_submitted.load();
  report.jobs_finished = device->pool.jobs_finished.load();
  report.jobs_failed = device->pool.jobs_failed.load();
  report.rows_scanned = device->pool.rows_scanned.load();
  (void)give(report, out, nullptr);
}

constexpr hive_backend_table kTable = {
    sizeof(hive_backend_table), HIVE_BACKEND_ABI, "cpu",       device_info,   device_open,
    device_close,               supports,         segment_create, segment_append, segment_free,
    bits_create,                bits_free,        submit,      poll,          wait,
    cancel,                     ticket_free,      memory_info, health,        column_create,
    column_free,
};

}  // namespace

namespace hive::cpu {

hive_status run_inline(hive_device* device, const hive_job* job, hive_error* err) noexcept {
  return guarded(err, [&]() -> hive_status {
    std::unique_ptr<Plan> plan;
    const hive_status status = make_plan(device, job, &plan, err);
    if (status != HIVE_OK) return status;
    static thread_local Worker worker;
    plan->prepare(worker);
    for (uint32_t tile = 0; tile < plan->tile_count(); ++tile) plan->run_tile(tile, worker);
    Worker* const workers[] = {&worker};
    plan->finish(workers, 1);
    device->jobs_submitted.fetch_add(1);
    device->pool.jobs_finished.fetch_add(1);
    device->pool.rows_scanned.fetch_add(worker.rows * plan->query_count());
    return HIVE_OK;
  });
}

}  // namespace hive::cpu

extern "C" {

uint32_t hive_cpu_backend_abi(void) { return HIVE_BACKEND_ABI; }

hive_status hive_cpu_backend_probe(const hive_open_options*, hive_probe_report* out) {
  return guarded(nullptr, [&]() -> hive_status {
    hive_probe_report report{};
    report.device_count = 1;
    report.status = HIVE_OK;
    std::snprintf(report.version, sizeof report.version, "%s", available_kernels().c_str());
    return give(report, out, nullptr);
  });
}

hive_status hive_cpu_backend_open(const hive_open_options* options, const hive_backend_table** out,
                                  hive_error* err) {
  return guarded(err, [&]() -> hive_status {
    if (out == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "out is NULL.");
    Config config;
    const hive_status status = parse_config(options, &config, err);
    if (status == HIVE_OK) *out = &kTable;
    return status;
  });
}

}  // extern "C"
