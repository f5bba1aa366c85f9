// ServerProcess: `millrace serve` as a child process, from its start to its orderly end.
//
// Knows nothing of HTTP: it finds the address in the ready line on stderr and keeps the last lines
// for the one who has to explain a failure.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace millrace::demo {

class ServerProcess {
 public:
  ServerProcess() = default;
  ~ServerProcess();  // kills it if stop() was not called
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // Starts `command` with `environment` ("NAME=value") added to ours, and waits for its ready line.
  // False: it could not be started, ended, or was not ready in time; `problem` says which.
  bool start(const std::vector<std::string>& command, const std::vector<std::string>& environment,
             std::string* problem);

  // "127.0.0.1:PORT", once started.
  const std::string& address() const { return address_; }

  // SIGTERM, then waits for the end, at most as long as a drain takes. False: it did not exit with
  // 0.
  bool stop(std::string* problem);

  // The last lines of its stderr.
  std::vector<std::string> log_tail() const;

 private:
  void read_log(int pipe);
  bool wait_for_end(int timeout_ms, int* status);

  pid_t pid_ = -1;
  std::string address_;
  std::thread reader_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> lines_;
  bool log_ended_ = false;
};

}  // namespace millrace::demo
