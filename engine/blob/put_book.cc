#include "engine/blob/put_book.h"

#include <algorithm>

#include "engine/base/check.h"
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
  if (const uint32_t known = find(digest); known != kNone) {
    puts_[known].put_us = now;
    return;
  }
  uint32_t at = static_cast<uint32_t>(puts_.size());
  if (puts_.size() < kDurableBlobsKept) {
    puts_.emplace_back();
    if (puts_.size() > heads_.size()) grow_heads();
  } else {
    at = oldest_;
    oldest_ = (oldest_ + 1) % static_cast<uint32_t>(kDurableBlobsKept);
    if (puts_[at].known) {
      forgotten_until_us_ = std::max(forgotten_until_us_, puts_[at].put_us);
      unlink(at);
    }
  }
  puts_[at] = {digest, now};
  link(at);
}

void PutBook::forget(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t at = find(digest);
  if (at == kNone) return;
  unlink(at);
  puts_[at].known = false;
}

bool PutBook::knows(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return find(digest) != kNone;
}

int64_t PutBook::put_us(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t at = find(digest);
  return at != kNone ? puts_[at].put_us : forgotten_until_us_;
}

// ---- the index

uint32_t& PutBook::head_of(const Digest& digest) {
  return heads_[DigestHash()(digest) & (heads_.size() - 1)];
}

uint32_t PutBook::find(const Digest& digest) {
  if (heads_.empty()) return kNone;
  uint32_t at = head_of(digest);
  while (at != kNone && !(puts_[at].digest == digest)) at = puts_[at].next;
  return at;
}

void PutBook::link(uint32_t at) {
  uint32_t& head = head_of(puts_[at].digest);
  puts_[at].next = head;
  head = at;
}

void PutBook::unlink(uint32_t at) {
  uint32_t* from = &head_of(puts_[at].digest);
  while (*from != at) {
    CHECK(*from != kNone);
    from = &puts_[*from].next;
  }
  *from = puts_[at].next;
}

// For the one that was just appended and is not linked yet.
void PutBook::grow_heads() {
  constexpr size_t kHeadsMin = 64;
  heads_.assign(std::max(kHeadsMin, 2 * heads_.size()), kNone);
  for (uint32_t at = 0; at + 1 < puts_.size(); at++) {
    if (puts_[at].known) link(at);
  }
}

}  // namespace millrace
