// Watchers of events who never read what they asked for.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness/receiver.h"
#include "tests/process/hostile.h"
#include "tests/process/trial.h"

namespace millrace {

constexpr int kWatchers = 100;
constexpr int kWatchedJobs = 4;  // a job takes a bounded number of watchers

// Jobs that stand still until their watchers are there; the gate is a receiver that does not
// answer.
struct Watched {
  explicit Watched(uint16_t port)
      : receiver_([this](const std::string&, const std::string&) {
          open_.wait(false);
          return true;
        }) {
    const std::string body = fmt::format("{{\"inputs\":{{\"gate\":\"{}\",\"data\":\"{}\"}}}}",
                                         receiver_.url(), std::string(1500, 'd'));
    for (int i = 0; i < kWatchedJobs; i++) {
      const Reply job = ask(port, "POST", "/v1/pipelines/watched/jobs",
                            "Content-Type: application/json\r\n", body);
      EXPECT_EQ(job.status, 202) << job.shown();
      jobs.push_back(job.text("id"));
      watchers.push_back(std::make_unique<Crowd>(
          port, kWatchers / kWatchedJobs,
          "GET /v1/jobs/" + jobs.back() + "/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
          Crowd::Window::kTiny));
    }
  }
  ~Watched() { begin(); }
  void begin() {
    open_ = true;
    open_.notify_all();
  }
  std::vector<std::string> jobs;
  std::vector<std::unique_ptr<Crowd>> watchers;

 private:
  std::atomic<bool> open_{false};
  Receiver receiver_;
};

}  // namespace millrace
