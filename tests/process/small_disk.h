// SmallDisk: a file system of a test's own, to be filled. Needs the right to mount, or to make a
// namespace of users.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace millrace {

// Where this process may mount, and its children see it: nobody else. Its user stays who it is, so
// that its files do. False: the kernel lets nobody do so, or the process has threads already.
inline bool enter_mount_namespace() {
  const uid_t uid = getuid();
  const gid_t gid = getgid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << uid << ' ' << uid << " 1";
  std::ofstream("/proc/self/gid_map") << gid << ' ' << gid << " 1";
  return true;
}

// A tmpfs that is mounted on a directory as long as this lives.
class SmallDisk {
 public:
  SmallDisk(const std::string& path, const std::string& options) : path_(path) {
    std::filesystem::create_directories(path);
    mounted_ = mount(options) || (errno == EPERM && enter_mount_namespace() && mount(options));
  }
  ~SmallDisk() {
    // Detached: a worker that is being reaped may still have a file of it.
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return mounted_; }
  bool remount(unsigned long flags, const std::string& options) {
    return ::mount("none", path_.c_str(), "tmpfs", MS_REMOUNT | flags, options.c_str()) == 0;
  }
  // Takes every free byte.
  void fill() {
    const int fd =
        ::open((path_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const std::string block(4096, 'f');
    while (fd >= 0 && ::write(fd, block.data(), block.size()) > 0) {
    }
    ::close(fd);
  }
  // Takes every free byte but these.
  void fill_up_to(uint64_t left) {
    fill();
    const std::string filler = path_ + "/filler";
    std::filesystem::resize_file(filler, std::filesystem::file_size(filler) - left);
  }
  void make_room() { std::filesystem::remove(path_ + "/filler"); }

 private:
  bool mount(const std::string& options) {
    return ::mount("none", path_.c_str(), "tmpfs", 0, options.c_str()) == 0;
  }

  const std::string path_;
  bool mounted_ = false;
};

}  // namespace millrace
