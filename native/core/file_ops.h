// Every file operation of the durable store goes through here, so that one place knows about short
// writes, interrupted calls and error codes, and a test can make each operation fail in turn.
// A failed operation throws Failure: NO_SPACE for a full disk, quota or size limit, else IO.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hive {

struct Piece {
  const void* data;
  size_t bytes;
};

class File {
 public:
  enum class Mode { kRead, kReadWrite, kCreate };
  // kCreate makes an empty file and throws away what was there.
  static std::shared_ptr<File> open(const std::string& path, Mode mode);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const;
  // Exactly that many bytes; a file that ends before throws CORRUPT. Never maps the file, so a file
  // that shrinks meanwhile is an error, not a signal.
  void read(uint64_t offset, void* out, size_t bytes) const;
  void write(uint64_t offset, std::vector<Piece> pieces);
  // Returns once the bytes and the length are on the device.
  void sync();
  void truncate(uint64_t bytes);

 private:
  File(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  const std::string path_;
  const int fd_;
};

// Missing files are fine.
void remove_file(const std::string& path);
// Makes names created or removed in the directory durable.
void sync_directory(const std::string& path);

// An exclusive lock on a file, held until destruction; a second one, of this process too, throws
// LOCKED. It goes with the process, however that ends.
class FileLock {
 public:
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

// For tests: makes the operation number `at` (counted from now, 0 = none) of this process fail
// with `error`; with `repeat` all later ones too. A failing write first writes half.
void set_file_fault(uint64_t at, int error, bool repeat);
// Operations since the last set_file_fault.
uint64_t file_operations();

}  // namespace hive
