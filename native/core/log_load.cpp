// The read paths of a record log that touch vectors: loading all live rows, single rows, changes.
#include <algorithm>
#include <atomic>
#include <mutex>

#include "cpu_backend.h"
#include "record_log.h"
#include "workers.h"

namespace hive {
namespace {

// Rows that lie one after another in a frame and in a segment.
struct Run {
  const LogFile* file;
  const LogFile::FrameRef* frame;
  uint32_t first;  // in the frame
  uint32_t count;
  Segment* segment;
  uint32_t slot;
};

Failure damaged_vector(const LogFile& file, uint64_t offset) {
  Failure failure("CORRUPT", "The file " + file.file->path() + " is damaged at byte " +
                                 std::to_string(offset) + ": the checksum of a vector is wrong.");
  failure.in_file(file.file->path(), static_cast<int64_t>(offset));
  return failure;
}

// Frames up to this size are read in one go.
constexpr size_t kSmallFrame = 64 * 1024;

class Loader : public std::enable_shared_from_this<Loader> {
 public:
  Loader(std::shared_ptr<RecordLog> log, std::shared_ptr<Collection> collection,
         std::function<void(std::optional<Failure>)> done)
      : log_(std::move(log)), collection_(std::move(collection)), done_(std::move(done)) {}

  void start() {
    Workers::files().run([self = shared_from_this()] {
      try {
        self->plan();
      } catch (const Failure& failure) {
        return self->done_(failure);
      } catch (const std::exception&) {
        return self->done_(Failure("OUT_OF_MEMORY", "The host is out of memory."));
      }
      const size_t helpers = std::min<size_t>(cpu::usable_threads(), self->runs_.size() / 4);
      self->working_ = helpers + 1;
      for (size_t i = 0; i < helpers; ++i) Workers::files().run([self] { self->work(); });
      self->work();
    });
  }

 private:
  void plan() {
    std::vector<uint64_t> live;
    for (const auto& file : log_->files()) {
      for (const uint64_t row : file->rows) {
        if (!log_->info(row)->dead) live.push_back(row);
      }
    }
    const LogIdentity& identity = log_->identity();
    const uint32_t capacity = collection_->segment_capacity();
    for (size_t from = 0; from < live.size(); from += capacity) {
      const auto count = static_cast<uint32_t>(std::min<size_t>(capacity, live.size() - from));
      const bool consecutive = live[from + count - 1] - live[from] == count - 1;
      std::vector<uint64_t> rows;
      if (!consecutive) rows.assign(live.begin() + from, live.begin() + from + count);
      segments_.push_back(std::make_shared<Segment>(identity.dim, identity.dtype, count, live[from],
                                                    std::move(rows)));
    }
    uint64_t index = 0;  // of the next live row
    for (const auto& file : log_->files()) {
      for (const LogFile::FrameRef& frame : file->frames) {
        for (uint32_t i = 0; i < frame.count; ++i) {
          if (log_->info(file->rows[frame.first_index + i])->dead) continue;
          add_row(file.get(), &frame, i, index++, capacity);
        }
      }
    }
  }

  void add_row(const LogFile* file, const LogFile::FrameRef* frame, uint32_t at, uint64_t index,
               uint32_t capacity) {
    Segment* segment = segments_[index / capacity].get();
    const auto slot = static_cast<uint32_t>(index % capacity);
    if (!runs_.empty()) {
      Run& last = runs_.back();
      if (last.frame == frame && last.segment == segment && last.first + last.count == at) {
        ++last.count;
        return;
      }
    }
    runs_.push_back({file, frame, at, 1, segment, slot});
  }

  void work() {
    for (;;) {
      const size_t at = next_.fetch_add(kRunsPerStep);
      if (at >= runs_.size() || failed_) break;
      try {
        const size_t end = std::min(at + kRunsPerStep, runs_.size());
        for (size_t i = at; i < end; ++i) read(runs_[i]);
      } catch (const Failure& failure) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = failure;
        failed_ = true;
      }
    }
    if (working_.fetch_sub(1) != 1) return;
    if (!failure_) collection_->restore(std::move(segments_), log_->end_row());
    done_(failure_);
  }

