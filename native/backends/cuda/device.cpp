#include "device.h"

#include <thread>

namespace hive::cuda {
namespace {

constexpr int kSlots = 4;
constexpr unsigned kStreamNonBlocking = 1;
constexpr int kSharedOptIn = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
constexpr const char* kTypeNames[] = {"f32", "f16", "bf16", "i8"};
// How often the driver is asked about a job whose flag is not there yet.
constexpr auto kLookEvery = std::chrono::milliseconds(2);

uint32_t number_of(const std::string& key, const std::string& text, uint32_t most) {
  char* end = nullptr;
  const unsigned long value = std::strtoul(text.c_str(), &end, 10);
  if (text.empty() || *end != 0 || value > most) {
    throw Fault(HIVE_INVALID_ARGUMENT,
                key + " must be 0 to " + std::to_string(most) + ", got \"" + text + "\".");
  }
  return static_cast<uint32_t>(value);
}

}  // namespace

Config parse_config(const hive_open_options* options) {
  Config config;
  constexpr size_t kEnd = offsetof(hive_open_options, config) + sizeof(const char*);
  const bool there =
      options != nullptr && options->struct_size >= kEnd && options->config != nullptr;
  std::string text = there ? options->config : "";
  while (!text.empty()) {
    const size_t end = text.find(';');
    const std::string item = text.substr(0, end);
    text = end == std::string::npos ? "" : text.substr(end + 1);
    if (item.empty()) continue;
    const size_t equals = item.find('=');
    const std::string key = item.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : item.substr(equals + 1);
    if (key == "driver") config.driver = value;
    else if (key == "timeout_ms") config.timeout_ms = number_of(key, value, 86'400'000);
    else if (key == "timing") config.timing = number_of(key, value, 1) != 0;
    else if (key == "matrix") config.matrix = number_of(key, value, 1) != 0;
    else if (key == "blocks") config.blocks = number_of(key, value, 65'535);
    else {
      throw Fault(HIVE_INVALID_ARGUMENT,
                  "Unknown setting \"" + key + "\" for the cuda backend; it has driver, "
                  "timeout_ms, timing, matrix and blocks.");
    }
  }
  return config;
}

Device::Device(const Driver& driver, uint32_t index, const Config& config, unsigned host_threads)
    : driver_(driver), number_(driver.devices()[index]), config_(config) {
  std::string reason;
  if (driver_.poisoned(&reason)) throw Fault(HIVE_DEVICE_POISONED, reason);
  driver_.check(driver_.context_retain(&context_, number_), "cuDevicePrimaryCtxRetain");
  try {
    driver_.check(driver_.context_set(context_), "cuCtxSetCurrent");
    multiprocessors_ =
        static_cast<uint32_t>(std::max(1, driver_.attribute(number_, kAttributeMultiprocessors)));
    shared_most_ = static_cast<uint32_t>(
        std::max(48 * 1024, driver_.attribute(number_, kAttributeSharedOptIn)));
    matrix_ = config_.matrix && driver_.attribute(number_, kAttributeMajor) >= 8;
    memory_ = std::make_unique<Memory>(driver_, number_);
    uploader_ = std::make_unique<Uploader>(driver_, context_, host_threads);
    driver_.check(driver_.stream_create(&cancel_stream_, kStreamNonBlocking, 0), "cuStreamCreate");
    for (int i = 0; i < kSlots; ++i) {
      auto slot = std::make_unique<Slot>();
      driver_.check(driver_.stream_create(&slot->stream, kStreamNonBlocking, 0), "cuStreamCreate");
      driver_.check(driver_.event_create(&slot->begin, 0), "cuEventCreate");
      driver_.check(driver_.event_create(&slot->end, 0), "cuEventCreate");
      slot->words.reserve(driver_, 4096);
      std::memset(slot->words.data(), 0, 4096);
      slots_.push_back(std::move(slot));
    }
  } catch (...) {
    (void)driver_.context_release(number_);
    throw;
  }
}

Device::~Device() {
  (void)driver_.context_set(context_);
  uploader_.reset();
  if (cancel_stream_ != nullptr) {
    (void)driver_.stream_synchronize(cancel_stream_);
    (void)driver_.stream_destroy(cancel_stream_);
  }
  for (const auto& slot : slots_) {
    // Kernels of a job that timed out may still be running.
    (void)driver_.stream_synchronize(slot->stream);
    (void)driver_.event_destroy(slot->begin);
    (void)driver_.event_destroy(slot->end);
    (void)driver_.stream_destroy(slot->stream);
  }
  slots_.clear();
  for (hive_segment* segment : segments) {
    memory_->give_back(std::move(segment->range));
    memory_->give_back_block(segment->inv_norms, size_t{segment->capacity} * sizeof(float));
    memory_->give_back_block(segment->scales, size_t{segment->capacity} * sizeof(float));
    delete segment;
  }
  for (hive_bits* b : bits) {
    memory_->give_back_block(b->words, b->bytes);
    delete b;
  }
  memory_.reset();
  for (Module module : modules_) {
    if (module != nullptr) (void)driver_.module_unload(module);
  }
  (void)driver_.context_set(nullptr);
  (void)driver_.context_release(number_);
}

void Device::enter() const {
  if (state_.load() != HIVE_OK) throw Fault(state_.load(), state_reason_);
  std::string reason;
  if (driver_.poisoned(&reason)) throw Fault(HIVE_DEVICE_POISONED, reason);
  driver_.check(driver_.context_set(context_), "cuCtxSetCurrent");
}

Function Device::function(Module module, const std::string& name, size_t shared) const {
  Function f = nullptr;
  driver_.check(driver_.module_function(&f, module, name.c_str()), ("kernel " + name).c_str());
  if (shared > 48 * 1024) {
    driver_.check(driver_.function_set(f, kSharedOptIn, static_cast<int>(shared)),
                  ("shared memory of " + name).c_str());
  }
  return f;
}

void Device::load(uint32_t dtype) {
  const std::lock_guard lock(load_mutex_);
  if (modules_[4] == nullptr) {
    driver_.check(driver_.module_load(&modules_[4], image(4)), "cuModuleLoadData");
    constexpr const char* kNames[] = {"count", "pick", "collect", "done"};
    for (int i = 0; i < 4; ++i) {
      select_[i] = function(modules_[4], std::string("hive_select_") + kNames[i], 0);
    }
  }
  if (modules_[dtype] != nullptr) return;
  Module module = nullptr;
  driver_.check(driver_.module_load(&module, image(static_cast<int>(dtype))), "cuModuleLoadData");
  Kernels& k = kernels_[dtype];
  const std::string prefix = std::string("hive_") + kTypeNames[dtype];
  constexpr const char* kMetrics[] = {"dot", "l2", "l1", "linf"};
  for (int m = 0; m < 4; ++m) {
    k.scan[m][0] = function(module, prefix + "_" + kMetrics[m] + "_1", 0);
    k.scan[m][1] = function(module, prefix + "_" + kMetrics[m] + "_8", 0);
  }
  k.finish = function(module, prefix + "_finish", 0);
  if (matrix_) {
    k.matrix[0] = function(module, prefix + "_matrix_16", shared_most_);
    k.matrix[1] = function(module, prefix + "_matrix_64", shared_most_);
    k.matrix[2] = function(module, prefix + "_matrix_128", shared_most_);
  }
  modules_[dtype] = module;
}

// ---- jobs ---------------------------------------------------------------------------------------

void Device::submit(std::unique_ptr<ScanTicket> owned, hive_ticket** out) {
  ScanTicket* ticket = owned.get();
  plan(ticket);
  jobs_submitted_.fetch_add(1);
  *out = owned.release();
  ticket->started = Clock::now();
  if (ticket->waves.empty()) {
    std::fill_n(ticket->job.hit_counts, ticket->job.query_count, 0u);
    return end(ticket, HIVE_OK, "");
  }
  const std::lock_guard lock(mutex_);
  Slot* slot = queue_.empty() && ready(*ticket) ? free_slot() : nullptr;
  if (slot == nullptr) queue_.push_back(ticket);
  else start(ticket, slot);
}

bool Device::ready(const ScanTicket& ticket) const {
  for (const hive_segment* segment : ticket.sources) {
    if (segment->copying.load(std::memory_order_acquire) > 0) return false;
  }
  return true;
}

Slot* Device::free_slot() {
  for (const auto& slot : slots_) {
    if (slot->ticket == nullptr && !slot->stuck) return slot.get();
  }
  return nullptr;
}

void Device::start(ScanTicket* ticket, Slot* slot) {
  for (const hive_segment* segment : ticket->sources) {
    if (segment->broken.load()) {
      return end(ticket, HIVE_DEVICE_LOST, "Rows of a segment could not be copied to the device.");
    }
  }
  slot->ticket = ticket;
  ticket->slot = slot;
  next_wave(slot, ticket);
}

// Launches the next wave; a failure ends the job.
void Device::next_wave(Slot* slot, ScanTicket* ticket) {
  hive_status status = HIVE_OK;
  std::string message;
  try {
    begin_wave(slot, ticket);
    return;
  } catch (const Fault& fault) {
    status = fault.status();
    message = fault.what();
  } catch (const std::bad_alloc&) {
    status = HIVE_OUT_OF_MEMORY;
    message = "The host is out of memory.";
  }
  if (status == HIVE_DEVICE_POISONED || status == HIVE_DEVICE_LOST) lose(status, message);
  // What was launched before the failure must not run into the next job.
  (void)driver_.stream_synchronize(slot->stream);
  slot->ticket = nullptr;
  end(ticket, status, message);
}

void Device::progress() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return;
  for (const auto& slot : slots_) check_slot(slot.get());
  for (size_t i = 0; i < queue_.size();) {
    ScanTicket* ticket = queue_[i];
    Slot* slot = nullptr;
    if (ticket->cancelled.load()) {
      queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(i));
      end(ticket, HIVE_CANCELLED, "The job was cancelled.");
    } else if (state_.load() != HIVE_OK) {
      queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(i));
      end(ticket, state_.load(), state_reason_);
    } else if (ready(*ticket) && (slot = free_slot()) != nullptr) {
      queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(i));
      try {
        driver_.check(driver_.context_set(context_), "cuCtxSetCurrent");
        start(ticket, slot);
      } catch (const Fault& fault) {
        end(ticket, fault.status(), fault.what());
      }
    } else {
      ++i;
    }
  }
}

