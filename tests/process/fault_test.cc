// Goal: whatever a step does, on the real program: it costs one attempt of that step, the error
// says what happened, and neither the server nor another client's jobs notice. Method: the test
// plugin misbehaves in every way it knows, through HTTP, while another client submits jobs without
// a pause, each of which must succeed.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "engine/base/signals.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

struct Misdeed {
  const char* how;
  int64_t n;
  const char* code;
  const char* words;  // in the message
};

const Misdeed kMisdeeds[] = {
    {"crash", 0, "E162", "SIGSEGV"},
    {"overflow", 0, "E162", "SIGSEGV"},
    {"abort", 0, "E162", "SIGABRT"},
    {"heap", 0, "E162", "SIGABRT"},
    {"exit", 3, "E162", "exit status 3"},
    {"_exit", 9, "E162", "exit status 9"},
    {"hang", 0, "E161", "timeout of 500ms"},
    {"spin", 0, "E161", "timeout of 500ms"},
    {"blind", 0, "E162", "limit of memory"},
    {"write", INT64_MAX, "E166", "larger than a worker can hand over"},
    {"fork", 0, "E162", "it called clone"},
    {"exec", 0, "E162", "it called execve"},
    {"garbage", 0, "E162", "protocol of workers"},
    {"garbage", 1, "E162", "protocol of workers"},
};

// What the lanes forbid, or end, each in its own way.
const Misdeed kCpuMisdeeds[] = {
    {"allocate", 0, "E160", "malloc said no"},
    {"socket", 80, "E162", "it called socket"},
    {"open", 0, "E160", "system call openat"},
};
const Misdeed kIoMisdeeds[] = {
    {"allocate", 0, "E162", "limit of memory"},
};

class Faults : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "not locked under a sanitizer";
#endif
    directory_ = make_directory("faults");
    const std::string steps = all_steps(directory_);
    ServerSettings settings = settings_in(directory_);
    for (const std::string step : {"fault", "fault_io"}) {
      write_pipeline(settings.pipelines, step, step, "2m");
      write_pipeline(settings.pipelines, step + "_brief", step, "500ms");
    }
    std::ofstream(settings.pipelines + "/noop.yaml")
        << "pipeline: noop\nsteps:\n  work: { use: noop }\n  effect: { use: noop_keyed, needs: "
           "[work] }\n";
    settings.extra = {"steps=" + steps, "workers.cpu=2"};
    server_ = std::make_unique<ServerProcess>(settings);
    other_ = std::thread([this] { submit_without_pause(); });
  }
  void TearDown() override {
    over_ = true;
    if (other_.joinable()) other_.join();
    server_.reset();
    if (!directory_.empty()) remove_tree(directory_);
  }

  static void write_pipeline(const std::string& directory, const std::string& name,
                             const std::string& step, const std::string& timeout) {
    std::ofstream(directory + "/" + name + ".yaml")
        << "pipeline: " << name
        << "\ninputs: { how: string, n: int }\nsteps:\n  work:\n    use: " << step
        << "\n    timeout: " << timeout
        << "\n    with: { how: \"${{ inputs.how }}\", n: \"${{ inputs.n }}\" }\n";
  }

  // The other client.
  void submit_without_pause() {
    while (!over_) {
      const Reply reply = ask(server_->port(), "POST", "/v1/pipelines/noop/jobs",
                              "Content-Type: application/json\r\nPrefer: wait=120\r\n", "{}");
      if (reply.text("state") == "succeeded") {
        succeeded_++;
      } else if (!failed_.exchange(true)) {
        first_failure_ = reply.shown();
      }
    }
  }

  void commit(const std::string& step, const Misdeed& misdeed) {
    SCOPED_TRACE(step + " " + misdeed.how);
    const std::string pipeline = step + (misdeed.code == std::string("E161") ? "_brief" : "");
    const std::string inputs = "{\"inputs\":{\"how\":\"" + std::string(misdeed.how) +
                               "\",\"n\":" + std::to_string(misdeed.n) + "}}";
    const Reply reply = ask(server_->port(), "POST", "/v1/pipelines/" + pipeline + "/jobs",
                            "Content-Type: application/json\r\nPrefer: wait=120\r\n", inputs);
    EXPECT_EQ(reply.status, 200) << reply.shown();
    EXPECT_EQ(reply.text("state"), "failed") << reply.shown();
    EXPECT_EQ(reply.text("error.code"), misdeed.code) << reply.shown();
    EXPECT_NE(reply.text("error.message").find(misdeed.words), std::string::npos) << reply.shown();
    EXPECT_EQ(reply.text("steps.work.attempts"), "1") << reply.shown();
    expect_in_reference(misdeed.code);
    const int before = succeeded_;
    EXPECT_TRUE(eventually([&] { return succeeded_ > before; })) << "the others stand still";
  }

  std::string directory_;
  std::unique_ptr<ServerProcess> server_;
  std::thread other_;
  std::atomic<bool> over_{false}, failed_{false};
  std::atomic<int> succeeded_{0};
  std::string first_failure_;
};

