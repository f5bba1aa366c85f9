#include "engine/worker/worker_threads.h"

#include <csignal>
#include <cstdlib>
#include <thread>

namespace millrace {
namespace {

Slab* g_slab = nullptr;
thread_local uint32_t t_slot = 0;  // 1 + the slot that this thread serves; 0: none

void note_culprit() {
  uint32_t nobody = 0;
  if (t_slot != 0) g_slab->header().culprit.compare_exchange_strong(nobody, t_slot);
}

// The default action follows: SA_RESETHAND, and the fault happens again.
void on_fatal_signal(int signal) {
  note_culprit();
  raise(signal);
}

// A step that overflows its stack needs another one for the handler.
struct SignalStack {
  SignalStack() {
    stack_t stack{};
    stack.ss_sp = memory;
    stack.ss_size = sizeof memory;
    sigaltstack(&stack, nullptr);
  }
  char memory[16 * 1024];
};

}  // namespace

void mark_culprits(Slab* slab) {
  g_slab = slab;
  struct sigaction action {};
  action.sa_handler = on_fatal_signal;
  action.sa_flags = static_cast<int>(SA_ONSTACK | SA_RESETHAND | SA_NODEFER);
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
    sigaction(signal, &action, nullptr);
  }
  atexit(note_culprit);
}

void WorkerThreads::take(const Frame& frame, const std::shared_ptr<void>& owner) {
  Work work{frame, std::string(reinterpret_cast<const char*>(frame.payload), frame.payload_bytes)};
  bool more_threads;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(work));
    more_threads = queue_.size() > idle_ && threads_ < threads_max_;
    threads_ += more_threads ? 1 : 0;
  }
  if (more_threads) std::thread([this, owner] { run(owner); }).detach();
  arrived_.notify_one();
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
      arrived_.wait(lock, [this] { return !queue_.empty() || ending_; });
      idle_--;
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
    t_slot = body.slot() + 1;
    run_step(body.input(), context_->area, &end);
    t_slot = 0;
  }
  context_->replies->add(frame.ticket, &end);
  context_->replies->flush();
}

}  // namespace millrace
