#include "engine/blob/put_book.h"

#include "engine/base/time.h"

namespace millrace {

PutBook::Held PutBook::hold(const Digest& digest, Status* shared) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    auto& flight = flights_[digest];
    if (flight == nullptr) {
      flight = std::make_shared<Flight>();
      flight->is_put = true;
      return flight;
    }
    const auto other = flight;
    other->finished.wait(lock, [&] { return other->done; });
    if (!other->is_put) continue;  // it was being removed: our turn now, perhaps
    *shared = other->status;
    return nullptr;
  }
}

PutBook::Held PutBook::try_hold(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& flight = flights_[digest];
  if (flight != nullptr) return nullptr;
  flight = std::make_shared<Flight>();
  return flight;
}

void PutBook::let_go(const Digest& digest, const Held& flight, const Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  flight->done = true;
  flight->status = status;
  CHECK(flights_.erase(digest) == 1);
  flight->finished.notify_all();
}

void PutBook::remember(const Digest& digest) {
  const int64_t now = monotonic_us();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!put_.insert_or_assign(digest, now).second) return;
  order_.push_back(digest);
  if (order_.size() <= kDurableBlobsKept) return;
  const auto oldest = put_.find(order_.front());
  if (oldest != put_.end()) {
    forgotten_until_us_ = std::max(forgotten_until_us_, oldest->second);
    put_.erase(oldest);
  }
  order_.pop_front();
}

void PutBook::forget(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  put_.erase(digest);
}

bool PutBook::knows(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return put_.contains(digest);
}

int64_t PutBook::put_us(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto known = put_.find(digest);
  return known != put_.end() ? known->second : forgotten_until_us_;
}

}  // namespace millrace
