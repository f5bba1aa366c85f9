// Goal: the wall clock may be set by hours, either way and again, while jobs run. What is measured
// as a duration (attempts, back-off) does not notice; nothing is lost, forgotten or removed before
// its time, ids stay unique, and a server that starts under the new time goes on.
// Method: the real server under clock_shim.so, whose offset to the true time the test sets.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>

#include "tests/process/photo.h"
#include "tests/process/shifted_clock.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr double kSlowSeconds = 1800;  // far less than the clock is set by

class Clock : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
#endif
    directory_ = make_directory("clock");
    settings_ = settings_in(directory_);
    clock_ = std::make_unique<ShiftedClock>(directory_);
    settings_.environment = clock_->environment();
    settings_.extra.insert(settings_.extra.end(),
                           {"steps=" + all_steps(directory_), "retention=12h", "workers.cpu=2"});
    write_pipeline("retry", "{ how: fail }", "retry: { max: 3, backoff: 1s..1s, jitter: none }");
    write_pipeline("sleep", "{ how: sleep, n: 1500 }", "timeout: 1m");
    write_pipeline("hang", "{ how: hang }", "timeout: 1500ms");
    write_pipeline("deadline", "{ how: fail }",
                   "deadline: 2s\n    retry: { max: 100, backoff: 300ms..300ms, jitter: none }");
  }
  void TearDown() override {
    clock_.reset();
    if (!directory_.empty()) remove_tree(directory_);
  }
  void write_pipeline(const std::string& name, const std::string& with, const std::string& more) {
    std::ofstream(settings_.pipelines + "/" + name + ".yaml")
        << "pipeline: " << name << "\nsteps:\n  work:\n    use: fault\n    with: " << with
        << "\n    " << more << "\n";
  }
  void set_clock(int hours) const {
    clock_->set_hours(hours);
  }
  static std::string submit(uint16_t port, const std::string& pipeline) {
    const Reply reply = ask(port, "POST", "/v1/pipelines/" + pipeline + "/jobs",
                            "Content-Type: application/json\r\n", "{}");
    EXPECT_EQ(reply.status, 202) << reply.shown();
    return reply.text("id");
  }
  static int attempts(uint16_t port, const std::string& job) {
    return std::atoi(ask(port, "GET", "/v1/jobs/" + job).text("steps.work.attempts").c_str());
  }
  static bool ended(uint16_t port, const std::string& job) {
    const std::string state = ask(port, "GET", "/v1/jobs/" + job).text("state");
    return state == "failed" || state == "succeeded";
  }

  std::string directory_;
  ServerSettings settings_;
  std::unique_ptr<ShiftedClock> clock_;
};

