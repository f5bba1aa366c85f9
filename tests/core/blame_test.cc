// Goal: whose fault a death is, as design says: a worker's death costs its step one attempt, a
// death of the server costs nobody anything, unless steps ran inside it. Method: one core that is
// lost and comes back with what the slot tells.
#include <gtest/gtest.h>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "tests/core/core_fixture.h"

namespace millrace::testing {
namespace {

constexpr const char* kTwo = "pipeline: p\nsteps:\n  a: { use: pure }\n  b: { use: pure }\n";

TEST(Blame, ADeathOfTheServerCostsNobodyAnything) {
  CoreFixture t("a[pure] -> b[keyed]");
  t.submit("job1");
  t.write_done("job1");
  for (int i = 0; i < 2 * kStepDeathsMax; i++) {
    t.restart();
    EXPECT_EQ(t.started("a").attempt, 1u);
  }
  t.step_done("a");
  t.write_done("job1");
  t.step_done("b");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kSucceeded);
  EXPECT_EQ(t.stored_step("job1", "a").deaths, 0u);
}

TEST(Blame, SuspectsRunOneAtATimeAndNobodyIsBlamedWhoWasNotAlone) {
  CoreFixture t(kTwo);
  t.submit("job2");
  t.submit("job1");
  t.actions();
  t.write_done("job1");
  t.die_with_steps_inside();
  EXPECT_EQ(t.actions(), "start job1/a");  // and nothing beside it
  t.submit("job2");
  EXPECT_EQ(t.actions(), "");
  EXPECT_TRUE(t.waiting_for("job1", "b").starts_with("alone: "));
  t.step_done("job1/a");
  EXPECT_EQ(t.actions(), "clear job1/a, start job1/b");
  t.step_done("job1/b");
  EXPECT_EQ(t.actions(), "clear job1/b, start job2/a, start job2/b");
  t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "a").deaths, 0u);
  EXPECT_EQ(t.stored_step("job1", "b").deaths, 0u);
}

TEST(Blame, AfterThreeDeathsAStepWaitsForAPersonAndTheOthersGoOn) {
  CoreFixture t(kTwo);
  t.submit("job1");
  t.write_done("job1");
  t.die_with_steps_inside();  // over a and b
  t.die_with_steps_inside();  // over a alone: so the death before was its own as well
  t.step_done("b");           // not blamed, so it did not wait for a write
  t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "a").deaths, 2u);
  EXPECT_EQ(t.started("a").attempt, 1u);
  EXPECT_EQ(t.started("a").deaths, 2u);
  t.die_with_steps_inside();
  EXPECT_EQ(t.core().stats().running[0], 0);
  EXPECT_TRUE(t.waiting_for("job1", "a").starts_with("needs_decision: the server died 3 times"));
  t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "a").deaths, 3u);
  EXPECT_EQ(t.stored_step("job1", "b").deaths, 0u);
  EXPECT_EQ(t.stored_step("job1", "b").state, StepState::kSucceeded);
  EXPECT_EQ(t.stored("job1").state, JobState::kWaiting);
  t.restart();
  EXPECT_EQ(t.core().stats().running[0], 0);  // still waits
}

TEST(Blame, ADeathBesideOthersIsForgottenWhenTheStepHasRunAlone) {
  CoreFixture t(
      "pipeline: p\nsteps:\n  a: { use: pure, retry: { max: 2, backoff: 1s..1s } }\n"
      "  b: { use: pure }\n");
  t.submit("job1");
  t.write_done("job1");
  t.die_with_steps_inside();  // over a and b
  t.step_failed("a", "broken", true);
  t.step_done("b");
  t.write_done("job1");
  t.pass(2'000);
  EXPECT_EQ(t.started("a").attempt, 2u);
  t.die_with_steps_inside();  // over a alone
  t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "a").deaths, 1u);
}

