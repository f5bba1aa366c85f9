// Goal: steps run inside the server give the same outcomes, as far as a thread can.
// Method: the same plugins through ThreadWorkers.
#include "tests/worker/worker_fixture.h"

namespace millrace {
namespace {

using Kind = StepOutcome::Kind;

TEST(Thread, StepsRunAndBlobsComeBack) {
  WorkerFixture t(WorkerFixture::faulty(), true);
  for (const char* step : {"fault", "fault_io"}) {
    for (const size_t size : {10ul, 381'000ul}) {
      std::string bytes;
      bytes.assign(size, 'z');
      StepOutcome outcome = t.run(t.fault("echo", 0, WorkerFixture::blob(std::move(bytes)), step));
      ASSERT_EQ(outcome.kind, Kind::kSucceeded) << outcome.message;
      EXPECT_EQ(outcome.outputs.at(0).as_blob().content->bytes.size(), size);
    }
  }
}

TEST(Thread, OverdueStepsAreReportedAndStoppedOnesEnd) {
  WorkerFixture t(WorkerFixture::faulty(), true);
  StepCall call = t.fault("sleep", 60'000);
  call.timeout_ms = 100;
  EXPECT_EQ(t.run(std::move(call)).kind, Kind::kTimeout);
  const Ticket running = t.start(t.fault("sleep", 60'000));
  const Ticket behind = t.start(t.fault("ok"));
  const Ticket queued = t.start(t.fault("ok"));
  t.workers->flush();
  for (const Ticket ticket : {queued, behind}) t.workers->stop(ticket);
  t.workers->stop(running);
  for (const Ticket ticket : {queued, behind, running}) {
    EXPECT_EQ(t.wait(ticket).kind, Kind::kStopped);
  }
  EXPECT_EQ(t.run(t.fault("ok")).kind, Kind::kSucceeded);
}

// Regression: what waited for a free thread waited on, whenever its time was over.
TEST(Thread, CallsThatWaitForAThreadEndAtTheirFixedEnd) {
  WorkerFixture t(WorkerFixture::faulty(), true);
  const Ticket running = t.start(t.fault("sleep", 3'600'000));
  std::vector<Ticket> behind;
  for (int i = 0; i < 4; i++) {  // more than the thread is handed at once
    StepCall call = t.fault("ok");
    call.until_us = monotonic_us() + 100'000;
    behind.push_back(t.start(std::move(call)));
  }
  for (const Ticket ticket : behind) {
    const StepOutcome end = t.wait(ticket);
    EXPECT_EQ(end.kind, Kind::kTimeout);
    EXPECT_NE(end.message.find("its deadline or its job's timeout"), std::string::npos)
        << end.message;
  }
  EXPECT_EQ(t.ended.count(running), 0u);
  t.workers->stop(running);
  EXPECT_EQ(t.wait(running).kind, Kind::kStopped);
  EXPECT_EQ(t.run(t.fault("ok")).kind, Kind::kSucceeded);
}

// Regression: a call that overstayed its time kept the only thread, and nothing ran any more.
TEST(Thread, WhatDoesNotEndGivesItsPlaceAway) {
  WorkerFixture t(WorkerFixture::faulty(), true);
  for (int i = 0; i < 3; i++) {
    StepCall call = t.fault("hang");
    call.timeout_ms = 50;
    EXPECT_EQ(t.run(std::move(call)).kind, Kind::kTimeout);
    EXPECT_EQ(t.run(t.fault("ok")).kind, Kind::kSucceeded);
  }
}

TEST(Thread, ManyCallsAllEnd) {
  WorkerFixture t(WorkerFixture::real(), true);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 2000; i++) tickets.push_back(t.start(t.call("noop", {std::to_string(i)})));
  for (const Ticket ticket : tickets) ASSERT_EQ(t.wait(ticket).kind, Kind::kSucceeded);
}

}  // namespace
}  // namespace millrace
