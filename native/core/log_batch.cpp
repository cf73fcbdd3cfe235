// The write path of a record log.
#include <algorithm>

#include "record_log.h"

namespace hive {
namespace {

// A frame is as large as pays: its header, table and checksums are written once per frame.
constexpr uint64_t kFrameRecords = 1024;
constexpr uint64_t kFramePayload = uint64_t{4} << 20;
constexpr size_t kFrameDeletes = 4096;
// A file is the unit of compaction; its rows move within one turn of the event loop.
constexpr uint64_t kFileBytes = uint64_t{256} << 20;
constexpr uint64_t kFileRows = 65536;
constexpr size_t kSmallBatch = 4096;
constexpr char kZeros[kFrameAlign] = {};

void add_piece(std::vector<Piece>* pieces, const void* data, size_t bytes) {
  if (bytes == 0) return;
  if (!pieces->empty()) {
    Piece& last = pieces->back();
    if (static_cast<const char*>(last.data) + last.bytes == data) {
      last.bytes += bytes;
      return;
    }
  }
  pieces->push_back({data, bytes});
}

}  // namespace

// Builds and writes the frames of one batch; on a file worker.
class LogAppender {
 public:
  LogAppender(LogBatch* batch, const Batch* vectors, uint64_t sequence)
      : batch_(*batch), log_(*batch->log_), sequence_(sequence) {
    if (vectors != nullptr) spans_ = vectors->spans();
  }

  void run() {
    const size_t deletes = batch_.removed_.size();
    const uint64_t records = batch_.staged_.size() - batch_.voids_;
    if (batch_.clear_) write_clear(records == 0 && deletes == 0);
    for (size_t from = 0; from < deletes; from += kFrameDeletes) {
      const size_t to = std::min(from + kFrameDeletes, deletes);
      write_deletes(from, to, to == deletes && records == 0);
    }
    uint64_t left = records;
    size_t position = 0;
    while (left > 0) left -= write_records(&position, left);
  }

 private:
  LogBatch::Touched& target(uint64_t bytes, uint64_t rows) {
    auto& touched = batch_.touched_;
    if (touched.empty() && log_.tail_open_ && !log_.files_.empty()) {
      const auto& tail = log_.files_.back();
      tail_rows_ = tail->rows.size();
      touched.push_back({tail, tail->length, false});
    }
    if (!touched.empty()) {
      LogBatch::Touched& last = touched.back();
      if (last.end + bytes <= kFileBytes && tail_rows_ + rows <= kFileRows) return last;
      // A file holds at least one frame, whatever its size.
      if (last.end <= kFileHeaderBytes) return last;
    }
    auto file = std::make_shared<LogFile>();
    file->number = log_.take_file_number();
    const std::string path = log_.path_of(file->number);
    touched.push_back({file, kFileHeaderBytes, true});
    file->file = File::open(path, File::Mode::kCreate);
    const std::string header = encode_file_header(log_.identity(), file->number);
    file->file->write(0, {{header.data(), header.size()}});
    tail_rows_ = 0;
    return touched.back();
  }

  void write_small(FrameHeader header, const std::string& table) {
    header.sequence = sequence_;
    header.table_bytes = static_cast<uint32_t>(table.size());
    header.table_crc = crc32c(0, table.data(), table.size());
    LogBatch::Touched& to = target(table.size() + 2 * kFrameAlign, 0);
    const std::string head = encode_frame_header(header, to.file->number, to.end);
    const uint64_t bytes = head.size() + table.size();
    to.file->file->write(to.end, {{head.data(), head.size()},
                                  {table.data(), table.size()},
                                  {kZeros, padding(bytes)}});
    batch_.written_.push_back({to.file, {to.end, 0, 0, 0}, {}, 0});
    to.end += bytes + padding(bytes);
  }

  void write_clear(bool last) {
    FrameHeader header;
    header.kind = FrameKind::kClear;
    header.ends_commit = last;
    header.bound = log_.end_row_;
    write_small(header, "");
  }

