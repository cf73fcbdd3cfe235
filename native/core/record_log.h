// The durable side of one collection: append-only segment files, and in memory what is needed to
// use them - where each row's record is, and which row an id has. All of that is built from
// checksummed frames, so nothing that is looked up here was taken from anywhere unchecked.
//
// Threads: everything runs on the caller's (JavaScript) thread, one call at a time, except open,
// LogBatch::append, LogBatch::abandon, load_rows, compact_files and read_changes, which run on file
// workers and touch only files, their own arguments, and what the caller leaves alone meanwhile.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "collection.h"
#include "frame.h"
#include "id_index.h"

namespace hive {

// Bytes that never move, freed together.
class Arena {
 public:
  const char* add(std::string_view bytes);

 private:
  std::deque<std::unique_ptr<char[]>> blocks_;
  size_t used_ = 0;
  size_t size_ = 0;
};

struct LogFile {
  struct FrameRef {
    uint64_t offset = 0;
    uint64_t vectors_at = 0;
    uint32_t count = 0;      // rows in it; 0 for frames without
    size_t first_index = 0;  // of its rows in `rows`
  };
  uint64_t number = 0;
  std::shared_ptr<File> file;
  uint64_t length = 0;  // committed
  std::vector<FrameRef> frames;
  std::vector<uint64_t> rows;  // rows whose frames are here, ascending
  uint64_t released_rows = 0;  // dead ones that no snapshot sees
  std::vector<std::shared_ptr<Arena>> ids;  // what RowInfo::id of its rows points into
};

// What is known of a row whose frame is in some file.
struct RowInfo {
  LogFile* file = nullptr;  // null: there is no such row
  const char* id = nullptr;
  uint64_t offset = 0;  // of the record's bytes
  uint64_t sequence = 0;
  uint32_t id_bytes = 0;
  uint32_t record_bytes = 0;
  uint32_t record_crc = 0;
  uint32_t vector_crc = 0;
  bool dead = false;
  bool released = false;  // dead, and no snapshot sees it any more

  std::string_view id_view() const { return {id, id_bytes}; }
};

// One addend of the collection's digest: the digest is the sum over live records modulo 2^64, so
// it does not depend on the order of commits or on row numbers.
uint64_t record_digest(std::string_view id, uint32_t record_crc, uint32_t vector_crc);

// What one file tells without any other.
struct FileSummary {
  LogIdentity identity;
  uint64_t bytes = 0;  // up to the last whole commit
  uint64_t first_row = 0;
  std::vector<uint64_t> replaces;  // by compaction
  bool complete = false;           // ... which finished
  std::string damage;              // what is wrong in front of a frame that is whole
};
// Reads the headers and tables of all frames.
FileSummary summarize_file(const std::string& path, uint64_t number);

struct LogProblem {
  std::string file;
  int64_t offset = -1;
  std::string message;
};

struct LogSpec {
  struct FileSpec {
    uint64_t number = 0;
    uint64_t length = 0;  // committed; kWhole = as far as whole commits go (no index)
  };
  static constexpr uint64_t kWhole = ~uint64_t{0};
  LogIdentity identity;
  std::string directory;
  std::vector<FileSpec> files;
  uint64_t next_file = 1;
  uint64_t end_row = 0;
  uint64_t sequence = 0;  // of the last commit that the index knows
  // Writable: files that may go on where the last one ends, ascending. A commit that is complete
  // in the files was synced before the index was to be told; it is kept.
  std::vector<uint64_t> newer;
  bool writable = false;
  bool tolerant = false;  // skip what is damaged and note it in problems(): salvage
};

class LogBatch;

class RecordLog : public std::enable_shared_from_this<RecordLog> {
 public:
  // Reads and checks all frames up to the committed lengths; cuts off what is beyond (writable).
  static std::shared_ptr<RecordLog> open(LogSpec spec);

  const LogIdentity& identity() const { return spec_.identity; }
  std::optional<uint64_t> row_of(std::string_view id) const;
  const RowInfo* info(uint64_t row) const;
  // The record's bytes, checked; throws CORRUPT naming file and offset.
  std::string read_record(uint64_t row) const;
  // Starts a batch of about `expected` records; one at a time.
  std::shared_ptr<LogBatch> begin(size_t expected);
  // Rows that died and that nobody sees any more.
  void release(const std::vector<uint64_t>& rows);
  // All rows below: dead and unseen.
  void release_below(uint64_t row);

