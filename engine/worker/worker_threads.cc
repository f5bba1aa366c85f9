#include "engine/worker/worker_threads.h"

#include <cstdlib>
#include <thread>

#include "engine/worker/death_notes.h"

namespace millrace {
void WorkerThreads::take(const Frame& frame, const std::shared_ptr<void>& owner) {
  Work work{frame, std::string(reinterpret_cast<const char*>(frame.payload), frame.payload_bytes)};
  bool more_threads;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(work));
    more_threads = add_thread();
  }
  if (more_threads) std::thread([this, owner] { run(owner); }).detach();
  arrived_.notify_one();
}

bool WorkerThreads::add_thread() {
  const bool more = queue_.size() > idle_ && threads_ < threads_max_;
  threads_ += more ? 1 : 0;
  return more;
}

void WorkerThreads::set_threads_max(size_t threads_max, const std::shared_ptr<void>& owner) {
  bool more_threads;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    threads_max_ = threads_max;
    more_threads = add_thread();
  }
  if (more_threads) std::thread([this, owner] { run(owner); }).detach();
  arrived_.notify_all();  // those that are too many go
}

void WorkerThreads::end() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ending_ = true;
  arrived_.notify_all();
}

void WorkerThreads::run(std::shared_ptr<void> /*owner*/) {
  const SignalStack stack;
  for (;;) {
    Work work;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      idle_++;
      arrived_.wait(lock, [this] { return !queue_.empty() || ending_ || threads_ > threads_max_; });
      idle_--;
      if (threads_ > threads_max_) {
        threads_--;
        return;
      }
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    call(work);
  }
}

void WorkerThreads::call(const Work& work) {
  Frame frame = work.frame;
  frame.payload = reinterpret_cast<const uint8_t*>(work.payload.data());
  CallBody body;
  if (frame.kind != FrameKind::kCall || !body.read(frame, context_)) abort();
  if (!body.begin(context_)) return;
  CallEnd end;
  if (!body.unreadable().empty()) {
    // Not the step's fault: the server turns this into an error of the engine's own.
    end.status = MR_CANCELLED;
    end.reason = "input_unreadable";
    end.message = body.unreadable();
  } else {
    set_current_slot(body.slot() + 1);
    RunningSlots* running = context_->running.get();
    const CallInput& input = body.input();
    const uint32_t noted = running == nullptr ? 0 : running->enter(body.noted());
    run_step(input, context_->area, &end);
    if (running != nullptr) running->leave(noted);
    // To the account of this call: the others run still, and cannot be heard of first.
    if (end.status == MR_FAILED && memory_is_full()) abort();
    set_current_slot(0);
  }
  context_->replies->add(frame.ticket, &end);
  context_->replies->flush();
}

}  // namespace millrace
