// Goal: after a death, the file says what ran, and whether the process died by its own fault.
// Method: this program runs itself as a process that runs steps inside, and lets it die in earnest.
#include "engine/worker/running_slots.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>

#include "engine/base/signals.h"
#include "tests/worker/worker_fixture.h"

extern char** environ;

namespace millrace {

// The child: a step that sleeps, and beside it one that does `how`. Says a line when both run.
int run_inside(const char* file, const char* how) {
  auto running = std::make_shared<RunningSlots>();
  WorkerOptions options = WorkerFixture::faulty();
  options.running = running;
  WorkerFixture t(options, true);
  if (!running->begin(file).ok()) return 70;
  const auto named = [&](const char* job, const char* what, int64_t n, const char* step) {
    StepCall call = t.fault(what, n, {}, step);
    call.job = job;
    call.attempt = 7;
    t.start(std::move(call));
  };
  t.wait(t.start(t.fault("ok")));
  named("bystander", "sleep", 60'000, "fault_io");
  const bool decides = strcmp(how, "decide") == 0 || strcmp(how, "end") == 0;
  named("culprit", decides ? "hang" : how, 3, "fault");
  t.workers->flush();
  puts("started");
  fflush(stdout);
  if (strcmp(how, "end") == 0) running->end();
  if (decides) _exit(5);  // as the writer does when the disk fails
  for (;;) t.turn();
}

namespace {

// Both were on their way when the child spoke; `running` may lack one that had not begun.
class Slots : public testing::Test {
 protected:
  void SetUp() override {
    file_ = testing::TempDir() + "millrace_slots_" + std::to_string(getpid());
  }
  void TearDown() override { unlink(file_.c_str()); }

  // What is read after a child that did `how`, and got `signal` (0: none) once it ran both.
  LastRun after(const char* how, int signal = 0) {
    int said[2];
    EXPECT_EQ(pipe2(said, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, said[1], 1);
    std::string words[4] = {"/proc/self/exe", "run-inside", file_, how};
    char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                         nullptr};
    pid_t pid = -1;
    EXPECT_EQ(posix_spawn(&pid, arguments[0], &actions, nullptr, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(said[1]);
    char line[64];
    if (signal != 0) {
      EXPECT_GT(read(said[0], line, sizeof line), 0);
      signal_process(pid, signal);
    }
    EXPECT_EQ(waitpid(pid, &status_, 0), pid);
    close(said[0]);
    return RunningSlots::take_last(file_);
  }
  static const LastRun::Step* find(const LastRun& last, const std::string& job) {
    for (const LastRun::Step& step : last.running) {
      if (step.job == job) return &step;
    }
    return nullptr;
  }
  void expect_fault(const char* how, int signal, int exit_status) {
    SCOPED_TRACE(how);
    const LastRun last = after(how);
    EXPECT_EQ(last.end, LastRun::End::kFault);
    EXPECT_EQ(last.signal, signal);
    EXPECT_EQ(last.exit_status, exit_status);
    const LastRun::Step* culprit = find(last, "culprit");
    ASSERT_NE(culprit, nullptr);
    EXPECT_TRUE(culprit->dying);
    EXPECT_EQ(culprit->step, "step");
    EXPECT_EQ(culprit->attempt, 7u);
    EXPECT_EQ(find(last, "job"), nullptr) << "that one had ended";
    const LastRun::Step* other = find(last, "bystander");
    EXPECT_FALSE(other != nullptr && other->dying);
  }

  std::string file_;
  int status_ = 0;
};

TEST_F(Slots, CrashOfAStepIsAFault) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer has handlers of its own";
#endif
  expect_fault("crash", SIGSEGV, 0);
  EXPECT_EQ(WTERMSIG(status_), SIGSEGV) << "it dies of what it died of";
  expect_fault("overflow", SIGSEGV, 0);
  expect_fault("abort", SIGABRT, 0);
  EXPECT_EQ(WTERMSIG(status_), SIGABRT);
  expect_fault("heap", SIGABRT, 0);
}

TEST_F(Slots, ProcessEndedByAStepIsAFault) {
  expect_fault("_exit", 0, 3);
  EXPECT_EQ(WEXITSTATUS(status_), 3);
}

TEST_F(Slots, EndFromOutsideIsNobodysFault) {
  std::vector<int> signals = {SIGKILL, SIGTERM};
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  signals.insert(signals.end(), {SIGSEGV, SIGABRT});  // a sanitizer's runtime answers these itself
#endif
  for (const int signal : signals) {
    const LastRun last = after("hang", signal);
    EXPECT_EQ(last.end, LastRun::End::kOutside) << signal;
    EXPECT_TRUE(WIFSIGNALED(status_));
    EXPECT_EQ(WTERMSIG(status_), signal);
  }
}

TEST_F(Slots, ProcessThatDecidesToEndBlamesNobody) {
  EXPECT_EQ(after("decide").end, LastRun::End::kDecided);
  EXPECT_EQ(WEXITSTATUS(status_), 5);
  EXPECT_EQ(after("end").end, LastRun::End::kDecided);
  EXPECT_EQ(WEXITSTATUS(status_), 5);
}

TEST_F(Slots, AreReadOnceAndOnlyWhenWhole) {
  EXPECT_EQ(RunningSlots::take_last(file_).end, LastRun::End::kNone);
  EXPECT_EQ(after("_exit").end, LastRun::End::kFault);
  EXPECT_EQ(RunningSlots::take_last(file_).end, LastRun::End::kNone);
  std::ofstream(file_) << "mrslots1 but short";
  EXPECT_EQ(RunningSlots::take_last(file_).end, LastRun::End::kNone);
  std::ofstream(file_) << std::string(1 << 20, 'x');
  EXPECT_EQ(RunningSlots::take_last(file_).end, LastRun::End::kNone);
}

}  // namespace
}  // namespace millrace