  uint64_t end_row() const { return end_row_; }
  uint64_t count() const { return count_; }
  uint64_t digest() const { return digest_; }
  uint64_t last_sequence() const { return last_sequence_; }
  uint64_t next_file() const { return next_file_; }
  uint64_t take_file_number() { return next_file_++; }
  const std::vector<std::shared_ptr<LogFile>>& files() const { return files_; }
  const std::vector<LogProblem>& problems() const { return problems_; }
  bool failed() const { return failed_; }
  // The next batch starts a new file, so that the present tail can be compacted.
  void seal_tail() { tail_open_ = false; }
  std::string path_of(uint64_t number) const;
  const std::string& directory() const { return spec_.directory; }

 private:
  friend class LogBatch;
  friend class LogAppender;
  friend struct Compaction;
  static constexpr uint64_t kPageRows = 1024;
  using Page = std::array<RowInfo, kPageRows>;

  explicit RecordLog(LogSpec spec);
  std::shared_ptr<LogFile> open_file(const LogSpec::FileSpec& file, std::vector<uint64_t>* dead);
  void take_frame(LogFile* file, const Frame& frame, const std::shared_ptr<Arena>& ids,
                  std::vector<uint64_t>* dead);
  uint64_t skip_damage(const LogFile& file, uint64_t offset, uint64_t limit,
                       const Failure& failure);
  void recover(std::vector<uint64_t>* dead);
  bool is_next(const File& file, const Frame& frame, uint64_t sequence) const;
  void index_rows(const std::vector<uint64_t>& dead);
  RowInfo* slot(uint64_t row);  // makes the page
  RowInfo* known(uint64_t row);
  void set_row(uint64_t row, const RowInfo& info);
  void mark_released(RowInfo* info);

  LogSpec spec_;
  std::vector<std::shared_ptr<LogFile>> files_;
  std::vector<std::unique_ptr<Page>> pages_;
  IdIndex ids_{1024};
  const LogBatch* overlay_ = nullptr;  // published, its ids not yet all in ids_
  std::vector<LogProblem> problems_;
  std::atomic<uint64_t> next_file_{1};  // workers take numbers too
  uint64_t end_row_ = 0;
  uint64_t count_ = 0;
  uint64_t digest_ = 0;
  uint64_t cleared_below_ = 0;
  uint64_t last_sequence_ = 0;
  bool tail_open_ = true;
  bool batch_open_ = false;
  // A sync failed: what is on the device is no longer known.
  std::atomic<bool> failed_{false};
};

// Records and removals on their way in. Call order: stage or remove, prepare_next until done,
// append (worker), install_next until done, publish, merge_next until done; or abandon.
class LogBatch {
 public:
  LogBatch(std::shared_ptr<RecordLog> log, size_t expected);
  ~LogBatch();

  // Stages a record; returns the position that it makes void, or nothing.
  std::optional<uint64_t> stage(std::string_view id, std::string_view record);
  // False when the row's id was staged or removed before in this batch.
  bool remove(uint64_t row);
  void clear();
  bool prepare_next(uint64_t first_row, size_t most);
  const std::vector<uint64_t>& tombstones() const { return tombstones_; }

  // Writes the frames; with sync they are on the device afterwards. vectors: the batch whose rows
  // belong to the staged records, in order; may be null when there are none.
  void append(const Batch* vectors, uint64_t sequence, bool sync);
  // Forgets appended frames: cuts the tail, removes new files. Worker.
  void abandon();
  // Files that append touched, with their new lengths.
  std::vector<LogSpec::FileSpec> touched() const;
  uint64_t count_after() const;
  uint64_t digest_after() const;
  uint64_t end_row_after() const;
  uint64_t next_file_after() const { return log_->next_file_; }

  bool install_next(size_t most);
  void publish();
  bool merge_next(size_t most);
  void finish();

  // For the overlay: nothing = not in this batch; then whether there is a row.
  struct Found {
    bool known = false;
    std::optional<uint64_t> row;
  };
  Found look_up(std::string_view id) const;

