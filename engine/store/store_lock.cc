#include "engine/store/store_lock.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <set>
#include <sstream>

#include "engine/base/errors.h"

namespace millrace {
namespace {

struct Held {
  std::mutex mutex;
  std::set<std::pair<uint64_t, uint64_t>> files;
};

Held& held() {
  static auto* instance = new Held;  // outlives every store, whatever order the process ends in
  return *instance;
}

Status cannot(const char* verb, const std::string& path) {
  return Status::unavailable(errors::kStoreOpen,
                             fmt::format("cannot {} {}: {}", verb, path, std::strerror(errno)));
}

Status is_held(const std::string& path, int64_t pid) {
  const std::string who = pid > 0 ? fmt::format("process {}", pid) : "another process";
  return Status::unavailable(
      errors::kStoreLocked,
      fmt::format("{} holds the store (lock file {}); stop it, or give this server another data "
                  "directory",
                  who, path));
}

// The process that holds the lock on `fd`; what it wrote into the file when it lives in another
// process namespace.
int64_t holder(int fd) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0) {
    return lock.l_pid;
  }
  char text[32] = {};
  if (::pread(fd, text, sizeof text - 1, 0) <= 0) return 0;
  return std::strtoll(text, nullptr, 10);
}

// The type of the mount that holds `path` ("fuse.sshfs"), from /proc/self/mountinfo.
std::string mount_type(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return "";
  const std::string device = fmt::format("{}:{}", major(info.st_dev), minor(info.st_dev));
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line)) {
    // 36 35 98:0 /root /mount options - type source options
    std::istringstream words(line);
    std::string id, parent, number, word, type;
    words >> id >> parent >> number;
    if (number != device) continue;
    while (words >> word && word != "-") {
    }
    words >> type;
    return type;
  }
  return "";
}

}  // namespace

Status StoreLock::acquire(const std::string& path) {
  CHECK(fd_ < 0);
  const std::lock_guard<std::mutex> guard(held().mutex);
  struct stat info {};
  // Looked at before it is opened: closing it again would drop the lock that another store of this
  // process has on it.
  if (::stat(path.c_str(), &info) == 0 && held().files.contains({info.st_dev, info.st_ino})) {
    return is_held(path, ::getpid());
  }
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return cannot("open the lock file", path);
  if (::fstat(fd, &info) != 0) {
    const Status status = cannot("read", path);
    ::close(fd);
    return status;
  }
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd, F_SETLK, &lock) != 0) {
    const bool taken = errno == EACCES || errno == EAGAIN;
    const Status status = taken ? is_held(path, holder(fd)) : cannot("lock", path);
    ::close(fd);
    return status;
  }
  // For people and other process namespaces only; a full disk must not keep the store from opening.
  const std::string pid = fmt::format("{}\n", ::getpid());
  [[maybe_unused]] const int cut = ::ftruncate(fd, 0);
  [[maybe_unused]] const ssize_t written = ::pwrite(fd, pid.data(), pid.size(), 0);
  fd_ = fd;
  device_ = info.st_dev;
  inode_ = info.st_ino;
  held().files.insert({device_, inode_});
  return {};
}

void StoreLock::release() {
  if (fd_ < 0) return;
  const std::lock_guard<std::mutex> guard(held().mutex);
  held().files.erase({device_, inode_});
  ::close(fd_);  // the file stays: removing it would race with the next holder
  fd_ = -1;
}

std::string remote_file_system(uint64_t magic, const std::string& type) {
  switch (magic & 0xffffffff) {
    case 0x6969:
      return "NFS";
    case 0x517b:
      return "SMB";
    case 0xff534d42:
      return "CIFS";
    case 0xfe534d42:
      return "SMB2";
    case 0x00c36400:
      return "Ceph";
    case 0x01021997:
      return "9P";
    case 0x5346414f:
    case 0x6b414653:
      return "AFS";
    case 0x73757245:
      return "Coda";
    case 0x0bd00bd0:
      return "Lustre";
    case 0x01161970:
      return "GFS2";
    case 0x7461636f:
      return "OCFS2";
    case 0x65735546:  // FUSE: local ones are few, the rest is a network or a cloud
      if (type == "fuseblk" || type == "fuse.fuse-overlayfs" || type == "fuse.ntfs-3g") return "";
      return type.empty() ? "FUSE" : type;
    default:
      return "";
  }
}

Status check_local_file_system(const std::string& path) {
  struct statfs info {};
  if (::statfs(path.c_str(), &info) != 0) return cannot("examine the file system of", path);
  const auto magic = static_cast<uint64_t>(info.f_type);
  const std::string kind = remote_file_system(magic, mount_type(path));
  if (kind.empty()) return {};
  return Status::unavailable(
      errors::kStoreOpen,
      fmt::format("{} is on a {} file system: locks and shared memory are not reliable there, and "
                  "jobs could be lost; put the data directory on a local disk",
                  path, kind));
}

Status sync_directory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return cannot("open the directory", path);
  const int code = ::fsync(fd);
  const Status status = code == 0 ? Status() : cannot("sync the directory", path);
  ::close(fd);
  return status;
}

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace millrace