void Device::check_slot(Slot* slot) {
  ScanTicket* ticket = slot->ticket;
  if (ticket == nullptr && !slot->stuck) return;
  const auto* flag = reinterpret_cast<const std::atomic<uint32_t>*>(slot->words.data());
  if (flag->load(std::memory_order_acquire) == slot->sequence) {
    slot->stuck = false;
    if (ticket != nullptr) harvest(slot);
    return;
  }
  const auto now = Clock::now();
  if (now - slot->looked < kLookEvery) return;
  slot->looked = now;
  (void)driver_.context_set(context_);
  const Result result = driver_.stream_query(slot->stream);
  if (ticket == nullptr) return;
  if (result == kNotReady) {
    if (now - slot->launched < std::chrono::milliseconds(config_.timeout_ms)) return;
    const std::string message = "The device did not answer within " +
                                std::to_string(config_.timeout_ms) + " ms.";
    slot->stuck = true;
    slot->ticket = nullptr;
    lose(HIVE_DEVICE_LOST, message);
    return end(ticket, HIVE_DEVICE_TIMEOUT, message);
  }
  if (result == kSuccess) {
    if (flag->load(std::memory_order_acquire) == slot->sequence) return harvest(slot);
    slot->ticket = nullptr;
    return end(ticket, HIVE_INTERNAL, "The kernels ended without an answer.");
  }
  hive_status status = HIVE_INTERNAL;
  std::string message;
  try {
    driver_.check(result, "searching");
  } catch (const Fault& fault) {
    status = fault.status();
    message = fault.what();
  }
  slot->ticket = nullptr;
  if (status == HIVE_DEVICE_POISONED || status == HIVE_DEVICE_LOST) lose(status, message);
  end(ticket, status, message);
}