  void write_deletes(size_t from, size_t to, bool last) {
    FrameHeader header;
    header.kind = FrameKind::kDeletes;
    header.ends_commit = last;
    header.count = static_cast<uint32_t>(to - from);
    std::string table;
    std::string ids;
    for (size_t i = from; i < to; ++i) {
      const uint64_t row = batch_.removed_[i];
      const std::string_view id = log_.info(row)->id_view();
      append_u64(&table, row);
      append_u32(&table, static_cast<uint32_t>(id.size()));
      append_u32(&table, 0);
      ids += id;
    }
    write_small(header, table + ids);
  }

  // Writes one frame of records from *position on; returns how many.
  uint64_t write_records(size_t* position, uint64_t left) {
    const LogIdentity& identity = log_.identity();
    std::vector<const LogBatch::Staged*> chunk;
    uint64_t bytes = 0;
    size_t at = *position;
    for (; at < batch_.staged_.size() && chunk.size() < kFrameRecords; ++at) {
      const LogBatch::Staged& s = batch_.staged_[at];
      if (s.is_void) continue;
      const uint64_t size = s.record_bytes + identity.vector_bytes();
      if (!chunk.empty() && bytes + size > kFramePayload) break;
      bytes += size;
      chunk.push_back(&s);
    }
    *position = at;
    write_chunk(chunk, bytes, chunk.size() == left);
    return chunk.size();
  }

  void write_chunk(const std::vector<const LogBatch::Staged*>& chunk, uint64_t bytes, bool last) {
    const LogIdentity& identity = log_.identity();
    LogBatch::Touched& to = target(bytes, chunk.size());
    LogBatch::Written written{to.file, {}, {}, 0};
    std::vector<Piece> vectors = take_vectors(chunk, &written.entries);
    std::string table;
    std::string ids;
    std::vector<Piece> records;
    FrameHeader header;
    for (size_t i = 0; i < chunk.size(); ++i) {
      append_entry(&table, written.entries[i]);
      ids += chunk[i]->id_view();
      add_piece(&records, chunk[i]->record, chunk[i]->record_bytes);
      header.record_bytes += chunk[i]->record_bytes;
    }
    table += ids;
    header.ends_commit = last;
    header.sequence = sequence_;
    header.bound = chunk.back()->row + 1;
    header.count = static_cast<uint32_t>(chunk.size());
    header.table_bytes = static_cast<uint32_t>(table.size());
    header.vector_bytes = chunk.size() * identity.vector_bytes();
    header.table_crc = crc32c(0, table.data(), table.size());
    const std::string head = encode_frame_header(header, to.file->number, to.end);
    std::vector<Piece> pieces = {{head.data(), head.size()}, {table.data(), table.size()}};
    pieces.insert(pieces.end(), records.begin(), records.end());
    const uint64_t before = head.size() + table.size() + header.record_bytes;
    pieces.push_back({kZeros, padding(before)});
    pieces.insert(pieces.end(), vectors.begin(), vectors.end());
    const uint64_t total = before + padding(before) + header.vector_bytes;
    pieces.push_back({kZeros, padding(total)});
    to.file->file->write(to.end, std::move(pieces));
    written.records_at = to.end + head.size() + table.size();
    written.frame = {to.end, to.end + before + padding(before), header.count, 0};
    batch_.written_.push_back(std::move(written));
    to.end += total + padding(total);
    tail_rows_ += chunk.size();
  }

