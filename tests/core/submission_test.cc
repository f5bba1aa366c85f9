// Goal: a submission is answered once, by what is durable; a key makes one job.
// Method: one core; the test plays store and blobs.
#include <gtest/gtest.h>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "tests/core/core_fixture.h"

namespace millrace::testing {
namespace {

TEST(Submission, AReplayWaitsForTheFirstToBeDurable) {
  CoreFixture t("image -> gray[pure]");
  t.submit("job1", {"bytes", {}, "key", {}});
  t.submit("job2", {"bytes", {}, "key", {}});
  t.actions();
  t.bytes_durable("job2/image");
  EXPECT_EQ(t.actions(), "");
  t.bytes_durable("image");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer job1 accepted, answer job2 replayed");
}

TEST(Submission, AnotherRequestUnderTheKeyIsRefused) {
  CoreFixture t("image -> gray[pure]");
  t.submit("job1", {"bytes", {}, "key", {}});
  t.bytes_durable("image");
  t.write_done("job1");
  t.submit("job2", {"other bytes", {}, "key", {}});
  t.actions();
  t.bytes_durable("job2/image");
  EXPECT_EQ(t.actions(), "answer job2 key_reused");
  EXPECT_EQ(t.answers().back().status.number(), errors::kIdempotencyKeyReused);
  t.submit("job3", {"bytes", {}, "key", {{"label", "differs"}}});
  t.actions();
  t.bytes_durable("job3/image");
  EXPECT_EQ(t.actions(), "answer job3 key_reused");
}

TEST(Submission, AKeyThatTheStoreKnowsIsAnsweredWithTheRequestsDigest) {
  CoreFixture t("a[pure]");
  t.submit("job1", {"", {}, "key", {}});
  t.write_done("job1", WriteResult::kExists);
  EXPECT_EQ(t.actions(), "start a, answer job1 exists, stop a, forget job1");
  EXPECT_FALSE(t.answers().back().request.is_zero());
  EXPECT_EQ(t.core().stats().accepted, 0);
  t.step_done("a");
  EXPECT_EQ(t.core().stats().late_results, 1u);
}

TEST(Submission, AFullDiskRefusesAndKeepsNothing) {
  CoreFixture t("image -> gray[pure]");
  t.submit("job1");
  t.bytes_durable("image", Status::unavailable(errors::kNoSpace, "full"));
  EXPECT_EQ(t.actions(), "put image, start gray, answer job1 refused, stop gray, forget job1");
  t.submit("job2");
  t.bytes_durable("job2/image");
  t.write_done("job2", WriteResult::kNoSpace);
  EXPECT_EQ(t.answers().back().kind, Answer::Kind::kRefused);
  EXPECT_EQ(t.answers().back().status.number(), errors::kNoSpace);
  EXPECT_EQ(t.core().stats().resident, 0);
}

TEST(Submission, ABlobStoreThatFailsIsWaitedOut) {
  CoreFixture t("image -> gray[pure]");
  t.submit("job1");
  t.actions();
  t.bytes_durable("image", Status::unavailable(errors::kBlobWrite, "no"));
  EXPECT_EQ(t.actions(), "");
  t.pass(1500);
  EXPECT_EQ(t.actions(), "put image");
  t.bytes_durable("image");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer job1 accepted");
}

TEST(Submission, AFullDiskLaterIsWaitedOut) {
  CoreFixture t("a[pure] -> b[keyed]");
  t.submit("job1");
  t.write_done("job1");
  t.step_done("a");
  t.write_done("job1", WriteResult::kNoSpace);
  EXPECT_FALSE(t.has_write("job1"));
  t.actions();
  t.pass(1500);
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "start b key=" + t.effect_key("job1", "b"));
}

TEST(Submission, TooManyJobsAreRefused) {
  CoreOptions options = fixture_options();
  options.jobs_accepted_max = 1;
  CoreFixture t("a[pure]", options);
  t.submit("job1");
  t.submit("job2");
  EXPECT_EQ(t.answers().back().status.number(), errors::kTooManyJobs);
}

TEST(Submission, ADrainingServerTakesNoJob) {
  CoreFixture t("a[pure]");
  t.drain();
  t.submit("job1");
  EXPECT_EQ(t.answers().back().status.number(), errors::kTooManyConnections);
  EXPECT_TRUE(t.core().idle());
}

TEST(Submission, InputsThatDoNotFitARecordAreRefused) {
  CoreFixture t(
      "pipeline: p\ninputs: { note: { type: json } }\nsteps:\n  a: { use: pure, with: { text: "
      "\"${{ inputs.note }}\" } }\n");
  t.submit("job1", {"", std::string(kRecordBytesMax, 'x'), "", {}});
  EXPECT_EQ(t.answers().back().status.number(), errors::kBodyTooLarge);
}

TEST(Submission, WithoutRoomAJobIsStoredAndAdoptedLater) {
  CoreOptions options = fixture_options();
  options.jobs_resident_max = 1;
  CoreFixture t("a[pure]", options);
  t.submit("job1");
  t.submit("job2");
  EXPECT_EQ(t.actions(), "start a");  // only one job was known by then
  t.write_done("job2");
  EXPECT_EQ(t.actions(), "answer job2 accepted, forget job2 unfinished");
  EXPECT_EQ(t.stored("job2").owner, NodeId{});
  t.wait("job2");
  t.step_done("a");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer job1 accepted");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "forget job1, adopt 1");
  t.adopt("job2");
  EXPECT_EQ(t.actions(), "start job2/a");
  t.step_done("job2/a");
  t.write_done("job2");
  EXPECT_EQ(t.actions(), "answer wait ended, forget job2");
}

// What was parked between asking and claiming would be adopted beyond limits.jobs.
TEST(Submission, NoMoreJobsAreAskedForThanAreCountedAsOnTheirWay) {
  CoreOptions options = fixture_options();
  options.jobs_resident_max = 2;
  options.accepted_in_store = 1;
  CoreFixture t("a[pure]", options);
  EXPECT_EQ(t.actions(), "adopt 1");
}

}  // namespace
}  // namespace millrace::testing
