// Goal: retries, skips, deadlines, cancellation, waits and ends as contract.md sections 3 and 4
// say. Method: one core; the test plays everything else, time included.
#include <gtest/gtest.h>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "tests/core/core_fixture.h"

namespace millrace::testing {
namespace {

constexpr std::string_view kRetries = "    retry: { max: 3, backoff: 1s..8s, jitter: none }\n";

TEST(Life, TransientFailuresAreRetriedAfterABackoffThatDoubles) {
  CoreFixture t("a[pure]", fixture_options(), kRetries);
  t.submit("job1");
  t.write_done("job1");
  t.actions();
  t.step_failed("a", "busy", true);
  EXPECT_TRUE(t.waiting_for("job1", "a").starts_with("retry: attempt 1 of 3 failed (busy)"));
  t.pass(999);
  EXPECT_EQ(t.actions(), "");
  t.pass(1);
  EXPECT_EQ(t.actions(), "start a");
  t.step_failed("a", "busy", true);
  t.pass(1999);
  EXPECT_EQ(t.actions(), "");
  t.pass(1);
  t.step_failed("a", "busy", true);
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kFailed);
  EXPECT_EQ(t.stored("job1").error->reason, "busy");
  EXPECT_EQ(t.stored("job1").error->step, "a");
  EXPECT_EQ(t.stored("job1").error->attempt, 3u);
  EXPECT_EQ(t.stored_step("job1", "a").tries.size(), 3u);
}

TEST(Life, OtherFailuresAreNot) {
  CoreFixture t("a[pure]", fixture_options(), kRetries);
  t.submit("job1");
  t.step_failed("a", "broken");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kFailed);
  EXPECT_EQ(t.stored_step("job1", "a").attempts, 1u);
}

TEST(Life, RetryAfterIsALowerBound) {
  CoreFixture t("a[pure]", fixture_options(), kRetries);
  t.submit("job1");
  t.actions();
  StepOutcome outcome;
  outcome.transient = true;
  outcome.retry_after_ms = 5000;
  t.step_done("a", outcome);
  t.pass(4999);
  EXPECT_EQ(t.actions(), "");
  t.pass(1);
  EXPECT_EQ(t.actions(), "start a");
}

TEST(Life, WhatWasLostWithoutFaultDoesNotCount) {
  CoreFixture t("a[pure]");
  t.submit("job1");
  t.actions();
  StepOutcome outcome;
  outcome.kind = StepOutcome::Kind::kRequeued;
  t.step_done("a", outcome);
  EXPECT_EQ(t.actions(), "start a");
  EXPECT_EQ(t.started("a").attempt, 1u);
}

TEST(Life, BackoffSurvivesARestart) {
  CoreFixture t("a[pure]", fixture_options(), kRetries);
  t.submit("job1");
  t.write_done("job1");
  t.step_failed("a", "busy", true);
  t.write_done("job1");
  t.restart();
  EXPECT_EQ(t.actions(), "");
  t.pass(1000);
  EXPECT_EQ(t.actions(), "start a");
  EXPECT_EQ(t.started("a").attempt, 2u);
}

// Regression: with a clock that was set back before the restart it waited for up to a day.
TEST(Life, ABackoffIsNotLongerAfterARestartUnderAClockThatWasSetBack) {
  CoreFixture t("a[pure]", fixture_options(), kRetries);
  t.submit("job1");
  t.write_done("job1");
  t.step_failed("a", "busy", true);
  t.write_done("job1");
  t.restart(-3'600'000);
  EXPECT_EQ(t.actions(), "");
  t.pass(1000);
  EXPECT_EQ(t.actions(), "start a");
}