TEST(Blame, IsDurableBeforeTheStepStartsAgainAndCountedOnce) {
  CoreFixture t("a[pure]");
  t.submit("job1");
  t.write_done("job1");
  t.die_with_steps_inside();
  EXPECT_EQ(t.core().stats().running[0], 0);
  EXPECT_TRUE(t.waiting_for("job1", "a").starts_with("not_durable: "));
  t.die_with_steps_inside();  // before it was written, and nothing ran
  t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "a").deaths, 1u);
  t.die_with_steps_inside();  // a runs, alone
  t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "a").deaths, 2u);
  t.actions();
  t.step_done("a");
  EXPECT_EQ(t.actions(), "clear a");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kSucceeded);
}

TEST(Blame, InsideTheServerEvenAPureStepWaitsForItsJob) {
  CoreOptions options = fixture_options();
  options.steps_inside = true;
  CoreFixture t("a[pure] -> b[pure]", options);
  t.submit("job1");
  EXPECT_EQ(t.core().stats().running[0], 0);
  t.write_done("job1");
  t.step_done("a");
  EXPECT_EQ(t.started("b").attempt, 1u) << "what it builds on need not be durable";
}

TEST(Blame, ASuspectWaitsUntilTheOthersHaveEnded) {
  CoreFixture t("a[pure] -> b[pure]");
  t.submit("job1");
  t.submit("job2");
  t.write_done("job1");
  t.write_done("job2");
  t.die_with_steps_inside();
  StepOutcome lost;
  lost.kind = StepOutcome::Kind::kRequeued;
  t.actions();
  t.step_done("job1/a", lost);  // nothing is known of it: still a suspect
  EXPECT_EQ(t.actions(), "start job1/a");
  t.step_failed("job1/a", "broken");
  EXPECT_EQ(t.actions(), "clear job1/a, start job2/a");
  t.cancel("job2");
  EXPECT_EQ(t.actions(), "stop job2/a");
  StepOutcome stopped;
  stopped.kind = StepOutcome::Kind::kStopped;
  t.step_done("job2/a", stopped);
  EXPECT_EQ(t.actions(), "");  // it will not start again, and that is not durable yet
  t.write_done("job2");
  EXPECT_EQ(t.actions(), "clear job2/a, answer cancel verb_done, forget job2");
}

// Regression: one long step beside a suspect that waited, and the whole server stood still.
TEST(Blame, ALongStepBesideAWaitingSuspectLeavesTheOthersHalfOfTheTime) {
  CoreFixture t("a[pure]");
  t.submit("job1");
  t.write_done("job1");
  t.die_with_steps_inside();  // over job1/a alone
  t.submit("job2");
  t.actions();
  EXPECT_EQ(t.started("job2/a").attempt, 1u) << "the suspect waits for its blame to be durable";
  t.write_done("job1");
  t.submit("job3");
  EXPECT_EQ(t.actions(), "");
  t.write_done("job3");
  EXPECT_TRUE(t.waiting_for("job3", "a").starts_with("alone: "));
  t.actions();
  t.pass(9'999);
  EXPECT_EQ(t.actions(), "");
  t.pass(1);
  EXPECT_EQ(t.actions(), "start job3/a");
  t.pass(9'999);
  t.submit("job4");
  EXPECT_EQ(t.actions(), "start job4/a");
  t.pass(1);
  t.submit("job5");
  t.pass(19'999);
  EXPECT_EQ(t.actions(), "") << "twice as long";
  t.pass(1);
  EXPECT_EQ(t.actions(), "start job5/a");
  for (const char* step : {"job2/a", "job3/a", "job4/a"}) t.step_done(step);
  EXPECT_EQ(t.actions(), "");
  t.step_done("job5/a");
  EXPECT_EQ(t.actions(), "start job1/a");
  t.submit("job6");
  t.pass(100'000);
  EXPECT_EQ(t.actions(), "") << "it has the server to itself";
  t.step_done("job1/a");
  EXPECT_EQ(t.actions(), "clear job1/a, start job6/a");
}

}  // namespace
}  // namespace millrace::testing
