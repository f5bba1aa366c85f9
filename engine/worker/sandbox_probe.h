// A self-test of the sandbox: what of it this machine has, tried in children of the caller.
#pragma once

#include <string>

#include "engine/worker/sandbox.h"

namespace millrace {

struct SandboxProbe {
  Lane lane = Lane::kCpu;
  uint32_t layers = 0;  // kLayer…
  bool locked = false;  // what a step of the lane must not do was tried, and refused
  std::string layer_names() const;
  std::string missing_names() const;  // empty: every layer is there
};

// Forks: before the process has started threads. [main]
SandboxProbe probe_sandbox(Lane lane);

}  // namespace millrace
