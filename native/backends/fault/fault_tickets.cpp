// Jobs and tickets of a device: from submit to the final status.
#include <algorithm>

#include "fault_device.h"

namespace hive::fault {
namespace {

// How often the device's thread looks at the inner device while something is under way.
constexpr auto kLook = std::chrono::microseconds(50);
// Longer waits are as good as endless; chrono's nanoseconds must not overflow.
constexpr uint64_t kWaitMaxUs = uint64_t{1} << 50;

}  // namespace

hive_status Device::check_segments(const hive_scan_job& job, Ticket* ticket, uint32_t* dtype,
                                   hive_error* err) {
  if (job.segment_count > 0 &&
      (job.segments == nullptr || job.segment_size < sizeof(hive_scan_segment))) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The segments of the job are missing or too small.");
  }
  const std::lock_guard lock(mutex_);
  for (uint32_t i = 0; i < job.segment_count; ++i) {
    hive_scan_segment s;
    std::memcpy(&s, reinterpret_cast<const char*>(job.segments) + size_t{i} * job.segment_size,
                sizeof s);
    const auto segment = segments_.find(s.segment);
    if (segment == segments_.end()) {
      return fail(err, HIVE_INVALID_ARGUMENT,
                  "Segment " + std::to_string(i) + " of the job does not exist (any more).");
    }
    const Segment& known = *segment->second;
    if (i == 0) *dtype = known.dtype;
    if (known.dim != job.dim || known.dtype != *dtype || s.row_count > known.appended) {
      return fail(err, HIVE_INVALID_ARGUMENT,
                  "A segment has another dim or dtype, or fewer rows than row_count.");
    }
    hive_scan_segment inner{};
    inner.segment = known.handle;
    inner.row_count = s.row_count;
    ticket->used_segments.push_back(segment->second);
    const auto take = [&](const hive_bits* given, const hive_bits** into) {
      if (given == nullptr) return true;
      const auto found = bits_.find(const_cast<hive_bits*>(given));
      if (found == bits_.end()) return false;
      *into = found->second->handle;
      ticket->used_bits.push_back(found->second);
      return true;
    };
    if (!take(s.live, &inner.live) || !take(s.filter, &inner.filter)) {
      return fail(err, HIVE_INVALID_ARGUMENT,
                  "A bitset of segment " + std::to_string(i) + " does not exist (any more).");
    }
    ticket->segments.push_back(inner);
  }
  return HIVE_OK;
}

hive_status Device::check_job(const hive_job* head, Ticket* ticket, hive_error* err) {
  if (!complete_struct(head)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The job is missing or too small.");
  }
  if (head->op != HIVE_OP_SCAN_TOPK) {
    return fail(err, HIVE_UNSUPPORTED, "Unknown operation " + std::to_string(head->op) + ".");
  }
  if (head->struct_size < sizeof(hive_scan_job)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The scan job is too small.");
  }
  const auto& job = *reinterpret_cast<const hive_scan_job*>(head);
  uint32_t dtype = HIVE_DTYPE_F32;
  const hive_status status = check_segments(job, ticket, &dtype, err);
  if (status != HIVE_OK) return status;
  const hive_op_desc op{sizeof(hive_op_desc), head->op, job.metric,     dtype,
                        job.dim,              job.k,    job.query_count};
  const hive_status supported = inner_.table->supports(inner_.device, &op, err);
  if (supported != HIVE_OK) return supported;
  if (job.queries == nullptr || job.hits == nullptr || job.hit_counts == nullptr ||
      (job.metric == HIVE_METRIC_COSINE && job.query_inv_norms == nullptr)) {
    return fail(err, HIVE_INVALID_ARGUMENT, "Queries, norms or outputs of the job are missing.");
  }
  ticket->head = *head;
  ticket->outer = job;
  ticket->job = job;
  ticket->job.head.struct_size = sizeof(hive_scan_job);
  ticket->job.head.notify = nullptr;
  ticket->job.head.notify_ctx = nullptr;
  ticket->job.segments = ticket->segments.data();
  ticket->job.segment_size = sizeof(hive_scan_segment);
  return HIVE_OK;
}

