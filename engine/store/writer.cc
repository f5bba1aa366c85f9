#include "engine/store/writer.h"

#include <poll.h>

#include "engine/base/limits.h"
#include "engine/base/time.h"

namespace millrace {

Writer::Writer(Store* store) : store_(store), queue_(kWriterWorkMax), finished_(kWriterWorkMax) {
  CHECK(store != nullptr);
  thread_ = std::thread([this] { thread_main(); });
}

Writer::~Writer() {
  queue_.close();
  thread_.join();
}

void Writer::thread_main() {
  set_thread(Thread::kWriter);
  std::function<Done()> work;
  while (queue_.pop(&work)) {
    // There is room: hand_over() counts what has not been drained yet.
    CHECK(finished_.push(work()));
  }
}

void Writer::hand_over(std::function<Done()> work) {
  CHECK_MSG(under_way_ < kWriterWorkMax, "work is handed to the writer without waiting for it");
  under_way_++;
  CHECK(queue_.push(std::move(work)));
}

void Writer::submit(std::vector<Write> batch, std::function<void(const CommitReport&)> done) {
  CHECK_MSG(!batch_under_way_, "one batch at a time");
  batch_under_way_ = true;
  auto shared = std::make_shared<std::vector<Write>>(std::move(batch));
  hand_over([this, shared = std::move(shared), done = std::move(done)] {
    auto report = std::make_shared<CommitReport>();
    const int64_t begun_us = monotonic_us();
    report->results = store_->commit(*shared);
    report->duration_us = monotonic_us() - begun_us;
    return [this, report, done] {
      batch_under_way_ = false;
      done(*report);
    };
  });
}

void Writer::run(std::function<Done()> work) {
  hand_over(std::move(work));
}

void Writer::drain() {
  finished_.take(&draining_);
  // A callback may hand over more, and even drain: the list is not the member while they run.
  std::vector<Done> now;
  now.swap(draining_);
  under_way_ -= now.size();
  for (Done& done : now) done();
  now.clear();
  if (draining_.capacity() == 0) draining_.swap(now);
}

void Writer::wait_and_drain() {
  pollfd wait{finished_.poll_fd(), POLLIN, 0};
  // A signal ends the wait early, which is harmless: the caller asks again.
  ::poll(&wait, 1, -1);
  drain();
}

}  // namespace millrace
