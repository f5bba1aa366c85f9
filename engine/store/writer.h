// Writer: the thread that commits, one batch at a time, and runs what else must not happen during a
// commit.
//
// Group commit without a timer: while one batch is on its way, the core collects the next one.
// It knows nothing of records; the store does.
//
// Thread: everything is called by the thread that made it (the loop), which sleeps on poll_fd() and
// calls drain(); callbacks run there. Destruction finishes what was handed over and calls nobody.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/base/mailbox.h"
#include "engine/store/store.h"

namespace millrace {

struct CommitReport {
  std::vector<WriteResult> results;  // in batch order
  int64_t duration_us = 0;           // of the commit alone, without waiting for the thread
};

class Writer {
 public:
  using Done = std::function<void()>;

  explicit Writer(Store* store);
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Commits the batch; `done` runs in drain(). A second batch before that is a bug.
  void submit(std::vector<Write> batch, std::function<void(const CommitReport&)> done);
  bool busy() const { return batch_under_way_; }

  // Runs `work` on the writer thread, in turn with the batches; what it returns runs in drain().
  // More than kWriterWorkMax at once is a bug: callers wait for one before they ask again.
  void run(std::function<Done()> work);

  // Runs the callbacks of everything that is finished.
  void drain();
  // The same, after waiting until there is something.
  void wait_and_drain();
  int poll_fd() const { return finished_.poll_fd(); }

 private:
  void thread_main();
  void hand_over(std::function<Done()> work);

  Store* const store_;
  WorkQueue<std::function<Done()>> queue_;
  Mailbox<Done> finished_;
  std::vector<Done> draining_;  // kept for its memory
  size_t under_way_ = 0;
  bool batch_under_way_ = false;
  std::thread thread_;
};

}  // namespace millrace
