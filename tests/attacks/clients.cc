#include "tests/attacks/clients.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr uint64_t kOpenMax = 60;
constexpr uint64_t kEffectsOfTwo = 5;  // notifications of a picture and a chain
constexpr int kPauseMs = 10;           // before the next server is asked
constexpr int kUnavailable = 503;

}  // namespace

Clients::Clients(Ports ports, std::vector<std::string> photos, const Receiver* receiver,
                 std::string callback)
    : ports_(std::move(ports)),
      photos_(std::move(photos)),
      receiver_(receiver),
      callback_(std::move(callback)) {}

void Clients::start(int threads, uint32_t seed, int patience_ms) {
  stopping_ = false;
  for (int i = 0; i < threads; i++) {
    threads_.emplace_back([this, seed = seed + static_cast<uint32_t>(i), patience_ms] {
      submit_until_stopped(seed, patience_ms);
    });
  }
}

void Clients::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool Clients::submit(uint16_t port, Work* work, const std::string& callback,
                     int patience_ms) const {
  const std::string url = callback.empty() ? callback_ : callback;
  const std::string key = "Idempotency-Key: " + work->key + "\r\n";
  const bool picture = work->photo >= 0;
  const Reply reply =
      picture ? ask(port, "POST", "/v1/pipelines/picture/jobs?callback=" + url_encoded(url),
                    "Content-Type: image/jpeg\r\n" + key, photos_.at(work->photo), patience_ms)
              : ask(port, "POST", "/v1/pipelines/chain/jobs",
                    "Content-Type: application/json\r\n" + key,
                    fmt::format(R"({{"inputs": {{"callback": "{}", "number": 7}}}})", url),
                    patience_ms);
  if (reply.status == 0) return false;
  if (reply.status != 202 && reply.status != 200) {
    EXPECT_EQ(reply.status, kUnavailable) << reply.shown();
    return false;
  }
  work->job = reply.text("id");
  EXPECT_FALSE(work->job.empty()) << reply.head << reply.body;
  return !work->job.empty();
}

Work Clients::next_work(std::mt19937* random) {
  const std::lock_guard lock(mutex_);
  Work work;
  if (!unacknowledged_.empty()) {
    work = unacknowledged_.back();
    unacknowledged_.pop_back();
    return work;
  }
  work.key = fmt::format("work-{}", next_++);
  if (next_ % 2 == 0) work.photo = static_cast<int>((*random)() % photos_.size());
  return work;
}

void Clients::submit_until_stopped(uint32_t seed, int patience_ms) {
  std::mt19937 random(seed);
  while (!stopping_) {
    const std::vector<uint16_t> ports = ports_();
    const bool full =
        count_ > kOpenMax && receiver_->distinct() < kEffectsOfTwo * (count_ - kOpenMax) / 2;
    if (ports.empty() || full) {
      ::poll(nullptr, 0, kPauseMs);
      continue;
    }
    Work work = next_work(&random);
    const bool acknowledged = submit(ports[random() % ports.size()], &work, "", patience_ms);
    {
      const std::lock_guard lock(mutex_);
      (acknowledged ? acknowledged_ : unacknowledged_).push_back(work);
    }
    if (acknowledged) {
      count_++;
    } else {
      ::poll(nullptr, 0, kPauseMs);
    }
  }
}

}  // namespace millrace
