// The body of a worker process: reads calls from its socket, runs steps, sends replies. Forked from
// the template process, which has loaded the plugins; it never returns. It knows no jobs and no
// server.
//
// Cpu lane: one step at a time, in the order received. Io lane: a thread a call.
#pragma once

#include "engine/plugin/loader.h"
#include "engine/worker/slab.h"
#include "engine/worker/workers.h"

namespace millrace {

struct WorkerStart {
  int socket = -1;  // owned
  int slab = -1;    // owned
  Lane lane = Lane::kCpu;
  WorkerLimits limits;
  const LoadedPlugins* plugins = nullptr;
};

// [main, in a worker] Ends with status 0 when the server closes the socket.
[[noreturn]] void worker_process_main(const WorkerStart& start);

}  // namespace millrace
