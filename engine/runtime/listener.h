// Listener: keeps a stream of hints open on a thread of its own while there is something to hear,
// so that the loop looks when something has happened and needs to look by itself only rarely.
//
// The loop says what it wants to hear of as often as it likes, and takes what was heard when
// poll_fd() is readable. A topic is covered once a stream that tells of it is open; whoever has
// topics that are not looks often, as without any stream. A stream that was opened is itself a
// reason to look at all it covers: nothing is known of the time before.
//
// A stream cannot learn of new topics. When some are missing it is interrupted and another one is
// opened, not sooner than `settle_ms` after the last: short waits are over by then and were looked
// after by polling. Topics that nobody wants any more stay until then. When nothing is wanted for
// `linger_ms` the stream is closed at its next answer.
//
// After a failure it tries again later and later; where the store has no streams, once in a long
// while. What it meets is logged when it begins: all goes on without it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "engine/base/limits_shared.h"
#include "engine/base/mailbox.h"
#include "engine/store/shared_store.h"

namespace millrace {

struct ListenerTimes {
  DurationMs wait_ms = kHintsWaitMs;
  DurationMs settle_ms = 500;
  DurationMs linger_ms = 2'000;
  // Between two answers: a server may give one at each change of whatever, wanted or not.
  DurationMs pause_ms = 10, idle_pause_ms = 100;
  DurationMs retry_ms_min = kHintsRetryMsMin, retry_ms_max = kHintsRetryMsMax;
  DurationMs never_retry_ms = kNoHintsRetryMs;
};

// What was heard since it was taken the last time.
struct News {
  std::set<JobKey> jobs;
  bool verbs = false;
  bool opened = false;  // look at everything that is covered
};

class Listener {
 public:
  // `store` outlives the listener.
  explicit Listener(SharedStore* store, const ListenerTimes& times = {});
  // Interrupts what is under way and waits for it.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // What to listen for from now on. True: interrupt() is called for. [loop]
  bool want(Topics topics);
  // Blocks for at most a few network time-outs. [any but the loop]
  void interrupt();

  // What the open stream tells of; null: none is open. [any]
  std::shared_ptr<const Topics> covered() const;
  bool has_news() const { return has_news_.load(std::memory_order_acquire); }  // [any]
  News take();                                                                 // [loop]
  int poll_fd() const { return wake_.poll_fd(); }

 private:
  using Lock = std::unique_lock<std::mutex>;
  void thread_main();
  void listen_to(const Topics& topics, Lock* lock);
  void note_failure(const Status& status, Lock* lock);
  bool lacks_something(int64_t now_us) const;
  void tell(const Hints& hints, bool opened);
  void sleep_ms(DurationMs ms, Lock* lock);

  SharedStore* const store_;
  const ListenerTimes times_;
  Mailbox<char> wake_{1};
  std::atomic<bool> has_news_{false};
  mutable std::mutex mutex_;  // of all that follows
  std::condition_variable changed_;
  bool stopping_ = false;
  Topics wanted_;
  int64_t wanted_us_ = 0;  // when something was wanted last
  std::shared_ptr<HintStream> stream_;
  std::shared_ptr<const Topics> covered_;
  int64_t opened_us_ = 0;
  bool interrupting_ = false;
  int failures_ = 0;  // since the last hint or quiet answer
  News news_;
  std::thread thread_;
};

}  // namespace millrace
