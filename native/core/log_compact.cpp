// Compaction of a record log: a run of files becomes one that holds what is still needed.
#include <algorithm>

#include "record_log.h"

namespace hive {
namespace {

constexpr char kZeros[kFrameAlign] = {};

}  // namespace

Compaction::Compaction(std::shared_ptr<RecordLog> of, size_t first, size_t count, uint64_t retain)
    : log(std::move(of)),
      retain_from(retain),
      number(log->take_file_number()),
      sequence(log->last_sequence()) {
  const auto& files = log->files();
  sources.assign(files.begin() + static_cast<ptrdiff_t>(first),
                 files.begin() + static_cast<ptrdiff_t>(first + count));
  for (size_t i = 0; i < files.size(); ++i) {
    const bool source = i >= first && i < first + count;
    if (source) keep.emplace_back(files[i]->rows.size());
    for (size_t at = 0; at < files[i]->rows.size(); ++at) {
      const RowInfo* info = log->info(files[i]->rows[at]);
      const bool kept = !info->released || info->sequence >= retain_from;
      if (source) keep.back()[at] = kept;
      // What made a row dead may be left out now, so the row itself is listed while it exists.
      if (info->dead && (!source || kept)) tombstones.push_back(files[i]->rows[at]);
    }
  }
}

void Compaction::start_target() {
  if (target != nullptr) return;
  target = std::make_shared<LogFile>();
  target->number = number;
  target->ids.push_back(ids);
  target->file = File::open(log->path_of(number), File::Mode::kCreate);
  const std::string header = encode_file_header(log->identity(), number);
  target->file->write(0, {{header.data(), header.size()}});
  target->length = kFileHeaderBytes;
  // Without an index, this says which files the finished target stands for.
  FrameHeader replaces;
  replaces.kind = FrameKind::kReplaces;
  replaces.ends_commit = true;
  replaces.sequence = sequence;
  replaces.count = static_cast<uint32_t>(sources.size());
  std::string table;
  for (const auto& source : sources) append_u64(&table, source->number);
  write_frame(replaces, table, "", "", {});
}

void Compaction::run() {
  for (size_t s = 0; s < sources.size(); ++s) {
    const LogFile& source = *sources[s];
    for (size_t f = 0; f < source.frames.size(); ++f) copy_frame(source, f, keep[s]);
  }
  if (target != nullptr || !tombstones.empty()) {
    FrameHeader header;
    header.kind = FrameKind::kTombstones;
    header.ends_commit = true;
    header.sequence = sequence;
    header.count = static_cast<uint32_t>(tombstones.size());
    std::string table;
    for (const uint64_t row : tombstones) append_u64(&table, row);
    write_frame(header, table, "", "", {});
  }
  if (target == nullptr) return;
  target->file->sync();
  sync_directory(log->directory());
}

void Compaction::copy_frame(const LogFile& source, size_t index, const std::vector<bool>& kept) {
  const LogFile::FrameRef& ref = source.frames[index];
  const LogIdentity& identity = log->identity();
  const Frame frame =
      read_frame(*source.file, identity, source.number, ref.offset, source.length);
  FrameHeader header = frame.header;
  if (header.kind == FrameKind::kTombstones || header.kind == FrameKind::kReplaces) return;
  if (header.kind != FrameKind::kRecords) {
    // Rows that these made dead are listed as tombstones as long as they exist.
    if (header.sequence >= retain_from) write_frame(header, frame.table, "", "", {});
    else dropped_through = std::max(dropped_through, header.sequence);
    return;
  }
  std::string all(header.record_bytes, '\0');
  source.file->read(frame.records_at(), all.data(), all.size());
  std::string vectors(header.vector_bytes, '\0');
  source.file->read(frame.vectors_at(), vectors.data(), vectors.size());
  std::string entries, id_bytes, records, data, norms, scales;
  const uint64_t row_bytes = identity.row_bytes();
  uint64_t at = 0;
  uint32_t count = 0;
  std::vector<std::pair<uint64_t, std::string_view>> rows;
  std::vector<uint32_t> lengths;
  for (uint32_t i = 0; i < header.count; ++i) {
    const RecordEntry& e = frame.entries[i];
    const std::string_view record = std::string_view(all).substr(at, e.record_bytes);
    at += e.record_bytes;
    if (!kept[ref.first_index + i]) {
      dropped_through = std::max(dropped_through, e.sequence);
      continue;
    }
    const std::string_view v(vectors);
    const std::string_view row = v.substr(i * row_bytes, row_bytes);
    const std::string_view norm = v.substr(header.count * row_bytes + i * 4, 4);
    uint32_t crc = crc32c(crc32c(0, row.data(), row.size()), norm.data(), norm.size());
    if (identity.scaled()) {
      const std::string_view scale = v.substr(header.count * (row_bytes + 4) + i * 4, 4);
      crc = crc32c(crc, scale.data(), scale.size());
      scales += scale;
    }
    if (crc32c(0, record.data(), record.size()) != e.record_crc || crc != e.vector_crc) {
      Failure failure("CORRUPT", "The file " + source.file->path() + " is damaged in the frame at" +
                                     " byte " + std::to_string(frame.offset) +
                                     ": the checksum of a record is wrong.");
      throw failure.in_file(source.file->path(), static_cast<int64_t>(frame.offset));
    }
    append_entry(&entries, e);
    id_bytes += frame.ids[i];
    records += record;
    data += row;
    norms += norm;
    rows.emplace_back(e.row, frame.ids[i]);
    lengths.push_back(e.record_bytes);
    ++count;
  }
  if (count == 0) return;
  header.count = count;
  start_target();
  uint64_t record_at = target->length + kFrameHeaderBytes + entries.size() + id_bytes.size();
  for (size_t i = 0; i < rows.size(); ++i) {
    moved.push_back({rows[i].first, record_at, ids->add(rows[i].second)});
    record_at += lengths[i];
  }
  write_frame(header, entries + id_bytes, records, data + norms + scales,
              {0, 0, count, target->rows.size()});
  for (const auto& row : rows) target->rows.push_back(row.first);
}

void Compaction::write_frame(FrameHeader header, const std::string& table,
                             const std::string& records, const std::string& vectors,
                             LogFile::FrameRef ref) {
  start_target();
  if (ref.count == 0) ref.first_index = target->rows.size();
  header.table_bytes = static_cast<uint32_t>(table.size());
  header.table_crc = crc32c(0, table.data(), table.size());
  header.record_bytes = records.size();
  header.vector_bytes = vectors.size();
  const std::string head = encode_frame_header(header, number, target->length);
  const uint64_t before = head.size() + table.size() + records.size();
  const uint64_t total = before + padding(before) + vectors.size();
  target->file->write(target->length, {{head.data(), head.size()},
                                       {table.data(), table.size()},
                                       {records.data(), records.size()},
                                       {kZeros, padding(before)},
                                       {vectors.data(), vectors.size()},
                                       {kZeros, padding(total)}});
  ref.offset = target->length;
  ref.vectors_at = target->length + before + padding(before);
  target->frames.push_back(ref);
  target->length += total + padding(total);
}

void Compaction::swap() {
  for (const Moved& m : moved) {
    RowInfo* info = log->known(m.row);
    info->file = target.get();
    info->offset = m.offset;
    info->id = m.id;
    if (info->released) ++target->released_rows;
  }
  for (const auto& source : sources) {
    for (const uint64_t row : source->rows) {
      RowInfo* info = log->known(row);
      if (info->file == source.get()) *info = RowInfo();
    }
  }
  auto& files = log->files_;
  const auto first = std::find(files.begin(), files.end(), sources.front());
  const auto rest = files.erase(first, first + static_cast<ptrdiff_t>(sources.size()));
  if (target != nullptr) files.insert(rest, target);
}

void Compaction::remove_sources() {
  for (const auto& source : sources) remove_file(source->file->path());
}

void Compaction::abandon() {
  if (target == nullptr) return;
  try {
    remove_file(log->path_of(number));
  } catch (const Failure&) {
    // A file that no manifest names is removed at the next open.
  }
}

}  // namespace hive
