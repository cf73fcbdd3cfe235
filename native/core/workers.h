// Threads for what is neither a scan nor the device's own work: converting rows, compaction,
// probing drivers. Started on first use, one set per process.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace hive {

class Workers {
 public:
  static Workers& shared();
  // A set of its own for reading, writing and syncing files, so that a slow disk never holds up
  // conversions.
  static Workers& files();
  // Tasks must not throw.
  void run(std::function<void()> task);
  ~Workers();

 private:
  void start();
  void loop();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
  bool stopping_ = false;
};

}  // namespace hive
