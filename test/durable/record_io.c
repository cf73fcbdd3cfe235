/*
 * Records what a process does to the files below one folder: every write, sync, truncation, creation
 * and removal, of every library in it (LMDB's included), in order. Loaded with LD_PRELOAD.
 *   HIVE_RECORD_ROOT  the folder, absolute       HIVE_RECORD_LOG  the log to write
 * Entries are little-endian: u8 kind, u8 0, u16 path bytes, u32 data bytes, u64 offset, path, data.
 *   kinds: 1 write, 2 sync file, 3 truncate (offset = new length), 4 create, 5 remove,
 *          6 sync folder, 7 rename (data = new path), 8 make folder, 9 write that is durable when it returns (O_DSYNC)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int g_log = -1;
static char g_root[PATH_MAX];
static size_t g_root_bytes;
static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;

static void append(const void *data, size_t bytes) {
  const char *at = data;
  while (bytes > 0) {
    long put = syscall(SYS_write, g_log, at, bytes);
    if (put <= 0) _exit(99);
    at += put;
    bytes -= (size_t)put;
  }
}

static void record(uint8_t kind, const char *path, uint64_t offset, const struct iovec *parts,
                   int count) {
  uint32_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += (uint32_t)parts[i].iov_len;
  uint16_t path_bytes = (uint16_t)strlen(path);
  char head[16];
  memset(head, 0, sizeof head);
  head[0] = (char)kind;
  memcpy(head + 2, &path_bytes, 2);
  memcpy(head + 4, &bytes, 4);
  memcpy(head + 8, &offset, 8);
  append(head, sizeof head);
  append(path, path_bytes);
  for (int i = 0; i < count; ++i) append(parts[i].iov_base, parts[i].iov_len);
}

__attribute__((constructor)) static void start(void) {
  const char *root = getenv("HIVE_RECORD_ROOT");
  const char *log = getenv("HIVE_RECORD_LOG");
  if (root == NULL || log == NULL) return;
  strncpy(g_root, root, sizeof g_root - 1);
  g_root_bytes = strlen(g_root);
  g_log = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* The path within the folder, or NULL for others. */
static const char *within(const char *path) {
  if (g_log < 0 || strncmp(path, g_root, g_root_bytes) != 0) return NULL;
  return path[g_root_bytes] == '/' ? path + g_root_bytes + 1 : path + g_root_bytes;
}

static const char *path_of(int fd, char *buffer) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t bytes = readlink(link, buffer, PATH_MAX - 1);
  if (bytes <= 0) return NULL;
  buffer[bytes] = 0;
  return within(buffer);
}

static int write_kind(int fd);

/* Runs the call and records it, in one step, so that the log has the order of the calls. */
#define RECORDED(fd, kind, call, offset, parts, count)                   \
  char buffer[PATH_MAX];                                                 \
  const char *path = g_log < 0 ? NULL : path_of(fd, buffer);             \
  if (path == NULL) return call;                                         \
  pthread_mutex_lock(&g_mutex);                                          \
  long result = (long)call;                                              \
  if (result >= 0) record(kind, path, (uint64_t)(offset), parts, count); \
  pthread_mutex_unlock(&g_mutex);                                        \
  return result;

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) {
  struct iovec part = {(void *)data, bytes};
  RECORDED(fd, write_kind(fd), syscall(SYS_pwrite64, fd, data, bytes, offset), offset, &part, 1)
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
  return pwrite64(fd, data, bytes, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  RECORDED(fd, write_kind(fd), syscall(SYS_pwritev, fd, parts, (long)count, offset, 0L), offset, parts, count)
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  return pwritev64(fd, parts, count, offset);
}
ssize_t write(int fd, const void *data, size_t bytes) {
  struct iovec part = {(void *)data, bytes};
  off64_t offset = g_log < 0 ? 0 : lseek64(fd, 0, SEEK_CUR);
  RECORDED(fd, write_kind(fd), syscall(SYS_write, fd, data, bytes), offset, &part, 1)
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  off64_t offset = g_log < 0 ? 0 : lseek64(fd, 0, SEEK_CUR);
  RECORDED(fd, write_kind(fd), syscall(SYS_writev, fd, parts, (long)count), offset, parts, count)
}

static int write_kind(int fd) {
  if (g_log < 0) return 1;
  return (fcntl(fd, F_GETFL) & O_DSYNC) != 0 ? 9 : 1;
}

static int is_folder(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}
int fsync(int fd) { RECORDED(fd, is_folder(fd) ? 6 : 2, syscall(SYS_fsync, fd), 0, NULL, 0) }
int fdatasync(int fd) { RECORDED(fd, is_folder(fd) ? 6 : 2, syscall(SYS_fdatasync, fd), 0, NULL, 0) }
int ftruncate64(int fd, off64_t length) {
  RECORDED(fd, 3, syscall(SYS_ftruncate, fd, length), length, NULL, 0)
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int opened(int dir, const char *path, int flags, mode_t mode) {
  const char *inside = within(path);
  int fresh = inside != NULL && (flags & O_CREAT) != 0 && faccessat(dir, path, F_OK, 0) != 0;
  if (inside == NULL) return (int)syscall(SYS_openat, dir, path, flags, mode);
  pthread_mutex_lock(&g_mutex);
  int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
  if (fd >= 0 && fresh) record(4, inside, 0, NULL, 0);
  else if (fd >= 0 && (flags & O_TRUNC) != 0) record(3, inside, 0, NULL, 0);
  pthread_mutex_unlock(&g_mutex);
  return fd;
}
#define OPEN_MODE(flags)                                \
  mode_t mode = 0;                                      \
  if (((flags) & (O_CREAT | __O_TMPFILE)) != 0) {       \
    va_list list;                                       \
    va_start(list, flags);                              \
    mode = va_arg(list, mode_t);                        \
    va_end(list);                                       \
  }
int open(const char *path, int flags, ...) { OPEN_MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { OPEN_MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { OPEN_MODE(flags) return opened(dir, path, flags, mode); }

static int removed(int dir, const char *path, int flags) {
  const char *inside = within(path);
  if (inside == NULL) return (int)syscall(SYS_unlinkat, dir, path, flags);
  pthread_mutex_lock(&g_mutex);
  int result = (int)syscall(SYS_unlinkat, dir, path, flags);
  if (result == 0) record(5, inside, 0, NULL, 0);
  pthread_mutex_unlock(&g_mutex);
  return result;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return removed(dir, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int rename(const char *from, const char *to) {
  const char *inside = within(from);
  const char *target = within(to);
  if (inside == NULL || target == NULL) return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
  struct iovec part = {(void *)target, strlen(target)};
  pthread_mutex_lock(&g_mutex);
  int result = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
  if (result == 0) record(7, inside, 0, &part, 1);
  pthread_mutex_unlock(&g_mutex);
  return result;
}
int mkdir(const char *path, mode_t mode) {
  const char *inside = within(path);
  if (inside == NULL) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  pthread_mutex_lock(&g_mutex);
  int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  if (result == 0) record(8, inside, 0, NULL, 0);
  pthread_mutex_unlock(&g_mutex);
  return result;
}
