#include "workers.h"

#include <algorithm>

#include "cpu_backend.h"

namespace hive {

Workers& Workers::shared() {
  // Never destroyed: threads of a terminated environment may still hand in tasks at exit.
  static Workers* const workers = new Workers();
  return *workers;
}

Workers& Workers::files() {
  static Workers* const workers = new Workers();
  return *workers;
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::start() {
  const uint32_t count = std::clamp(cpu::usable_threads(), 2u, 8u);
  for (uint32_t i = 0; i < count; ++i) threads_.emplace_back([this] { loop(); });
}

void Workers::run(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (threads_.empty()) start();
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void Workers::loop() {
  cpu::give_way();
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace hive
