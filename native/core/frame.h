// File format 1 of segment files: a header, then frames. docs/file-format.md gives every byte; all
// numbers are little-endian. This file turns structs into bytes and back and checks what it reads;
// it knows nothing of ids' meaning, and nothing here trusts a length before it was checked against
// the file's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "file_ops.h"

namespace hive {

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint64_t kFileHeaderBytes = 512;
inline constexpr uint64_t kFrameHeaderBytes = 64;
inline constexpr uint64_t kFrameAlign = 64;
inline constexpr uint32_t kIdBytesMax = 1024;

// What all files of a collection share; part of every file header.
struct LogIdentity {
  std::string database;  // 16 random bytes, made with the database
  uint64_t collection = 0;
  std::string name;
  uint32_t dim = 0;
  uint32_t dtype = 0;
  uint32_t metric = 0;

  uint64_t vector_bytes() const;  // of one row: elements, inverse norm, scale when there is one
  uint64_t row_bytes() const;     // elements alone
  bool scaled() const;
};

enum class FrameKind : uint8_t {
  kRecords = 1,     // records with their vectors
  kDeletes = 2,     // rows whose records were deleted, with their ids
  kClear = 3,       // all rows below `bound` are dead
  kTombstones = 4,  // rows that compaction knows to be dead while they are still in some file
  kReplaces = 5,    // files whose place this file takes
};

struct FrameHeader {
  FrameKind kind = FrameKind::kRecords;
  bool ends_commit = false;
  uint64_t sequence = 0;  // of the commit, or of the newest one that compaction saw
  uint64_t bound = 0;     // records: all rows so far are below; clear: rows below are dead
  uint32_t count = 0;
  uint32_t table_bytes = 0;
  uint64_t record_bytes = 0;
  uint64_t vector_bytes = 0;
  uint32_t table_crc = 0;
};

struct RecordEntry {
  uint64_t row = 0;
  uint64_t sequence = 0;
  uint32_t id_bytes = 0;
  uint32_t record_bytes = 0;
  uint32_t record_crc = 0;  // of the record's bytes
  uint32_t vector_crc = 0;  // of the elements, then the inverse norm, then the scale
};

inline constexpr uint32_t kRecordEntryBytes = 32;
inline constexpr uint32_t kDeleteEntryBytes = 16;
inline constexpr uint32_t kRowBytes = 8;

// A frame that was read and checked, without record bytes and vectors.
struct Frame {
  FrameHeader header;
  uint64_t offset = 0;
  std::string table;
  std::vector<RecordEntry> entries;   // kRecords
  std::vector<uint64_t> rows;         // kDeletes, kTombstones
  std::vector<std::string_view> ids;  // into table; kRecords, kDeletes

  uint64_t records_at() const { return offset + kFrameHeaderBytes + header.table_bytes; }
  uint64_t vectors_at() const;
  uint64_t end() const;
};

std::string encode_file_header(const LogIdentity& identity, uint64_t number);
// Throws CORRUPT, or FORMAT for a version that this build does not know. `expected` null: anything
// goes and is returned (rebuilding without an index).
LogIdentity check_file_header(const File& file, const LogIdentity* expected, uint64_t number);

std::string encode_frame_header(const FrameHeader& header, uint64_t file, uint64_t offset);
void append_entry(std::string* table, const RecordEntry& entry);
void append_u64(std::string* out, uint64_t value);
void append_u32(std::string* out, uint32_t value);

// Reads the frame at `offset` of a file whose frames end at `limit`; throws CORRUPT with the place.
Frame read_frame(const File& file, const LogIdentity& identity, uint64_t number, uint64_t offset,
                 uint64_t limit);

// Zeros that bring `bytes` to a multiple of kFrameAlign.
uint64_t padding(uint64_t bytes);
// The checksum of row `index` of a frame's vectors, [rows] elements, norms, scales.
uint32_t stored_vector_crc(const LogIdentity& identity, const char* vectors, uint64_t rows,
                           uint64_t index);
uint32_t vector_crc(const LogIdentity& identity, const char* data, const float* inv_norm,
                    const float* scale);

}  // namespace hive