TEST(Life, AClockThatIsSetForwardTimesNothingOutAndOneSetBackStopsNothing) {
  CoreFixture t(
      "pipeline: p\ntimeout: 10m\nsteps:\n  a: { use: pure, retry: { max: 3, backoff: 1s..1s } "
      "}\n");
  t.submit("job1");
  std::vector<Action> actions;
  t.core().apply(Tick{t.now() + 86'400'000}, &actions);
  t.core().apply(Tick{t.now() - 86'400'000}, &actions);
  EXPECT_TRUE(actions.empty());
  EXPECT_LE(t.core().next_deadline(), t.now() - 86'400'000 + 600'000);
}

// Regression: give_up_after went by the wall also while the server lived.
TEST(Life, AClockThatIsSetForwardMakesNoStepGiveUp) {
  CoreFixture t(
      "pipeline: p\ntimeout: 3h\nsteps:\n  a: { use: pure, retry: { max: 9, backoff: 1s..1s, "
      "jitter: none, "
      "give_up_after: 1h } }\n");
  t.submit("job1");
  t.write_done("job1");
  t.sleep(86'400'000);
  t.tick();
  t.step_failed("a", "busy", true);
  t.pass(1000);
  EXPECT_EQ(t.started("a").attempt, 2u);
  while (t.has_write("job1")) t.write_done("job1");
  for (int minute = 0; minute < 60; minute++) t.pass(60'000);
  t.step_failed("a", "busy", true);
  while (t.has_write("job1")) t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kFailed);
  EXPECT_EQ(t.stored_step("job1", "a").attempts, 2u);
}

TEST(Life, ReadersOfAFailedStepAreSkippedAndTheRestGoesOn) {
  CoreFixture t(
      "pipeline: p\nsteps:\n"
      "  a: { use: pure }\n"
      "  b: { use: pure, with: { text: \"${{ steps.a.text }}\" } }\n"
      "  c: { use: pure, needs: { a: done } }\n"
      "outputs: { text: \"${{ steps.c.text }}\" }\n");
  t.submit("job1");
  t.step_failed("a", "broken");
  EXPECT_EQ(t.actions(), "start a, start c");
  t.step_done("c");
  t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "b").state, StepState::kSkipped);
  EXPECT_EQ(t.stored_step("job1", "c").state, StepState::kSucceeded);
  EXPECT_EQ(t.stored("job1").state, JobState::kFailed);
  EXPECT_EQ(t.stored("job1").outputs, R"({"text":"done"})");
}

TEST(Life, CancelStopsPureStepsAndLetsEffectsEnd) {
  CoreFixture t(
      "pipeline: p\nsteps:\n  a: { use: pure }\n  b: { use: keyed }\n  c: { use: pure, needs: [b] "
      "}\n");
  t.submit("job1");
  t.write_done("job1");
  t.actions();
  t.cancel("job1");
  EXPECT_EQ(t.actions(), "stop a");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer cancel verb_done");
  StepOutcome stopped;
  stopped.kind = StepOutcome::Kind::kStopped;
  t.step_done("a", stopped);
  t.step_done("b");
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kCancelled);
  EXPECT_EQ(t.stored_step("job1", "a").state, StepState::kCancelled);
  EXPECT_EQ(t.stored_step("job1", "b").state, StepState::kSucceeded);
  EXPECT_EQ(t.stored_step("job1", "c").state, StepState::kCancelled);
  t.cancel("job1");
  EXPECT_EQ(t.answers().back().kind, Answer::Kind::kUnknown);
}

TEST(Life, ACancelThatComesTooLateIsRefusedWhenTheEndIsDurable) {
  CoreFixture t("a[pure]");
  t.submit("job1");
  t.write_done("job1");
  t.step_done("a");
  t.actions();
  t.cancel("job1");
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer cancel verb_forbidden, forget job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kSucceeded);
}

TEST(Life, ThePipelinesTimeoutFailsTheJob) {
  CoreFixture t(
      "pipeline: p\ntimeout: 5s\nsteps:\n  a: { use: pure }\n  b: { use: pure, needs: [a] }\n");
  t.submit("job1");
  t.write_done("job1");
  t.actions();
  t.pass(5000);
  EXPECT_EQ(t.actions(), "stop a");
  t.step_done("a");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kFailed);
  EXPECT_EQ(t.stored("job1").error->reason, "timeout");
  EXPECT_EQ(t.stored("job1").error->number, errors::kJobTimeout);
}