void Device::harvest(Slot* slot) {
  ScanTicket* ticket = slot->ticket;
  if (config_.timing) {
    float ms = 0;
    (void)driver_.context_set(context_);
    (void)driver_.event_synchronize(slot->end);
    if (driver_.event_elapsed(&ms, slot->begin, slot->end) == kSuccess) {
      ticket->device_micros += ms * 1000;
    }
  }
  if (!ticket->cancelled.load()) collect(slot, ticket);
  if (!ticket->cancelled.load() && !ticket->waves.empty()) {
    (void)driver_.context_set(context_);
    return next_wave(slot, ticket);
  }
  slot->ticket = nullptr;
  last_micros_ = ticket->device_micros;
  if (ticket->cancelled.load()) return end(ticket, HIVE_CANCELLED, "The job was cancelled.");
  rows_scanned_.fetch_add(ticket->scanned * ticket->job.query_count);
  end(ticket, HIVE_OK, "");
}

void Device::end(ScanTicket* ticket, hive_status status, const std::string& message) {
  jobs_finished_.fetch_add(1);
  if (status != HIVE_OK && status != HIVE_CANCELLED) jobs_failed_.fetch_add(1);
  ticket->finish(status, message);
}

// With mutex_ held: no job can be served any more until the device is opened again.
void Device::lose(hive_status status, const std::string& reason) {
  if (state_.load() != HIVE_OK) return;
  state_reason_ = reason;
  state_.store(status);
}