TEST_F(Faults, EachCostsOneAttemptAndNobodyElseNotices) {
  const pid_t server = server_->pid();
  for (const char* step : {"fault", "fault_io"}) {
    for (const Misdeed& misdeed : kMisdeeds) commit(step, misdeed);
  }
  for (const Misdeed& misdeed : kCpuMisdeeds) commit("fault", misdeed);
  for (const Misdeed& misdeed : kIoMisdeeds) commit("fault_io", misdeed);
  over_ = true;
  other_.join();
  EXPECT_FALSE(failed_) << first_failure_;
  EXPECT_EQ(signal_process(server, 0), 0) << "it is the same process";
  EXPECT_EQ(ask(server_->port(), "GET", "/readyz").status, 200);
  EXPECT_EQ(server_->stop(), 0) << file_text(server_->log());
}

// Goal: a step that takes the whole server down, because it runs inside it, is found; a server that
// is killed accuses nobody.
TEST(StepsInside, CrashOfTheServerNamesItsSuspectAndAKillNone) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer has signal handlers of its own";
#endif
  const std::string directory = make_directory("inside");
  const std::string poison = directory + "/poison";
  ServerSettings settings = settings_in(directory);
  settings.extra = {"steps=" + all_steps(directory), "workers.isolation=thread"};
  std::ofstream(settings.pipelines + "/inside.yaml")
      << "pipeline: inside\ninputs: { path: string }\nsteps:\n  work:\n    use: fault\n    with: { "
         "how: crash_while, path: \"${{ inputs.path }}\" }\n";
  std::ofstream(settings.pipelines + "/slow.yaml")
      << "pipeline: slow\nsteps:\n  work: { use: fault, with: { how: sleep, n: 60000 } }\n";
  std::ofstream(poison) << "poison";
  {
    ServerProcess server(settings);
    // The 202 may or may not come out before the crash; the key finds the job in any case.
    const auto submit = [&](const ServerProcess& to) {
      return ask(to.port(), "POST", "/v1/pipelines/inside/jobs",
                 "Content-Type: application/json\r\nIdempotency-Key: one\r\nPrefer: wait=120\r\n",
                 "{\"inputs\":{\"path\":\"" + poison + "\"}}");
    };
    submit(server);
    EXPECT_TRUE(eventually([&] { return ask(server.port(), "GET", "/livez").status == 0; }));
    server.kill();
    std::filesystem::remove(poison);
    ServerProcess again(settings);
    const std::string said = file_text(again.log());
    const size_t at = said.find("ev=step.suspect");
    ASSERT_NE(at, std::string::npos) << said;
    const std::string line = said.substr(at, said.find('\n', at) - at);
    EXPECT_NE(line.find("step=work"), std::string::npos) << line;
    EXPECT_NE(line.find("signal=6"), std::string::npos) << line;
    EXPECT_NE(line.find("its_thread_died=1"), std::string::npos) << line;
    const Reply reply = submit(again);
    EXPECT_EQ(reply.text("state"), "succeeded") << reply.shown();
    const Reply slow = ask(again.port(), "POST", "/v1/pipelines/slow/jobs",
                           "Content-Type: application/json\r\n", "{}");
    EXPECT_TRUE(eventually([&] {
      return ask(again.port(), "GET", "/v1/jobs/" + slow.text("id")).text("steps.work.state") ==
             "running";
    }));
    again.kill();
  }
  {
    ServerProcess last(settings);
    const std::string said = file_text(last.log());
    EXPECT_EQ(said.find("ev=step.suspect"), said.rfind("ev=step.suspect")) << said;
  }
  remove_tree(directory);
}