TEST(Life, ATimeoutCountsWhileAServerLivesADeadlineAlsoWhileNone) {
  CoreFixture t(
      "pipeline: p\ntimeout: 10m\nsteps:\n  a: { use: keyed, deadline: 1h }\n"
      "  b: { use: keyed, deadline: 3h }\n");
  t.submit("job1");
  t.write_done("job1");
  t.pass(1000);
  EXPECT_TRUE(t.has_write("job1")) << "that they have begun is worth a write";
  while (t.has_write("job1")) t.write_done("job1");
  t.restart(2 * 3'600'000);
  t.pass(1);
  while (t.has_write("job1")) t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "a").state, StepState::kFailed);
  ASSERT_TRUE(t.stored_step("job1", "a").error.has_value());
  EXPECT_EQ(t.stored_step("job1", "a").error->reason, "deadline");
  EXPECT_EQ(t.started("b").attempt, 1u);
  t.pass(540'000);
  while (t.has_write("job1")) t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kRunning);
  t.pass(120'000);
  StepOutcome stopped;
  stopped.kind = StepOutcome::Kind::kStopped;
  t.step_done("b", stopped);
  while (t.has_write("job1")) t.write_done("job1");
  ASSERT_TRUE(t.stored("job1").error.has_value());
  EXPECT_EQ(t.stored("job1").error->number, errors::kJobTimeout);
}

// What an attempt may still take, begun or not: an effect is cut off just behind the pipeline's
// end, so that the job ends for that reason; one that must not be repeated is not.
TEST(Life, AnAttemptKnowsWhenItsStepsOrItsPipelinesTimeIsOver) {
  CoreFixture t(
      "pipeline: p\ntimeout: 5s\nsteps:\n  a: { use: pure, deadline: 2s }\n  b: { use: pure }\n"
      "  c: { use: keyed, needs: [b] }\n  d: { use: once, needs: [b] }\n");
  t.submit("job1");
  EXPECT_EQ(t.started("a").left_ms, 2000);
  EXPECT_EQ(t.started("b").left_ms, 5010);
  t.write_done("job1");
  t.pass(1500);
  t.step_done("b");
  while (t.has_write("job1")) t.write_done("job1");
  EXPECT_EQ(t.started("c").left_ms, 3510);
  EXPECT_EQ(t.started("d").left_ms, kNever);
}

TEST(Life, AnAttemptCutOffAtThePipelinesTimeoutFailsTheJobForThat) {
  CoreFixture t(
      "pipeline: p\ntimeout: 5s\nsteps:\n  a: { use: keyed }\n  b: { use: pure, needs: [a] }\n");
  t.submit("job1");
  t.write_done("job1");
  StepOutcome outcome;
  outcome.kind = StepOutcome::Kind::kTimeout;
  std::vector<Action> none;
  t.core().apply(StepDone{t.now() + 5010, t.started("a").ticket, outcome}, &none);
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kFailed);
  EXPECT_EQ(t.stored("job1").error->number, errors::kJobTimeout);
  EXPECT_EQ(t.stored_step("job1", "a").state, StepState::kFailed);
}

TEST(Life, AWaitEndsAtTheEndOrInTime) {
  CoreFixture t("a[pure]");
  t.submit("job1");
  t.write_done("job1");
  t.actions();
  t.wait("job1", 1000);
  t.pass(1000);
  EXPECT_EQ(t.actions(), "answer wait time_up");
  t.wait("job1", 1000);
  t.unwait_last();
  t.wait("job1", 5000);
  t.step_done("a");
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer wait ended, forget job1");
  t.pass(10'000);
  EXPECT_EQ(t.actions(), "");
}

TEST(Life, LongOutputsGoIntoABlobThatIsReadBack) {
  CoreFixture t(
      "pipeline: p\nsteps:\n  a: { use: pure }\n  b: { use: keyed, with: { text: \"${{ "
      "steps.a.text }}\" } }\n");
  t.submit("job1");
  t.write_done("job1");
  StepOutcome outcome = t.success("a");
  outcome.outputs[kTextPort] = std::string(kInlineJsonBytesMax + 1, 'x');
  t.actions();
  t.step_done("a", outcome);
  EXPECT_EQ(t.actions(), "put text");
  t.bytes_durable("text");
  t.write_done("job1");
  EXPECT_TRUE(t.stored_step("job1", "a").spilled.has_value());
  EXPECT_EQ(named_blobs(t.stored("job1")).size(), 1u);
}

TEST(Life, ARecordThatWouldBeTooLargeFailsTheStep) {
  std::string yaml = "pipeline: p\nsteps:\n";
  for (int i = 0; i < 8; i++) yaml += "  s" + std::to_string(i) + ": { use: pure }\n";
  CoreFixture t(yaml);
  t.submit("job1");
  for (int i = 0; i < 8; i++) {
    const std::string step = "s" + std::to_string(i);
    StepOutcome outcome = t.success(step);
    outcome.outputs[kTextPort] = std::string(kInlineJsonBytesMax - 100, 'x');
    t.step_done(step, outcome);
  }
  t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "s0").state, StepState::kSucceeded);
  EXPECT_EQ(t.stored_step("job1", "s7").error->number, errors::kRecordTooLarge);
}

