/* disk_shim.so, for LD_PRELOAD: writes a journal of what is done to the files below a directory,
 * and cuts the power or lets a call fail at a chosen point of it.
 *
 * DISK_SHIM=FILE:DIRECTORY names the file that is shared with the test (control.h) and the
 * directory. The file is mapped once: workers that are forked later may open nothing. The
 * environment is handed on to the processes that the server spawns. Once the power is off, every
 * call here waits for the end, in all processes, so that the journal ends at one point. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/process/disk_shim/journal.h"

#define EXPORT __attribute__((visibility("default")))

static _Atomic uint64_t sync_count;

/* ---- opening */

typedef int (*open_fn)(const char*, int, ...);
typedef int (*openat_fn)(int, const char*, int, ...);

static int open_any(int directory, const char* name, int flags, mode_t mode) {
  openat_fn call = (openat_fn)real("openat");
  const int unnamed = (flags & O_TMPFILE) == O_TMPFILE;
  char path[PATH_MAX];
  if (control == NULL || !((flags & O_CREAT) || unnamed)) return call(directory, name, flags, mode);
  locate(directory, name, path);
  const int had = path[0] == '\0' || (!unnamed && access(path, F_OK) == 0);
  const int fd = call(directory, name, flags, mode);
  struct stat status;
  if (fd >= 0 && !had && fstat(fd, &status) == 0)
    note(DISK_CREATED, status.st_ino, 0, unnamed ? "" : path, "", NULL, 0);
  if (fd >= 0 && had && path[0] && (flags & O_TRUNC) && fstat(fd, &status) == 0)
    note(DISK_TRUNCATED, status.st_ino, 0, "", "", NULL, 0);
  return fd;
}

#define MODE(last)                                             \
  mode_t mode = 0;                                             \
  if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
    va_list list;                                              \
    va_start(list, last);                                      \
    mode = va_arg(list, mode_t);                               \
    va_end(list);                                              \
  }
EXPORT int open(const char* name, int flags, ...) {
  MODE(flags) return open_any(AT_FDCWD, name, flags, mode);
}
EXPORT int open64(const char* name, int flags, ...) {
  MODE(flags) return open_any(AT_FDCWD, name, flags, mode);
}
EXPORT int openat(int directory, const char* name, int flags, ...) {
  MODE(flags) return open_any(directory, name, flags, mode);
}
EXPORT int openat64(int directory, const char* name, int flags, ...) {
  MODE(flags) return open_any(directory, name, flags, mode);
}
EXPORT int __open_2(const char* name, int flags) {
  return open_any(AT_FDCWD, name, flags, 0);
}
EXPORT int __open64_2(const char* name, int flags) {
  return open_any(AT_FDCWD, name, flags, 0);
}
EXPORT int __openat_2(int directory, const char* name, int flags) {
  return open_any(directory, name, flags, 0);
}
EXPORT int __openat64_2(int directory, const char* name, int flags) {
  return open_any(directory, name, flags, 0);
}

/* ---- writing */

/* Nonzero: the write is to fail with this errno, and only the first half of it to be made. */
static int before_write(int fd, size_t* size) {
  if (control == NULL || !ours(fd)) return 0;
  const int error = point_of(fd, DISK_WRITE);
  if (error != 0) *size = control->tear ? *size / 2 : 0;
  return error;
}

/* Below a full disk or a broken one nobody plans a death: that is for writes which go well. */
static void after_write(int fd, int error) {
  if (control != NULL && error == 0 && ours(fd)) point(DISK_WRITE, 1);
}

/* What the caller is told of a write of which `done` bytes were made. */
static ssize_t told(ssize_t done, int error) {
  if (error == 0) return done;
  errno = error;
  return -1;
}

static int is_network(int fd) {
  struct stat status;
  int domain = 0;
  socklen_t size = sizeof domain;
  if (control == NULL || fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) return 0;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_INET;
}