TEST_F(Clock, SetWhileStepsRunAndWaitChangesNoDuration) {
  ServerProcess server(settings_);
  const uint16_t port = server.port();
  for (const int hours : {-3, 5}) {
    SCOPED_TRACE(fmt::format("{} hours", hours));
    set_clock(0);
    const double began = now_seconds();
    std::map<std::string, std::string> jobs;  // by pipeline
    for (const char* name : {"retry", "sleep", "hang", "deadline"}) jobs[name] = submit(port, name);
    ASSERT_TRUE(eventually([&] { return attempts(port, jobs["retry"]) > 0; }));
    set_clock(hours);
    for (const auto& [name, job] : jobs) {
      EXPECT_TRUE(eventually([&, id = job] { return ended(port, id); })) << name;
    }
    EXPECT_LT(now_seconds() - began, kSlowSeconds);
    const Reply retry = ask(port, "GET", "/v1/jobs/" + jobs["retry"]);
    EXPECT_EQ(retry.text("steps.work.attempts"), "3") << retry.shown();
    EXPECT_EQ(retry.text("error.code"), "E160") << retry.shown();
    const Reply sleep = ask(port, "GET", "/v1/jobs/" + jobs["sleep"]);
    EXPECT_EQ(sleep.text("state"), "succeeded") << sleep.shown();
    const Reply hang = ask(port, "GET", "/v1/jobs/" + jobs["hang"]);
    EXPECT_EQ(hang.text("error.code"), "E161") << hang.shown();
    const Reply deadline = ask(port, "GET", "/v1/jobs/" + jobs["deadline"]);
    EXPECT_EQ(deadline.text("state"), "failed") << deadline.shown();
  }
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

// A deadline is a length while a server lives: a clock that is set moves none, either way. The next
// server knows the step's first attempt by its wall time only, and never waits for more than the
// whole deadline.
TEST_F(Clock, SetMovesNoDeadlineOfALivingServerAndThoseOfTheNextOne) {
  const std::string retry = "\n    retry: { max: 1000, backoff: 200ms..200ms, jitter: none }";
  write_pipeline("hour", "{ how: fail }", "deadline: 1h" + retry);
  write_pipeline("brief", "{ how: fail }", "deadline: 3s" + retry);
  auto server = std::make_unique<ServerProcess>(settings_);
  const auto reply = [&](const std::string& job) {
    return ask(server->port(), "GET", "/v1/jobs/" + job);
  };
  // Tried again and again; what is shown is durable.
  const auto goes_on = [&](const std::string& job) {
    const int before = attempts(server->port(), job);
    return eventually([&] { return attempts(server->port(), job) >= before + 2; }) &&
           !ended(server->port(), job);
  };
  const auto ends_by_deadline = [&](const std::string& job) {
    return eventually([&] { return ended(server->port(), job); }) &&
           reply(job).text("error.code") == "E170";
  };
  const auto start_again = [&] {
    server->kill();
    server = std::make_unique<ServerProcess>(settings_);
  };
  const std::string first = submit(server->port(), "hour");
  EXPECT_TRUE(goes_on(first)) << reply(first).shown();
  for (const int hours : {2, -2, 2}) {
    set_clock(hours);
    EXPECT_TRUE(goes_on(first)) << hours << reply(first).shown();
  }
  start_again();
  EXPECT_TRUE(ends_by_deadline(first)) << reply(first).shown();
  const std::string hour = submit(server->port(), "hour");
  const std::string brief = submit(server->port(), "brief");
  ASSERT_TRUE(eventually(
      [&] { return attempts(server->port(), hour) > 0 && attempts(server->port(), brief) > 0; }));
  set_clock(-2);
  start_again();
  EXPECT_TRUE(ends_by_deadline(brief)) << reply(brief).shown();
  EXPECT_TRUE(goes_on(hour)) << reply(hour).shown();
  EXPECT_EQ(server->stop(), 0) << file_text(server->log());
}

// Nobody else's event tells the core what time it is now.
TEST_F(Clock, SetBackWhileAJobOnlyWaitsFreezesNoBackOff) {
  ServerProcess server(settings_);
  const std::string job = submit(server.port(), "retry");
  // Shown when it is durable: after that nothing happens but the passing of a second.
  ASSERT_TRUE(eventually([&] { return attempts(server.port(), job) > 0; }));
  set_clock(-3);
  EXPECT_TRUE(eventually([&] { return ended(server.port(), job); }))
      << ask(server.port(), "GET", "/v1/jobs/" + job).shown();
}

TEST_F(Clock, SetByHoursLosesNothingAndRemovesNothingEarly) {
  std::set<std::string> jobs;
  for (const int hours : {0, 2, -2, 4}) {  // within retention
    SCOPED_TRACE(fmt::format("{} hours", hours));
    ServerProcess server(settings_);
    for (const std::string& job : jobs) {
      const Reply reply = ask(server.port(), "GET", "/v1/jobs/" + job);
      EXPECT_EQ(reply.text("state"), "succeeded") << reply.shown();
    }
    set_clock(hours);
    for (int i = 0; i < 3; i++) {
      const Reply reply = submit_image(server.port(), make_photo(i), "Prefer: wait=120\r\n");
      EXPECT_EQ(reply.text("state"), "succeeded") << reply.shown();
      EXPECT_LE(reply.text("created_at"), reply.text("finished_at")) << reply.shown();
      EXPECT_TRUE(jobs.insert(reply.text("id")).second) << "an id came again";
    }
    const Reply last = submit_image(server.port(), make_photo(9), "Prefer: wait=120\r\n");
    const std::string blob = last.text("inputs.image.blob");
    EXPECT_EQ(ask(server.port(), "GET", "/v1/blobs/" + blob).status, 200);
    EXPECT_EQ(ask(server.port(), "GET", "/readyz").status, 200);
    for (const std::string& job : jobs) {
      EXPECT_EQ(ask(server.port(), "GET", "/v1/jobs/" + job).status, 200) << job;
    }
    EXPECT_EQ(server.stop(), 0) << file_text(server.log());
  }
}

}  // namespace
}  // namespace millrace
