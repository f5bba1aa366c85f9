// BlobThreads: the threads that hash, write, sync and read blobs, so that nobody else waits for a
// disk.
//
// Thread: everything is called by the thread that made it (the loop), which sleeps on poll_fd() and
// calls drain(); callbacks run there. Destruction drops what has not begun, waits for what has, and
// calls nobody.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/base/mailbox.h"
#include "engine/blob/blob_store.h"

namespace millrace {

constexpr int kBlobThreadsDefault = 4;
constexpr int kRemoteBlobThreads = 16;  // they wait for a network, not for a disk

class BlobThreads {
 public:
  explicit BlobThreads(BlobStore* store, int threads = kBlobThreadsDefault);
  ~BlobThreads();
  BlobThreads(const BlobThreads&) = delete;
  BlobThreads& operator=(const BlobThreads&) = delete;

  // BlobStore::put on some thread; `done` runs in drain(). Beyond kBlobWorkMax requests at once:
  // Busy E016, told in drain() as well.
  void put(Bytes bytes, std::function<void(Result<Digest>)> done, bool keep = false);
  // BlobStore::read likewise. With `verify` the bytes are hashed.
  void read(const Digest& digest, std::function<void(Result<Bytes>)> done, bool verify = false);
  // Anything else that waits for the disk; what `work` returns runs in drain(). False: too many
  // requests at once, nothing will run.
  [[nodiscard]] bool run(std::function<std::function<void()>()> work);

  void drain();
  int poll_fd() const { return finished_.poll_fd(); }

  // Every put that ended before this time (monotonic) had its callback run by the last drain().
  // What was put later may be in nobody's books yet: see BlobStore::remove.
  int64_t settled_us() const { return settled_us_; }

 private:
  using Done = std::function<void()>;
  struct Worker {
    std::thread thread;
    std::atomic<int64_t> busy_since_us{INT64_MAX};  // idle
  };

  void thread_main(Worker* worker);
  void refuse(Done done);

  BlobStore* const store_;
  WorkQueue<std::function<Done()>> queue_;
  Mailbox<Done> finished_;
  std::vector<Done> draining_, refused_;
  size_t under_way_ = 0;
  int64_t settled_us_ = 0;
  std::atomic<bool> stopping_{false};
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace millrace