 private:
  struct Staged {
    const char* id;
    const char* record;
    uint32_t id_bytes;
    uint32_t record_bytes;
    uint64_t row;
    bool is_void;
    std::string_view id_view() const { return {id, id_bytes}; }
  };
  struct Written {
    std::shared_ptr<LogFile> file;
    LogFile::FrameRef frame;
    std::vector<RecordEntry> entries;
    uint64_t records_at = 0;
  };
  struct Touched {
    std::shared_ptr<LogFile> file;
    uint64_t end = 0;
    bool created = false;
  };
  friend class LogAppender;

  const std::shared_ptr<RecordLog> log_;
  std::shared_ptr<Arena> ids_ = std::make_shared<Arena>();
  Arena records_;
  std::deque<Staged> staged_;
  IdIndex positions_;
  std::vector<uint64_t> removed_;
  std::unordered_set<uint64_t> removed_set_;
  bool clear_ = false;
  uint64_t voids_ = 0;
  size_t prepared_ = 0;
  uint64_t next_row_ = 0;
  std::vector<uint64_t> tombstones_;
  uint64_t digest_removed_ = 0;
  uint64_t digest_added_ = 0;  // set by append
  uint64_t sequence_ = 0;
  std::vector<Touched> touched_;
  std::vector<Written> written_;
  size_t installed_frame_ = 0;
  size_t installed_entry_ = 0;
  size_t installed_position_ = 0;
  size_t merged_ = 0;
  uint64_t offset_ = 0;  // of the next record to install
  bool published_ = false;
  bool positions_open_ = true;  // counts as the log's one open batch
};

// Reads and checks the vectors of all live rows into an empty collection, on several workers.
// done(failure or nothing) is called from any thread; the log must not change meanwhile.
void load_rows(const std::shared_ptr<RecordLog>& log, const std::shared_ptr<Collection>& collection,
               std::function<void(std::optional<Failure>)> done);
// One row's stored vector as f32, checked.
std::vector<float> read_vector(const RecordLog& log, uint64_t row);

// Changes of one collection in the order of their commits.
struct Change {
  FrameKind kind;  // kRecords, kDeletes or kClear
  uint64_t sequence;
  std::string id;
  std::string record;
};
struct Changes {
  std::vector<Change> changes;
  std::vector<float> vectors;  // of the records, in order
};
class ChangeReader {
 public:
  // Sees the files as they are now, even after compaction replaced them.
  ChangeReader(const RecordLog& log, uint64_t from_sequence);
  // The next changes, at least one unless the end was reached; checked.
  Changes next(uint64_t about_bytes);

 private:
  struct Source {
    std::shared_ptr<File> file;
    uint64_t number;
    std::vector<uint64_t> frames;
    uint64_t length;
  };
  void take(const Source& source, const Frame& frame, Changes* out) const;
  const LogIdentity identity_;
  const uint64_t from_;
  std::vector<Source> sources_;
  size_t source_ = 0;
  size_t frame_ = 0;
};

// Rewrites neighbouring files into one, leaving out what nobody needs.
struct Compaction {
  // Caller's thread. `first`, `count`: positions in log.files(), the open tail not among them.
  // Rows and deletes with a sequence of at least retain_from stay.
  Compaction(std::shared_ptr<RecordLog> log, size_t first, size_t count, uint64_t retain_from);
  void run();  // worker: writes and syncs the new file
  // Caller's thread, after the manifest says so: rows move, sources go.
  void swap();
  void remove_sources();  // worker, after swap
  void abandon();         // worker

  std::shared_ptr<RecordLog> log;
  std::vector<std::shared_ptr<LogFile>> sources;
  std::vector<std::vector<bool>> keep;  // per source, per index in its rows
  std::vector<uint64_t> tombstones;
  uint64_t retain_from;
  std::shared_ptr<LogFile> target;  // null when nothing had to be kept
  struct Moved {
    uint64_t row;
    uint64_t offset;  // of its record's bytes, in the target
    const char* id;
  };
  std::vector<Moved> moved;
  uint64_t number;
  uint64_t sequence;  // of the newest commit when it began
  uint64_t dropped_through = 0;  // highest sequence that is no longer in the log because of this
  std::shared_ptr<Arena> ids = std::make_shared<Arena>();

 private:
  void copy_frame(const LogFile& source, size_t index, const std::vector<bool>& kept);
  void write_frame(FrameHeader header, const std::string& table, const std::string& records,
                   const std::string& vectors, LogFile::FrameRef ref);
  void start_target();
};

}  // namespace hive
