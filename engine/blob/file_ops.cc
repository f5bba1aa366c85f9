#include "engine/blob/file_ops.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

namespace millrace {

int FileOps::open(const char* path, int flags, mode_t mode) {
  return ::open(path, flags | O_CLOEXEC, mode);
}

int FileOps::close(int fd) {
  return ::close(fd);
}

ssize_t FileOps::write(int fd, const void* data, size_t size) {
  return ::write(fd, data, size);
}

ssize_t FileOps::pread(int fd, void* data, size_t size, off_t at) {
  return ::pread(fd, data, size, at);
}

int FileOps::fsync(int fd) {
  return ::fsync(fd);
}

int FileOps::fchmod(int fd, mode_t mode) {
  return ::fchmod(fd, mode);
}

int FileOps::link_open_file(int fd, const char* path) {
  // By way of /proc: AT_EMPTY_PATH would need a capability.
  char name[32];
  *fmt::format_to_n(name, sizeof name - 1, "/proc/self/fd/{}", fd).out = '\0';
  return ::linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

int FileOps::link(const char* from, const char* to) {
  return ::link(from, to);
}

int FileOps::rename(const char* from, const char* to) {
  return ::rename(from, to);
}

int FileOps::unlink(const char* path) {
  return ::unlink(path);
}

int FileOps::mkdir(const char* path, mode_t mode) {
  return ::mkdir(path, mode);
}

int FileOps::stat(const char* path, struct stat* info) {
  return ::stat(path, info);
}

int FileOps::touch(const char* path) {
  return ::utimensat(AT_FDCWD, path, nullptr, 0);
}

FileOps* system_file_ops() {
  static auto* ops = new FileOps;
  return ops;
}

}  // namespace millrace
