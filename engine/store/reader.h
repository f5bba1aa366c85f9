// Reader: the thread that reads the store for answers, so that neither the loop nor a commit waits.
//
// Thread: as Writer, but for any number of works at once.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "engine/base/mailbox.h"

namespace millrace {

class Reader {
 public:
  using Done = std::function<void()>;

  Reader();
  // Drops what has not begun, waits for what has, calls nobody.
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // Runs `work` on the reader thread; what it returns runs in drain(). More than kReaderWorkMax at
  // once is a bug: connections, adoptions and waiters are all bounded below it.
  void run(std::function<Done()> work);

  void drain();
  int poll_fd() const { return finished_.poll_fd(); }

 private:
  void thread_main();

  WorkQueue<std::function<Done()>> queue_;
  Mailbox<Done> finished_;
  std::vector<Done> draining_;
  size_t under_way_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace millrace