// sim: nothing of the caller's memory is read or written after submit, except to give the outputs.
void Device::stage_job(Ticket* ticket) {
  hive_scan_job& job = ticket->job;
  ticket->queries.assign(job.queries, job.queries + size_t{job.query_count} * job.dim);
  job.queries = ticket->queries.data();
  if (job.metric == HIVE_METRIC_COSINE) {
    ticket->query_inv_norms.assign(job.query_inv_norms, job.query_inv_norms + job.query_count);
    job.query_inv_norms = ticket->query_inv_norms.data();
  } else {
    job.query_inv_norms = nullptr;
  }
  // No query has more hits than there are rows, so a large k takes no more memory than they do.
  uint64_t rows = 0;
  for (const hive_scan_segment& s : ticket->segments) rows += s.row_count;
  job.k = static_cast<uint32_t>(std::clamp<uint64_t>(rows, 1, job.k));
  ticket->hits.resize(size_t{job.query_count} * job.k);
  ticket->hit_counts.resize(job.query_count);
  std::memset(ticket->hits.data(), kPoison, ticket->hits.size() * sizeof(hive_hit));
  job.hits = ticket->hits.data();
  job.hit_counts = ticket->hit_counts.data();
}

hive_status Device::submit(const hive_job* head, hive_ticket** out, hive_error* err) {
  const hive_status status = gate(Slot::submit, err);
  if (status != HIVE_OK) return status;
  if (out == nullptr) return fail(err, HIVE_INVALID_ARGUMENT, "out is NULL.");
  const auto ticket = std::make_shared<Ticket>();
  const hive_status checked = check_job(head, ticket.get(), err);
  if (checked != HIVE_OK) return checked;
  if (config_.sim) {
    stage_job(ticket.get());
  } else {
    const hive_status inner_status =
        inner_.table->submit(inner_.device, &ticket->job.head, &ticket->inner, err);
    if (inner_status != HIVE_OK) return inner_status;
  }
  enter(ticket, out);
  return HIVE_OK;
}

// The work is accepted: from here the device's thread finishes the ticket.
void Device::enter(const TicketPtr& ticket, hive_ticket** out) {
  ticket->due = Clock::now() + std::chrono::microseconds(config_.delay_us);
  ticket->forced = plan_.next(Slot::complete);
  {
    const std::lock_guard lock(mutex_);
    ticket->id = new_handle<hive_ticket>();
    // Before the device's thread can see the ticket: notify may come before submit returns.
    *out = ticket->id;
    tickets_.emplace(ticket->id, ticket);
    if (ticket->work == Work::append) {
      ticket->used_segments[0]->appended += ticket->rows.count;
    } else {
      ++jobs_submitted_;
    }
    if (config_.sim) queue_.push_back(ticket);
    else running_.push_back(ticket);
    if (ticket->work == Work::scan) take_down_if_due();
  }
  wake_.notify_all();
}

// The job that reaches the limit of lost_after or poison_after takes everything unfinished with it.
void Device::take_down_if_due() {
  if (jobs_submitted_ == config_.poison_after) poisoned_.store(true);
  if (jobs_submitted_ == config_.lost_after) lost_ = true;
  if (!lost_ && !poisoned_.load()) return;
  const hive_status status = poisoned_.load() ? HIVE_DEVICE_POISONED : HIVE_DEVICE_LOST;
  for (const auto& [handle, ticket] : tickets_) {
    if (ticket->status == HIVE_PENDING) ticket->forced = status;
  }
}

Device::TicketPtr Device::find(hive_ticket* handle) {
  const auto found = tickets_.find(handle);
  return found == tickets_.end() ? nullptr : found->second;
}

hive_status Device::report(const Ticket& ticket, hive_error* err) const {
  if (ticket.status == HIVE_OK || ticket.status == HIVE_PENDING) return ticket.status;
  return fail(err, ticket.status, ticket.message);
}

