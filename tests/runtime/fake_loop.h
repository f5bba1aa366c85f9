// FakeLoop: what a part of the runtime needs of the loop, for a test that has none: timers that
// come when the test says so, a reader that answers when the test waits, blob threads that are
// real.
//
// Thread: the test's.
#pragma once

#include <poll.h>

#include <deque>
#include <functional>
#include <map>

#include "engine/blob/blob_threads.h"

namespace millrace {

class FakeLoop {
 public:
  explicit FakeLoop(BlobStore* blobs) : threads(blobs, 2) {}

  std::function<void(std::function<std::function<void()>()>)> on_reader() {
    return [this](const std::function<std::function<void()>()>& work) { reads_.push_back(work); };
  }
  std::function<void(int64_t, std::function<void()>)> after() {
    return [this](int64_t delay_ms, std::function<void()> work) {
      timers_.emplace(now_ms_ + delay_ms, std::move(work));
    };
  }
  int64_t now_us() const { return now_ms_ * 1000; }

  // Runs what is finished until `done` holds.
  void run_until(const std::function<bool()>& done) {
    while (!done()) {
      if (reads_.empty() || reader_held) {
        pollfd wait{threads.poll_fd(), POLLIN, 0};
        ::poll(&wait, 1, -1);
        threads.drain();
        continue;
      }
      const auto read = std::move(reads_.front());
      reads_.pop_front();
      read()();
    }
  }
  // Time goes on, and the timers that are due by then go off. What they began is not waited for.
  void pass(int64_t ms) {
    const int64_t until = now_ms_ + ms;
    while (!timers_.empty() && timers_.begin()->first <= until) {
      const auto work = std::move(timers_.begin()->second);
      now_ms_ = std::max(now_ms_, timers_.begin()->first);
      timers_.erase(timers_.begin());
      work();
    }
    now_ms_ = until;
  }
  // The next timer goes off, whenever that is; there is one.
  void pass_to_next_timer() {
    CHECK(!timers_.empty());
    pass(std::max<int64_t>(timers_.begin()->first - now_ms_, 0));
  }
  bool has_timer() const { return !timers_.empty(); }

  size_t reads() const { return reads_.size(); }

  BlobThreads threads;
  bool reader_held = false;  // what is to be read waits

 private:
  int64_t now_ms_ = 1'000'000;
  std::multimap<int64_t, std::function<void()>> timers_;
  std::deque<std::function<std::function<void()>()>> reads_;
};

}  // namespace millrace
