#include "engine/store/reader.h"

#include "engine/base/limits.h"

namespace millrace {

Reader::Reader() : queue_(kReaderWorkMax), finished_(kReaderWorkMax) {
  thread_ = std::thread([this] { thread_main(); });
}

Reader::~Reader() {
  stopping_.store(true, std::memory_order_relaxed);
  queue_.close();
  thread_.join();
}

void Reader::thread_main() {
  set_thread(Thread::kReader);
  std::function<Done()> work;
  while (queue_.pop(&work)) {
    if (!stopping_.load(std::memory_order_relaxed)) CHECK(finished_.push(work()));
    work = nullptr;
  }
}

void Reader::run(std::function<Done()> work) {
  CHECK_MSG(under_way_ < kReaderWorkMax, "more reads at once than connections can ask for");
  under_way_++;
  CHECK(queue_.push(std::move(work)));
}

void Reader::drain() {
  finished_.take(&draining_);
  std::vector<Done> now;
  now.swap(draining_);
  under_way_ -= now.size();
  for (Done& done : now) done();
  now.clear();
  if (draining_.capacity() == 0) draining_.swap(now);
}

}  // namespace millrace