void Device::cancel(ScanTicket* ticket) {
  ticket->cancelled.store(true);
  const std::lock_guard lock(mutex_);
  for (const auto& slot : slots_) {
    if (slot->ticket != ticket) continue;
    // Kernels look at a word of device memory now and then; reading host memory from thousands of
    // warps would cost more than the search.
    auto* sequence = reinterpret_cast<uint32_t*>(slot->words.data()) + 32;
    *sequence = slot->sequence;
    (void)driver_.context_set(context_);
    (void)driver_.copy_to_device(slot->control.at(control_cancel()), sequence, sizeof *sequence,
                                 cancel_stream_);
  }
}

void Device::health(hive_health* out) {
  hive_health report{};
  std::string reason;
  report.status = driver_.poisoned(&reason) ? HIVE_DEVICE_POISONED : state_.load();
  report.jobs_submitted = jobs_submitted_.load();
  report.jobs_finished = jobs_finished_.load();
  report.jobs_failed = jobs_failed_.load();
  report.rows_scanned = rows_scanned_.load();
  if (report.status != HIVE_OK) {
    if (reason.empty()) reason = state_reason_;
    std::snprintf(report.detail, sizeof report.detail, "%s", reason.c_str());
  } else if (config_.timing) {
    std::snprintf(report.detail, sizeof report.detail, "device time of the last job: %.2f us",
                  static_cast<double>(last_micros_));
  }
  (void)give(report, out, nullptr);
}

void Device::measure(double* copy, double* pinned) {
  enter();
  constexpr size_t kBytes = size_t{1} << 30;
  constexpr size_t kHostBytes = size_t{256} << 20;
  constexpr int kRounds = 7;
  Scratch scratch;
  Pinned host;
  Slot timer;
  driver_.check(driver_.stream_create(&timer.stream, kStreamNonBlocking, 0), "cuStreamCreate");
  driver_.check(driver_.event_create(&timer.begin, 0), "cuEventCreate");
  driver_.check(driver_.event_create(&timer.end, 0), "cuEventCreate");
  scratch.reserve(driver_, timer.stream, 2 * kBytes, true);
  host.reserve(driver_, kHostBytes);
  std::memset(host.data(), 1, kHostBytes);
  const auto best = [&](double bytes, auto run) {
    float least = 1e9f;
    for (int i = 0; i < kRounds; ++i) {
      float ms = 0;
      driver_.check(driver_.event_record(timer.begin, timer.stream), "cuEventRecord");
      driver_.check(run(), "copying");
      driver_.check(driver_.event_record(timer.end, timer.stream), "cuEventRecord");
      driver_.check(driver_.event_synchronize(timer.end), "copying");
      driver_.check(driver_.event_elapsed(&ms, timer.begin, timer.end), "cuEventElapsedTime");
      least = std::min(least, ms);
    }
    return bytes / (static_cast<double>(least) * 1e-3);
  };
  *copy = best(2.0 * kBytes, [&] {
    return driver_.copy_on_device(scratch.at(), scratch.at(kBytes), kBytes, timer.stream);
  });
  *pinned = best(static_cast<double>(kHostBytes), [&] {
    return driver_.copy_to_device(scratch.at(), host.data(), kHostBytes, timer.stream);
  });
  (void)driver_.event_destroy(timer.begin);
  (void)driver_.event_destroy(timer.end);
  (void)driver_.stream_destroy(timer.stream);
}

hive_memory_info Device::memory_info() {
  enter();
  size_t free_bytes = 0;
  size_t total = 0;
  driver_.check(driver_.memory_info(&free_bytes, &total), "cuMemGetInfo");
  hive_memory_info info{};
  info.total_bytes = total;
  info.free_bytes = std::min<uint64_t>(total, free_bytes + memory_->kept_bytes());
  info.used_bytes = used_bytes.load();
  return info;
}

}  // namespace hive::cuda
