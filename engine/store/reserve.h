// Reserve: a file of real blocks that is given back when the disk is full, so that jobs which were
// accepted can still be finished.
//
// While it is not held, the store takes no new job: else new jobs would eat what is meant for the
// old ones. It comes back by itself once there is room for it and as much again.
//
// Thread: the writer. held() may be asked by any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace millrace {

class Reserve {
 public:
  // Nothing is allocated yet. `bytes` 0: no reserve, always held.
  Reserve(std::string path, int64_t bytes) : path_(std::move(path)), bytes_(bytes) {}

  // Allocates the file unless it is there in full. False: no room. Asks the file system at most
  // once a second after it said no.
  bool restore();
  // Gives the blocks back.
  void release();
  bool held() const { return held_.load(std::memory_order_relaxed); }

 private:
  const std::string path_;
  const int64_t bytes_;
  std::atomic<bool> held_{false};
  int64_t next_try_us_ = 0;
};

}  // namespace millrace
