#include "frame.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "collection.h"
#include "crc32c.h"

namespace hive {
namespace {

static_assert(std::endian::native == std::endian::little, "format 1 is written as it is in memory");

constexpr char kFileMagic[9] = "HIVESEG1";
constexpr uint32_t kFrameMagic = 0x46564948;  // "HIVF"
constexpr size_t kNameAt = 64;
constexpr size_t kNameMax = 255;
constexpr size_t kFirstRead = 512;

template <class T>
T get(const char* from, size_t at) {
  T value;
  std::memcpy(&value, from + at, sizeof value);
  return value;
}

template <class T>
void put(std::string* to, size_t at, T value) {
  std::memcpy(to->data() + at, &value, sizeof value);
}

[[noreturn]] void corrupt(const File& file, uint64_t offset, const std::string& what) {
  Failure failure("CORRUPT", "The file " + file.path() + " is damaged at byte " +
                                 std::to_string(offset) + ": " + what + ".");
  throw failure.in_file(file.path(), static_cast<int64_t>(offset));
}

void parse_records(const File& file, Frame* frame) {
  const FrameHeader& h = frame->header;
  const uint64_t entries = uint64_t{h.count} * kRecordEntryBytes;
  uint64_t ids = entries;
  uint64_t records = 0;
  frame->entries.reserve(h.count);
  frame->ids.reserve(h.count);
  for (uint32_t i = 0; i < h.count; ++i) {
    const char* at = frame->table.data() + size_t{i} * kRecordEntryBytes;
    const RecordEntry e{get<uint64_t>(at, 0),  get<uint64_t>(at, 8),  get<uint32_t>(at, 16),
                        get<uint32_t>(at, 20), get<uint32_t>(at, 24), get<uint32_t>(at, 28)};
    const bool ascending = i == 0 || e.row > frame->entries.back().row;
    if (!ascending || e.row >= h.bound || e.row >= kRowMax || e.id_bytes == 0 ||
        e.id_bytes > kIdBytesMax || e.id_bytes > h.table_bytes - ids) {
      corrupt(file, frame->offset, "a record's entry is impossible");
    }
    frame->ids.push_back(std::string_view(frame->table).substr(ids, e.id_bytes));
    ids += e.id_bytes;
    records += e.record_bytes;
    frame->entries.push_back(e);
  }
  if (ids != h.table_bytes || records != h.record_bytes) {
    corrupt(file, frame->offset, "the lengths of its records do not add up");
  }
}

void parse_rows(const File& file, Frame* frame, uint32_t entry_bytes) {
  const FrameHeader& h = frame->header;
  uint64_t ids = uint64_t{h.count} * entry_bytes;
  frame->rows.reserve(h.count);
  for (uint32_t i = 0; i < h.count; ++i) {
    const char* at = frame->table.data() + size_t{i} * entry_bytes;
    frame->rows.push_back(get<uint64_t>(at, 0));
    if (entry_bytes != kDeleteEntryBytes) continue;
    const uint32_t id_bytes = get<uint32_t>(at, 8);
    if (id_bytes == 0 || id_bytes > kIdBytesMax || id_bytes > h.table_bytes - ids) {
      corrupt(file, frame->offset, "an id's length is impossible");
    }
    frame->ids.push_back(std::string_view(frame->table).substr(ids, id_bytes));
    ids += id_bytes;
  }
  if (ids != h.table_bytes) corrupt(file, frame->offset, "the lengths of its ids do not add up");
}

uint32_t entry_bytes_of(FrameKind kind) {
  switch (kind) {
    case FrameKind::kRecords: return kRecordEntryBytes;
    case FrameKind::kDeletes: return kDeleteEntryBytes;
    case FrameKind::kTombstones:
    case FrameKind::kReplaces: return kRowBytes;
    default: return 0;
  }
}

FrameHeader parse_header(const File& file, const LogIdentity& identity, const char* bytes,
                         uint64_t number, uint64_t offset, uint64_t limit) {
  if (get<uint32_t>(bytes, 60) != crc32c(0, bytes, 60)) {
    corrupt(file, offset, "the checksum of a frame's header is wrong");
  }
  FrameHeader h;
  const auto kind = get<uint8_t>(bytes, 4);
  const auto flags = get<uint8_t>(bytes, 5);
  h.kind = static_cast<FrameKind>(kind);
  h.ends_commit = (flags & 1u) != 0;
  h.sequence = get<uint64_t>(bytes, 8);
  h.bound = get<uint64_t>(bytes, 16);
  h.count = get<uint32_t>(bytes, 24);
  h.table_bytes = get<uint32_t>(bytes, 28);
  h.record_bytes = get<uint64_t>(bytes, 32);
  h.vector_bytes = get<uint64_t>(bytes, 40);
  h.table_crc = get<uint32_t>(bytes, 48);
  const bool here = get<uint32_t>(bytes, 52) == static_cast<uint32_t>(number) &&
                    get<uint32_t>(bytes, 56) == static_cast<uint32_t>(offset / kFrameAlign);
  if (get<uint32_t>(bytes, 0) != kFrameMagic || !here) {
    corrupt(file, offset, "this frame belongs to another place");
  }
  if (kind < 1 || kind > 5 || flags > 1 || get<uint16_t>(bytes, 6) != 0 || h.bound > kRowMax) {
    corrupt(file, offset, "a frame's header is impossible");
  }
  const uint64_t room = limit - offset - kFrameHeaderBytes;
  const uint64_t vectors =
      h.kind == FrameKind::kRecords ? h.count * identity.vector_bytes() : uint64_t{0};
  const bool fits = h.table_bytes <= room && h.record_bytes <= room - h.table_bytes &&
                    h.vector_bytes <= room - h.table_bytes - h.record_bytes;
  if (!fits || h.vector_bytes != vectors ||
      uint64_t{h.count} * entry_bytes_of(h.kind) > h.table_bytes ||
      (h.kind != FrameKind::kRecords && h.record_bytes != 0) ||
      (h.kind == FrameKind::kClear && (h.count != 0 || h.table_bytes != 0))) {
    corrupt(file, offset, "a frame's lengths are impossible");
  }
  return h;
}

}  // namespace

bool LogIdentity::scaled() const { return dtype == HIVE_DTYPE_I8; }
uint64_t LogIdentity::row_bytes() const { return uint64_t{dim} * element_bytes(dtype); }
uint64_t LogIdentity::vector_bytes() const {
  return row_bytes() + sizeof(float) * (scaled() ? 2 : 1);
}

uint64_t padding(uint64_t bytes) { return (kFrameAlign - bytes % kFrameAlign) % kFrameAlign; }

uint64_t Frame::vectors_at() const {
  const uint64_t at = records_at() + header.record_bytes;
  return at + padding(at);
}

uint64_t Frame::end() const {
  const uint64_t at = vectors_at() + header.vector_bytes;
  return at + padding(at);
}

uint32_t vector_crc(const LogIdentity& identity, const char* data, const float* inv_norm,
                    const float* scale) {
  uint32_t crc = crc32c(0, data, identity.row_bytes());
  crc = crc32c(crc, inv_norm, sizeof(float));
  return scale == nullptr ? crc : crc32c(crc, scale, sizeof(float));
}

uint32_t stored_vector_crc(const LogIdentity& identity, const char* bytes, uint64_t rows,
                           uint64_t index) {
  const uint64_t row_bytes = identity.row_bytes();
  const char* norms = bytes + rows * row_bytes;
  float norm;
  float scale = 0;
  std::copy_n(norms + index * sizeof norm, sizeof norm, reinterpret_cast<char*>(&norm));
  if (identity.scaled()) {
    const char* at = norms + rows * sizeof norm + index * sizeof scale;
    std::copy_n(at, sizeof scale, reinterpret_cast<char*>(&scale));
  }
  return vector_crc(identity, bytes + index * row_bytes, &norm,
                    identity.scaled() ? &scale : nullptr);
}

void append_u64(std::string* out, uint64_t value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}
void append_u32(std::string* out, uint32_t value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_entry(std::string* table, const RecordEntry& entry) {
  append_u64(table, entry.row);
  append_u64(table, entry.sequence);
  append_u32(table, entry.id_bytes);
  append_u32(table, entry.record_bytes);
  append_u32(table, entry.record_crc);
  append_u32(table, entry.vector_crc);
}

std::string encode_file_header(const LogIdentity& identity, uint64_t number) {
  std::string out(kFileHeaderBytes, '\0');
  out.replace(0, 8, kFileMagic);
  put(&out, 8, kFormatVersion);
  put(&out, 12, static_cast<uint32_t>(kFileHeaderBytes));
  out.replace(16, 16, identity.database);
  put(&out, 32, identity.collection);
  put(&out, 40, number);
  put(&out, 48, identity.dim);
  put(&out, 52, identity.dtype);
  put(&out, 56, identity.metric);
  put(&out, 60, static_cast<uint32_t>(identity.name.size()));
  out.replace(kNameAt, identity.name.size(), identity.name);
  put(&out, kFileHeaderBytes - 4, crc32c(0, out.data(), kFileHeaderBytes - 4));
  return out;
}

LogIdentity check_file_header(const File& file, const LogIdentity* expected, uint64_t number) {
  char bytes[kFileHeaderBytes];
  file.read(0, bytes, sizeof bytes);
  if (std::memcmp(bytes, kFileMagic, 7) != 0) corrupt(file, 0, "it is not a segment file");
  if (get<uint32_t>(bytes, kFileHeaderBytes - 4) != crc32c(0, bytes, kFileHeaderBytes - 4)) {
    corrupt(file, 0, "the checksum of its header is wrong");
  }
  const auto version = get<uint32_t>(bytes, 8);
  if (version != kFormatVersion) {
    Failure failure("FORMAT", "The file " + file.path() + " has format " + std::to_string(version) +
                                  "; this version reads format 1.");
    throw failure.in_file(file.path(), 8);
  }
  LogIdentity found;
  found.database.assign(bytes + 16, 16);
  found.collection = get<uint64_t>(bytes, 32);
  found.dim = get<uint32_t>(bytes, 48);
  found.dtype = get<uint32_t>(bytes, 52);
  found.metric = get<uint32_t>(bytes, 56);
  const auto name_bytes = get<uint32_t>(bytes, 60);
  if (get<uint64_t>(bytes, 40) != number || name_bytes < 1 || name_bytes > kNameMax ||
      found.dim < 1 || found.dim > 65536 || found.dtype > HIVE_DTYPE_I8 || found.metric > 4) {
    corrupt(file, 0, "its header is impossible");
  }
  found.name.assign(bytes + kNameAt, name_bytes);
  if (expected != nullptr &&
      (found.database != expected->database || found.collection != expected->collection ||
       found.name != expected->name || found.dim != expected->dim ||
       found.dtype != expected->dtype || found.metric != expected->metric)) {
    corrupt(file, 0, "it belongs to another database or collection");
  }
  return found;
}

std::string encode_frame_header(const FrameHeader& h, uint64_t file, uint64_t offset) {
  std::string out(kFrameHeaderBytes, '\0');
  put(&out, 0, kFrameMagic);
  put(&out, 4, static_cast<uint8_t>(h.kind));
  put(&out, 5, static_cast<uint8_t>(h.ends_commit ? 1 : 0));
  put(&out, 8, h.sequence);
  put(&out, 16, h.bound);
  put(&out, 24, h.count);
  put(&out, 28, h.table_bytes);
  put(&out, 32, h.record_bytes);
  put(&out, 40, h.vector_bytes);
  put(&out, 48, h.table_crc);
  put(&out, 52, static_cast<uint32_t>(file));
  put(&out, 56, static_cast<uint32_t>(offset / kFrameAlign));
  put(&out, 60, crc32c(0, out.data(), 60));
  return out;
}

Frame read_frame(const File& file, const LogIdentity& identity, uint64_t number, uint64_t offset,
                 uint64_t limit) {
  if (limit < offset || limit - offset < kFrameHeaderBytes) {
    corrupt(file, offset, "a frame is cut short");
  }
  // Of a small frame, the table comes with the header.
  char bytes[kFirstRead];
  const uint64_t first = std::min<uint64_t>(sizeof bytes, limit - offset);
  file.read(offset, bytes, first);
  Frame frame;
  frame.offset = offset;
  frame.header = parse_header(file, identity, bytes, number, offset, limit);
  const uint64_t table_bytes = frame.header.table_bytes;
  frame.table.resize(table_bytes);
  const uint64_t had = std::min(table_bytes, first - kFrameHeaderBytes);
  std::copy_n(bytes + kFrameHeaderBytes, had, frame.table.data());
  if (had < table_bytes) {
    file.read(offset + kFrameHeaderBytes + had, frame.table.data() + had, table_bytes - had);
  }
  if (crc32c(0, frame.table.data(), frame.table.size()) != frame.header.table_crc) {
    corrupt(file, offset + kFrameHeaderBytes, "the checksum of a frame's table is wrong");
  }
  if (frame.header.kind == FrameKind::kRecords) parse_records(file, &frame);
  else parse_rows(file, &frame, entry_bytes_of(frame.header.kind));
  if (frame.end() > limit) corrupt(file, offset, "a frame is cut short");
  return frame;
}

}  // namespace hive
