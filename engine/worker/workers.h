// Workers: where steps run. The runtime hands over what the core started and collects outcomes.
//
// Two implementations: ProcessWorkers (sandboxed child processes forked from a template process;
// the default) and ThreadWorkers (inside the server, for debugging a plugin). Both are used from
// the loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/limits.h"
#include "engine/core/event.h"
#include "engine/pipeline/catalogue.h"
#include "engine/plugin/declaration.h"

namespace millrace {

class RunningSlots;

// One attempt of one step, ready to run: every input blob is in memory or has a path.
struct StepCall {
  Ticket ticket = 0;
  const StepDecl* decl = nullptr;  // in the catalogue that the workers reported
  std::string job;                 // id in text form
  std::string step;                // id in the pipeline
  uint32_t attempt = 1;
  uint32_t place = 0;      // of the step in its graph, and
  uint32_t deaths = 0;     // as StartStep said: only noted (RunningSlots)
  std::string effect_key;  // empty: pure
  std::vector<Value>
      with;  // in the order of StepDecl's with ports; blobs have bytes, or a path below
  std::vector<std::string>
      paths;  // beside `with`: a read-only file with the blob's bytes, or empty (io lane)
  DurationMs timeout_ms = 60'000;  // of the attempt, counted from when a worker begins it
  int64_t until_us = INT64_MAX;    // monotonic_us(): ends then at the latest, begun or not
};

// A step hears that it should stop so long before its attempt is killed, or a tenth of its timeout
// if that is less. step.h and pipelines/README.md say so.
inline int64_t stop_margin_us(const StepCall& call) {
  return call.timeout_ms < 10 * kStopMarginMs ? call.timeout_ms * 100 : kStopMarginMs * 1000;
}

struct StepResult {
  Ticket ticket = 0;
  StepOutcome outcome;
  int64_t run_us = 0;  // how long the body ran; 0 when unknown
};

// A directory that the io lane may use (enforced where the kernel has Landlock).
struct PathGrant {
  std::string path;
  bool change = false;  // make, write and remove; else read the files, and name them elsewhere too
};

// What the kernel grants the steps of one worker process.
struct WorkerLimits {
  // Address space in the cpu lane; in the io lane memory that is private and writable, beside
  // kIoStackBytes for each call that may run there.
  uint64_t memory_bytes_max = uint64_t{4} << 30;
  // Cpu lane: CPU time of a step, beyond a slack of seconds, in units of its timeout.
  uint32_t step_cores = 2;
};
constexpr uint64_t kIoStackBytes = 16 << 20;  // a call's thread, and its resolver's

struct WorkerOptions {
  std::string steps_directory;  // of *.so
  uint32_t cpu = 1;             // worker processes of the cpu lane
  uint32_t io = 32;             // concurrent steps of the io lane
  uint64_t pixels_max = 268'000'000;
  std::vector<std::pair<std::string, std::string>>
      settings;                           // configuration key -> JSON text, secrets resolved
  std::vector<PathGrant> io_paths;        // everything of the file system that io steps are for
  std::shared_ptr<RunningSlots> running;  // with threads: where steps are noted while they run
  std::shared_ptr<ByteBudget> budget;     // results are charged to it
  // What is run as the template process, with the one argument worker-template.
  std::string executable = "/proc/self/exe";
  uint64_t memory_budget_bytes = UINT64_MAX;  // workers.memory: what running calls may be promised
  WorkerLimits worker_limits;
};

struct MemoryStats {
  uint64_t reserved_bytes = 0, bytes_max = 0;  // of WorkerOptions::memory_budget_bytes
  uint32_t waiting = 0;  // calls for which it is not enough, or not their turn
};

struct LaneStats {
  uint32_t workers = 0;  // processes (cpu) or concurrent calls (io)
  uint32_t busy = 0;
  double mean_run_seconds = 0;  // moving average of bodies, for millrace_backlog_seconds
  MemoryStats memory;           // of the cpu lane
};

class Workers {
 public:
  virtual ~Workers() = default;

  // Waits until it is known what the plugins declare; everything below is for afterwards. Called
  // once, after begin_process_workers(). Unavailable E140: the template process ended, or took too
  // long.
  virtual Status wait_loaded() = 0;

  // What the plugins declare, and which were refused.
  virtual std::shared_ptr<const Catalogue> catalogue() const = 0;
  virtual const std::vector<PluginProblem>& problems() const = 0;

  // How many calls of a lane it wants to hold at once: workers times a window that is deep for fast
  // steps. May change whenever poll() ran.
  virtual uint32_t slots(Lane lane) const = 0;

  // Takes a call; its one StepResult comes from a later poll(). Frames of one turn of the loop
  // travel together: they are sent by flush().
  virtual void start(StepCall call) = 0;
  virtual void flush() = 0;

  // Asks a running call to end; soon afterwards it is killed, or, in a process that it shares, its
  // end is reported without it. A call that had not begun never begins. Its StepResult (any kind)
  // still comes.
  virtual void stop(Ticket ticket) = 0;

  // A descriptor that is readable when poll() has something to do, and the earliest moment
  // (monotonic_us) at which it has something to do anyway (a timeout to enforce); INT64_MAX for
  // none.
  virtual int poll_fd() const = 0;
  virtual int64_t next_deadline_us() const = 0;
  virtual void poll(std::vector<StepResult>* results) = 0;

  virtual LaneStats stats(Lane lane) const = 0;
  // True when no worker could be brought up for a while (exit 6).
  virtual bool stuck() const = 0;
};

// Starts the template process (this same program, run as `worker-template`), which loads the
// plugins: that takes longer than all else of a start, and the caller need not watch. Unavailable
// E140: the template process could not be started.
Result<std::unique_ptr<Workers>> begin_process_workers(const WorkerOptions& options);
// The same, waited for.
Result<std::unique_ptr<Workers>> start_process_workers(const WorkerOptions& options);
Result<std::unique_ptr<Workers>> start_thread_workers(const WorkerOptions& options);

// The body of the hidden verb `worker-template`; the control socket is descriptor 3. Never returns.
// main() calls it before anything else has been started.
[[noreturn]] void worker_template_main();

}  // namespace millrace
