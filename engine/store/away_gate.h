// AwayGate: spares reads the wait for a server that is known to be away.
//
// Who asks for a server that is not there waits for seconds until the driver gives up, and reads
// queue up behind each other. So when an operation has found no server, reads are refused at once
// until one has been answered again. Somebody must find out when that is: writes are never refused
// (a lease is renewed all the time), and where nobody writes one read at a time is let through to
// try, not sooner than `try_ms` after the last that found nothing.
//
// It knows no driver and has no clock. An operation that found nobody says nothing when another
// one, that was answered, ended after it had begun.
//
// Thread: any.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/base/time.h"

namespace millrace {

class AwayGate {
 public:
  explicit AwayGate(DurationMs try_ms) : try_us_(try_ms * 1000) {}

  // Whether a read may be sent now. Each yes while the server is away is that of a try: the next
  // one has to wait.
  bool admits(int64_t now_us) {
    int64_t tried_us = tried_us_.load(std::memory_order_relaxed);
    if (tried_us == kHere) return true;
    if (now_us - tried_us >= try_us_ &&
        tried_us_.compare_exchange_strong(tried_us, now_us, std::memory_order_relaxed)) {
      return true;
    }
    refused_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }

  void answered(int64_t now_us) {
    answered_us_.store(now_us, std::memory_order_relaxed);
    // Written when it changes: all threads of a store come by here.
    if (tried_us_.load(std::memory_order_relaxed) != kHere) {
      tried_us_.store(kHere, std::memory_order_relaxed);
    }
  }

  // An operation that began then has found no server.
  void found_nobody(int64_t began_us, int64_t now_us) {
    if (answered_us_.load(std::memory_order_relaxed) >= began_us) return;
    tried_us_.store(now_us, std::memory_order_relaxed);
  }

  bool away() const { return tried_us_.load(std::memory_order_relaxed) != kHere; }
  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  static constexpr int64_t kHere = INT64_MIN;
  const int64_t try_us_;
  std::atomic<int64_t> tried_us_{kHere};  // when somebody last found no server, or was let through
  std::atomic<int64_t> answered_us_{INT64_MIN};
  std::atomic<uint64_t> refused_{0};
};

}  // namespace millrace
