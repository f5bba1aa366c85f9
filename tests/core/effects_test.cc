// Goal: contract.md section 5: what may start when, what is repeated, and under which key.
// Method: one core; the test plays store, blobs and workers, and takes the core away.
#include <gtest/gtest.h>

#include "engine/base/errors.h"
#include "tests/core/core_fixture.h"

namespace millrace::testing {
namespace {

TEST(Effects, AnIdempotentStepWaitsForAcceptanceOnly) {
  CoreFixture t("image -> store[idempotent]");
  t.submit("job1");
  EXPECT_EQ(t.actions(), "put image");
  t.bytes_durable("image");
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer job1 accepted, start store key=" + t.effect_key("job1", "store"));
}

TEST(Effects, TheKeyIsTheSameForEachAttemptAndAfterARestart) {
  CoreFixture t("a[keyed]", fixture_options(), "    retry: { max: 3, backoff: 1s..1s }\n");
  t.submit("job1");
  t.write_done("job1");
  const std::string start = "start a key=" + t.effect_key("job1", "a");
  EXPECT_EQ(t.actions(), "answer job1 accepted, " + start);
  t.step_failed("a", "busy", true);
  t.pass(2000);
  EXPECT_EQ(t.actions(), start);
  t.restart();
  EXPECT_EQ(t.actions(), start);
}

TEST(Effects, InputsAreFrozenInTheRecordThatMakesThemDurable) {
  CoreFixture t("a[pure] -> b[keyed]");
  t.submit("job1");
  t.step_done("a");
  t.write_done("job1");
  EXPECT_TRUE(t.stored_step("job1", "b").frozen.has_value());
}

// How many pixels an image has over all its frames is a fact for the next step's memory: it
// outlives the server, and what is frozen does not depend on it, since records are older than it.
TEST(Effects, PixelsOfAnImageSurviveARestartAndChangeNoFrozenInput) {
  CoreFixture t("image -> a[pure] -> b[keyed]");
  t.submit("job1");
  t.bytes_durable("image");
  StepOutcome described = t.success("a");
  BlobRef image = described.outputs[0].as_blob();
  image.width = 20, image.height = 30, image.pixels = 6000;
  described.outputs[0] = Value(image);
  t.step_done("a", described);
  t.bytes_durable("a");
  t.write_done("job1");
  ASSERT_TRUE(t.stored_step("job1", "b").frozen.has_value());
  const Digest frozen = *t.stored_step("job1", "b").frozen;
  image.pixels = 0;
  t.restart();
  const BlobRef again = t.started("b").with[0].as_blob();
  EXPECT_EQ(again.width, 20u);
  EXPECT_EQ(again.pixels, 6000u);
  EXPECT_EQ(*t.stored_step("job1", "b").frozen, frozen);
  EXPECT_EQ(canonical_json(again), canonical_json(image));
}

TEST(Effects, AFullDiskIsWaitedOutAndIsNoAttempt) {
  CoreFixture t("a[idempotent]");  // one attempt in all
  t.submit("job1");
  t.write_done("job1");
  const std::string start = "start a key=" + t.effect_key("job1", "a");
  EXPECT_EQ(t.actions(), "answer job1 accepted, " + start);
  StepOutcome full;
  full.number = errors::kNoSpace;
  full.reason = "no_space";
  full.message = "the place is full";
  for (int i = 0; i < 3; i++) {
    t.step_done("a", full);
    EXPECT_EQ(t.actions(), "");
    t.write_done("job1");
    EXPECT_EQ(t.stored_step("job1", "a").attempts, 0u);
    EXPECT_TRUE(t.waiting_for("job1", "a").starts_with("no_space: the place is full; tried again"));
    t.pass(30'000);
    EXPECT_EQ(t.actions(), start) << "the same key each time";
  }
  t.step_done("a");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kSucceeded);
  EXPECT_EQ(t.stored_step("job1", "a").attempts, 1u);
}

TEST(Effects, AFullDiskIsNotWaitedOutByAStepThatMustNotBeRepeatedNorAfterACancel) {
  StepOutcome full;
  full.number = errors::kNoSpace;
  full.reason = "no_space";
  CoreFixture once("pay[once]");
  once.submit("job1");
  once.write_done("job1");
  once.write_done("job1");
  once.step_done("pay", full);
  once.write_done("job1");
  EXPECT_EQ(once.stored("job1").state, JobState::kFailed);
  CoreFixture t("a[idempotent]");
  t.submit("job1");
  t.write_done("job1");
  t.cancel("job1");
  t.write_done("job1");
  t.step_done("a", full);
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kCancelled);
}

TEST(Effects, AOnceStepStartsAfterItsIntentIsDurable) {
  CoreFixture t("pay[once]");
  t.submit("job1");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer job1 accepted");
  EXPECT_EQ(t.waiting_for("job1", "pay"),
            "not_durable: the intent to start it is being made durable");
  t.write_done("job1");
  EXPECT_TRUE(t.stored_step("job1", "pay").intent);
  EXPECT_EQ(t.actions(), "start pay key=" + t.effect_key("job1", "pay"));
}

TEST(Effects, AOnceStepWhoseOutcomeIsUnknownWaitsForAPerson) {
  CoreFixture t("pay[once]");
  t.submit("job1");
  t.write_done("job1");
  t.write_done("job1");
  t.restart();
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kWaiting);
  EXPECT_TRUE(t.waiting_for("job1", "").starts_with("needs_decision: "));
}

TEST(Effects, AOnceStepIsNeverRepeatedByItself) {
  CoreFixture t("pay[once]", fixture_options(), "    retry: { max: 5, backoff: 1s..1s }\n");
  t.submit("job1");
  t.write_done("job1");
  t.write_done("job1");
  t.step_failed("pay", "busy", true);
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kFailed);
}

TEST(Effects, AnIntentOfWhichNothingCameIsTakenBackByADrain) {
  CoreFixture t("pay[once]");
  t.submit("job1");
  t.write_done("job1");
  t.collect();
  t.drain();
  t.write_done("job1");
  t.write_done("job1");
  EXPECT_FALSE(t.stored_step("job1", "pay").intent);
  EXPECT_TRUE(t.core().idle());
}

TEST(Effects, InputsThatNoLongerMatchAreNotSent) {
  CoreFixture t("a[keyed]");
  t.submit("job1");
  t.write_done("job1");
  JobRecord other = t.stored("job1");
  other.steps[0].frozen->bytes[0] ^= 1;
  CoreOptions options = fixture_options();
  options.accepted_in_store = 1;
  Core core(options);
  std::vector<Action> actions;
  core.apply(Adopt{t.now(), std::make_shared<JobRecord>(other), t.graph(), "", {}}, &actions);
  core.apply(Capacity{t.now(), Lane::kIo, 5}, &actions);
  EXPECT_TRUE(actions.empty());
  const auto view = core.view(other.key);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->waiting_for[0].reason, "needs_decision");
}

}  // namespace
}  // namespace millrace::testing
