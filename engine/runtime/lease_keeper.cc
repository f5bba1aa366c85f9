#include "engine/runtime/lease_keeper.h"

#include <time.h>

#include <algorithm>
#include <chrono>

#include "engine/base/errors.h"
#include "engine/base/log.h"

namespace millrace {
namespace {

constexpr DurationMs kRetryMsMax = 500;

}  // namespace

int64_t boot_clock_us() {
  timespec now{};
  CHECK(clock_gettime(CLOCK_BOOTTIME, &now) == 0);
  return now.tv_sec * int64_t{1'000'000} + now.tv_nsec / 1000;
}

LeaseKeeper::LeaseKeeper(SharedStore* store, const NodeId& node, DurationMs lease_ms,
                         std::string name)
    : store_(store), lease_ms_(lease_ms) {
  CHECK(store != nullptr && lease_ms > 0);
  lease_.node = node;
  lease_.lease_ms = lease_ms;
  lease_.name = std::move(name);
}

LeaseKeeper::~LeaseKeeper() {
  stop();
}

void LeaseKeeper::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status LeaseKeeper::begin() {
  CHECK(!thread_.joinable());
  RETURN_IF_ERROR(renew(false));
  thread_ = std::thread([this] { thread_main(); });
  return {};
}

void LeaseKeeper::set_load(int64_t waiting_steps, int64_t free_slots) {
  const std::lock_guard<std::mutex> lock(mutex_);
  lease_.waiting_steps = waiting_steps;
  lease_.free_slots = free_slots;
}

std::optional<Status> LeaseKeeper::given_up() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return given_up_;
}

Status LeaseKeeper::depart() {
  stop();
  return renew(true);
}

Status LeaseKeeper::renew(bool departed) {
  NodeLease lease;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    lease_.counter++;  // also when nobody knows what became of the last one
    lease = lease_;
  }
  lease.departed = departed;
  const int64_t sent_us = boot_clock_us();
  Status status = store_->renew(lease);
  if (!status.ok()) return status;
  const int64_t holds_us = (lease_ms_ - lease_ms_ / 10) * 1000;
  held_until_us_.store(departed ? 0 : sent_us + holds_us, std::memory_order_release);
  return status;
}

void LeaseKeeper::thread_main() {
  DurationMs pause = lease_ms_ / 3;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_for(lock, std::chrono::milliseconds(pause), [this] { return stopping_; });
      if (stopping_) return;
    }
    const Status status = renew(false);
    pause = lease_ms_ / 3;
    if (status.ok()) continue;
    if (status.code() == Code::kConflict) {
      const std::lock_guard<std::mutex> lock(mutex_);
      given_up_ = status;
      return;
    }
    log_event(LogLevel::kWarning, "lease.not_renewed", {{"error", status.message()}});
    pause = std::min(pause, kRetryMsMax);
  }
}

}  // namespace millrace
