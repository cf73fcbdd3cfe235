#include "pool.h"

#include <algorithm>
#include <chrono>
#include <new>

#include "cpu_backend.h"

namespace hive::cpu {
namespace {

// A parked thread costs 30 to 70 microseconds to wake, so a worker looks around a little first.
constexpr auto kSpin = std::chrono::microseconds(50);

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Pool::Pool(uint32_t threads) : thread_count_(threads) {
  threads_.reserve(threads);
  for (uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { loop(); });
}

Pool::~Pool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  epoch_.fetch_add(1);
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::unique_ptr<Worker> Pool::borrow_worker() {
  {
    const std::lock_guard lock(spare_mutex_);
    if (!spare_.empty()) {
      std::unique_ptr<Worker> worker = std::move(spare_.back());
      spare_.pop_back();
      return worker;
    }
  }
  return std::make_unique<Worker>();
}

void Pool::return_worker(std::unique_ptr<Worker> worker) {
  const std::lock_guard lock(spare_mutex_);
  // Scratch of a rare huge batch must not stay around for ever.
  if (spare_.size() < size_t{thread_count_} + 2 && worker->best.size() <= 4096) {
    spare_.push_back(std::move(worker));
  }
}

void Pool::submit(std::shared_ptr<Job> job) {
  const uint32_t tiles = job->plan->tile_count();
  uint32_t sleepers;
  {
    const std::lock_guard lock(mutex_);
    active_.push_back(std::move(job));
    active_count_.store(static_cast<uint32_t>(active_.size()));
    sleepers = std::min(parked_, tiles);
    epoch_.fetch_add(1);
  }
  for (uint32_t i = 0; i < sleepers; ++i) wake_.notify_one();
}

std::shared_ptr<Job> Pool::pick() {
  const std::lock_guard lock(mutex_);
  if (active_.empty()) return nullptr;
  turn_ = (turn_ + 1) % active_.size();
  return active_[turn_];
}

void Pool::retire(const Job& job) {
  const std::lock_guard lock(mutex_);
  const auto it = std::find_if(active_.begin(), active_.end(),
                               [&](const std::shared_ptr<Job>& a) { return a.get() == &job; });
  if (it != active_.end()) active_.erase(it);
  active_count_.store(static_cast<uint32_t>(active_.size()));
}

Worker* Pool::worker_of(Job& job) {
  const std::thread::id self = std::this_thread::get_id();
  const std::lock_guard lock(job.mutex);
  for (const auto& [id, worker] : job.workers) {
    if (id == self) return worker.get();
  }
  std::unique_ptr<Worker> worker = borrow_worker();
  job.plan->prepare(*worker);
  job.workers.emplace_back(self, std::move(worker));
  return job.workers.back().second.get();
}

// Runs one tile of the job; false when it had none left.
bool Pool::run_one(std::shared_ptr<Job>& job) {
  const uint32_t tiles = job->plan->tile_count();
  const uint32_t tile = job->next.fetch_add(1);
  if (tile >= tiles) {
    retire(*job);
    return false;
  }
  uint32_t done = 1;
  if (job->cancelled.load(std::memory_order_relaxed)) {
    // Take everything that is left in one step.
    const uint32_t first_free = std::min(job->next.exchange(tiles), tiles);
    done += tiles - first_free;
  } else {
    try {
      job->plan->run_tile(tile, *worker_of(*job));
    } catch (const std::bad_alloc&) {
      job->out_of_memory.store(true);
      job->cancelled.store(true);
    }
  }
  if (job->remaining.fetch_sub(done) == done) {
    retire(*job);
    complete(*job);
  }
  return true;
}

void Pool::complete(Job& job) {
  int32_t status = HIVE_OK;
  if (job.out_of_memory.load()) status = HIVE_OUT_OF_MEMORY;
  else if (job.cancelled.load()) status = HIVE_CANCELLED;
  uint64_t rows = 0;
  if (status == HIVE_OK) {
    try {
      if (job.workers.empty()) {
        job.workers.emplace_back(std::thread::id{}, borrow_worker());
        job.plan->prepare(*job.workers[0].second);
      }
      std::vector<Worker*> workers;
      for (const auto& entry : job.workers) {
        workers.push_back(entry.second.get());
        rows += entry.second->rows;
      }
      job.plan->finish(workers.data(), static_cast<uint32_t>(workers.size()));
    } catch (const std::bad_alloc&) {
      status = HIVE_OUT_OF_MEMORY;
    }
  }
  for (auto& entry : job.workers) return_worker(std::move(entry.second));
  job.workers.clear();
  rows_scanned.fetch_add(rows * job.plan->query_count());
  jobs_finished.fetch_add(1);
  if (status == HIVE_OUT_OF_MEMORY) jobs_failed.fetch_add(1);
  {
    const std::lock_guard lock(job.mutex);
    job.status.store(status);
  }
  job.changed.notify_all();
  if (job.head.notify != nullptr) job.head.notify(job.head.notify_ctx, job.ticket, status);
  {
    const std::lock_guard lock(job.mutex);
    job.closed = true;
    // Under the lock: after it, the ticket and with it the job may be gone.
    job.changed.notify_all();
  }
}

bool Pool::spin(uint64_t epoch) {
  const uint32_t most = std::max<uint32_t>(1, thread_count() / 2);
  if (spinning_.fetch_add(1) >= most) {
    spinning_.fetch_sub(1);
    return false;
  }
  const auto end = std::chrono::steady_clock::now() + kSpin;
  bool changed = false;
  do {
    for (int i = 0; i < 32; ++i) pause_briefly();
    changed = epoch_.load(std::memory_order_relaxed) != epoch;
  } while (!changed && std::chrono::steady_clock::now() < end);
  spinning_.fetch_sub(1);
  return changed;
}

void Pool::loop() {
  give_way();
  std::shared_ptr<Job> job;
  for (;;) {
    const uint64_t epoch = epoch_.load();
    // With one job there is nobody to be fair to, and no lock to take.
    if (job == nullptr || active_count_.load(std::memory_order_relaxed) > 1) job = pick();
    if (job != nullptr) {
      if (!run_one(job)) job.reset();
      continue;
    }
    if (spin(epoch)) continue;
    std::unique_lock lock(mutex_);
    if (stopping_) return;
    if (epoch_.load() != epoch) continue;
    ++parked_;
    wake_.wait(lock, [&] { return stopping_ || epoch_.load() != epoch; });
    --parked_;
    if (stopping_) return;
  }
}

}  // namespace hive::cpu