  void read(const Run& run) {
    const LogIdentity& identity = log_->identity();
    const File& file = *run.file->file;
    const uint64_t row_bytes = identity.row_bytes();
    const uint64_t frame_rows = run.frame->count;
    const uint64_t data_at = run.frame->vectors_at + run.first * row_bytes;
    const uint64_t norms_at = run.frame->vectors_at + frame_rows * row_bytes + run.first * 4;
    char* data = run.segment->data(run.slot);
    float* norms = run.segment->inv_norms(run.slot);
    float* scales = run.segment->scales(run.slot);
    const uint64_t whole = frame_rows * identity.vector_bytes();
    if (run.count == frame_rows && whole <= kSmallFrame) {
      thread_local std::vector<char> scratch;
      scratch.resize(whole);
      file.read(run.frame->vectors_at, scratch.data(), whole);
      const char* from = scratch.data();
      std::copy_n(from, run.count * row_bytes, data);
      from += run.count * row_bytes;
      std::copy_n(from, run.count * sizeof(float), reinterpret_cast<char*>(norms));
      from += run.count * sizeof(float);
      if (scales != nullptr) {
        std::copy_n(from, run.count * sizeof(float), reinterpret_cast<char*>(scales));
      }
    } else {
      file.read(data_at, data, run.count * row_bytes);
      file.read(norms_at, norms, run.count * sizeof(float));
      if (scales != nullptr) {
        file.read(norms_at + frame_rows * sizeof(float), scales, run.count * sizeof(float));
      }
    }
    for (uint32_t i = 0; i < run.count; ++i) {
      const uint64_t row = run.file->rows[run.frame->first_index + run.first + i];
      const uint32_t crc = vector_crc(identity, data + i * row_bytes, norms + i,
                                      scales == nullptr ? nullptr : scales + i);
      if (crc != log_->info(row)->vector_crc) {
        throw damaged_vector(*run.file, data_at + i * row_bytes);
      }
    }
  }

  static constexpr size_t kRunsPerStep = 8;
  const std::shared_ptr<RecordLog> log_;
  const std::shared_ptr<Collection> collection_;
  const std::function<void(std::optional<Failure>)> done_;
  std::vector<std::shared_ptr<Segment>> segments_;
  std::vector<Run> runs_;
  std::atomic<size_t> next_{0};
  std::atomic<size_t> working_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::optional<Failure> failure_;
};

// Decodes row `index` of a frame whose vectors are `bytes`.
void decode_row(const LogIdentity& identity, const char* bytes, uint64_t rows, uint64_t index,
                float* out) {
  const uint64_t row_bytes = identity.row_bytes();
  const auto* scales = reinterpret_cast<const float*>(bytes + rows * (row_bytes + sizeof(float)));
  // Reading a float where it may not be aligned: through a copy.
  float scale = 0;
  if (identity.scaled()) {
    std::copy_n(reinterpret_cast<const char*>(scales) + index * sizeof(float), sizeof scale,
                reinterpret_cast<char*>(&scale));
  }
  cpu::best_kernels().decode[identity.dtype](bytes + index * row_bytes,
                                             identity.scaled() ? &scale : nullptr, 1, identity.dim,
                                             out);
}

}  // namespace

void load_rows(const std::shared_ptr<RecordLog>& log, const std::shared_ptr<Collection>& collection,
               std::function<void(std::optional<Failure>)> done) {
  std::make_shared<Loader>(log, collection, std::move(done))->start();
}

std::vector<float> read_vector(const RecordLog& log, uint64_t row) {
  const RowInfo* info = log.info(row);
  if (info == nullptr) throw Failure("INVALID_ARGUMENT", "There is no such row.");
  const LogFile& file = *info->file;
  const LogIdentity& identity = log.identity();
  const auto at = std::lower_bound(file.rows.begin(), file.rows.end(), row) - file.rows.begin();
  const auto frame = std::prev(std::upper_bound(
      file.frames.begin(), file.frames.end(), static_cast<size_t>(at),
      [](size_t index, const LogFile::FrameRef& f) { return index < f.first_index; }));
  // Frames without rows share the index of the next one with rows.
  auto found = frame;
  while (found->count == 0 || static_cast<size_t>(at) >= found->first_index + found->count) --found;
  const uint64_t index = static_cast<size_t>(at) - found->first_index;
  std::vector<char> bytes(found->count * identity.vector_bytes());
  file.file->read(found->vectors_at, bytes.data(), bytes.size());
  if (stored_vector_crc(identity, bytes.data(), found->count, index) != info->vector_crc) {
    throw damaged_vector(file, found->vectors_at + index * identity.row_bytes());
  }
  std::vector<float> out(identity.dim);
  decode_row(identity, bytes.data(), found->count, index, out.data());
  return out;
}

