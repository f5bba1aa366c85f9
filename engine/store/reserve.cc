#include "engine/store/reserve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/base/time.h"

namespace millrace {
namespace {
constexpr int64_t kRetryUs = 1'000'000;
}

bool Reserve::restore() {
  if (held()) return true;
  const int64_t now = monotonic_us();
  if (now < next_try_us_) return false;
  next_try_us_ = now + kRetryUs;
  bool ok = bytes_ == 0;
  const int fd = ok ? -1 : ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0) {
    struct stat file {};
    struct statvfs system {};
    const auto wanted = static_cast<uint64_t>(bytes_);
    ok = ::fstat(fd, &file) == 0 && file.st_blocks * 512 >= bytes_;
    // Twice: with room for the reserve and nothing else, the next write would take it away again.
    if (!ok) {
      ok = ::fstatvfs(fd, &system) == 0 &&
           uint64_t{system.f_bavail} * system.f_frsize >= 2 * wanted &&
           ::posix_fallocate(fd, 0, bytes_) == 0;
    }
    if (!ok) [[maybe_unused]]
      const int cut = ::ftruncate(fd, 0);
    ::close(fd);
  }
  held_.store(ok, std::memory_order_relaxed);
  return ok;
}

void Reserve::release() {
  if (bytes_ == 0) return;
  held_.store(false, std::memory_order_relaxed);
  next_try_us_ = monotonic_us() + kRetryUs;
  // Unlinked and not cut: some file systems need room to cut a file, none to drop one.
  ::unlink(path_.c_str());
}

}  // namespace millrace
