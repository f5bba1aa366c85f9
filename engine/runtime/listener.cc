#include "engine/runtime/listener.h"

#include <algorithm>
#include <chrono>

#include "engine/base/log.h"

namespace millrace {
namespace {

bool covers(const Topics& all, const Topics& some) {
  if (some.verbs_of != NodeId{} && all.verbs_of != some.verbs_of) return false;
  return std::includes(all.jobs.begin(), all.jobs.end(), some.jobs.begin(), some.jobs.end());
}

}  // namespace

Listener::Listener(SharedStore* store, const ListenerTimes& times) : store_(store), times_(times) {
  CHECK(store != nullptr);
  thread_ = std::thread([this] { thread_main(); });
}

Listener::~Listener() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    interrupting_ = true;
  }
  changed_.notify_all();
  interrupt();
  thread_.join();
}

// ---- the loop's side

bool Listener::want(Topics topics) {
  CHECK(topics.jobs.size() <= kHintedJobsMax);
  const int64_t now_us = monotonic_us();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!topics.empty() || !wanted_.empty()) wanted_us_ = now_us;
  const bool wakes = wanted_.empty() && !topics.empty();
  wanted_ = std::move(topics);
  if (wakes) changed_.notify_all();
  if (stream_ == nullptr || interrupting_ || !lacks_something(now_us)) return false;
  interrupting_ = true;
  return true;
}

void Listener::interrupt() {
  std::shared_ptr<HintStream> stream;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (interrupting_) stream = stream_;
  }
  if (stream != nullptr) stream->interrupt();
}

std::shared_ptr<const Topics> Listener::covered() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return covered_;
}

News Listener::take() {
  std::vector<char> wakes;
  wake_.take(&wakes);
  const std::lock_guard<std::mutex> lock(mutex_);
  has_news_.store(false, std::memory_order_release);
  return std::exchange(news_, {});
}

// ---- the thread

void Listener::thread_main() {
  Lock lock(mutex_);
  while (!stopping_) {
    if (wanted_.empty()) {
      changed_.wait(lock);
      continue;
    }
    listen_to(Topics(wanted_), &lock);
  }
}

void Listener::listen_to(const Topics& topics, Lock* lock) {
  lock->unlock();
  auto stream = store_->open_hints(topics, times_.wait_ms);
  lock->lock();
  if (!stream.ok()) {
    if (!stopping_) note_failure(stream.status(), lock);
    return;
  }
  log_event(
      LogLevel::kDebug, "hints.open",
      {{"jobs", static_cast<int64_t>(topics.jobs.size())}, {"verbs", topics.verbs_of != NodeId{}}});
  stream_ = *stream;
  opened_us_ = monotonic_us();
  interrupting_ = stopping_;
  covered_ = std::make_shared<const Topics>(topics);
  tell({}, true);
  Status status;
  for (;;) {
    const int64_t began_us = monotonic_us();
    const bool over = wanted_.empty() && began_us - wanted_us_ > times_.linger_ms * 1000;
    if (stopping_ || over || lacks_something(began_us)) break;
    lock->unlock();
    const auto hints = (*stream)->next();
    lock->lock();
    status = hints.ok() ? Status() : hints.status();
    if (!hints.ok()) break;
    failures_ = 0;
    tell(*hints, false);
    const bool nothing = hints->jobs.empty() && !hints->verbs;
    sleep_ms(nothing ? times_.idle_pause_ms : times_.pause_ms, lock);
  }
  const bool meant = interrupting_;
  stream_ = nullptr;
  covered_ = nullptr;
  interrupting_ = false;
  lock->unlock();
  stream->reset();  // tells the server
  log_event(LogLevel::kDebug, "hints.closed", {});
  lock->lock();
  if (!status.ok() && !meant && !stopping_) note_failure(status, lock);
}

void Listener::note_failure(const Status& status, Lock* lock) {
  const bool never = status.code() == Code::kNotFound;
  const DurationMs pause =
      never ? times_.never_retry_ms
            : std::min(times_.retry_ms_min << std::min(failures_, 20), times_.retry_ms_max);
  // A store that is away says so elsewhere.
  const LogLevel level = failures_ == 0 ? LogLevel::kInfo : LogLevel::kDebug;
  log_event(level, never ? "hints.none" : "hints.broken",
            {{"error", status.message()}, {"retry_ms", pause}});
  failures_++;
  sleep_ms(pause, lock);
}

bool Listener::lacks_something(int64_t now_us) const {
  CHECK(covered_ != nullptr);
  return now_us - opened_us_ >= times_.settle_ms * 1000 && !covers(*covered_, wanted_);
}

void Listener::tell(const Hints& hints, bool opened) {
  if (hints.jobs.empty() && !hints.verbs && !opened) return;
  news_.jobs.insert(hints.jobs.begin(), hints.jobs.end());
  news_.verbs = news_.verbs || hints.verbs;
  news_.opened = news_.opened || opened;
  if (news_.jobs.size() > 2 * kHintedJobsMax) {  // nobody takes it: it amounts to the same
    news_.jobs.clear();
    news_.opened = true;
  }
  has_news_.store(true, std::memory_order_release);
  (void)wake_.push('!');  // full: the loop has been woken, and takes this too
}

void Listener::sleep_ms(DurationMs ms, Lock* lock) {
  changed_.wait_for(*lock, std::chrono::milliseconds(ms), [this] { return stopping_; });
}

}  // namespace millrace
