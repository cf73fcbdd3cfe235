#include "file_ops.h"

#include <atomic>
#include <cerrno>
#include <cstring>

#include "failure.h"

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#endif

namespace hive {
namespace {

std::atomic<bool> g_armed{false};
std::atomic<uint64_t> g_operations{0};
std::atomic<uint64_t> g_fail_at{0};
std::atomic<int> g_error{0};
std::atomic<bool> g_repeat{false};

// The error that this operation has to fail with, 0 = none.
int injected() {
  if (!g_armed.load(std::memory_order_relaxed)) return 0;
  const uint64_t number = g_operations.fetch_add(1) + 1;
  const uint64_t at = g_fail_at.load();
  if (at == 0 || number < at || (number > at && !g_repeat.load())) return 0;
  return g_error.load();
}

[[noreturn]] void fail(const char* what, const std::string& path, int error, int64_t offset = -1) {
  const bool full = error == ENOSPC || error == EFBIG
#if defined(EDQUOT)
                    || error == EDQUOT
#endif
      ;
  Failure failure(full ? "NO_SPACE" : "IO",
                  std::string("Cannot ") + what + " " + path + ": " + std::strerror(error) + ".");
  failure.in_file(path, offset, error);
  throw failure;
}

}  // namespace

void set_file_fault(uint64_t at, int error, bool repeat) {
  g_armed = false;
  g_operations = 0;
  g_fail_at = at;
  g_error = error;
  g_repeat = repeat;
  g_armed = true;
}

uint64_t file_operations() { return g_operations.load(); }

#if defined(_WIN32)

[[noreturn]] static void no_files() {
  throw Failure("UNSUPPORTED", "Durable storage is not available on Windows.");
}
std::shared_ptr<File> File::open(const std::string&, Mode) { no_files(); }
File::~File() = default;
uint64_t File::size() const { no_files(); }
void File::read(uint64_t, void*, size_t) const { no_files(); }
void File::write(uint64_t, std::vector<Piece>) { no_files(); }
void File::sync() { no_files(); }
void File::truncate(uint64_t) { no_files(); }
void remove_file(const std::string&) { no_files(); }
void sync_directory(const std::string&) { no_files(); }
FileLock::FileLock(const std::string&) { no_files(); }
FileLock::~FileLock() = default;

#else

namespace {

// The kernel takes at most this many pieces in one call.
constexpr size_t kPiecesMax = 1024;

int sync_fd(int fd) {
#if defined(__APPLE__)
  // fsync leaves the bytes in the drive's cache there.
  return fcntl(fd, F_FULLFSYNC) == -1 ? fsync(fd) : 0;
#else
  return fdatasync(fd);
#endif
}

template <class Call>
auto retried(Call call) -> decltype(call()) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

}  // namespace

std::shared_ptr<File> File::open(const std::string& path, Mode mode) {
  const char* what = mode == Mode::kCreate ? "create" : "open";
  if (const int error = injected()) fail(what, path, error);
  const int flags = mode == Mode::kRead        ? O_RDONLY
                    : mode == Mode::kReadWrite ? O_RDWR
                                               : O_RDWR | O_CREAT | O_TRUNC;
  const int fd = retried([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0644); });
  if (fd < 0 && errno == ENOENT && mode != Mode::kCreate) {
    throw Failure("CORRUPT", "The file " + path + " is missing.").in_file(path, -1, ENOENT);
  }
  if (fd < 0) fail(what, path, errno);
  return std::shared_ptr<File>(new File(path, fd));
}

File::~File() { ::close(fd_); }

uint64_t File::size() const {
  struct stat status {};
  if (fstat(fd_, &status) != 0) fail("measure", path_, errno);
  return static_cast<uint64_t>(status.st_size);
}

void File::read(uint64_t offset, void* out, size_t bytes) const {
  if (const int error = injected()) fail("read", path_, error, static_cast<int64_t>(offset));
  auto* to = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t got = retried([&] { return pread(fd_, to, bytes, static_cast<off_t>(offset)); });
    if (got < 0) fail("read", path_, errno, static_cast<int64_t>(offset));
    if (got == 0) {
      Failure failure("CORRUPT", "The file " + path_ + " ends at byte " + std::to_string(offset) +
                                     ", before data that was committed.");
      throw failure.in_file(path_, static_cast<int64_t>(offset));
    }
    to += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<size_t>(got);
  }
}

void File::write(uint64_t offset, std::vector<Piece> pieces) {
  std::vector<iovec> parts;
  size_t total = 0;
  for (const Piece& piece : pieces) {
    if (piece.bytes == 0) continue;
    parts.push_back({const_cast<void*>(piece.data), piece.bytes});
    total += piece.bytes;
  }
  if (const int error = injected()) {
    if (!parts.empty()) {
      (void)!pwrite(fd_, parts[0].iov_base, parts[0].iov_len / 2, static_cast<off_t>(offset));
    }
    fail("write to", path_, error, static_cast<int64_t>(offset));
  }
  size_t at = 0;
  while (total > 0) {
    const int count = static_cast<int>(std::min(parts.size() - at, kPiecesMax));
    const ssize_t put = retried(
        [&] { return pwritev(fd_, parts.data() + at, count, static_cast<off_t>(offset)); });
    if (put < 0) fail("write to", path_, errno, static_cast<int64_t>(offset));
    if (put == 0) fail("write to", path_, ENOSPC, static_cast<int64_t>(offset));
    offset += static_cast<uint64_t>(put);
    total -= static_cast<size_t>(put);
    auto left = static_cast<size_t>(put);
    while (left > 0 && left >= parts[at].iov_len) left -= parts[at++].iov_len;
    if (left > 0) {
      parts[at].iov_base = static_cast<char*>(parts[at].iov_base) + left;
      parts[at].iov_len -= left;
    }
  }
}

void File::sync() {
  if (const int error = injected()) fail("sync", path_, error);
  if (retried([&] { return sync_fd(fd_); }) != 0) fail("sync", path_, errno);
}

void File::truncate(uint64_t bytes) {
  if (const int error = injected()) fail("truncate", path_, error);
  if (retried([&] { return ftruncate(fd_, static_cast<off_t>(bytes)); }) != 0) {
    fail("truncate", path_, errno);
  }
}

void remove_file(const std::string& path) {
  if (const int error = injected()) fail("remove", path, error);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) fail("remove", path, errno);
}

void sync_directory(const std::string& path) {
  if (const int error = injected()) fail("sync", path, error);
  const int fd = retried([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (fd < 0) fail("open", path, errno);
  const int result = retried([&] { return fsync(fd); });
  const int error = errno;
  ::close(fd);
  if (result != 0) fail("sync", path, error);
}

FileLock::FileLock(const std::string& path) {
  if (const int error = injected()) fail("lock", path, error);
  fd_ = retried([&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644); });
  if (fd_ < 0) fail("open", path, errno);
#if defined(F_OFD_SETLK)
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const int result = retried([&] { return fcntl(fd_, F_OFD_SETLK, &lock); });
#else
  const int result = retried([&] { return flock(fd_, LOCK_EX | LOCK_NB); });
#endif
  if (result == 0) return;
  const int error = errno;
  ::close(fd_);
  if (error != EAGAIN && error != EACCES && error != EWOULDBLOCK) fail("lock", path, error);
  Failure failure("LOCKED", "Another writer, of this process or another one, holds " + path + ".");
  throw failure.in_file(path, -1, error);
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

#endif

}  // namespace hive
