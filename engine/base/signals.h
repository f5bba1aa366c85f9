// Signals to other processes. The only place that calls kill(): a pid of 0 or -1 (as one that a
// failed spawn left behind) means a whole group or every process there is.
#pragma once

#include <sys/types.h>

#include <csignal>

#include "engine/base/check.h"

namespace millrace {

// As kill(2), for one process; CHECKs that `pid` names one (above 1). [any]
inline int signal_process(pid_t pid, int number) {
  CHECK(pid > 1);
  return ::kill(pid, number);
}

}  // namespace millrace