TEST(Life, ForwardedBytesArePutOnceAndDroppedWhenNobodyNeedsThem) {
  CoreFixture t("image -> up[pure] -> gray[pure]");
  t.submit("job1");
  EXPECT_EQ(t.actions(), "put image, start up");
  const auto content = t.started("up").with[0].as_blob().content;
  StepOutcome outcome = t.success("up");
  outcome.outputs[kDataPort] = t.started("up").with[0];
  t.step_done("up", outcome);
  EXPECT_EQ(t.actions(), "start gray");
  t.bytes_durable("image");
  EXPECT_TRUE(content->bytes.present());
  t.step_done("gray");
  EXPECT_FALSE(content->bytes.present());
}

TEST(Life, StepsStartInTheOrderOfTheirJobsWithinTheSlots) {
  CoreFixture t("a[pure] -> b[pure]");
  t.capacity(Lane::kCpu, 1);
  t.submit("job1");
  t.submit("job2");
  EXPECT_EQ(t.actions(), "start a");
  EXPECT_EQ(t.core().stats().ready[0], 1);
  t.step_done("a");
  EXPECT_EQ(t.actions(), "start job1/b");
  t.step_done("job1/b");
  EXPECT_EQ(t.actions(), "start job2/a");
}

TEST(Life, ALostRecordIsGivenUp) {
  CoreFixture t("a[pure] -> b[keyed]");
  t.submit("job1");
  t.write_done("job1");
  t.step_done("a");
  t.actions();
  t.wait("job1");
  t.write_done("job1", WriteResult::kLost);
  EXPECT_EQ(t.actions(), "answer wait unknown, forget job1 unfinished");
  EXPECT_EQ(t.core().stats().fenced_writes, 1u);
}

// Else a cancellation that waits for a job's end is never answered, and what is known is lost.
TEST(Life, ADrainLastsUntilBytesThatCouldNotBePutAreOnDisk) {
  CoreFixture t("image -> a[pure]");
  t.submit("job1");
  t.bytes_durable("image");
  t.write_done("job1");
  t.step_done("a");
  t.drain();
  t.actions();
  t.bytes_durable("a", Status::unavailable(errors::kBlobWrite, "a simulated failure"));
  EXPECT_FALSE(t.core().idle());
  t.pass(1000);
  EXPECT_EQ(t.actions(), "put a");
  t.bytes_durable("a");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kSucceeded);
  EXPECT_TRUE(t.core().idle());
}

// A record that cannot be read must not make all others wait for it, nor be asked for for ever.
TEST(Life, AnUnreadableJobKeepsNobodyWaiting) {
  CoreOptions options = fixture_options();
  options.jobs_resident_max = 2;
  options.accepted_in_store = 1;
  CoreFixture t("a[pure]", options);
  EXPECT_EQ(t.actions(), "adopt 1");
  std::vector<Action> actions;
  JobKey damaged;
  damaged.bytes[3] = 7;
  t.core().apply(Unreadable{t.now(), damaged, false}, &actions);
  EXPECT_EQ(t.core().next_deadline(), kNever) << "nothing is to be asked for again";
  EXPECT_EQ(t.core().stats().accepted, 1);
  for (const std::string job : {"job1", "job2"}) {
    t.submit(job);
    t.write_done(job);
    EXPECT_NE(t.actions().find("start"), std::string::npos) << job << " has room";
  }
  t.core().apply(Unreadable{t.now(), damaged, true}, &actions);
  EXPECT_EQ(t.core().stats().accepted, 2);
}

}  // namespace
}  // namespace millrace::testing
