// The io lane inside its worker process: a thread for each concurrent call, made on demand and
// kept. Also what runs steps inside the server with workers.isolation: thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "engine/worker/worker_call.h"

namespace millrace {

class WorkerThreads {
 public:
  explicit WorkerThreads(WorkerContext* context, size_t threads_max = SIZE_MAX)
      : context_(context), threads_max_(threads_max) {}
  // Copies the frame and hands it to a thread, which keeps `owner` (whoever holds this object and
  // its context) alive. [main, in a worker]
  void take(const Frame& frame, const std::shared_ptr<void>& owner = nullptr);
  // How many threads there may be from now on; those beyond end after the call that they are in.
  // `owner` as for take(). [any]
  void set_threads_max(size_t threads_max, const std::shared_ptr<void>& owner);
  // Threads end when they have nothing to do. [any]
  void end();

 private:
  struct Work {
    Frame frame;
    std::string payload;
  };
  bool add_thread();  // with the lock held
  void run(std::shared_ptr<void> owner);
  void call(const Work& work);

  WorkerContext* const context_;
  std::mutex mutex_;
  size_t threads_max_;
  std::condition_variable arrived_;
  std::deque<Work> queue_;
  size_t threads_ = 0;
  size_t idle_ = 0;
  bool ending_ = false;
};

}  // namespace millrace
