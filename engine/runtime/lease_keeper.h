// LeaseKeeper: renews this node's lease in a shared store, on a thread of its own, since a commit
// may block for as long as the store is away.
//
// It renews every third of the lease, sooner after a failure. A lease counts from the moment before
// the renewal that was acknowledged, less a tenth for clocks that run apart, on a clock that goes
// on while the machine sleeps.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/store/shared_store.h"

namespace millrace {

// CLOCK_BOOTTIME: never set, and counts the time that the machine sleeps. [any]
int64_t boot_clock_us();

class LeaseKeeper {
 public:
  // `store` outlives the keeper.
  LeaseKeeper(SharedStore* store, const NodeId& node, DurationMs lease_ms, std::string name);
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  // The first renewal, here and now, then the thread. E124: it was not acknowledged. [main]
  Status begin();

  // What the others are told with the next renewal. [loop]
  void set_load(int64_t waiting_steps, int64_t free_slots);

  // The lease holds until then, on boot_clock_us(); 0: there was none yet. [any]
  int64_t held_until_us() const { return held_until_us_.load(std::memory_order_acquire); }
  // Set once the others have given this node up: the process must end. [any]
  std::optional<Status> given_up() const;

  // Tells the others that everything is handed over, and ends the thread; waits for the store. May
  // be repeated after a failure. Not while another thread does. [reader]
  Status depart();

 private:
  void thread_main();
  Status renew(bool departed);
  void stop();

  SharedStore* const store_;
  const DurationMs lease_ms_;
  std::atomic<int64_t> held_until_us_{0};
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  bool stopping_ = false;
  std::optional<Status> given_up_;
  NodeLease lease_;
  std::thread thread_;
};

}  // namespace millrace
