// Goal: one job from submission to its end, in the order that design.md section 7 tells.
// Method: a core alone; the test plays store, blobs and workers.
#include <gtest/gtest.h>

#include "tests/core/core_fixture.h"

namespace millrace::testing {
namespace {

// Goal: no effect starts on facts a crash could take back (I3).
// Method: gray finishes while its record is still on the way to disk; notify must wait for
// WriteDone.
TEST(Core, KeyedStepWaitsUntilItsAncestorsAreDurable) {
  CoreFixture t("image -> gray[pure] -> notify[keyed]");
  t.submit("job1");
  EXPECT_EQ(t.actions(), "put image, start gray");  // pure: needs no disk
  t.bytes_durable("image");
  t.write_done("job1");  // rev 1 says accepted, nothing else
  EXPECT_EQ(t.actions(), "answer job1 accepted");
  t.step_done("gray");
  EXPECT_EQ(t.actions(), "put gray");  // done, but not durable
  EXPECT_EQ(t.waiting_for("job1", "gray"), "not_durable: its end is being made durable");
  t.bytes_durable("gray");
  EXPECT_EQ(t.actions(), "");  // its bytes are, its record is not
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "start notify key=" + t.effect_key("job1", "notify"));
  t.wait("job1");
  t.step_done("notify");
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer wait ended, forget job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kSucceeded);
  EXPECT_EQ(t.stored("job1").rev, 3u);
  EXPECT_TRUE(t.core().idle());
  EXPECT_EQ(t.core().stats().accepted, 0);
}

TEST(Core, PureStepsRunAheadOfTheDiskAndCostOneWriteMore) {
  CoreFixture t("a[pure] -> b[pure] -> c[pure]");
  t.submit("job1");
  EXPECT_EQ(t.actions(), "start a");
  EXPECT_TRUE(t.has_write("job1"));
  t.step_done("a");
  t.step_done("b");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "start b, start c, answer job1 accepted");
  EXPECT_FALSE(t.has_write("job1"));  // nobody waits for a and b to be durable
  t.step_done("c");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").rev, 2u);
  EXPECT_EQ(t.stored("job1").state, JobState::kSucceeded);
}

TEST(Core, ProgressOfPureStepsIsWrittenAfterAWhile) {
  CoreFixture t("a[pure] -> b[pure]");
  t.submit("job1");
  t.write_done("job1");
  t.step_done("a");
  EXPECT_FALSE(t.has_write("job1"));
  t.pass(100);
  t.write_done("job1");
  EXPECT_EQ(t.stored_step("job1", "a").state, StepState::kSucceeded);
  EXPECT_EQ(t.stored_step("job1", "a").outputs, R"({"text":"done"})");
}

}  // namespace
}  // namespace millrace::testing
