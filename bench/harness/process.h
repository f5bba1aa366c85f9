// ServerProcess: a `millrace serve` of one's own, for benchmarks, process tests and the demo; and
// what it costs the machine.
//
// It listens on a free loopback port and keeps its data where it is told, so that a test may kill
// it and start it again.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

struct ServerSettings {
  std::string program;                   // path of `millrace`
  std::string data;                      // its data directory
  std::string pipelines;                 // its pipelines' directory
  std::vector<std::string> extra;        // "key=value", each becomes a --set
  std::vector<std::string> environment;  // "NAME=value", added to ours
};

class ServerProcess {
 public:
  enum class May { kDie, kNotDie };
  // Starts it and waits for its ready line. Ends this program with a message when it does not come
  // within 30 s, or the server ends; one that may die has port 0 then. Called by a thread that
  // outlives it: the server is told to end when that one does.
  explicit ServerProcess(const ServerSettings& settings, May may = May::kNotDie);
  ~ServerProcess();  // kills what still runs
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  uint16_t port() const { return port_; }
  pid_t pid() const { return pid_; }
  bool running() const;  // false: it has ended, and was not waited for
  double seconds_to_ready() const { return seconds_to_ready_; }
  void kill();                     // SIGKILL, and waits for it
  int stop();                      // SIGTERM, then wait()
  int wait();                      // for its end; its exit code, 128 + signal when it was killed
  const std::string& log() const;  // what it wrote to stderr so far is in this file

 private:
  pid_t pid_ = -1;
  uint16_t port_ = 0;
  double seconds_to_ready_ = 0;
  std::string log_path_;
};

// CPU seconds of a process and all its descendants, those already reaped included.
double tree_cpu_seconds(pid_t root);
// Sum of the proportional set sizes of a process and all its descendants, in bytes.
uint64_t tree_pss_bytes(pid_t root);
// The same without files: program and libraries count for less the more others use them too.
uint64_t tree_own_bytes(pid_t root);
// Context switches into a process and its descendants since they started: their wake-ups.
uint64_t tree_wakeups(pid_t root);
// Cache flushes that the machine's disks have completed since boot.
uint64_t device_flushes();
// CPU seconds that anything on this machine has used since boot.
double machine_cpu_seconds();
double now_seconds();  // CLOCK_MONOTONIC
// A new directory under $TMPDIR or /var/tmp (a real disk, not a tmpfs). Removed by remove_tree().
std::string make_directory(const std::string& name);
void remove_tree(const std::string& directory);

}  // namespace millrace