// The state of the device is in the tickets, so a finished one keeps its status when it is lost.
hive_status Device::poll(hive_ticket* handle, hive_error* err) {
  const hive_status status = plan_.next(Slot::poll);
  if (status != HIVE_OK) return fail(err, status, "A rule of the fault backend made poll fail.");
  const std::lock_guard lock(mutex_);
  const TicketPtr ticket = find(handle);
  if (ticket == nullptr) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The ticket does not exist (any more).");
  }
  return report(*ticket, err);
}

hive_status Device::wait(hive_ticket* handle, uint64_t timeout_us, hive_error* err) {
  const hive_status status = plan_.next(Slot::wait);
  if (status != HIVE_OK) return fail(err, status, "A rule of the fault backend made wait fail.");
  Lock lock(mutex_);
  const TicketPtr ticket = find(handle);
  if (ticket == nullptr) {
    return fail(err, HIVE_INVALID_ARGUMENT, "The ticket does not exist (any more).");
  }
  const auto done = [&] { return ticket->status != HIVE_PENDING; };
  if (timeout_us >= kWaitMaxUs) changed_.wait(lock, done);
  else changed_.wait_for(lock, std::chrono::microseconds(timeout_us), done);
  return report(*ticket, err);
}

void Device::cancel(hive_ticket* handle) {
  {
    const std::lock_guard lock(mutex_);
    const TicketPtr ticket = find(handle);
    if (ticket == nullptr) return;
    // Later jobs rely on appended rows: a copy is always carried out.
    if (ticket->work == Work::append) return;
    ticket->cancelled.store(true);
  }
  wake_.notify_all();
}

void Device::ticket_free(hive_ticket* handle) {
  if (handle == nullptr) return;
  TicketPtr ticket;
  {
    Lock lock(mutex_);
    ticket = find(handle);
    if (ticket != nullptr) {
      changed_.wait(lock, [&] { return ticket->closed; });
      tickets_.erase(handle);
    }
  }
  if (ticket == nullptr) violation("ticket_free of a ticket that does not exist.");
}

// ---- the device's thread -------------------------------------------------------------------

void Device::pump() {
  Lock lock(mutex_);
  for (;;) {
    start_ready(lock);
    poll_running(lock);
    if (!queue_.empty() || !running_.empty()) {
      wake_.wait_for(lock, kLook);
    } else if (stopping_) {
      return;
    } else {
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty() || !running_.empty(); });
    }
  }
}

void Device::start_ready(Lock& lock) {
  while (!queue_.empty()) {
    const TicketPtr ticket = queue_.front();
    const bool append = ticket->work == Work::append;
    // Rows are read as late as the contract allows: a source reused too early gives wrong rows.
    if (append && !stopping_ && Clock::now() < ticket->due) return;
    queue_.pop_front();
    lock.unlock();
    bool running = false;
    if (append) start_append(ticket);
    else running = start_scan(ticket);
    lock.lock();
    if (running) running_.push_back(ticket);
  }
}

void Device::poll_running(Lock& lock) {
  std::vector<TicketPtr> mine;
  mine.swap(running_);
  lock.unlock();
  std::erase_if(mine, [this](const TicketPtr& ticket) { return try_finish(ticket); });
  lock.lock();
  running_.insert(running_.end(), mine.begin(), mine.end());
}