EXPORT ssize_t write(int fd, const void* data, size_t size) {
  const int error = before_write(fd, &size);
  if (error != 0 && size == 0) return told(-1, error);
  const int network = is_network(fd);
  if (network) point(DISK_SEND, 0);
  const ssize_t done = ((ssize_t(*)(int, const void*, size_t))real("write"))(fd, data, size);
  if (network) {
    point(DISK_SEND, 1);
  } else if (control != NULL) {
    note_written(fd, data, done, -1);
  }
  after_write(fd, error);
  return told(done, error);
}
EXPORT ssize_t writev(int fd, const struct iovec* parts, int count) {
  const int network = is_network(fd);
  if (network) point(DISK_SEND, 0);
  const ssize_t done =
      ((ssize_t(*)(int, const struct iovec*, int))real("writev"))(fd, parts, count);
  if (network) point(DISK_SEND, 1);
  return done;
}
static ssize_t pwrite_any(int fd, const void* data, size_t size, off_t offset) {
  const int error = before_write(fd, &size);
  if (error != 0 && size == 0) return told(-1, error);
  const ssize_t done =
      ((ssize_t(*)(int, const void*, size_t, off_t))real("pwrite"))(fd, data, size, offset);
  if (control != NULL) note_written(fd, data, done, offset);
  after_write(fd, error);
  return told(done, error);
}
EXPORT ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return pwrite_any(fd, data, size, offset);
}
EXPORT ssize_t pwrite64(int fd, const void* data, size_t size, off_t offset) {
  return pwrite_any(fd, data, size, offset);
}

/* ---- reading */

/* Nonzero: the read is to fail with this errno. Workers, who may ask for little, are left alone. */
static int before_read(int fd) {
  if (control == NULL || control->kind != DISK_READ || control->server != getpid()) return 0;
  if (__atomic_load_n(&control->deed, __ATOMIC_SEQ_CST) != DISK_FAIL || !ours(fd)) return 0;
  return point_of(fd, DISK_READ);
}

EXPORT ssize_t read(int fd, void* data, size_t size) {
  const int error = before_read(fd);
  if (error != 0) return told(-1, error);
  return ((ssize_t(*)(int, void*, size_t))real("read"))(fd, data, size);
}
static ssize_t pread_any(int fd, void* data, size_t size, off_t offset) {
  const int error = before_read(fd);
  if (error != 0) return told(-1, error);
  return ((ssize_t(*)(int, void*, size_t, off_t))real("pread"))(fd, data, size, offset);
}
EXPORT ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  return pread_any(fd, data, size, offset);
}
EXPORT ssize_t pread64(int fd, void* data, size_t size, off_t offset) {
  return pread_any(fd, data, size, offset);
}

/* A page of a map that cannot be read is SIGBUS for who touches it; so is one behind the end of an
 * empty file. */
static void* map_any(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  void* (*call)(void*, size_t, int, int, int, off_t) =
      (void* (*)(void*, size_t, int, int, int, off_t))real("mmap");
  if (fd < 0 || protection != PROT_READ || before_read(fd) == 0)
    return call(at, size, protection, flags, fd, offset);
  const int empty = memfd_create("unreadable", MFD_CLOEXEC);
  void* map = call(at, size, protection, flags, empty, 0);
  close(empty);
  return map;
}
EXPORT void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  return map_any(at, size, protection, flags, fd, offset);
}
EXPORT void* mmap64(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  return map_any(at, size, protection, flags, fd, offset);
}

static int resize(int fd, off_t size, uint32_t op, int done) {
  char path[PATH_MAX];
  int is_directory = 0;
  const uint64_t file = done == 0 ? inode_of(fd, path, &is_directory) : 0;
  if (file != 0) note(op, file, (uint64_t)size, "", "", NULL, 0);
  return done;
}
EXPORT int ftruncate(int fd, off_t size) {
  return resize(fd, size, DISK_TRUNCATED, ((int (*)(int, off_t))real("ftruncate"))(fd, size));
}
EXPORT int ftruncate64(int fd, off_t size) {
  return ftruncate(fd, size);
}
EXPORT int posix_fallocate(int fd, off_t offset, off_t size) {
  return resize(fd, offset + size, DISK_GROWN,
                ((int (*)(int, off_t, off_t))real("posix_fallocate"))(fd, offset, size));
}
EXPORT int posix_fallocate64(int fd, off_t offset, off_t size) {
  return posix_fallocate(fd, offset, size);
}

/* ---- syncing */

static int sync_any(int fd, const char* name) {
  int (*call)(int) = (int (*)(int))real(name);
  char path[PATH_MAX];
  int is_directory = 0;
  const uint64_t file = control != NULL ? inode_of(fd, path, &is_directory) : 0;
  if (file == 0) return call(fd);
  const int error = point(DISK_SYNC, 0);
  if (error != 0) {
    errno = error;
    return -1;
  }
  if (control->lies) {
    point(DISK_SYNC, 1);
    return 0;
  }
  const uint64_t pair = (uint64_t)getpid() << 32 | atomic_fetch_add(&sync_count, 1);
  const char* folder = is_directory ? path : "";
  note(DISK_SYNC_BEGUN, file, pair, folder, "", NULL, 0);
  const int done = call(fd);
  if (done == 0) note(DISK_SYNCED, file, pair, folder, "", NULL, 0);
  point(DISK_SYNC, 1);
  return done;
}
EXPORT int fsync(int fd) {
  return sync_any(fd, "fsync");
}
EXPORT int fdatasync(int fd) {
  return sync_any(fd, "fdatasync");
}

