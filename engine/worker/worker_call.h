// One call inside a worker process: from a frame to a CallInput, and from a CallEnd to a reply.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>

#include "engine/plugin/call.h"
#include "engine/worker/output_area.h"
#include "engine/worker/running_slots.h"
#include "engine/worker/wire.h"

namespace millrace {

// Collects replies and sends them. Thread-safe.
class Replies {
 public:
  // A process ends when the server is gone; threads inside the server (`in_server`) just go on.
  Replies(int socket, OutputArea* area, bool in_server = false)
      : socket_(socket), area_(area), in_server_(in_server) {}
  // Adds the reply and returns how many are unsent now. `end`'s bytes in the slab stay until the
  // server has read them.
  int add(uint64_t ticket, CallEnd* end);
  // Sends what is unsent; blocks while the server does not read.
  void flush();
  // Sees to it that what is unsent now is sent within two milliseconds, whatever this thread does
  // next. A second thread does that; it sleeps while there is nothing to watch.
  void guard();

 private:
  void flush_locked();
  [[noreturn]] void watch();
  const int socket_;
  OutputArea* const area_;
  const bool in_server_;
  std::mutex mutex_;
  std::string packet_;
  int unsent_ = 0;
  uint64_t flushes_ = 0;
  bool watched_ = false;  // the second thread looks every millisecond
  bool watcher_ = false;  // it exists
  std::condition_variable to_watch_;
  uint64_t added_ = 0;  // replies since the worker's start
};

struct WorkerContext {
  const LoadedPlugins* plugins = nullptr;
  Slab* slab = nullptr;
  OutputArea* area = nullptr;
  Replies* replies = nullptr;
  std::shared_ptr<RunningSlots> running;  // inside the server only
  uint64_t pixels_max = 0;
  Settings settings;
};

// Reused from call to call; what it points to is the frame's packet and the slab.
class CallBody {
 public:
  ~CallBody() { unmap(); }
  CallBody() = default;
  CallBody(const CallBody&) = delete;
  CallBody& operator=(const CallBody&) = delete;

  // Reads a kCall frame. False: malformed, which the server never sends.
  bool read(const Frame& frame, WorkerContext* context);
  // False when the server has taken the call back: it must not run, nor be answered.
  bool begin(WorkerContext* context);
  // The path of an input that could not be mapped, or empty.
  const std::string& unreadable() const { return unreadable_; }
  const CallInput& input() const { return input_; }
  size_t step_index() const { return step_index_; }
  uint32_t slot() const { return slot_; }
  // What is noted while it runs.
  NotedStep noted() const {
    return {input_.job, input_.step_id, input_.attempt, noted_.place, noted_.deaths};
  }
  bool large() const { return large_; }  // it had inputs in the slab

 private:
  bool read_input(FrameReader* reader, WorkerContext* context, mr_blob* blob);
  bool read_param(FrameReader* reader, WorkerContext* context, mr_value* value);
  void unmap();

  CallInput input_;
  size_t step_index_ = 0;
  uint32_t slot_ = 0;
  uint32_t sequence_ = 0;
  NotedStep noted_;
  bool large_ = false;
  std::string unreadable_;
  std::vector<std::pair<void*, size_t>> mapped_;
};

}  // namespace millrace
