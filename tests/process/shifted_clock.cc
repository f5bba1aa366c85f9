#include "tests/process/shifted_clock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cmake/tree.h"
#include "engine/base/check.h"

namespace millrace {
namespace {

constexpr int64_t kMinuteNs = 60'000'000'000;

}  // namespace

ShiftedClock::ShiftedClock(const std::string& directory) : file_(directory + "/offset") {
  const int fd = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && ::ftruncate(fd, sizeof *offset_ns_) == 0);
  void* map = ::mmap(nullptr, sizeof *offset_ns_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
  ::close(fd);
  offset_ns_ = static_cast<int64_t*>(map);
}

ShiftedClock::~ShiftedClock() {
  ::munmap(offset_ns_, sizeof *offset_ns_);
}

std::vector<std::string> ShiftedClock::environment() const {
  return {"LD_PRELOAD=" + in_build("/tests/process/clock_shim/clock_shim.so"),
          "CLOCK_SHIM=" + file_};
}

void ShiftedClock::set_minutes(int minutes) {
  __atomic_store_n(offset_ns_, minutes * kMinuteNs, __ATOMIC_SEQ_CST);
}

}  // namespace millrace
