// The system calls that the file store makes: each is repeated when a signal interrupts it, and
// each can be made to fail or to be the last one by a test.
#pragma once

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

namespace millrace::store_step {

// Called before each system call with its name, when set: the errno to fail with, or 0 to go on.
// Only tests set it, before any thread puts.
using SystemHook = int (*)(const char* name);
extern SystemHook system_hook;

// An open file, closed at the end of its scope.
class File {
 public:
  File() = default;
  explicit File(int fd) : fd_(fd) {}
  File(File&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

template <typename Call>
auto system_call(const char* name, const Call& call) -> decltype(call()) {
  if (system_hook != nullptr) {
    if (const int error = system_hook(name); error != 0) {
      errno = error;
      return -1;
    }
  }
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

inline File open_at(int directory, const std::string& name, int flags, mode_t mode = 0) {
  return File(system_call(
      "openat", [&] { return ::openat(directory, name.c_str(), flags | O_CLOEXEC, mode); }));
}
inline int make_directory_at(int directory, const std::string& name) {
  return system_call("mkdirat", [&] { return ::mkdirat(directory, name.c_str(), 0777); });
}
inline int sync_file(const File& file) {
  return system_call("fsync", [&] { return ::fsync(file.fd()); });
}
inline int stat_file(const File& file, struct stat* status) {
  return system_call("fstat", [&] { return ::fstat(file.fd(), status); });
}
inline int stat_at(const File& directory, const std::string& name, struct stat* status) {
  return system_call("fstatat", [&] {
    return ::fstatat(directory.fd(), name.c_str(), status, AT_SYMLINK_NOFOLLOW);
  });
}
inline ssize_t write_file(const File& file, const void* data, size_t size) {
  return system_call("write", [&] { return ::write(file.fd(), data, size); });
}
inline ssize_t read_file(const File& file, void* data, size_t size, off_t at) {
  return system_call("pread", [&] { return ::pread(file.fd(), data, size, at); });
}
inline int clone_file(const File& to, const File& from) {
  return system_call("ioctl", [&] { return ::ioctl(to.fd(), FICLONE, from.fd()); });
}
inline int unlink_at(const File& directory, const std::string& name) {
  return system_call("unlinkat", [&] { return ::unlinkat(directory.fd(), name.c_str(), 0); });
}
inline int exchange_at(const File& from, const std::string& from_name, const File& to,
                       const std::string& to_name) {
  return system_call("renameat2", [&] {
    return ::renameat2(from.fd(), from_name.c_str(), to.fd(), to_name.c_str(), RENAME_EXCHANGE);
  });
}
inline int rename_at(const File& from, const std::string& from_name, const File& to,
                     const std::string& to_name) {
  return system_call("renameat", [&] {
    return ::renameat(from.fd(), from_name.c_str(), to.fd(), to_name.c_str());
  });
}
inline int lock_file(const File& file, int operation) {
  return system_call("flock", [&] { return ::flock(file.fd(), operation); });
}

}  // namespace millrace::store_step
