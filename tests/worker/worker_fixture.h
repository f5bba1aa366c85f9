// WorkerFixture: runs calls through workers and waits for their ends, without sleeping.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "cmake/tree.h"
#include "engine/base/time.h"
#include "engine/worker/workers.h"

namespace millrace {

class WorkerFixture {
 public:
  explicit WorkerFixture(WorkerOptions options, bool threads = false) {
    if (!threads) {
      unlink(said_path_.c_str());  // of a process that died
      EXPECT_EQ(mkfifo(said_path_.c_str(), 0600), 0);
      said_ = open(said_path_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
      options.io_paths.push_back({said_path_, true});
    }
    auto started = threads ? start_thread_workers(options) : start_process_workers(options);
    EXPECT_TRUE(started.ok()) << (started.ok() ? "" : started.status().message());
    workers = std::move(started).value();
  }
  ~WorkerFixture() {
    if (said_ < 0) return;
    close(said_);
    unlink(said_path_.c_str());
  }

  static WorkerOptions faulty() {
    WorkerOptions options;
    options.steps_directory = in_build("/tests/fault_steps");
    options.worker_limits.memory_bytes_max = 512 << 20;
    return options;
  }
  static WorkerOptions real() {
    WorkerOptions options;
    options.steps_directory = in_build("/steps");
    return options;
  }

  StepCall call(const std::string& step, std::vector<Value> with) {
    StepCall call;
    call.ticket = next_ticket_++;
    call.decl = workers->catalogue()->find(step);
    CHECK(call.decl != nullptr);
    call.job = "job";
    call.step = "step";
    call.effect_key = "key";
    with.resize(static_cast<size_t>(call.decl->with_count()));
    call.with = std::move(with);
    return call;
  }
  // A call of the test plugin's step.
  StepCall fault(const std::string& how, int64_t n = 0, Value data = {},
                 const std::string& step = "fault", const std::string& path = "/etc/passwd") {
    return call(step, {std::move(data), how, n, {}, path});
  }

  // A call of the io lane that sleeps for a minute, in a process. It has begun when this returns.
  Ticket start_sleeper(const std::string& job = "job") {
    StepCall sleeper = fault("say_and_sleep", 60'000, {}, "fault_io", said_path_);
    sleeper.job = job;
    const Ticket ticket = start(std::move(sleeper));
    char byte = 0;
    while (ended.count(ticket) == 0 && read(said_, &byte, 1) != 1) turn();
    EXPECT_EQ(ended.count(ticket), 0u) << "it never began: " << ended[ticket].message;
    return ticket;
  }

  Ticket start(StepCall call) {
    const Ticket ticket = call.ticket;
    workers->start(std::move(call));
    return ticket;
  }

  // Turns the loop until `ticket` has ended.
  StepOutcome wait(Ticket ticket, int64_t timeout_us = 60'000'000) {
    workers->flush();
    const int64_t until_us = monotonic_us() + timeout_us;
    while (ended.count(ticket) == 0 && monotonic_us() < until_us) turn();
    EXPECT_EQ(ended.count(ticket), 1u) << "no end of ticket " << ticket;
    return ended[ticket];
  }
  StepOutcome run(StepCall call) { return wait(start(std::move(call))); }

  void turn() {
    workers->flush();
    const int64_t left_us =
        std::clamp<int64_t>(workers->next_deadline_us() - monotonic_us(), 0, 1'000'000);
    pollfd ready[] = {{workers->poll_fd(), POLLIN, 0}, {said_, POLLIN, 0}};
    poll(ready, 2, static_cast<int>((left_us + 999) / 1000));
    std::vector<StepResult> results;
    workers->poll(&results);
    for (StepResult& result : results) {
      EXPECT_EQ(ended.count(result.ticket), 0u) << "ended twice: " << result.ticket;
      ended[result.ticket] = std::move(result.outcome);
    }
    workers->flush();
  }

  static Value blob(std::string bytes) {
    BlobRef ref;
    ref.content = std::make_shared<BlobContent>();
    ref.content->size_bytes = bytes.size();
    ref.content->bytes = Bytes::of(std::move(bytes));
    ref.media_type = "text/plain";
    return ref;
  }

  std::unique_ptr<Workers> workers;
  std::map<Ticket, StepOutcome> ended;

 private:
  Ticket next_ticket_ = 1;
  // A pipe with a name, through which steps say that they have begun.
  const std::string said_path_ = ::testing::TempDir() + "millrace_said_" + std::to_string(getpid());
  int said_ = -1;
};

// The children of this process and theirs, by name.
// 0: there is none any more.
inline int parent_of(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const size_t close = line.rfind(')');  // "PID (NAME) STATE PARENT …"
  return close == std::string::npos ? 0 : std::atoi(line.c_str() + close + 4);
}

// Not another test's, which may run beside this one.
inline bool descends_from_us(int pid) {
  while (pid > 1 && pid != getpid()) pid = parent_of(pid);
  return pid == getpid();
}

inline std::vector<int> processes_named(const std::string& name) {
  std::vector<int> found;
  DIR* directory = opendir("/proc");
  while (const dirent* entry = readdir(directory)) {
    const int pid = atoi(entry->d_name);
    if (pid <= 0) continue;
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(file, line);
    const size_t open = line.find('('), close = line.rfind(')');
    if (open == std::string::npos || line.substr(open + 1, close - open - 1) != name) continue;
    if (descends_from_us(pid)) found.push_back(pid);
  }
  closedir(directory);
  return found;
}

}  // namespace millrace
