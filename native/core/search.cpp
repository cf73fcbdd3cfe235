#include "search.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cpu_backend.h"
#include "workers.h"

namespace hive {
namespace {

// Work that is cheaper than waking a thread: about a megabyte of rows.
constexpr uint64_t kInlineBytes = uint64_t{1} << 20;
// What a scan reads per microsecond when it is not bound by memory; for estimates only.
constexpr double kBytesPerMicro = 40'000;
// Result slots of one backend job; larger batches run as several jobs.
constexpr uint64_t kHitsPerJob = uint64_t{1} << 20;
// What finding a row costs when rows are gathered, as bytes of a stream.
constexpr uint64_t kGatherBytes = 256;
// The CPU gathers when at most one row in this many passes; for explain only.
constexpr double kGatherShare = 3;
constexpr uint64_t kWaitSlice = 2'000;  // microseconds between looks at the cancel flag

bool is_device_fault(const std::string& code) {
  for (const char* fault : {"HIVE_OUT_OF_MEMORY", "HIVE_DEVICE_OUT_OF_MEMORY", "HIVE_DEVICE_LOST",
                            "HIVE_DEVICE_POISONED", "HIVE_DEVICE_TIMEOUT", "HIVE_UNSUPPORTED",
                            "HIVE_INTERNAL", "HIVE_NO_DEVICE"}) {
    if (code == fault) return true;
  }
  return false;
}

// Lets a wave go while another failure is being reported.
void release_quietly(Residency& residency, Wave* wave) {
  try {
    residency.settle(wave);
  } catch (const Failure&) {
    // The first failure is the one that counts.
  }
}

// Where the rows of a search are, for people.
std::string residency_reason(const Outlook& outlook) {
  const std::string budget = std::to_string(outlook.budget_bytes) + " bytes";
  if (outlook.kept == outlook.segments) {
    return "memory: the rows fit the device's budget of " + budget + " and stay there";
  }
  return "memory: " + std::to_string(outlook.need_bytes) + " bytes of rows exceed the budget of " +
         budget + ": " + std::to_string(outlook.kept) + " of " +
         std::to_string(outlook.segments) + " segments stay on the device, the others are streamed";
}

}  // namespace

// ---- runner -------------------------------------------------------------------------------------

const std::shared_ptr<Device>& Runner::current() const {
  return dead_.load() && choice_.fallback != nullptr ? choice_.fallback : choice_.device;
}

void Runner::report_fallback(const std::string& cause, bool dead) {
  if (dead) dead_.store(true);
  std::function<void(const std::string&)> listener;
  {
    const std::lock_guard lock(mutex_);
    if (std::find(reported_.begin(), reported_.end(), cause) != reported_.end()) return;
    reported_.push_back(cause);
    listener = listener_;
  }
  if (listener) listener(cause);
}

void Runner::on_fallback(std::function<void(const std::string&)> listener) {
  const std::lock_guard lock(mutex_);
  listener_ = std::move(listener);
}

namespace {

// Bytes of rows that a scan reads. A row that is gathered costs as much as some more bytes that
// are read in one stream.
uint64_t scan_bytes(const Collection& collection, const Snapshot& snapshot,
                    const Selection* selection) {
  const uint64_t row_bytes = uint64_t{collection.dim()} * element_bytes(collection.dtype());
  if (selection == nullptr) return snapshot.total_rows * row_bytes;
  uint64_t bytes = 0;
  for (size_t i = 0; i < snapshot.segments.size(); ++i) {
    const uint64_t passing = selection->passing(i);
    const uint64_t whole = passing == 0 ? 0 : snapshot.segments[i].row_count * row_bytes;
    bytes += std::min(whole, passing * (row_bytes + kGatherBytes));
  }
  return bytes;
}

void explain_filter(const Snapshot& snapshot, const Selection& selection, Plan* plan) {
  const uint64_t live = std::max<uint64_t>(1, snapshot.live_rows);
  const double share = 100.0 * static_cast<double>(selection.total()) / static_cast<double>(live);
  char text[200];
  std::snprintf(text, sizeof text, "filter: %llu of %llu rows pass (%.3g %%), exactly counted",
                static_cast<unsigned long long>(selection.total()),
                static_cast<unsigned long long>(snapshot.live_rows), share);
  plan->reasons.push_back(text);
  std::snprintf(text, sizeof text,
                "filter: read %llu bytes of columns; %zu of %zu segments were remembered",
                static_cast<unsigned long long>(selection.column_bytes()),
                selection.cached_segments(), snapshot.segments.size());
  plan->reasons.push_back(text);
  plan->rows = selection.total();
  if (selection.total() == 0) {
    plan->strategy = "nothing to search";
  } else if (share * kGatherShare <= 100) {
    plan->strategy = "gather";
    plan->reasons.push_back("gather: few rows of most tiles pass, so only those are read");
  } else {
    plan->strategy = "masked scan";
    plan->reasons.push_back("masked scan: whole tiles are read in one stream, empty ones skipped");
  }
}

}  // namespace

bool plan_search_inline(const Runner& runner, const Collection& collection,
                        const Snapshot& snapshot, uint64_t query_count,
                        const Selection* selection) {
  const auto work = static_cast<double>(scan_bytes(collection, snapshot, selection)) *
                    static_cast<double>(std::max<uint64_t>(1, query_count));
  return work <= static_cast<double>(kInlineBytes) && runner.current()->backend() == "cpu";
}

Plan plan_search(const Runner& runner, const Collection& collection, const Snapshot& snapshot,
                 uint64_t query_count, const Selection* selection) {
  Plan plan;
  const Device& device = *runner.current();
  plan.backend = device.backend();
  plan.device = device.info().name;
  plan.rows = snapshot.total_rows;
  plan.bytes = scan_bytes(collection, snapshot, selection);
  const auto work = static_cast<double>(plan.bytes) * static_cast<double>(std::max<uint64_t>(1, query_count));
  plan.estimated_micros = work / kBytesPerMicro;
  plan.reasons = runner.choice().reasons;
  if (selection == nullptr) {
    plan.reasons.push_back("flat scan: every live row is compared, so the answer is exact");
  } else {
    explain_filter(snapshot, *selection, &plan);
  }
  const bool cpu = device.backend() == "cpu";
  plan.run_inline = plan_search_inline(runner, collection, snapshot, query_count, selection);
  if (plan.run_inline) {
    plan.reasons.push_back("inline: at most 1 MiB of rows, cheaper than waking a thread");
  } else if (cpu) {
    plan.reasons.push_back("threads: more than 1 MiB of rows");
  } else {
    plan.reasons.push_back("threads: the device has memory and threads of its own");
    if (!device.host_memory()) {
      plan.reasons.push_back(
          residency_reason(runner.current()->residency().outlook(snapshot)));
    }
  }
  return plan;
}

// ---- search -------------------------------------------------------------------------------------

Search::Search(std::shared_ptr<Runner> runner, const Collection& collection,
               std::shared_ptr<const Snapshot> snapshot, const float* queries, size_t query_count,
               uint32_t k, std::shared_ptr<const Selection> selection)
    : runner_(std::move(runner)),
      snapshot_(std::move(snapshot)),
      selection_(std::move(selection)),
      dim_(collection.dim()),
      metric_(collection.metric()),
      dtype_(collection.dtype()),
      k_(static_cast<uint32_t>(std::min<uint64_t>(k, std::max<uint64_t>(1, selection_ == nullptr ? snapshot_->total_rows : selection_->total())))),
      query_count_(static_cast<uint32_t>(query_count)) {
  prepare(queries);
  const size_t slots = size_t{query_count_} * k_;
  result_.values.resize(slots);
  result_.rows.resize(slots);
  result_.counts.assign(query_count_, 0);
}

Search::~Search() { release(); }

void Search::destroy(Search* search) {
  if (search->tickets_.empty()) delete search;
  else Workers::shared().run([search] { delete search; });
}

// For cosine the query is scaled by a power of two so that its norm lies in [0.5, 1): exact, and
// small queries no longer underflow in the products.
void Search::prepare(const float* queries) {
  queries_.assign(queries, queries + size_t{query_count_} * dim_);
  inv_norms_.assign(query_count_, 1.0f);
  for (uint32_t q = 0; q < query_count_; ++q) {
    float* query = &queries_[size_t{q} * dim_];
    double sum = 0;
    for (uint32_t i = 0; i < dim_; ++i) sum += static_cast<double>(query[i]) * query[i];
    if (!std::isfinite(sum)) {
      const auto bad = std::find_if(query, query + dim_, [](float x) { return !std::isfinite(x); });
      throw Failure("NON_FINITE", "Query " + std::to_string(q) + " has NaN or Infinity at element " +
                                      std::to_string(bad - query) + ".", q, bad - query);
    }
    const double norm = std::sqrt(sum);
    if (norm > cpu::kNormMax) {
      throw Failure("NORM_TOO_LARGE", "Query " + std::to_string(q) + " has an l2 norm above 9e18.", q);
    }
    if (metric_ != HIVE_METRIC_COSINE) continue;
    if (norm < cpu::kNormMin) {
      inv_norms_[q] = 0;
      continue;
    }
    int exponent = 0;
    const double fraction = std::frexp(norm, &exponent);
    for (uint32_t i = 0; i < dim_; ++i) query[i] = std::ldexp(query[i], -exponent);
    inv_norms_[q] = static_cast<float>(1.0 / fraction);
  }
}

uint32_t Search::slice_queries() const {
  const uint64_t most = std::max<uint64_t>(1, kHitsPerJob / k_);
  return static_cast<uint32_t>(std::min<uint64_t>(most, query_count_ - next_query_));
}

hive_scan_job Search::make_job(const std::vector<hive_scan_segment>& segments, uint32_t first,
                               uint32_t count) {
  hits_.resize(size_t{count} * k_);
  hit_counts_.assign(count, 0);
  hive_scan_job job{};
  job.head.struct_size = sizeof job;
  job.head.op = HIVE_OP_SCAN_TOPK;
  job.metric = metric_;
  job.dim = dim_;
  job.query_count = count;
  job.k = k_;
  job.queries = &queries_[size_t{first} * dim_];
  job.query_inv_norms = &inv_norms_[first];
  job.segment_count = static_cast<uint32_t>(segments.size());
  job.segment_size = sizeof(hive_scan_segment);
  job.segments = segments.data();
  job.hits = hits_.data();
  job.hit_counts = hit_counts_.data();
  return job;
}

// Merges the hits of one job into the result; both are sorted, the result's come first in ties
// because earlier waves hold earlier rows.
void Search::merge(uint32_t first, uint32_t count, size_t segment_base) {
  const bool greater = metric_ == HIVE_METRIC_COSINE || metric_ == HIVE_METRIC_DOT;
  std::vector<float> values(k_);
  std::vector<uint64_t> rows(k_);
  for (uint32_t q = 0; q < count; ++q) {
    const size_t at = size_t{first + q} * k_;
    const hive_hit* found = &hits_[size_t{q} * k_];
    uint32_t& have = result_.counts[first + q];
    const auto row_of = [&](const hive_hit& hit) {
      return snapshot_->segments[segment_base + hit.segment].segment->row_at(hit.slot);
    };
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t n = 0;
    while (n < k_ && (a < have || b < hit_counts_[q])) {
      bool old = b == hit_counts_[q];
      if (!old && a < have) {
        const float x = result_.values[at + a];
        old = greater ? x >= found[b].value : x <= found[b].value;
      }
      values[n] = old ? result_.values[at + a] : found[b].value;
      rows[n] = old ? result_.rows[at + a] : row_of(found[b]);
      (old ? a : b) += 1;
      ++n;
    }
    std::copy_n(values.begin(), n, result_.values.begin() + static_cast<std::ptrdiff_t>(at));
    std::copy_n(rows.begin(), n, result_.rows.begin() + static_cast<std::ptrdiff_t>(at));
    have = n;
  }
}

// Gives the device the selection's bitsets; segments without a passing row are not read.
void Search::attach_filter(std::vector<hive_scan_segment>& segments, size_t segment_base) {
  if (selection_ == nullptr) return;
  const std::shared_ptr<Device>& device = device_;
  for (size_t i = 0; i < segments.size(); ++i) {
    const uint64_t passing = selection_->passing(segment_base + i);
    hive_scan_segment& segment = segments[i];
    segment.passing = static_cast<uint32_t>(passing);
    if (passing == 0) segment.row_count = 0;
    const FilterBits& bits = selection_->bits(segment_base + i);
    if (passing == 0 || bits.all) continue;
    hive_bits* made = nullptr;
    hive_error error = new_error();
    const hive_status status = device->table()->bits_create(device->handle(), bits.words.data(),
                                                            bits.row_count, &made, &error);
    if (status != HIVE_OK) throw backend_failure(status, error);
    filter_bits_.emplace_back(device, made);
    segment.filter = made;
  }
}

void Search::free_filter(FilterHandles* handles) {
  for (const auto& [device, bits] : *handles) device->table()->bits_free(device->handle(), bits);
  handles->clear();
}

void Search::run_inline() {
  device_ = runner_->current();
  Device& device = *device_;
  result_.backend = device.backend();
  device.residency().acquire(*snapshot_, &segments_);
  attach_filter(segments_, 0);
  const hive_scan_job job = make_job(segments_, 0, query_count_);
  hive_error error = new_error();
  const hive_status status = cpu::run_inline(device.handle(), &job.head, &error);
  if (status != HIVE_OK) throw backend_failure(status, error);
  merge(0, query_count_, 0);
}

void Search::start(std::function<void(std::optional<Failure>)> done) {
  done_ = std::move(done);
  if (snapshot_->segments.empty()) {
    result_.backend = runner_->current()->backend();
    return finish(std::nullopt);
  }
  begin_on(runner_->current());
}

void Search::begin_on(const std::shared_ptr<Device>& device) {
  device_ = device;
  result_.backend = device->backend();
  std::fill(result_.counts.begin(), result_.counts.end(), 0);
  next_query_ = 0;
  if (device->waited_for()) {
    device->run([self = shared_from_this()] { self->run_waves(); });
    return;
  }
  try {
    segments_.clear();
    device->residency().acquire(*snapshot_, &segments_);
    attach_filter(segments_, 0);
    next_slice();
  } catch (const Failure& failure) {
    device_failed(failure);
  } catch (const std::bad_alloc&) {
    finish(Failure("OUT_OF_MEMORY", "The host is out of memory."));
  }
}

// ---- devices that notify: each slice of queries is submitted when the one before has ended

void Search::next_slice() {
  slice_ = slice_queries();
  hive_scan_job job = make_job(segments_, next_query_, slice_);
  auto context = std::make_unique<std::shared_ptr<Search>>(shared_from_this());
  job.head.notify = &Search::notified;
  job.head.notify_ctx = context.get();
  hive_error error = new_error();
  hive_ticket* ticket = nullptr;
  hive_status status;
  {
    // Held across submit, so that cancel() either sees the ticket or is seen here.
    const std::lock_guard lock(mutex_);
    if (cancelled_.load()) status = HIVE_CANCELLED;
    else status = device_->table()->submit(device_->handle(), &job.head, &ticket, &error);
    if (status == HIVE_OK) {
      // From here on the notification owns the context.
      (void)context.release();
      tickets_.emplace_back(device_, ticket);
    }
  }
  if (status != HIVE_OK) throw backend_failure(status, error);
}

void Search::notified(void* context, hive_ticket*, hive_status status) {
  const std::unique_ptr<std::shared_ptr<Search>> owner(static_cast<std::shared_ptr<Search>*>(context));
  Search& self = **owner;
  try {
    if (status != HIVE_OK) {
      const hive_error none = new_error();
      throw backend_failure(status, none);
    }
    self.merge(self.next_query_, self.slice_, 0);
    self.next_query_ += self.slice_;
    if (self.next_query_ < self.query_count_) self.next_slice();
    else self.finish(std::nullopt);
  } catch (const Failure& failure) {
    self.device_failed(failure);
  } catch (const std::bad_alloc&) {
    self.finish(Failure("OUT_OF_MEMORY", "The host is out of memory."));
  }
}

// ---- devices that are waited for: everything runs on the device's thread, in waves

// The next wave is uploaded while the device searches the one before.
void Search::run_waves() {
  try {
    if (device_->handle() == nullptr && !device_->reopen()) {
      throw Failure("DEVICE_LOST", "The device is lost and could not be opened again.");
    }
    Residency& residency = device_->residency();
    const Pass pass = residency.begin(*snapshot_);
    while (next_query_ < query_count_) {
      const uint32_t count = slice_queries();
      for (size_t base = 0; base < snapshot_->segments.size();) {
        if (cancelled_.load()) throw Failure("CANCELLED", "The search was cancelled.");
        Wave wave = residency.acquire_wave(*snapshot_, base, pass);
        const bool nothing_fits = wave.segments.empty();
        if (nothing_fits && !flight_) {
          throw Failure("DEVICE_OUT_OF_MEMORY",
                        "A single segment does not fit the device's memory budget of " +
                            std::to_string(residency.stats().budget_bytes) + " bytes.");
        }
        const size_t end = wave.end;
        try {
          land();
        } catch (const Failure&) {
          release_quietly(residency, &wave);
          throw;
        }
        if (nothing_fits) continue;
        launch(std::move(wave), next_query_, count, base);
        base = end;
      }
      next_query_ += count;
    }
    land();
    finish(std::nullopt);
  } catch (const Failure& failure) {
    abandon();
    device_failed(failure);
  } catch (const std::bad_alloc&) {
    abandon();
    finish(Failure("OUT_OF_MEMORY", "The host is out of memory."));
  }
}

void Search::launch(Wave wave, uint32_t first, uint32_t count, size_t segment_base) {
  try {
    attach_filter(wave.segments, segment_base);
  } catch (const Failure&) {
    free_filter(&filter_bits_);
    release_quietly(device_->residency(), &wave);
    throw;
  }
  const hive_scan_job job = make_job(wave.segments, first, count);
  hive_error error = new_error();
  hive_ticket* ticket = nullptr;
  const hive_status status =
      device_->table()->submit(device_->handle(), &job.head, &ticket, &error);
  if (status != HIVE_OK) {
    free_filter(&filter_bits_);
    release_quietly(device_->residency(), &wave);
    throw backend_failure(status, error);
  }
  // The job reads the list of segments until it has ended; moving a vector keeps its memory.
  flight_.emplace(Flight{std::move(wave), ticket, first, count, segment_base,
                         std::move(filter_bits_)});
  filter_bits_.clear();
}

// Waits for the wave under way and takes its hits.
void Search::land() {
  if (!flight_) return;
  Flight flight = std::move(*flight_);
  flight_.reset();
  try {
    wait_for(flight.ticket);
  } catch (const Failure&) {
    free_filter(&flight.filters);
    release_quietly(device_->residency(), &flight.wave);
    throw;
  }
  free_filter(&flight.filters);
  device_->residency().settle(&flight.wave);
  merge(flight.first, flight.count, flight.segment_base);
}

// Ends the wave under way without using it.
void Search::abandon() {
  if (!flight_) return;
  device_->table()->cancel(device_->handle(), flight_->ticket);
  device_->table()->ticket_free(device_->handle(), flight_->ticket);
  free_filter(&flight_->filters);
  release_quietly(device_->residency(), &flight_->wave);
  flight_.reset();
}

void Search::wait_for(hive_ticket* ticket) {
  const hive_backend_table* table = device_->table();
  hive_error error = new_error();
  bool asked = false;
  for (;;) {
    const hive_status status = table->wait(device_->handle(), ticket, kWaitSlice, &error);
    if (status != HIVE_PENDING) {
      table->ticket_free(device_->handle(), ticket);
      if (status != HIVE_OK) throw backend_failure(status, error);
      return;
    }
    if (cancelled_.load() && !asked) {
      table->cancel(device_->handle(), ticket);
      asked = true;
    }
  }
}

// ---- endings

void Search::device_failed(const Failure& failure) {
  const bool lost = failure.code() == "HIVE_DEVICE_LOST";
  if (lost && !retried_ && device_->waited_for()) {
    // On the device's thread, so nothing else uses the handle.
    retried_ = true;
    if (device_->reopen()) return begin_on(device_);
  }
  if (!is_device_fault(failure.code()) || !runner_->fallback_allowed() || fell_back_ ||
      device_ == runner_->choice().fallback) {
    return finish(failure);
  }
  fell_back_ = true;
  const bool dead = lost || failure.code() == "HIVE_DEVICE_POISONED";
  runner_->report_fallback(device_->backend() + ": " + failure.what(), dead);
  begin_on(runner_->choice().fallback);
}

void Search::finish(std::optional<Failure> failure) {
  const auto done = std::move(done_);
  done_ = nullptr;
  if (done) done(std::move(failure));
}

void Search::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_.store(true);
  if (tickets_.empty()) return;
  const auto& [device, ticket] = tickets_.back();
  device->table()->cancel(device->handle(), ticket);
}

void Search::release() {
  std::vector<std::pair<std::shared_ptr<Device>, hive_ticket*>> tickets;
  {
    const std::lock_guard lock(mutex_);
    tickets.swap(tickets_);
  }
  for (const auto& [device, ticket] : tickets) {
    device->table()->ticket_free(device->handle(), ticket);
  }
  free_filter(&filter_bits_);
}

}  // namespace hive
