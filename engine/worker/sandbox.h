// Sandbox: what a worker process gives up before it runs a step. It knows no steps.
//
// Layers, each on its own: limits, no new privileges, namespaces (user, network, IPC, names of the
// host; only a process with one thread, where the system allows it), Landlock (where the kernel has
// it), and the filter of system calls, without which a worker does not start.
//
// Cpu lane: no files, no network, no processes, no code of its own. Io lane: no processes; the
// network, and of the file system what resolvers and certificates need and the directories that it
// is granted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/pipeline/catalogue.h"
#include "engine/worker/workers.h"

namespace millrace {

constexpr uint32_t kLayerLimits = 1;
constexpr uint32_t kLayerNoNewPrivileges = 2;
constexpr uint32_t kLayerNamespaces = 4;
constexpr uint32_t kLayerLandlock = 8;
constexpr uint32_t kLayerSystemCalls = 16;

struct SandboxPlan {
  Lane lane = Lane::kCpu;
  // Beyond what the process has now: of address space in the cpu lane; in the io lane, which maps
  // large inputs, of what is private and writable. 0: no bound.
  uint64_t memory_bytes_max = 0;
  std::vector<PathGrant> paths;  // io lane
};

// Closes all descriptors but those of `keep` and the standard ones, which become /dev/null.
// [main, in a worker]
void close_other_descriptors(const std::vector<int>& keep);

// Applies every layer that there is and returns which. Handlers of signals are to be installed
// before: the cpu lane cannot any more. Nothing is bounded or locked under a sanitizer. Unavailable
// E140: the kernel has no filter for system calls. [main, in a worker]
Result<uint32_t> enter_sandbox(const SandboxPlan& plan);

// Raises the limit of CPU time so far that a step may run for `timeout_ms` from now on so many
// cores (WorkerLimits::step_cores), and no further. Cheap: most calls find that there is enough
// left. [main, in a cpu worker]
class CpuAllowance {
 public:
  explicit CpuAllowance(uint32_t cores) : cores_(cores) {}
  void allow(int64_t timeout_ms);

 private:
  const uint32_t cores_;
  int64_t armed_us_ = 0;
  int64_t armed_ms_ = -1;
};

// Whether the filter answers this call with EACCES instead of death: libraries try it out of habit.
bool is_refused_call(int number);
// The name of a system call, such as "socket"; "?" for a number that is none. [any]
std::string system_call_name(int number);

}  // namespace millrace
