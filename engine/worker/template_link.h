// TemplateLink: the server's side of the template process: spawns it, hears which steps there are,
// asks it for workers. When it dies it is spawned again, later and later.
//
// Thread: all of it belongs to the loop thread, and the template dies with that thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/plugin/declaration.h"
#include "engine/worker/wire.h"
#include "engine/worker/workers.h"

namespace millrace {

class TemplateLink {
 public:
  struct Event {
    enum class Kind : uint8_t { kLoaded, kForked, kForkFailed, kExited, kDied } kind;
    uint64_t worker = 0;
    int pidfd = -1;  // kForked; owned by the receiver, may be -1
    int pid = 0;     // kForked
    int status = 0;  // kExited: as of waitpid; kForkFailed: errno
  };

  // `executable` is run with the one argument worker-template.
  TemplateLink(std::string executable, std::string steps_directory);
  ~TemplateLink();
  TemplateLink(const TemplateLink&) = delete;
  TemplateLink& operator=(const TemplateLink&) = delete;

  // Spawns it. Unavailable E140.
  Status spawn();
  // Waits until the plugins are loaded, spawning again without a file that killed it. For the start
  // of the server. Unavailable E140.
  Status wait_loaded(int64_t timeout_us);

  bool running() const { return socket_ >= 0; }
  bool loaded() const { return loaded_; }
  int socket() const { return socket_; }
  // The declarations of the last load; identical texts are identical catalogues.
  const std::string& declarations_json() const { return json_; }
  // A file that killed the template while it was opened is left out from then on.
  const std::vector<PluginProblem>& crashed_files() const { return refused_; }

  // Asks for a worker; kForked or kForkFailed follows. False: the template cannot take it now.
  bool fork_worker(uint64_t worker, Lane lane, const WorkerLimits& limits, int socket, int slab);
  // Kills a worker that there is no pidfd of. False: as above.
  bool kill_worker(uint64_t worker);
  // Reads what it said. kDied comes once, after everything else it said.
  void receive(std::vector<Event>* events);
  // Kills it; kDied follows.
  void kill_it();
  // Collects the dead process; true when there is none left to collect.
  bool reap();

 private:
  void on_frame(const Frame& frame, const int* descriptors, int count, std::vector<Event>* events);
  void on_death(std::vector<Event>* events);

  const std::string executable_;
  const std::string steps_directory_;
  int socket_ = -1;
  pid_t pid_ = -1;
  bool loaded_ = false;
  std::string json_, partial_json_;
  std::string opening_;  // the file it said it is about to open
  std::vector<PluginProblem> refused_;
  std::string buffer_;
};

}  // namespace millrace
