// One search: queries prepared, planned, run on a device (in waves when it is too small), merged,
// and answered by the CPU when an unforced device fails.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "collection.h"
#include "device.h"
#include "predicate.h"

namespace hive {

struct Plan {
  std::string backend;
  std::string device;
  std::string strategy = "flat scan";
  bool run_inline = false;
  uint64_t rows = 0;        // rows that are read
  uint64_t bytes = 0;       // bytes of vectors that are read
  double estimated_micros = 0;
  std::vector<std::string> reasons;
};

// Where a database's searches run, and what to say when that is not where they should.
class Runner {
 public:
  explicit Runner(DeviceChoice choice) : choice_(std::move(choice)) {}

  const DeviceChoice& choice() const { return choice_; }
  // The device the next search goes to: the chosen one unless it is known to be dead.
  const std::shared_ptr<Device>& current() const;
  // Called when an unforced device could not answer. Reports each distinct cause once.
  void report_fallback(const std::string& cause, bool dead);
  void on_fallback(std::function<void(const std::string&)> listener);
  bool fallback_allowed() const { return !choice_.forced && choice_.fallback != nullptr; }

 private:
  DeviceChoice choice_;
  std::mutex mutex_;
  std::vector<std::string> reported_;
  std::function<void(const std::string&)> listener_;
  std::atomic<bool> dead_{false};
};

// selection: null without a filter.
Plan plan_search(const Runner& runner, const Collection& collection, const Snapshot& snapshot,
                 uint64_t query_count, const Selection* selection = nullptr);

// The part of the plan that every search needs: is it worth a thread?
bool plan_search_inline(const Runner& runner, const Collection& collection,
                        const Snapshot& snapshot, uint64_t query_count,
                        const Selection* selection = nullptr);

// The answer: hits of query q at [q * k, q * k + counts[q]).
struct SearchResult {
  std::vector<float> values;
  std::vector<uint64_t> rows;
  std::vector<uint32_t> counts;
  std::string backend;
};

class Search : public std::enable_shared_from_this<Search> {
 public:
  // The way to make one; arguments as for the constructor. When the last owner lets go while a
  // ticket is still there, the search is destroyed on a worker thread: that owner may be the
  // ticket's own notify call, and freeing the ticket waits for that call.
  template <class... Args>
  static std::shared_ptr<Search> make(Args&&... args) {
    return std::shared_ptr<Search>(new Search(std::forward<Args>(args)...), destroy);
  }

  // Copies the queries, then checks the copy. Throws NON_FINITE or NORM_TOO_LARGE.
  Search(std::shared_ptr<Runner> runner, const Collection& collection,
         std::shared_ptr<const Snapshot> snapshot, const float* queries, size_t query_count,
         uint32_t k, std::shared_ptr<const Selection> selection = nullptr);
  ~Search();

  // Runs to the end on this thread. Only for plans with run_inline.
  void run_inline();
  // Starts; done is called exactly once, from any thread.
  void start(std::function<void(std::optional<Failure>)> done);
  // May be called from any thread at any time; done then reports CANCELLED unless it was over.
  void cancel();
  // Frees what the backend keeps for this search; may wait for a moment. Never from done.
  void release();
  SearchResult& result() { return result_; }
  uint32_t k() const { return k_; }
  uint32_t query_count() const { return query_count_; }

 private:
  static void destroy(Search* search);
  // A wave that the device is searching.
  // Bitsets of the selection on devices.
  using FilterHandles = std::vector<std::pair<std::shared_ptr<Device>, hive_bits*>>;
  struct Flight {
    Wave wave;
    hive_ticket* ticket;
    uint32_t first;
    uint32_t count;
    size_t segment_base;
    FilterHandles filters;
  };

  void prepare(const float* queries);
  hive_scan_job make_job(const std::vector<hive_scan_segment>& segments, uint32_t first,
                         uint32_t count);
  void attach_filter(std::vector<hive_scan_segment>& segments, size_t segment_base);
  static void free_filter(FilterHandles* handles);
  void begin_on(const std::shared_ptr<Device>& device);
  void next_slice();
  void run_waves();
  void launch(Wave wave, uint32_t first, uint32_t count, size_t segment_base);
  void land();
  void abandon();
  void wait_for(hive_ticket* ticket);
  void merge(uint32_t first, uint32_t count, size_t segment_base);
  void finish(std::optional<Failure> failure);
  void device_failed(const Failure& failure);
  static void notified(void* context, hive_ticket* ticket, hive_status status);
  uint32_t slice_queries() const;

  const std::shared_ptr<Runner> runner_;
  const std::shared_ptr<const Snapshot> snapshot_;
  const std::shared_ptr<const Selection> selection_;  // null: no filter
  const uint32_t dim_;
  const uint32_t metric_;
  const uint32_t dtype_;
  const uint32_t k_;
  const uint32_t query_count_;
  std::vector<float> queries_;
  std::vector<float> inv_norms_;

  std::shared_ptr<Device> device_;
  std::vector<hive_scan_segment> segments_;
  // Of the selection, on a device; freed when no ticket uses them.
  FilterHandles filter_bits_;
  std::vector<hive_hit> hits_;
  std::vector<uint32_t> hit_counts_;
  uint32_t next_query_ = 0;
  uint32_t slice_ = 0;
  std::optional<Flight> flight_;
  bool retried_ = false;
  bool fell_back_ = false;
  SearchResult result_;

  std::mutex mutex_;  // tickets_ against cancel() and release()
  // Of devices that notify; the last one may be under way, the others have finished.
  std::vector<std::pair<std::shared_ptr<Device>, hive_ticket*>> tickets_;
  std::atomic<bool> cancelled_{false};
  std::function<void(std::optional<Failure>)> done_;
};

}  // namespace hive