/* ---- names */

static int rename_any(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) {
  char path[PATH_MAX], path2[PATH_MAX];
  locate(from_dir, from, path);
  locate(to_dir, to, path2);
  const int seen = path[0] && path2[0];
  if (seen) {
    const int error = point(DISK_RENAME, 0);
    if (error != 0) {
      errno = error;
      return -1;
    }
  }
  const int done = ((int (*)(int, const char*, int, const char*, unsigned))real("renameat2"))(
      from_dir, from, to_dir, to, flags);
  if (!seen) return done;
  if (done == 0)
    note(flags & RENAME_EXCHANGE ? DISK_EXCHANGED : DISK_RENAMED, 0, 0, path, path2, NULL, 0);
  point(DISK_RENAME, 1);
  return done;
}
EXPORT int rename(const char* from, const char* to) {
  return rename_any(AT_FDCWD, from, AT_FDCWD, to, 0);
}
EXPORT int renameat(int from_dir, const char* from, int to_dir, const char* to) {
  return rename_any(from_dir, from, to_dir, to, 0);
}
EXPORT int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) {
  return rename_any(from_dir, from, to_dir, to, flags);
}

EXPORT int linkat(int from_dir, const char* from, int to_dir, const char* to, int flags) {
  char path[PATH_MAX];
  locate(to_dir, to, path);
  if (path[0]) {
    const int error = point(DISK_LINK, 0);
    if (error != 0) {
      errno = error;
      return -1;
    }
  }
  const int done = ((int (*)(int, const char*, int, const char*, int))real("linkat"))(
      from_dir, from, to_dir, to, flags);
  struct stat status;
  if (!path[0]) return done;
  if (done == 0 && stat(path, &status) == 0) note(DISK_LINKED, status.st_ino, 0, path, "", NULL, 0);
  point(DISK_LINK, 1);
  return done;
}
EXPORT int link(const char* from, const char* to) {
  return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int unlink_any(int directory, const char* name, int flags) {
  char path[PATH_MAX];
  locate(directory, name, path);
  if (path[0]) {
    const int error = point(DISK_UNLINK, 0);
    if (error != 0) {
      errno = error;
      return -1;
    }
  }
  const int done = ((int (*)(int, const char*, int))real("unlinkat"))(directory, name, flags);
  if (!path[0]) return done;
  if (done == 0) note(DISK_UNLINKED, 0, 0, path, "", NULL, 0);
  point(DISK_UNLINK, 1);
  return done;
}
EXPORT int unlink(const char* name) {
  return unlink_any(AT_FDCWD, name, 0);
}
EXPORT int unlinkat(int directory, const char* name, int flags) {
  return unlink_any(directory, name, flags);
}
EXPORT int rmdir(const char* name) {
  return unlink_any(AT_FDCWD, name, AT_REMOVEDIR);
}

EXPORT int mkdirat(int directory, const char* name, mode_t mode) {
  char path[PATH_MAX];
  locate(directory, name, path);
  const int done = ((int (*)(int, const char*, mode_t))real("mkdirat"))(directory, name, mode);
  if (done == 0 && path[0]) note(DISK_MADE_DIR, 0, 0, path, "", NULL, 0);
  return done;
}
EXPORT int mkdir(const char* name, mode_t mode) {
  return mkdirat(AT_FDCWD, name, mode);
}

/* ---- what the outside sees */

EXPORT ssize_t send(int fd, const void* data, size_t size, int flags) {
  const int network = is_network(fd);
  if (network) point(DISK_SEND, 0);
  const ssize_t done =
      ((ssize_t(*)(int, const void*, size_t, int))real("send"))(fd, data, size, flags);
  if (network) point(DISK_SEND, 1);
  return done;
}

/* The workers' template is spawned with an environment of its own. */
EXPORT int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
                       const posix_spawnattr_t* attributes, char* const arguments[],
                       char* const environment[]) {
  char* variables[64];
  static char preload[PATH_MAX], shim[sizeof setting + 16];
  int count = 0;
  while (environment[count] != NULL && count < 60) {
    variables[count] = environment[count];
    count++;
  }
  if (control != NULL) {
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", getenv("LD_PRELOAD"));
    snprintf(shim, sizeof shim, "DISK_SHIM=%s", setting);
    variables[count++] = preload;
    variables[count++] = shim;
  }
  variables[count] = NULL;
  return ((int (*)(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*,
                   char* const[], char* const[]))real("posix_spawn"))(
      pid, path, actions, attributes, arguments, variables);
}
