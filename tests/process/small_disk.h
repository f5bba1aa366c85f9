// SmallDisk: a file system of a test's own, to be filled. Needs the right to mount.
#pragma once

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace millrace {

// A tmpfs that is mounted on a directory as long as this lives.
class SmallDisk {
 public:
  SmallDisk(const std::string& path, const std::string& options) : path_(path) {
    std::filesystem::create_directories(path);
    mounted_ = ::mount("none", path.c_str(), "tmpfs", 0, options.c_str()) == 0;
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
  const std::string path_;
  bool mounted_ = false;
};

}  // namespace millrace
