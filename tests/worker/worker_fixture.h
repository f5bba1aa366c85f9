// WorkerFixture: runs calls through workers and waits for their ends, without sleeping.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "engine/base/time.h"
#include "engine/worker/workers.h"

namespace millrace {

class WorkerFixture {
 public:
  explicit WorkerFixture(WorkerOptions options, bool threads = false) {
    auto started = threads ? start_thread_workers(options) : start_process_workers(options);
    EXPECT_TRUE(started.ok()) << (started.ok() ? "" : started.status().message());
    workers = std::move(started).value();
  }

  static WorkerOptions faulty() {
    WorkerOptions options;
    options.steps_directory = MILLRACE_FAULT_STEPS;
    options.worker_memory_bytes_max = 512 << 20;
    return options;
  }
  static WorkerOptions real() {
    WorkerOptions options;
    options.steps_directory = MILLRACE_BUILD "/steps";
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
    const int64_t left_us =
        std::clamp<int64_t>(workers->next_deadline_us() - monotonic_us(), 0, 1'000'000);
    pollfd ready{workers->poll_fd(), POLLIN, 0};
    poll(&ready, 1, static_cast<int>((left_us + 999) / 1000));
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
};

// The children of this process and theirs, by name.
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
    if (getpgid(pid) == getpgrp()) found.push_back(pid);
  }
  closedir(directory);
  return found;
}

}  // namespace millrace
