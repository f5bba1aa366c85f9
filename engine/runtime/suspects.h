// Suspects: the steps that may have brought an earlier server down, in a file until each is
// cleared.
//
// Only steps that ran inside the server can (workers.isolation: thread). RunningSlots tells what
// ran when the last one died; the core decides what follows (core/blame.cc) and says when a step is
// cleared. The file is not synced: a power failure only forgets a suspicion.
#pragma once

#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/core/event.h"
#include "engine/worker/running_slots.h"

namespace millrace {

class Suspects {
 public:
  // Reads `path`, adds what ran when the last server died of a fault of its own, and writes the sum
  // back. A line that does not parse is dropped. Unavailable E120: the file cannot be written.
  // [main]
  Status open(const std::string& path, const LastRun& last);
  const std::vector<Suspect>& all() const { return all_; }
  // The core's ClearSuspect. A file that cannot be written keeps the suspect, which costs him one
  // run alone. [loop]
  void clear(const JobId& job, int step);

 private:
  void add(Suspect suspect);
  Status save() const;

  std::string path_;
  std::vector<Suspect> all_;
};

}  // namespace millrace