// A server whose steps run inside it, one of which may crash it.
class Poisoned : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer has signal handlers of its own";
#endif
    directory_ = make_directory("poison");
    settings_ = settings_in(directory_);
    settings_.extra = {"steps=" + all_steps(directory_), "workers.isolation=thread"};
    for (const std::string how : {"abort", "ok", "sleep"}) {
      std::ofstream(settings_.pipelines + "/" + how + ".yaml")
          << "pipeline: " << how << "\nsteps:\n  work: { use: fault, with: { how: " << how
          << ", n: 60000 } }\n";
    }
  }
  void TearDown() override {
    if (!directory_.empty()) remove_tree(directory_);
  }
  // The job's id under this key, whether or not it was there before; empty when the server died
  // first.
  static std::string submit(uint16_t port, const std::string& pipeline, const std::string& key) {
    return ask(port, "POST", "/v1/pipelines/" + pipeline + "/jobs",
               "Content-Type: application/json\r\nIdempotency-Key: " + key + "\r\n", "{}")
        .text("id");
  }

  std::string directory_;
  ServerSettings settings_;
};

TEST_F(Poisoned, StepIsParkedAfterThreeDeathsAndTheOthersGoOn) {
  constexpr int kOthers = 8;
  std::string poison;
  std::vector<std::string> others(kOthers);
  int deaths = 0;
  for (bool parked = false; !parked;) {
    ASSERT_LE(deaths, 3);
    ServerProcess server(settings_, ServerProcess::May::kDie);
    if (server.port() == 0) {
      deaths++;
      continue;
    }
    for (int i = 0; i < kOthers; i++) {
      if (others[i].empty()) others[i] = submit(server.port(), "ok", fmt::format("other-{}", i));
    }
    const std::string id = submit(server.port(), "abort", "poison");
    if (!poison.empty() && !id.empty()) {
      EXPECT_EQ(id, poison) << "a new job each time could never be found out";
    }
    if (!id.empty()) poison = id;
    // Why it waits is shown at once, that it waits when it is durable.
    const auto waits = [&] {
      const Reply reply = ask(server.port(), "GET", "/v1/jobs/" + poison);
      return reply.text("waiting_for.reason") == "needs_decision" &&
             reply.text("state") == "waiting";
    };
    ASSERT_TRUE(eventually([&] { return !server.running() || (!poison.empty() && waits()); }));
    parked = server.running() && waits();
    if (!parked) {
      deaths++;
      continue;
    }
    for (int i = 0; i < kOthers; i++) {
      const std::string other = submit(server.port(), "ok", fmt::format("other-{}", i));
      if (!others[i].empty()) {
        EXPECT_EQ(other, others[i]);
      }
      EXPECT_EQ(await_job(server.port(), other).text("state"), "succeeded");
    }
    EXPECT_EQ(server.stop(), 0);
  }
  EXPECT_GE(deaths, 3);
}

TEST_F(Poisoned, ServerKilledFromOutsideAccusesNobody) {
  std::string job;
  for (int i = 0; i < 6; i++) {
    ServerProcess server(settings_);
    if (job.empty()) job = submit(server.port(), "sleep", "sleeper");
    ASSERT_TRUE(eventually([&] {
      return ask(server.port(), "GET", "/v1/jobs/" + job).text("steps.work.state") == "running";
    }));
    EXPECT_EQ(file_text(server.log()).find("ev=step.suspect"), std::string::npos);
    server.kill();
  }
  ServerProcess server(settings_);
  EXPECT_TRUE(eventually([&] {
    return ask(server.port(), "GET", "/v1/jobs/" + job).text("steps.work.state") == "running";
  }));
  server.kill();
}

}  // namespace
}  // namespace millrace
