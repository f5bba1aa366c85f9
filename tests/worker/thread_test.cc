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

TEST(Thread, ManyCallsAllEnd) {
  WorkerFixture t(WorkerFixture::real(), true);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 2000; i++) tickets.push_back(t.start(t.call("noop", {std::to_string(i)})));
  for (const Ticket ticket : tickets) ASSERT_EQ(t.wait(ticket).kind, Kind::kSucceeded);
}

}  // namespace
}  // namespace millrace