  // The vectors of the next rows, straight from where they are searched: elements, then inverse
  // norms, then scales.
  std::vector<Piece> take_vectors(const std::vector<const LogBatch::Staged*>& chunk,
                                  std::vector<RecordEntry>* entries) {
    const LogIdentity& identity = log_.identity();
    std::vector<Piece> data;
    std::vector<Piece> norms;
    std::vector<Piece> scales;
    for (const LogBatch::Staged* s : chunk) {
      while (span_slot_ == spans_[span_].count) {
        ++span_;
        span_slot_ = 0;
      }
      const Segment& segment = *spans_[span_].segment;
      const uint32_t slot = spans_[span_].first_slot + span_slot_++;
      const float* scale = segment.scales(slot);
      add_piece(&data, segment.data(slot), identity.row_bytes());
      add_piece(&norms, segment.inv_norms(slot), sizeof(float));
      if (scale != nullptr) add_piece(&scales, scale, sizeof(float));
      const RecordEntry entry{s->row,
                              sequence_,
                              s->id_bytes,
                              s->record_bytes,
                              crc32c(0, s->record, s->record_bytes),
                              vector_crc(identity, segment.data(slot), segment.inv_norms(slot),
                                         scale)};
      batch_.digest_added_ += record_digest(s->id_view(), entry.record_crc, entry.vector_crc);
      entries->push_back(entry);
    }
    data.insert(data.end(), norms.begin(), norms.end());
    data.insert(data.end(), scales.begin(), scales.end());
    return data;
  }