FileSummary summarize_file(const std::string& path, uint64_t number) {
  const std::shared_ptr<File> file = File::open(path, File::Mode::kRead);
  FileSummary out;
  out.identity = check_file_header(*file, nullptr, number);
  out.bytes = kFileHeaderBytes;
  const uint64_t size = file->size();
  bool any = false;
  for (uint64_t offset = kFileHeaderBytes; offset < size;) {
    std::optional<Frame> frame;
    try {
      frame = read_frame(*file, out.identity, number, offset, size);
    } catch (const Failure& failure) {
      if (failure.code() != "HIVE_CORRUPT") throw;
      // The end of what was written, unless something whole comes behind it.
      for (uint64_t at = offset + kFrameAlign; at + kFrameHeaderBytes <= size && !frame;
           at += kFrameAlign) {
        try {
          frame = read_frame(*file, out.identity, number, at, size);
        } catch (const Failure&) {
          // Not a frame: goes on to the next place where one could be.
        }
      }
      if (!frame) break;
      if (out.damage.empty()) out.damage = failure.what();
    }
    offset = frame->end();
    const FrameKind kind = frame->header.kind;
    if (kind == FrameKind::kReplaces && out.bytes == kFileHeaderBytes) out.replaces = frame->rows;
    out.complete = out.complete || kind == FrameKind::kTombstones;
    if (kind == FrameKind::kRecords && !any) out.first_row = frame->entries.front().row;
    any = any || kind == FrameKind::kRecords;
    if (frame->header.ends_commit) out.bytes = offset;
  }
  return out;
}

ChangeReader::ChangeReader(const RecordLog& log, uint64_t from_sequence)
    : identity_(log.identity()), from_(from_sequence) {
  for (const auto& file : log.files()) {
    Source source{file->file, file->number, {}, file->length};
    for (const LogFile::FrameRef& frame : file->frames) source.frames.push_back(frame.offset);
    sources_.push_back(std::move(source));
  }
}

Changes ChangeReader::next(uint64_t about_bytes) {
  Changes out;
  uint64_t bytes = 0;
  while (source_ < sources_.size() && bytes < about_bytes) {
    const Source& source = sources_[source_];
    if (frame_ == source.frames.size()) {
      ++source_;
      frame_ = 0;
      continue;
    }
    const Frame frame = read_frame(*source.file, identity_, source.number, source.frames[frame_++],
                                   source.length);
    if (frame.header.sequence < from_ || frame.header.kind == FrameKind::kTombstones ||
        frame.header.kind == FrameKind::kReplaces) {
      continue;
    }
    take(source, frame, &out);
    bytes += frame.end() - frame.offset;
  }
  return out;
}

void ChangeReader::take(const Source& source, const Frame& frame, Changes* out) const {
  const FrameHeader& h = frame.header;
  if (h.kind == FrameKind::kClear) {
    out->changes.push_back({h.kind, h.sequence, "", ""});
    return;
  }
  if (h.kind == FrameKind::kDeletes) {
    for (const std::string_view id : frame.ids) {
      out->changes.push_back({h.kind, h.sequence, std::string(id), ""});
    }
    return;
  }
  std::string records(h.record_bytes, '\0');
  source.file->read(frame.records_at(), records.data(), records.size());
  std::vector<char> vectors(h.vector_bytes);
  source.file->read(frame.vectors_at(), vectors.data(), vectors.size());
  uint64_t at = 0;
  for (uint32_t i = 0; i < h.count; ++i) {
    const RecordEntry& e = frame.entries[i];
    const std::string_view record = std::string_view(records).substr(at, e.record_bytes);
    at += e.record_bytes;
    if (e.sequence < from_) continue;
    if (crc32c(0, record.data(), record.size()) != e.record_crc ||
        stored_vector_crc(identity_, vectors.data(), h.count, i) != e.vector_crc) {
      Failure failure("CORRUPT", "The file " + source.file->path() + " is damaged in the frame at" +
                                     " byte " + std::to_string(frame.offset) +
                                     ": the checksum of a record is wrong.");
      throw failure.in_file(source.file->path(), static_cast<int64_t>(frame.offset));
    }
    out->changes.push_back({h.kind, e.sequence, std::string(frame.ids[i]), std::string(record)});
    const size_t from = out->vectors.size();
    out->vectors.resize(from + identity_.dim);
    decode_row(identity_, vectors.data(), h.count, i, out->vectors.data() + from);
  }
}

}  // namespace hive
