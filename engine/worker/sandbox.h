// Sandbox: what a worker process gives up before it runs a step. It knows no steps.
#pragma once

#include <cstdint>

#include "engine/base/status.h"
#include "engine/pipeline/catalogue.h"

namespace millrace {

// No core dumps, few descriptors, at most `memory_bytes_max` of address space beyond what the
// process has now (0: no bound; not bounded under a sanitizer). [main, in a worker]
void apply_limits(Lane lane, uint64_t memory_bytes_max);

// Locks a cpu-lane worker into the system calls that decoding and encoding need: no files, no
// network, no processes, no code of its own. A forbidden call kills the process (SIGSYS) or, where
// libraries ask out of habit, fails with EACCES. Unavailable: the kernel has no seccomp. [main, in
// a worker]
Status lock_system_calls();
// Whether that works here: a child process tries it. [main, before there are threads]
Status try_system_call_lock();

}  // namespace millrace
