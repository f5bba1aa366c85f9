// The filters of system calls: seccomp, by libseccomp.
#pragma once

#include "engine/base/status.h"

namespace millrace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Locks this process, all its threads, into what decoding and encoding need. Any other call is
// SIGSYS, whose handler (death_notes.h) notes the name; what libraries try out of habit fails with
// EACCES. Unavailable E140: the kernel has no seccomp. [main, in a worker]
Status lock_cpu_calls();
// Takes from the io lane what would lead out of it: to start a process is SIGSYS as above; other
// processes' memory, modes and owners of files, namespaces and kernel interfaces fail with EPERM.
// [main, in a worker]
Status lock_io_calls();
// Makes exit_group() of any thread SIGSYS, unless its second argument is kExitPass. [main]
Status notice_exits();
constexpr unsigned long kExitPass = 0x6d727061;

}  // namespace millrace