void Device::start_append(const TicketPtr& ticket) {
  Segment& segment = *ticket->used_segments[0];
  const hive_rows& rows = ticket->rows;
  const size_t first = rows.first_slot;
  const size_t floats = size_t{rows.count} * sizeof(float);
  hive_status forced;
  {
    const std::lock_guard lock(mutex_);
    forced = ticket->forced;
  }
  // A copy that fails leaves its slots as they were: poisoned.
  if (forced == HIVE_OK) {
    segment.data.write(first * segment.row_bytes, rows.data, rows.count * segment.row_bytes);
    segment.inv_norms.write(first * sizeof(float), rows.inv_norms, floats);
    if (segment.scales.size() > 0) {
      segment.scales.write(first * sizeof(float), rows.scales, floats);
    }
  }
  hive_rows own = rows;
  own.struct_size = sizeof own;
  own.data = static_cast<const char*>(segment.data.data()) + first * segment.row_bytes;
  own.inv_norms = segment.inv_norms.floats() + first;
  own.scales = segment.scales.size() > 0 ? segment.scales.floats() + first : nullptr;
  hive_error error{sizeof(hive_error), ""};
  hive_status status = inner_.table->segment_append(inner_.device, segment.handle, &own,
                                                    &ticket->inner, &error);
  if (status == HIVE_OK) {
    status = inner_.table->wait(inner_.device, ticket->inner, UINT64_MAX, &error);
  }
  finish(ticket, status, error.message);
}

// True when the inner device has the job now; otherwise the ticket is finished.
bool Device::start_scan(const TicketPtr& ticket) {
  if (ticket->cancelled.load()) {
    finish(ticket, HIVE_CANCELLED, "");
    return false;
  }
  hive_error error{sizeof(hive_error), ""};
  const hive_status status =
      inner_.table->submit(inner_.device, &ticket->job.head, &ticket->inner, &error);
  if (status == HIVE_OK) return true;
  finish(ticket, status, error.message);
  return false;
}

bool Device::try_finish(const TicketPtr& ticket) {
  const bool cancelled = ticket->cancelled.load();
  if (cancelled) inner_.table->cancel(inner_.device, ticket->inner);
  hive_error error{sizeof(hive_error), ""};
  const hive_status status = inner_.table->poll(inner_.device, ticket->inner, &error);
  if (status == HIVE_PENDING) return false;
  if (!cancelled && Clock::now() < ticket->due) {
    const std::lock_guard lock(mutex_);
    if (!stopping_) return false;
  }
  finish(ticket, status, error.message);
  return true;
}

void Device::give_outputs(const Ticket& ticket) {
  const hive_scan_job& job = ticket.job;
  for (uint32_t q = 0; q < job.query_count; ++q) {
    const uint32_t count = ticket.hit_counts[q];
    std::copy_n(&ticket.hits[size_t{q} * job.k], count,
                ticket.outer.hits + size_t{q} * ticket.outer.k);
    ticket.outer.hit_counts[q] = count;
  }
}

void Device::finish(const TicketPtr& ticket, hive_status status, const std::string& message) {
  const bool append = ticket->work == Work::append;
  if (ticket->inner != nullptr) inner_.table->ticket_free(inner_.device, ticket->inner);
  ticket->message = message;
  if (!append && ticket->cancelled.load()) {
    status = HIVE_CANCELLED;
    ticket->message = "The job was cancelled.";
  }
  {
    const std::lock_guard lock(mutex_);
    if (status == HIVE_OK && ticket->forced != HIVE_OK) {
      status = ticket->forced;
      ticket->message = std::string("The fault backend ended the ticket with ") +
                        status_name(status) + ".";
    }
  }
  if (status == HIVE_OK && !append && config_.sim) give_outputs(*ticket);
  // Before the status shows: then the caller may free what the job used.
  ticket->used_segments.clear();
  ticket->used_bits.clear();
  {
    const std::lock_guard lock(mutex_);
    ticket->status = status;
    if (!append) {
      ++jobs_finished_;
      if (status != HIVE_OK && status != HIVE_CANCELLED) ++jobs_failed_;
    }
  }
  changed_.notify_all();
  const bool told = (inner_info_.caps & HIVE_CAP_NOTIFY) != 0 && !config_.sim;
  if (told && ticket->head.notify != nullptr) {
    ticket->head.notify(ticket->head.notify_ctx, ticket->id, status);
  }
  {
    const std::lock_guard lock(mutex_);
    ticket->closed = true;
  }
  changed_.notify_all();
}

}  // namespace hive::fault
