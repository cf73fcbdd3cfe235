// Rows of one dimension, dtype and metric: batches in, snapshots out, dead rows compacted away.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "columns.h"
#include "failure.h"
#include "segment.h"

namespace hive {

inline constexpr uint64_t kRowMax = uint64_t{1} << 53;  // rows must stay exact as JavaScript numbers

class Batch;

struct CollectionStats {
  size_t segments = 0;
  uint64_t rows = 0;
  uint64_t live_rows = 0;
  uint64_t host_bytes = 0;
  uint64_t column_bytes = 0;
};

class Collection : public std::enable_shared_from_this<Collection> {
 public:
  // max_segment_bytes: the greatest segment the device takes. first_row: of the first record.
  Collection(uint32_t dim, uint32_t metric, uint32_t dtype, uint64_t max_segment_bytes,
             uint64_t first_row = 0);

  uint32_t dim() const { return dim_; }
  uint32_t metric() const { return metric_; }
  uint32_t dtype() const { return dtype_; }

  // Gives stored rows values of a column, ascending and above those it was given before; positions
  // are filled in here. Only before the first batch begins, after restore.
  void restore_column(uint32_t id, ColumnValues values, const std::vector<uint64_t>& rows);
  std::shared_ptr<const Snapshot> snapshot() const;
  // Throws when another batch is open.
  std::shared_ptr<Batch> begin();
  CollectionStats stats() const;
  // Rows that a segment of this collection takes at most.
  uint32_t segment_capacity() const { return capacity_; }
  // Publishes segments that were filled elsewhere, ascending by row, all live. Only once, before
  // the first batch; end_row is above all their rows.
  void restore(std::vector<std::shared_ptr<Segment>> segments, uint64_t end_row);
  // Blocks until no compaction is running (tests).
  void settle();

 private:
  friend class Batch;
  struct Span {
    std::shared_ptr<Segment> segment;
    uint32_t first_slot;
    uint32_t count;
    std::shared_ptr<const SegmentColumns> columns;
  };

  void publish(const std::vector<Span>& spans, uint64_t end_row,
               const std::vector<uint64_t>& tombstones);
  void apply_tombstones(Snapshot* next, const std::vector<uint64_t>& tombstones) const;
  void maybe_compact();
  bool find_run(const Snapshot& snapshot, size_t* first, size_t* last) const;
  void compact(std::shared_ptr<const Snapshot> source, size_t first, size_t last);
  void replace_compacted(const Snapshot& source, size_t first, size_t last,
                         std::shared_ptr<Segment> merged,
                         std::shared_ptr<const SegmentColumns> columns,
                         const std::vector<std::pair<size_t, uint32_t>>& origin);

  const uint32_t dim_;
  const uint32_t metric_;
  const uint32_t dtype_;
  const uint32_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::shared_ptr<const Snapshot> published_;
  std::shared_ptr<Segment> tail_;  // the segment that may still take rows; null = none
  bool batch_open_ = false;
  bool compacting_ = false;
};

// Rows on their way in. Used from one thread, except for what its tasks do.
class Batch : public std::enable_shared_from_this<Batch> {
 public:
  explicit Batch(std::shared_ptr<Collection> collection);
  ~Batch();

  // Copies count rows of f32 before it returns; conversion happens here when little is pushed and
  // nothing is under way, else on worker threads.
  void push(const float* rows, size_t count);
  // Copies stored rows bit by bit. Throws for a row that is not live.
  void push_copies(const std::vector<uint64_t>& rows);
  // Appends values of a column, at positions counted over all pushed rows and above those that the
  // column was given before. Copied; encoded by finish.
  void set_column(uint32_t id, ColumnValues values);
  // done(failure or nothing) is called once everything is stored, from any thread.
  void finish(std::function<void(std::optional<Failure>)> done);
  // True when finish would answer at once; throws the failure if there was one.
  bool finished_now();
  void commit(const std::vector<uint64_t>& tombstones);
  void abort();
  uint64_t first_row() const { return first_row_; }
  uint64_t count() const { return count_; }
  // Where the rows pushed so far are, in order. After finish.
  using Span = Collection::Span;
  const std::vector<Span>& spans() const { return spans_; }

 private:
  struct Target {
    std::shared_ptr<Segment> segment;
    uint32_t slot;
    uint32_t count;
  };

  Target reserve(size_t want);
  void convert(const float* rows, const Target& target, uint64_t index);
  void record(Failure failure);
  void task_done();
  void encode_columns();
  void encode_span(Collection::Span* span, uint32_t first);
  void close();
  void wait_for_tasks();

  const std::shared_ptr<Collection> collection_;
  std::shared_ptr<const Snapshot> base_;
  uint64_t first_row_ = 0;
  uint64_t count_ = 0;
  std::vector<Span> spans_;
  std::map<uint32_t, ColumnValues> columns_;
  uint64_t column_values_ = 0;
  bool open_ = true;

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t tasks_ = 0;
  std::optional<Failure> failure_;
  std::function<void(std::optional<Failure>)> done_;
};

}  // namespace hive
