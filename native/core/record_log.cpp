#include "record_log.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace hive {
namespace {

constexpr size_t kArenaBlock = size_t{256} << 10;

uint64_t mix(uint64_t x) {  // the finalizer of splitmix64
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

Failure corrupt(const std::string& path, uint64_t offset, const std::string& what) {
  Failure failure("CORRUPT", "The file " + path + " is damaged at byte " + std::to_string(offset) +
                                 ": " + what + ".");
  failure.in_file(path, static_cast<int64_t>(offset));
  return failure;
}

}  // namespace

const char* Arena::add(std::string_view bytes) {
  if (size_ - used_ < bytes.size() || blocks_.empty()) {
    // Few small ones cost little, many get whole blocks.
    size_ = std::max(bytes.size(), blocks_.empty() ? size_t{0} : std::min(kArenaBlock, size_ * 8));
    blocks_.push_back(std::make_unique<char[]>(std::max<size_t>(size_, 1)));
    used_ = 0;
  }
  char* at = blocks_.back().get() + used_;
  std::memcpy(at, bytes.data(), bytes.size());
  used_ += bytes.size();
  return at;
}

uint64_t record_digest(std::string_view id, uint32_t record_crc, uint32_t vector_crc) {
  uint64_t h = 0xcbf29ce484222325u;  // FNV-1a, 64 bits
  for (const char c : id) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return mix(mix(h) ^ (uint64_t{vector_crc} << 32 | record_crc));
}

RecordLog::RecordLog(LogSpec spec) : spec_(std::move(spec)) {
  next_file_ = spec_.next_file;
  end_row_ = spec_.end_row;
  last_sequence_ = spec_.sequence;
}

std::string RecordLog::path_of(uint64_t number) const {
  char name[64];
  std::snprintf(name, sizeof name, "/%08" PRIu64 "-%08" PRIu64 ".seg", spec_.identity.collection,
                number);
  return spec_.directory + name;
}

std::shared_ptr<RecordLog> RecordLog::open(LogSpec spec) {
  const std::shared_ptr<RecordLog> log(new RecordLog(std::move(spec)));
  std::vector<uint64_t> dead;
  for (const LogSpec::FileSpec& file : log->spec_.files) {
    log->next_file_ = std::max<uint64_t>(log->next_file_, file.number + 1);
    log->files_.push_back(log->open_file(file, &dead));
  }
  if (log->spec_.writable) log->recover(&dead);
  log->index_rows(dead);
  return log;
}

std::shared_ptr<LogFile> RecordLog::open_file(const LogSpec::FileSpec& spec,
                                              std::vector<uint64_t>* dead) {
  auto file = std::make_shared<LogFile>();
  file->number = spec.number;
  file->file = File::open(path_of(spec.number),
                          spec_.writable ? File::Mode::kReadWrite : File::Mode::kRead);
  const uint64_t size = file->file->size();
  const bool whole = spec.length == LogSpec::kWhole;
  const uint64_t limit = whole ? size : spec.length;
  if (size < limit) {
    const Failure failure = corrupt(file->file->path(), size, "the file ends before byte " +
                                    std::to_string(limit) + ", up to where it was committed");
    if (!spec_.tolerant) throw Failure(failure);
    problems_.push_back({failure.file(), failure.offset(), failure.what()});
  }
  try {
    (void)check_file_header(*file->file, &spec_.identity, spec.number);
  } catch (const Failure& failure) {
    if (!spec_.tolerant) throw;
    problems_.push_back({failure.file(), failure.offset(), failure.what()});
  }
  const uint64_t end = std::min(limit, size);
  uint64_t offset = kFileHeaderBytes;
  auto ids = std::make_shared<Arena>();
  file->ids.push_back(ids);
  std::vector<Frame> open_commit;  // without an index, a commit counts once its last frame is there
  while (offset < end) {
    try {
      Frame frame = read_frame(*file->file, spec_.identity, spec.number, offset, end);
      offset = frame.end();
      if (!whole || spec_.tolerant) {
        take_frame(file.get(), frame, ids, dead);
        file->length = offset;
        continue;
      }
      const bool ends = frame.header.ends_commit;
      open_commit.push_back(std::move(frame));
      if (!ends) continue;
      for (const Frame& one : open_commit) take_frame(file.get(), one, ids, dead);
      open_commit.clear();
      file->length = offset;
    } catch (const Failure& failure) {
      if (!spec_.tolerant) throw;
      offset = skip_damage(*file, offset, end, failure);
    }
  }
  file->length = std::max(file->length, kFileHeaderBytes);
  if (!whole && !spec_.tolerant && offset != limit) {
    throw corrupt(file->file->path(), offset, "a frame goes beyond what was committed");
  }
  return file;
}

// Looks for whole commits behind the committed length. A crash can leave one that was not yet
// acknowledged, and an index that fell back by one transaction one that was: both are kept. What
// is not whole was never acknowledged and is cut off.
void RecordLog::recover(std::vector<uint64_t>* dead) {
  std::vector<std::pair<std::shared_ptr<LogFile>, Frame>> commit;
  const auto adopt = [&] {
    for (const auto& [file, frame] : commit) {
      if (files_.empty() || files_.back() != file) files_.push_back(file);
      take_frame(file.get(), frame, file->ids.back(), dead);
      file->length = frame.end();
      next_file_ = std::max<uint64_t>(next_file_, file->number + 1);
    }
    commit.clear();
  };
  const auto read_on = [&](const std::shared_ptr<LogFile>& file) {
    uint64_t offset = file->length;
    const uint64_t size = file->file->size();
    while (offset < size) {
      Frame frame = read_frame(*file->file, spec_.identity, file->number, offset, size);
      const uint64_t sequence =
          commit.empty() ? last_sequence_ + 1 : commit.front().second.header.sequence;
      if (!is_next(*file->file, frame, sequence)) throw Failure("CORRUPT", "Not a next frame.");
      offset = frame.end();
      const bool ends = frame.header.ends_commit;
      commit.emplace_back(file, std::move(frame));
      if (ends) adopt();
    }
  };
  for (size_t newer = 0; newer <= spec_.newer.size(); ++newer) {
    try {
      if (newer > 0) read_on(open_file({spec_.newer[newer - 1], kFileHeaderBytes}, dead));
      else if (!files_.empty()) read_on(files_.back());
    } catch (const Failure& failure) {
      // The end of what was written completely; only a failing disk is a reason to stop.
      if (failure.code() != "HIVE_CORRUPT" && failure.code() != "HIVE_FORMAT") throw;
      // Not the rest of a commit: perhaps what a compaction left.
      if (!commit.empty()) break;
    }
  }
  if (files_.empty()) return;
  const auto& tail = files_.back();
  if (tail->file->size() > tail->length) tail->file->truncate(tail->length);
}

// Whether a frame behind the committed ones belongs to a later commit, and is whole.
bool RecordLog::is_next(const File& file, const Frame& frame, uint64_t sequence) const {
  const FrameHeader& h = frame.header;
  if (h.kind == FrameKind::kTombstones || h.kind == FrameKind::kReplaces) return false;
  if (h.sequence < sequence) return false;
  if (h.kind != FrameKind::kRecords) return true;
  std::string bytes(frame.end() - frame.records_at(), '\0');
  file.read(frame.records_at(), bytes.data(), bytes.size());
  uint64_t at = 0;
  for (const RecordEntry& e : frame.entries) {
    if (e.sequence != h.sequence || e.row < end_row_) return false;
    if (crc32c(0, bytes.data() + at, e.record_bytes) != e.record_crc) return false;
    at += e.record_bytes;
  }
  const char* vectors = bytes.data() + (frame.vectors_at() - frame.records_at());
  for (uint32_t i = 0; i < h.count; ++i) {
    if (stored_vector_crc(spec_.identity, vectors, h.count, i) != frame.entries[i].vector_crc) {
      return false;
    }
  }
  return true;
}

// Notes the damage and returns where the next frame may start.
uint64_t RecordLog::skip_damage(const LogFile& file, uint64_t offset, uint64_t limit,
                                const Failure& failure) {
  problems_.push_back({failure.file(), failure.offset(), failure.what()});
  for (offset += kFrameAlign; offset + kFrameHeaderBytes <= limit; offset += kFrameAlign) {
    try {
      (void)read_frame(*file.file, spec_.identity, file.number, offset, limit);
      return offset;
    } catch (const Failure&) {
      // Not a frame: goes on to the next place where one could be.
    }
  }
  return limit;
}

void RecordLog::take_frame(LogFile* file, const Frame& frame, const std::shared_ptr<Arena>& ids,
                           std::vector<uint64_t>* dead) {
  const FrameHeader& h = frame.header;
  last_sequence_ = std::max(last_sequence_, h.sequence);
  LogFile::FrameRef ref{frame.offset, frame.vectors_at(), 0, file->rows.size()};
  if (h.kind == FrameKind::kRecords) {
    end_row_ = std::max(end_row_, h.bound);
    uint64_t at = frame.records_at();
    ref.count = h.count;
    for (uint32_t i = 0; i < h.count; ++i) {
      const RecordEntry& e = frame.entries[i];
      const bool ascending = file->rows.empty() || e.row > file->rows.back();
      if (!ascending || info(e.row) != nullptr) {
        throw corrupt(file->file->path(), frame.offset, "a row number comes twice");
      }
      RowInfo row;
      row.file = file;
      row.id = ids->add(frame.ids[i]);
      row.offset = at;
      row.sequence = e.sequence;
      row.id_bytes = e.id_bytes;
      row.record_bytes = e.record_bytes;
      row.record_crc = e.record_crc;
      row.vector_crc = e.vector_crc;
      set_row(e.row, row);
      file->rows.push_back(e.row);
      at += e.record_bytes;
    }
  } else if (h.kind == FrameKind::kClear) {
    end_row_ = std::max(end_row_, h.bound);
    cleared_below_ = std::max(cleared_below_, h.bound);
  } else if (h.kind != FrameKind::kReplaces) {
    dead->insert(dead->end(), frame.rows.begin(), frame.rows.end());
  }
  file->frames.push_back(ref);
}

// Of an id's rows only the newest can live; it does unless a frame says that it is dead.
void RecordLog::index_rows(const std::vector<uint64_t>& dead) {
  for (const uint64_t row : dead) {
    RowInfo* info = known(row);
    if (info != nullptr) info->dead = true;
  }
  uint64_t last = 0;
  bool first = true;
  for (const auto& file : files_) {
    for (const uint64_t row : file->rows) {
      if (!first && row <= last && !spec_.tolerant) {
        throw corrupt(file->file->path(), kFileHeaderBytes, "its rows are not in order");
      }
      first = false;
      last = row;
      RowInfo* info = known(row);
      const std::string_view id = info->id_view();
      const auto same = [&](uint64_t r) { return known(r)->id_view() == id; };
      info->dead = info->dead || row < cleared_below_;
      // A dead row, too, replaced the one before it.
      const auto before = info->dead ? ids_.find(hash_id(id), same)
                                     : ids_.put(hash_id(id), row, same);
      if (before) {
        RowInfo* old = known(*before);
        old->dead = true;
        --count_;
        digest_ -= record_digest(old->id_view(), old->record_crc, old->vector_crc);
        if (info->dead) (void)ids_.erase(hash_id(id), same);
      }
      if (info->dead) continue;
      ++count_;
      digest_ += record_digest(id, info->record_crc, info->vector_crc);
    }
  }
  for (const auto& file : files_) {
    for (const uint64_t row : file->rows) {
      RowInfo* info = known(row);
      info->released = info->dead;
      if (info->dead) ++file->released_rows;
    }
  }
}

RowInfo* RecordLog::slot(uint64_t row) {
  const uint64_t page = row / kPageRows;
  if (page >= pages_.size()) pages_.resize(std::max<uint64_t>(page + 1, pages_.size() * 5 / 4));
  if (pages_[page] == nullptr) pages_[page] = std::make_unique<Page>();
  return &(*pages_[page])[row % kPageRows];
}

void RecordLog::set_row(uint64_t row, const RowInfo& info) { *slot(row) = info; }

RowInfo* RecordLog::known(uint64_t row) {
  const uint64_t page = row / kPageRows;
  if (page >= pages_.size() || pages_[page] == nullptr) return nullptr;
  RowInfo* info = &(*pages_[page])[row % kPageRows];
  return info->file == nullptr ? nullptr : info;
}

const RowInfo* RecordLog::info(uint64_t row) const {
  return const_cast<RecordLog*>(this)->known(row);
}

std::optional<uint64_t> RecordLog::row_of(std::string_view id) const {
  if (overlay_ != nullptr) {
    const LogBatch::Found found = overlay_->look_up(id);
    if (found.known) return found.row;
  }
  const auto row = ids_.find(hash_id(id), [&](uint64_t r) { return info(r)->id_view() == id; });
  // Removed by the overlay, whose rows are not ids.
  if (row && (info(*row)->dead || *row < cleared_below_)) return std::nullopt;
  return row;
}

std::string RecordLog::read_record(uint64_t row) const {
  const RowInfo* found = info(row);
  if (found == nullptr) {
    throw Failure("INTERNAL", "Row " + std::to_string(row) + " has no record.");
  }
  std::string out(found->record_bytes, '\0');
  if (!out.empty()) found->file->file->read(found->offset, out.data(), out.size());
  if (crc32c(0, out.data(), out.size()) != found->record_crc) {
    throw corrupt(found->file->file->path(), found->offset, "the checksum of a record is wrong");
  }
  return out;
}

std::shared_ptr<LogBatch> RecordLog::begin(size_t expected) {
  if (batch_open_) throw Failure("INVALID_ARGUMENT", "Another batch of this log is open.");
  if (failed_) {
    Failure failure("IO", "An earlier sync of this collection's files failed, so what is on the "
                          "device is not known any more; open the database again.");
    throw failure.in_file(spec_.directory, -1);
  }
  auto batch = std::make_shared<LogBatch>(shared_from_this(), expected);
  batch_open_ = true;
  return batch;
}

void RecordLog::mark_released(RowInfo* info) {
  info->dead = true;
  if (info->released) return;
  info->released = true;
  ++info->file->released_rows;
}

void RecordLog::release(const std::vector<uint64_t>& rows) {
  for (const uint64_t row : rows) {
    RowInfo* info = known(row);
    if (info != nullptr) mark_released(info);
  }
}

void RecordLog::release_below(uint64_t below) {
  for (const auto& file : files_) {
    for (const uint64_t row : file->rows) {
      if (row >= below) break;
      mark_released(known(row));
    }
  }
}

}  // namespace hive