  LogBatch& batch_;
  RecordLog& log_;
  const uint64_t sequence_;
  std::vector<Batch::Span> spans_;
  size_t span_ = 0;
  uint32_t span_slot_ = 0;
  uint64_t tail_rows_ = 0;
};

// ---- batch

LogBatch::LogBatch(std::shared_ptr<RecordLog> log, size_t expected)
    : log_(std::move(log)), positions_(expected > kSmallBatch ? 1024 : 1) {}

LogBatch::~LogBatch() { finish(); }

void LogBatch::finish() {
  if (log_->overlay_ == this) log_->overlay_ = nullptr;
  if (positions_open_) log_->batch_open_ = false;
  positions_open_ = false;
}

std::optional<uint64_t> LogBatch::stage(std::string_view id, std::string_view record) {
  const uint64_t position = staged_.size();
  staged_.push_back({ids_->add(id), records_.add(record), static_cast<uint32_t>(id.size()),
                     static_cast<uint32_t>(record.size()), 0, false});
  const auto before = positions_.put(hash_id(id), position, [&](uint64_t p) {
    return staged_[p].id_view() == id;
  });
  if (before) {
    staged_[*before].is_void = true;
    ++voids_;
  }
  return before;
}

bool LogBatch::remove(uint64_t row) {
  if (log_->info(row) == nullptr) throw Failure("INVALID_ARGUMENT", "There is no such row.");
  if (!removed_set_.insert(row).second) return false;
  removed_.push_back(row);
  return true;
}

void LogBatch::clear() { clear_ = true; }

bool LogBatch::prepare_next(uint64_t first_row, size_t most) {
  if (prepared_ == 0) {
    next_row_ = first_row;
    for (const uint64_t row : removed_) {
      const RowInfo* old = log_->info(row);
      tombstones_.push_back(row);
      digest_removed_ += record_digest(old->id_view(), old->record_crc, old->vector_crc);
    }
  }
  const size_t end = std::min(staged_.size(), prepared_ + most);
  for (; prepared_ < end; ++prepared_) {
    Staged& s = staged_[prepared_];
    if (s.is_void) continue;
    s.row = next_row_++;
    const auto replaced = log_->row_of(s.id_view());
    if (!replaced) continue;
    const RowInfo* old = log_->info(*replaced);
    tombstones_.push_back(*replaced);
    digest_removed_ += record_digest(old->id_view(), old->record_crc, old->vector_crc);
  }
  return prepared_ == staged_.size();
}

void LogBatch::append(const Batch* vectors, uint64_t sequence, bool sync) {
  sequence_ = sequence;
  LogAppender(this, vectors, sequence).run();
  bool created = false;
  for (const Touched& one : touched_) {
    created = created || one.created;
    if (!sync) continue;
    try {
      one.file->file->sync();
    } catch (const Failure&) {
      log_->failed_ = true;
      throw;
    }
  }
  if (created && sync) sync_directory(log_->directory());
}

void LogBatch::abandon() {
  for (const Touched& one : touched_) {
    try {
      if (one.created) remove_file(log_->path_of(one.file->number));
      else one.file->file->truncate(one.file->length);
    } catch (const Failure&) {
      // Frames beyond the committed length are ignored and overwritten; cutting only frees space.
    }
  }
}

std::vector<LogSpec::FileSpec> LogBatch::touched() const {
  std::vector<LogSpec::FileSpec> out;
  for (const Touched& one : touched_) out.push_back({one.file->number, one.end});
  return out;
}

uint64_t LogBatch::count_after() const {
  const uint64_t before = clear_ ? 0 : log_->count_;
  return before + staged_.size() - voids_ - tombstones_.size();
}

uint64_t LogBatch::digest_after() const {
  return (clear_ ? 0 : log_->digest_) + digest_added_ - digest_removed_;
}

uint64_t LogBatch::end_row_after() const {
  return staged_.size() > voids_ ? next_row_ : log_->end_row_;
}

bool LogBatch::install_next(size_t most) {
  while (installed_frame_ < written_.size()) {
    Written& w = written_[installed_frame_];
    uint64_t at = w.records_at;
    if (installed_entry_ == 0) {
      w.frame.first_index = w.file->rows.size();
      w.file->frames.push_back(w.frame);
      if (w.file->ids.empty() || w.file->ids.back() != ids_) w.file->ids.push_back(ids_);
      offset_ = at;
    }
    for (; installed_entry_ < w.entries.size(); ++installed_entry_) {
      if (most-- == 0) return false;
      while (staged_[installed_position_].is_void) ++installed_position_;
      const Staged& s = staged_[installed_position_++];
      const RecordEntry& e = w.entries[installed_entry_];
      RowInfo info;
      info.file = w.file.get();
      info.id = s.id;
      info.offset = offset_;
      info.sequence = sequence_;
      info.id_bytes = e.id_bytes;
      info.record_bytes = e.record_bytes;
      info.record_crc = e.record_crc;
      info.vector_crc = e.vector_crc;
      log_->set_row(e.row, info);
      w.file->rows.push_back(e.row);
      offset_ += e.record_bytes;
    }
    installed_entry_ = 0;
    ++installed_frame_;
  }
  return true;
}

void LogBatch::publish() {
  log_->count_ = count_after();
  log_->digest_ = digest_after();
  log_->end_row_ = end_row_after();
  log_->last_sequence_ = sequence_;
  for (const Touched& one : touched_) {
    one.file->length = one.end;
    if (one.created) log_->files_.push_back(one.file);
  }
  if (!touched_.empty()) log_->tail_open_ = true;
  if (clear_) {
    log_->cleared_below_ = log_->end_row_;
    log_->ids_ = IdIndex(1024);
  }
  for (const uint64_t row : tombstones_) log_->known(row)->dead = true;
  published_ = true;
  if (staged_.size() > 0) log_->overlay_ = this;
}

bool LogBatch::merge_next(size_t most) {
  const size_t total = staged_.size() + removed_.size();
  for (; merged_ < total; ++merged_) {
    if (most-- == 0) return false;
    if (merged_ < staged_.size()) {
      const Staged& s = staged_[merged_];
      if (s.is_void) continue;
      const auto same = [&](uint64_t r) { return log_->known(r)->id_view() == s.id_view(); };
      (void)log_->ids_.put(hash_id(s.id_view()), s.row, same);
      continue;
    }
    const uint64_t row = removed_[merged_ - staged_.size()];
    const std::string_view id = log_->known(row)->id_view();
    (void)log_->ids_.erase(hash_id(id), [&](uint64_t r) { return r == row; });
  }
  finish();
  return true;
}

LogBatch::Found LogBatch::look_up(std::string_view id) const {
  const auto position = positions_.find(hash_id(id), [&](uint64_t p) {
    return staged_[p].id_view() == id;
  });
  if (!position) return {};
  return {true, staged_[*position].row};
}

}  // namespace hive
