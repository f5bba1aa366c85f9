// Mailbox: a bounded queue from any thread to one thread that sleeps in poll(); WorkQueue: a
// bounded queue from any thread to threads that have nothing else to do.
//
// A burst costs its receiver one wake-up: only a push into an empty mailbox signals the eventfd,
// and take() empties all of it. Neither knows what its items mean; neither calls anything while
// locked.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/base/check.h"

namespace millrace {

template <typename T>
class Mailbox {
 public:
  // Ends the process when the system has no file descriptor left: a mailbox is made at start.
  explicit Mailbox(size_t items_max) : items_max_(items_max) {
    fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK_MSG(fd_ >= 0, "no eventfd");
  }
  ~Mailbox() { ::close(fd_); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // False when the mailbox is full; `item` is then untouched. [any]
  [[nodiscard]] bool push(T&& item) {
    bool was_empty = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (items_.size() >= items_max_) return false;
      was_empty = items_.empty();
      items_.push_back(std::move(item));
    }
    if (was_empty) {
      const uint64_t one = 1;
      // It cannot fail but by overflow of a 64-bit counter.
      CHECK(::write(fd_, &one, sizeof one) == sizeof one);
    }
    return true;
  }

  // Moves everything into `items` (emptied first), in the order of the pushes. May find nothing: a
  // wake-up can outlive its items. [the receiver]
  void take(std::vector<T>* items) {
    items->clear();
    uint64_t count = 0;
    // Reset before the look: a push in between leaves a spurious wake-up, never a lost one.
    [[maybe_unused]] const ssize_t unused = ::read(fd_, &count, sizeof count);
    const std::lock_guard<std::mutex> lock(mutex_);
    items->swap(items_);
  }

  // Readable whenever there is something to take. Owned by the mailbox.
  int poll_fd() const { return fd_; }

 private:
  const size_t items_max_;
  int fd_ = -1;
  std::mutex mutex_;
  std::vector<T> items_;
};

template <typename T>
class WorkQueue {
 public:
  explicit WorkQueue(size_t items_max) : items_max_(items_max) {}

  // False when the queue is full or closed; `item` is then untouched. [any]
  [[nodiscard]] bool push(T&& item) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (closed_ || items_.size() >= items_max_) return false;
      items_.push_back(std::move(item));
    }
    ready_.notify_one();
    return true;
  }

  // Waits for the oldest item. False: closed, and everything pushed before has been handed out.
  // [a worker]
  bool pop(T* item) {
    std::unique_lock<std::mutex> lock(mutex_);
    ready_.wait(lock, [this] { return closed_ || !items_.empty(); });
    if (items_.empty()) return false;
    *item = std::move(items_.front());
    items_.pop_front();
    return true;
  }

  // Nothing more comes in; what is queued is still handed out. [any]
  void close() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

 private:
  const size_t items_max_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace millrace
