// Threads of the CPU backend. Jobs are lists of tiles; workers take one tile at a time, from the
// active jobs in turn, so a small job never waits for a large one to end.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "hive_backend.h"
#include "plan.h"

namespace hive::cpu {

// One job under way.
struct Job {
  Job(std::unique_ptr<Plan> p, const hive_job& h)
      : plan(std::move(p)), head(h), remaining(plan->tile_count()) {}

  const std::unique_ptr<Plan> plan;
  hive_job head;
  hive_ticket* ticket = nullptr;
  std::atomic<uint32_t> next{0};
  std::atomic<uint32_t> remaining;
  std::atomic<bool> cancelled{false};
  std::atomic<bool> out_of_memory{false};
  std::atomic<int32_t> status{HIVE_PENDING};

  std::mutex mutex;
  std::condition_variable changed;
  bool closed = false;  // notify has returned; the ticket may go
  std::vector<std::pair<std::thread::id, std::unique_ptr<Worker>>> workers;
};

class Pool {
 public:
  explicit Pool(uint32_t threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void submit(std::shared_ptr<Job> job);
  // Ends a job whose tiles are all accounted for: outputs, status, notify.
  void complete(Job& job);
  uint32_t thread_count() const { return thread_count_; }

  std::unique_ptr<Worker> borrow_worker();
  void return_worker(std::unique_ptr<Worker> worker);

  std::atomic<uint64_t> jobs_finished{0};
  std::atomic<uint64_t> jobs_failed{0};
  std::atomic<uint64_t> rows_scanned{0};

 private:
  void loop();
  bool run_one(std::shared_ptr<Job>& job);
  std::shared_ptr<Job> pick();
  void retire(const Job& job);
  Worker* worker_of(Job& job);
  bool spin(uint64_t epoch);

  const uint32_t thread_count_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Job>> active_;
  size_t turn_ = 0;
  uint32_t parked_ = 0;
  bool stopping_ = false;
  std::atomic<uint64_t> epoch_{0};        // counts submits
  std::atomic<uint32_t> active_count_{0};
  std::atomic<uint32_t> spinning_{0};
  std::mutex spare_mutex_;
  std::vector<std::unique_ptr<Worker>> spare_;
  std::vector<std::thread> threads_;
};

}  // namespace hive::cpu
