// Goal: whatever a step does costs one attempt of that step, and the pool goes on.
// Method: the test plugin crashes, hangs, floods and lies, beside calls that must not notice.
#include <signal.h>
#include <sys/resource.h>

#include <fstream>

#include "engine/base/signals.h"
#include "tests/worker/worker_fixture.h"

namespace millrace {
namespace {

using Kind = StepOutcome::Kind;

struct Fault {
  const char* how;
  int64_t n;
  const char* words;  // in the message
};

// The faulty call in the middle of others; each lane, one worker, so that all share its fate.
void expect_one_death(const Fault& fault) {
  SCOPED_TRACE(fault.how);
  WorkerOptions options = WorkerFixture::faulty();
  WorkerFixture t(options);
  std::vector<Ticket> before, after;
  for (int i = 0; i < 5; i++) before.push_back(t.start(t.fault("ok")));
  const Ticket bad = t.start(t.fault(fault.how, fault.n));
  for (int i = 0; i < 20; i++) after.push_back(t.start(t.fault("ok")));
  const StepOutcome outcome = t.wait(bad);
  EXPECT_EQ(outcome.kind, Kind::kWorkerDied) << outcome.message;
  EXPECT_EQ(outcome.number, 162);
  EXPECT_NE(outcome.message.find(fault.words), std::string::npos) << outcome.message;
  for (const Ticket ticket : before) EXPECT_EQ(t.wait(ticket).kind, Kind::kSucceeded);
  for (const Ticket ticket : after) EXPECT_EQ(t.wait(ticket).kind, Kind::kSucceeded);
}

TEST(Fault, CrashCostsOneAttempt) {
  expect_one_death({"crash", 0, "SIGSEGV"});
}
TEST(Fault, StackOverflowCostsOneAttempt) {
  expect_one_death({"overflow", 0, "SIG"});
}
TEST(Fault, AbortCostsOneAttempt) {
  expect_one_death({"abort", 0, "SIGABRT"});
}
TEST(Fault, ExitCostsOneAttempt) {
  expect_one_death({"exit", 0, "exit status 0"});
}
TEST(Fault, FastExitCostsOneAttempt) {
  expect_one_death({"_exit", 9, "exit status 9"});
}
TEST(Fault, CorruptedHeapCostsOneAttempt) {
  expect_one_death({"heap", 0, "signal SIG"});
}
TEST(Fault, GarbageOnTheWireCostsOneAttempt) {
  expect_one_death({"garbage", 0, "protocol"});
}
TEST(Fault, ZeroesOnTheWireCostOneAttempt) {
  expect_one_death({"garbage", 1, "protocol"});
}

TEST(Fault, StepsThatNeverEndAreKilledAtTheirTimeout) {
  WorkerFixture t(WorkerFixture::faulty());
  for (const char* step : {"fault", "fault_io"}) {
    for (const char* how : {"hang", "spin"}) {
      StepCall call = t.fault(how, 0, {}, step);
      call.timeout_ms = 150;
      const int64_t began_us = monotonic_us();
      const Ticket bad = t.start(std::move(call));
      const Ticket behind = t.start(t.fault("ok", 0, {}, step));
      const StepOutcome outcome = t.wait(bad);
      EXPECT_EQ(outcome.kind, Kind::kTimeout) << outcome.message;
      EXPECT_EQ(outcome.number, 161);
      EXPECT_GE(monotonic_us() - began_us, 150'000);
      EXPECT_LT(monotonic_us() - began_us, 2'000'000);
      EXPECT_EQ(t.wait(behind).kind, Kind::kSucceeded);
    }
  }
}

// What it costs to have no descriptor left just when the handle of a worker comes.
TEST(Fault, StepsAreKilledAlsoWhenTheHandleOfTheirWorkerWasLost) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer itself looks at memory through descriptors";
#endif
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  WorkerFixture t(WorkerFixture::faulty());
  t.workers->flush();  // asks for the workers
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  for (const char* step : {"fault", "fault_io"}) {
    StepCall call = t.fault("hang", 0, {}, step);
    call.timeout_ms = 150;
    EXPECT_EQ(t.wait(t.start(std::move(call)), 5'000'000).kind, Kind::kTimeout) << step;
  }
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  for (const char* step : {"fault", "fault_io"}) {
    EXPECT_EQ(t.run(t.fault("ok", 0, {}, step)).kind, Kind::kSucceeded);
  }
}

TEST(Fault, PoliteStepEndsAtItsTimeoutWithoutBeingKilled) {
  WorkerFixture t(WorkerFixture::faulty());
  StepCall call = t.fault("sleep", 60'000);
  call.timeout_ms = 100;
  const StepOutcome outcome = t.run(std::move(call));
  EXPECT_EQ(outcome.kind, Kind::kTimeout) << outcome.message;
}

TEST(Fault, FixedEndHoldsForStepsThatHangAndForThoseBehindThem) {
  WorkerFixture t(WorkerFixture::faulty());
  for (const char* step : {"fault", "fault_io"}) {
    const int64_t until_us = monotonic_us() + 200'000;
    std::vector<Ticket> tickets;
    for (const char* how : {"hang", "hang", "hang", "hang"}) {  // held, queued, and waiting
      StepCall call = t.fault(how, 0, {}, step);
      call.until_us = until_us;
      tickets.push_back(t.start(std::move(call)));
    }
    const Ticket free = t.start(t.fault("ok", 0, {}, step));
    for (const Ticket ticket : tickets) {
      EXPECT_EQ(t.wait(ticket).kind, Kind::kTimeout) << t.ended[ticket].message;
      EXPECT_GE(monotonic_us(), until_us);
    }
    EXPECT_EQ(t.wait(free).kind, Kind::kSucceeded);
  }
}

TEST(Fault, StepThatListensEndsBeforeItIsKilled) {
  WorkerFixture t(WorkerFixture::faulty());
  const Ticket other = t.start(t.fault("sleep", 600, {}, "fault_io"));
  StepCall call = t.fault("sleep", 60'000, {}, "fault_io");
  call.timeout_ms = 300;
  EXPECT_EQ(t.run(std::move(call)).kind, Kind::kTimeout);
  EXPECT_EQ(t.wait(other).kind, Kind::kSucceeded) << "the process that it shared lives";
}

TEST(Fault, StoppedPureStepThatHangsIsReportedBeforeItsProcessIsGone) {
  WorkerFixture t(WorkerFixture::faulty());
  const Ticket first = t.start(t.fault("ok"));
  const Ticket hung = t.start(t.fault("hang"));
  const Ticket behind = t.start(t.fault("ok"));
  t.wait(first);
  t.workers->stop(hung);
  EXPECT_EQ(t.wait(hung).kind, Kind::kStopped);
  EXPECT_EQ(t.wait(behind).kind, Kind::kSucceeded);
}

TEST(Fault, EachCallOfAOnceStepHasAProcessOfItsOwn) {
  WorkerFixture t(WorkerFixture::faulty());
  std::vector<Ticket> once;
  for (int i = 0; i < 3; i++) once.push_back(t.start(t.fault("sleep", 300, {}, "fault_once")));
  const Ticket shared = t.start_sleeper();
  EXPECT_EQ(t.run(t.fault("crash", 0, {}, "fault_io")).kind, Kind::kWorkerDied);
  EXPECT_EQ(t.wait(shared).kind, Kind::kRequeued);
  const StepOutcome crashed = t.run(t.fault("crash", 0, {}, "fault_once"));
  EXPECT_EQ(crashed.kind, Kind::kWorkerDied);
  for (const Ticket ticket : once) EXPECT_EQ(t.wait(ticket).kind, Kind::kSucceeded);
  EXPECT_EQ(t.run(t.fault("ok", 0, {}, "fault_once")).kind, Kind::kSucceeded);
}

TEST(Fault, TimeoutCountsFromWhenTheStepBegins) {
  WorkerFixture t(WorkerFixture::faulty());
  const Ticket first = t.start(t.fault("sleep", 400));
  StepCall call = t.fault("sleep", 100);
  call.timeout_ms = 350;  // less than it waits, more than it runs
  const Ticket second = t.start(std::move(call));
  EXPECT_EQ(t.wait(first).kind, Kind::kSucceeded);
  EXPECT_EQ(t.wait(second).kind, Kind::kSucceeded) << t.ended[second].message;
}

TEST(Fault, StopEndsPoliteStepsAtOnceAndOthersAfterAGrace) {
  WorkerFixture t(WorkerFixture::faulty());
  for (const char* step : {"fault", "fault_io"}) {
    for (const char* how : {"sleep", "hang"}) {
      const Ticket first = t.start(t.fault("ok", 0, {}, step));
      const Ticket ticket = t.start(t.fault(how, 60'000, {}, step));
      t.wait(first);
      t.workers->stop(ticket);
      EXPECT_EQ(t.wait(ticket).kind, Kind::kStopped) << t.ended[ticket].message;
    }
  }
  EXPECT_EQ(t.run(t.fault("ok")).kind, Kind::kSucceeded);
}

TEST(Fault, StopOfACallThatHasNotBegunNeverBegins) {
  WorkerFixture t(WorkerFixture::faulty());
  const Ticket first = t.start(t.fault("sleep", 200));
  const Ticket sent = t.start(t.fault("ok"));
  std::vector<Ticket> queued;
  for (int i = 0; i < 50; i++) queued.push_back(t.start(t.fault("ok")));
  t.workers->flush();
  t.workers->stop(sent);
  t.workers->stop(queued.back());
  EXPECT_EQ(t.wait(queued.back()).kind, Kind::kStopped);
  EXPECT_EQ(t.wait(sent).kind, Kind::kStopped);
  EXPECT_EQ(t.wait(first).kind, Kind::kSucceeded);
  EXPECT_EQ(t.wait(queued.front()).kind, Kind::kSucceeded);
}

TEST(Fault, CallsBehindALongStepAreTakenByAnIdleWorker) {
  WorkerOptions options = WorkerFixture::faulty();
  options.cpu = 2;
  WorkerFixture t(options);
  const Ticket slow = t.start(t.fault("sleep", 3000));
  std::vector<Ticket> quick;
  for (int i = 0; i < 7; i++) quick.push_back(t.start(t.fault("ok")));
  const int64_t began_us = monotonic_us();
  for (const Ticket ticket : quick) EXPECT_EQ(t.wait(ticket).kind, Kind::kSucceeded);
  EXPECT_LT(monotonic_us() - began_us, 1'500'000);
  EXPECT_EQ(t.ended.count(slow), 0u);
  EXPECT_EQ(t.wait(slow).kind, Kind::kSucceeded);
}

// One worker, whose memory steps use up.
class FaultOfMemory : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's address space cannot be bounded";
#endif
    options_.cpu = 1;
  }
  WorkerOptions options_ = WorkerFixture::faulty();
};

TEST_F(FaultOfMemory, IsBoundedAndTheLaneGoesOn) {
  WorkerFixture t(options_);
  const StepOutcome outcome = t.run(t.fault("allocate"));
  EXPECT_EQ(outcome.kind, Kind::kFailed);
  EXPECT_EQ(outcome.reason, "no_memory");
  EXPECT_EQ(t.run(t.fault("ok")).kind, Kind::kSucceeded);
}

// Whatever a step keeps, be it one that fails or one that succeeds, no other one pays for it.
TEST_F(FaultOfMemory, RetiresTheWorkerAndNobodyBehindPays) {
  WorkerFixture t(options_);
  for (int round = 0; round < 6; round++) {  // more often than a call may be lost
    std::vector<Ticket> behind;
    const Ticket fails = t.start(t.fault("allocate"));
    behind.push_back(t.start(t.fault("need")));
    const Ticket leaks = t.start(t.fault("allocate", 1));
    behind.push_back(t.start(t.fault("need")));
    EXPECT_EQ(t.wait(fails).reason, "no_memory");
    EXPECT_EQ(t.wait(leaks).kind, Kind::kSucceeded);
    for (const Ticket ticket : behind) {
      const StepOutcome outcome = t.wait(ticket);
      EXPECT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
    }
  }
}

// Regression: a socket tells first that its other end went with calls unread, and only then what
// that had sent.
TEST_F(FaultOfMemory, WhatAWorkerSaidBeforeItEndedWithCallsUnreadIsHeard) {
  WorkerFixture t(options_);
  EXPECT_EQ(t.run(t.fault("ok")).kind, Kind::kSucceeded);
  const std::vector<int> workers = processes_named("millrace-cpu");
  ASSERT_EQ(workers.size(), 1u);
  const Ticket last = t.start(t.fault("allocate", 1));
  t.workers->flush();
  const Ticket unread = t.start(t.fault("ok"));
  t.workers->flush();
  // Nothing is heard meanwhile.
  const auto lives = [&] { return processes_named("millrace-cpu") == workers; };
  for (const int64_t end_us = monotonic_us() + 60'000'000; lives() && monotonic_us() < end_us;) {
    poll(nullptr, 0, 1);
  }
  EXPECT_EQ(t.wait(last).kind, Kind::kSucceeded);
  EXPECT_EQ(t.wait(unread).kind, Kind::kSucceeded);
}

TEST(Fault, WrongUseOfTheHostIsAnInvalidResult) {
  WorkerFixture t(WorkerFixture::faulty());
  for (const char* how : {"undeclared", "failed", "cancelled", "status", "thread", "wrong_output",
                          "wrong_type", "bad_json", "bad_text"}) {
    const StepOutcome outcome = t.run(t.fault(how));
    EXPECT_EQ(outcome.kind, Kind::kFailed) << how;
    EXPECT_EQ(outcome.number, 166) << how;
    EXPECT_EQ(outcome.reason, "invalid_result") << how;
    EXPECT_FALSE(outcome.transient);
  }
}

// Other steps run beside it: nothing of theirs may be torn down before the end.
TEST(Fault, ExitInTheSharedIoWorkerRunsNoDestructors) {
  WorkerFixture t(WorkerFixture::faulty());
  const StepOutcome outcome = t.run(t.fault("exit_badly", 3, {}, "fault_io"));
  EXPECT_EQ(outcome.kind, Kind::kWorkerDied);
  EXPECT_NE(outcome.message.find("exit status 3"), std::string::npos) << outcome.message;
}

TEST(Fault, CrashInTheSharedIoWorkerIsBlamedOnTheThreadThatCrashed) {
  for (const char* how : {"crash", "abort", "overflow", "exit"}) {
    SCOPED_TRACE(how);
    WorkerFixture t(WorkerFixture::faulty());
    std::vector<Ticket> others;
    for (int i = 0; i < 8; i++) others.push_back(t.start_sleeper());
    EXPECT_EQ(t.run(t.fault(how, 0, {}, "fault_io")).kind, Kind::kWorkerDied);
    for (const Ticket ticket : others) {
      const StepOutcome outcome = t.wait(ticket);
      EXPECT_TRUE(outcome.kind == Kind::kRequeued) << outcome.message;
    }
    EXPECT_EQ(t.run(t.fault("ok", 0, {}, "fault_io")).kind, Kind::kSucceeded);
  }
}

TEST(Fault, UnknownCulpritIsFoundTheSecondTime) {
  WorkerFixture t(WorkerFixture::faulty());
  int deaths = 0;
  for (int round = 0; round < 3 && deaths == 0; round++) {
    const Ticket other = t.start_sleeper("other" + std::to_string(round));
    StepCall bad = t.fault("_exit", 3, {}, "fault_io");
    bad.job = "bad";
    const StepOutcome outcome = t.run(std::move(bad));
    deaths += outcome.kind == Kind::kWorkerDied ? 1 : 0;
    EXPECT_EQ(t.wait(other).kind, Kind::kRequeued);
  }
  EXPECT_EQ(deaths, 1);
}

TEST(Fault, HungIoCallTimesOutAndTheOthersAreRequeued) {
  WorkerFixture t(WorkerFixture::faulty());
  const Ticket other = t.start_sleeper();
  StepCall call = t.fault("hang", 0, {}, "fault_io");
  call.timeout_ms = 100;
  const Ticket hung = t.start(std::move(call));
  EXPECT_EQ(t.wait(hung).kind, Kind::kTimeout);
  EXPECT_EQ(t.wait(other).kind, Kind::kRequeued);
}

TEST(Fault, TemplateThatDiesIsReplacedAndItsCallsRunAgain) {
  WorkerFixture t(WorkerFixture::faulty());
  ASSERT_EQ(t.run(t.fault("ok")).kind, Kind::kSucceeded);
  const Ticket running = t.start(t.fault("sleep", 60'000));
  t.workers->flush();
  t.turn();
  for (const int pid : processes_named("millrace-tmpl")) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    std::string line;
    while (std::getline(file, line)) {
      if (line == "PPid:\t" + std::to_string(getpid())) signal_process(pid, SIGKILL);
    }
  }
  const Ticket later = t.start(t.fault("ok"));
  EXPECT_EQ(t.wait(later).kind, Kind::kSucceeded);
  if (t.ended.count(running) > 0) {
    EXPECT_EQ(t.ended[running].kind, Kind::kRequeued);
  } else {
    t.workers->stop(running);
  }
  t.wait(running);
  EXPECT_FALSE(t.workers->stuck());
}

TEST(Fault, NothingWakesAnIdlePool) {
  WorkerFixture t(WorkerFixture::faulty());
  ASSERT_EQ(t.run(t.fault("ok")).kind, Kind::kSucceeded);
  ASSERT_EQ(t.run(t.fault("ok", 0, {}, "fault_io")).kind, Kind::kSucceeded);
  EXPECT_EQ(t.workers->next_deadline_us(), INT64_MAX);
  pollfd ready{t.workers->poll_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 300), 0);
}

// What the caller does in between may take as long as it likes.
TEST(Fault, PluginsAreLoadedBehindTheCallersBack) {
  auto begun = begin_process_workers(WorkerFixture::faulty());
  ASSERT_TRUE(begun.ok());
  ASSERT_TRUE((*begun)->wait_loaded().ok());
  EXPECT_NE((*begun)->catalogue()->find("fault"), nullptr);
}

TEST(Fault, ATemplateThatEndsIsHeardOfByWhoWaits) {
  WorkerOptions options = WorkerFixture::faulty();
  options.executable = "/bin/true";
  auto begun = begin_process_workers(options);
  ASSERT_TRUE(begun.ok());
  EXPECT_EQ((*begun)->wait_loaded().number(), 140);
}

TEST(Fault, ExecutableThatIsNoneIsAnErrorAtStart) {
  WorkerOptions options = WorkerFixture::faulty();
  options.executable = "/nonexistent/millrace";
  auto started = start_process_workers(options);
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.status().number(), 140);
  options.executable = "/bin/true";
  EXPECT_FALSE(start_process_workers(options).ok());
}

}  // namespace
}  // namespace millrace
