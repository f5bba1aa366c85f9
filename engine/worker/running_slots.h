// RunningSlots: which steps run inside this process, in a file that outlives it.
//
// With workers.isolation: thread a step that crashes takes the server with it. The next boot reads
// here what ran then, and whether the process died of a fault of its own or was ended from outside,
// which says nothing about any step. It knows nothing of jobs but their names; what follows from a
// death is the core's to decide.
//
// A fault of its own: SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT that nobody sent from outside, or
// the end of the process by a thread that runs a step (exit, _exit, however it is called). Handlers
// and a filter for exit_group() mark it in the file. What leaves no mark is an end from outside:
// SIGKILL, the kernel's out-of-memory killer, a power failure.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace millrace {

// A step as it is noted. The texts are copied.
struct NotedStep {
  const char* job = "";   // id in text form
  const char* step = "";  // id in the pipeline
  uint32_t attempt = 0;
  uint32_t place = 0;   // of the step in its graph
  uint32_t deaths = 0;  // as StartStep said
};

// How the process that wrote the file came to its end.
struct LastRun {
  enum class End : uint8_t {
    kNone,     // there was none, or it ran no steps in itself
    kDecided,  // by its own decision
    kOutside,  // somebody ended it, or the machine went down
    kFault,    // it died of a fault inside
  };
  struct Step {
    std::string job;   // id in text form
    std::string step;  // id in the pipeline
    uint32_t attempt = 0, place = 0, deaths = 0;
    bool dying = false;  // its own thread was the one that died
  };
  End end = End::kNone;
  int signal = 0;             // of a fault, or
  int exit_status = 0;        // this, when a step ended the process
  std::vector<Step> running;  // when it ended; after a kDecided none is at fault
};

class RunningSlots {
 public:
  static constexpr uint32_t kSlots = 1100;

  RunningSlots() = default;
  ~RunningSlots();
  RunningSlots(const RunningSlots&) = delete;
  RunningSlots& operator=(const RunningSlots&) = delete;

  // What the last process left in `path`, which is then forgotten. Whoever calls holds the lock of
  // the data directory. A file that cannot be read is none. [main]
  static LastRun take_last(const std::string& path);

  // From now on steps may be noted, and this process's faults are. One of a process at a time.
  // Unavailable E120: the file cannot be made. [main]
  Status begin(const std::string& path);
  // The process goes on or ends by its own decision: nothing that follows is any step's fault.
  void end();

  // Notes a step that this thread is about to run; the answer is for leave(). [any]
  uint32_t enter(const NotedStep& step);
  void leave(uint32_t slot);

 private:
  struct Header {
    char magic[8];
    std::atomic<uint32_t> phase;
    std::atomic<int32_t> signal;
    std::atomic<int32_t> exit_status;
    std::atomic<uint32_t> dying;  // 1 + a slot; 0: a thread that ran no step
    char unused[40];
  };
  struct Slot {
    std::atomic<uint32_t> taken;
    uint32_t attempt, place, deaths;
    char job[48];
    char step[64];
  };
  struct File {
    Header header;
    Slot slots[kSlots];
  };
  static_assert(sizeof(Slot) == 128 && sizeof(Header) == 64);
  static LastRun read(const File& file);

  File* file_ = nullptr;
  std::mutex mutex_;
  std::vector<uint32_t> free_;
  friend struct FaultHandlers;
};

}  // namespace millrace
