// FileOps: the system calls of the file blob store, so that a test can fail the third one, or
// forget what was never synced.
//
// Each does what the call of that name does and returns what it returns: -1 and errno on failure.
// Interrupted calls are repeated by the caller. Thread-safe.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>

namespace millrace {

class FileOps {
 public:
  virtual ~FileOps() = default;
  virtual int open(const char* path, int flags, mode_t mode);
  virtual int close(int fd);
  virtual ssize_t write(int fd, const void* data, size_t size);
  virtual ssize_t pread(int fd, void* data, size_t size, off_t at);
  virtual int fsync(int fd);
  virtual int fchmod(int fd, mode_t mode);
  virtual int link_open_file(int fd, const char* path);  // linkat() of an O_TMPFILE
  virtual int link(const char* from, const char* to);
  virtual int rename(const char* from, const char* to);
  virtual int unlink(const char* path);
  virtual int mkdir(const char* path, mode_t mode);
  virtual int stat(const char* path, struct stat* info);
  virtual int touch(const char* path);  // utimensat() with the present time
};

// The system's own; lives forever. [any]
FileOps* system_file_ops();

}  // namespace millrace
