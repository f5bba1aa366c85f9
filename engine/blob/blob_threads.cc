#include "engine/blob/blob_threads.h"

#include <algorithm>

#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace {
namespace {

Status too_many() {
  return Status::busy(errors::kOutOfMemoryBudget,
                      "too many blobs wait for the disk; try again later");
}

}  // namespace

BlobThreads::BlobThreads(BlobStore* store, int threads)
    : store_(store), queue_(kBlobWorkMax), finished_(2 * kBlobWorkMax) {
  CHECK(store != nullptr && threads > 0);
  for (int i = 0; i < threads; i++) workers_.push_back(std::make_unique<Worker>());
  for (auto& worker : workers_) {
    worker->thread = std::thread([this, at = worker.get()] { thread_main(at); });
  }
}

BlobThreads::~BlobThreads() {
  stopping_.store(true, std::memory_order_relaxed);
  queue_.close();
  for (auto& worker : workers_) worker->thread.join();
}

void BlobThreads::thread_main(Worker* worker) {
  set_thread(Thread::kBlob);
  std::function<Done()> work;
  while (queue_.pop(&work)) {
    if (stopping_.load(std::memory_order_relaxed)) continue;
    // In this order, and sequentially consistent: whoever sees us idle finds the result in the
    // mailbox, whoever does not knows since when we are not.
    worker->busy_since_us.store(monotonic_us());
    CHECK(finished_.push(work()));
    worker->busy_since_us.store(INT64_MAX);
    work = nullptr;
  }
}

bool BlobThreads::run(std::function<Done()> work) {
  if (under_way_ >= kBlobWorkMax) return false;
  under_way_++;
  CHECK(queue_.push(std::move(work)));
  return true;
}

void BlobThreads::refuse(Done done) {
  refused_.push_back(std::move(done));
  if (refused_.size() > 1) return;
  under_way_++;
  CHECK(finished_.push([] {}));  // wakes the loop
}

void BlobThreads::put(Bytes bytes, std::function<void(Result<Digest>)> done, bool keep) {
  const bool taken = run([this, bytes = std::move(bytes), done, keep]() -> Done {
    return [done, digest = store_->put(bytes, keep)] { done(digest); };
  });
  if (taken) return;
  refuse([done = std::move(done)] { done(too_many()); });
}

void BlobThreads::read(const Digest& digest, std::function<void(Result<Bytes>)> done, bool verify) {
  const bool taken = run([this, digest, verify, done]() -> Done {
    return [done, bytes = store_->read(digest, verify)] { done(bytes); };
  });
  if (taken) return;
  refuse([done = std::move(done)] { done(too_many()); });
}

void BlobThreads::drain() {
  int64_t settled_us = monotonic_us();
  for (const auto& worker : workers_) {
    settled_us = std::min(settled_us, worker->busy_since_us.load());
  }
  finished_.take(&draining_);
  std::vector<Done> now, refused;
  now.swap(draining_);
  refused.swap(refused_);
  under_way_ -= now.size();
  for (Done& done : now) done();
  for (Done& done : refused) done();
  settled_us_ = settled_us;
  now.clear();
  if (draining_.capacity() == 0) draining_.swap(now);
}

}  // namespace millrace
