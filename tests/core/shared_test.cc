// Goal: what a node may do beside others that share its store: leases, lost jobs, verbs, jobs that
// are given away.
// Method: a core alone; the test plays the store and the other nodes.
#include <gtest/gtest.h>

#include "engine/base/limits.h"
#include "tests/core/core_fixture.h"

namespace millrace::testing {
namespace {

constexpr const char* kTwo = "pipeline: two\nsteps:\n  a: { use: keyed }\n  p: { use: pure }\n";
constexpr const char* kChain = "image -> gray[pure] -> notify[keyed]";

// Until the effect could start but for the lease.
void submit_up_to_effect(CoreFixture* t) {
  t->submit("job1");
  t->bytes_durable("image");
  t->write_done("job1");
  t->step_done("gray");
  t->bytes_durable("gray");
  t->write_done("job1");
}

TEST(Lease, AnEffectWaitsForIt) {
  CoreFixture t(kChain, shared_options());
  submit_up_to_effect(&t);  // pure steps and writes need no lease
  EXPECT_EQ(t.actions(), "put image, start gray, answer job1 accepted, put gray");
  EXPECT_TRUE(t.waiting_for("job1", "notify").starts_with("lease: "));
  t.lease(10'000);
  EXPECT_EQ(t.actions(), "start notify key=" + t.effect_key("job1", "notify"));
}

TEST(Lease, WhatWasStartedBeforeTheDoubtMayEnd) {
  CoreFixture t("a[keyed] -> b[keyed]", shared_options());
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  t.actions();
  t.pass(10'000);
  t.step_done("a");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "");
  EXPECT_EQ(t.stored_step("job1", "a").state, StepState::kSucceeded);
  t.lease(10'000);
  EXPECT_EQ(t.actions(), "start b key=" + t.effect_key("job1", "b"));
}

// Goal: a node that slept past its lease starts nothing when it wakes up, whatever wakes it; the
// core's own clock does not count the sleep.
TEST(Lease, ASleeperWakesInDoubt) {
  CoreFixture t("a[keyed] -> b[keyed]", shared_options());
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  t.step_done("a");
  t.actions();
  t.sleep(3'600'000);
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "");
  EXPECT_TRUE(t.waiting_for("job1", "b").starts_with("lease: "));
}

TEST(Lease, AClockSetBackDoesNotLengthenIt) {
  CoreFixture t("a[keyed]", shared_options());
  t.lease(10'000);
  t.sleep(6'000);
  t.tick();
  t.sleep(-3'600'000);
  t.tick();
  t.sleep(6'000);
  t.submit("job1");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer job1 accepted");
}

TEST(Lease, TheSenderMayEndIt) {
  CoreFixture t("a[keyed]", shared_options());
  t.lease(10'000);
  t.lease(0);
  t.submit("job1");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer job1 accepted");
}

TEST(Lease, QueuedEffectsAreHeldBackAndPureOnesGoOn) {
  CoreFixture t(kTwo, shared_options());
  t.capacity(Lane::kIo, 0);
  t.capacity(Lane::kCpu, 0);
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  t.actions();
  t.pass(10'000);
  t.capacity(Lane::kIo, 1);
  t.capacity(Lane::kCpu, 1);
  EXPECT_EQ(t.actions(), "start p");
  t.lease(10'000);
  EXPECT_EQ(t.actions(), "start a key=" + t.effect_key("job1", "a"));
}

// Goal: a `once` step never starts on an intent that an image under way takes back.
// Method: doubt comes while the intent is written, and goes while its withdrawal is written.
TEST(Lease, AnIntentIsTakenBackInDoubtAndWrittenAnew) {
  CoreFixture t("pay[once]", shared_options());
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  t.collect();  // the intent
  t.pass(10'000);
  t.write_done("job1");
  EXPECT_TRUE(t.stored_step("job1", "pay").intent);
  t.collect();  // its withdrawal
  t.actions();
  t.lease(10'000);
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_FALSE(t.stored_step("job1", "pay").intent);
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_TRUE(t.stored_step("job1", "pay").intent);
  EXPECT_EQ(t.actions(), "start pay key=" + t.effect_key("job1", "pay"));
}

TEST(LostJob, IsForgottenAndItsWaitersReadTheStore) {
  CoreFixture t("a[pure]", shared_options());
  t.submit("job1");
  t.write_done("job1");
  t.wait("job1");
  t.cancel("job1");
  t.actions();
  t.write_done("job1", WriteResult::kLost);
  EXPECT_EQ(t.actions(), "answer cancel unknown, answer wait unknown, forget job1 unfinished");
  EXPECT_EQ(t.core().stats().fenced_writes, 1u);
  EXPECT_EQ(t.core().stats().accepted, 0);
  t.step_done("a");
  EXPECT_EQ(t.core().stats().late_results, 1u);
}

// Goal: a submission whose first write was stored, and claimed before we heard of it, was accepted.
TEST(LostJob, AtItsFirstRevisionIsAcceptedAllTheSame) {
  CoreFixture t("a[keyed]", shared_options());
  t.submit("job1");
  t.write_done("job1", WriteResult::kLost);
  EXPECT_EQ(t.actions(), "answer job1 accepted, forget job1 unfinished");
  EXPECT_EQ(t.core().stats().accepted, 0);
  EXPECT_TRUE(t.core().idle());
}

// Goal: a claim that meets a submission under the same key does not lose the job: it is ours, and
// nobody else will take it.
TEST(Claim, ThatMeetsASubmissionIsTakenInAfterIt) {
  CoreFixture t("a[keyed]", shared_options());
  t.submit("job1", {.key = "key"});
  t.write_done("job1");
  t.other_node();
  t.lease(10'000);
  t.submit("again", {.key = "key"});
  t.collect();
  t.claim("job1");
  EXPECT_EQ(t.actions(), "");
  t.write_done("again", WriteResult::kExists);
  EXPECT_EQ(t.actions(),
            "answer again exists, forget again, start again/a key=" + t.effect_key("job1", "a"));
  EXPECT_EQ(t.core().stats().accepted, 1);
}

TEST(Claim, OfAnOlderRecordChangesNothing) {
  CoreFixture t("a[keyed]", shared_options());
  t.submit("job1");
  t.write_done("job1");
  t.other_node();
  t.claim("job1");
  t.adopt("job1");
  EXPECT_EQ(t.core().stats().accepted, 1);
  EXPECT_EQ(t.core().stats().resident, 1);
}

TEST(Verb, IsAppliedOnceAndItsDocumentGoesWhenThatIsDurable) {
  CoreFixture t("a[keyed]", shared_options());
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  t.actions();
  t.verb("job1", 5);
  t.verb("job1", 5);
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "verb 5 done");
  EXPECT_TRUE(t.stored("job1").cancel_requested);
  ASSERT_EQ(t.stored("job1").applied_verbs.size(), 1u);
  t.verb("job1", 5);  // read before its document went
  EXPECT_EQ(t.actions(), "verb 5 done");
  t.verb_gone("job1", 5);
  t.step_done("a");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kCancelled);
}

TEST(Verb, ThatWasThereBeforeAClaimIsAppliedBeforeAnyStepStarts) {
  CoreFixture t("a[keyed]", shared_options());
  t.submit("job1");
  t.write_done("job1");
  t.other_node();
  t.lease(10'000);
  t.claim("job1", {5});
  EXPECT_EQ(t.actions(), "");
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "verb 5 done, forget job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kCancelled);
}

TEST(Verb, IsRememberedByTheNextOwner) {
  CoreFixture t("a[keyed]", shared_options());
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  t.verb("job1", 5);
  t.write_done("job1");
  t.other_node();
  t.claim("job1", {5});
  EXPECT_EQ(t.actions(), "verb 5 done");
}

TEST(Verb, ThatComesTooLateIsDoneWithTheEnd) {
  CoreFixture t("a[keyed]", shared_options());
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  t.step_done("a");
  t.actions();
  t.verb("job1", 5);
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "verb 5 done, forget job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kSucceeded);
}

TEST(Verb, BeyondTheLimitWaitsInTheStore) {
  CoreFixture t("a[keyed]", shared_options());
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  for (int id = 1; id <= kAppliedVerbsMax + 1; id++) t.verb("job1", static_cast<uint8_t>(id));
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").applied_verbs.size(), size_t{kAppliedVerbsMax});
  t.actions();
  t.verb_gone("job1", 1);
  t.verb("job1", kAppliedVerbsMax + 1);
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "verb " + std::to_string(kAppliedVerbsMax + 1) + " done");
}

TEST(Drain, OfANodeGivesItsJobsBackOnceNothingOfThemRuns) {
  CoreFixture t("a[keyed] -> b[keyed]", shared_options());
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  t.wait("job1");
  t.actions();
  t.drain();
  EXPECT_FALSE(t.has_write("job1"));  // a runs
  t.step_done("a");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").owner, NodeId{});
  EXPECT_EQ(t.stored_step("job1", "a").state, StepState::kSucceeded);
  EXPECT_EQ(t.actions(), "answer wait unknown, forget job1 unfinished");
  EXPECT_TRUE(t.core().idle());
  t.other_node();
  t.lease(10'000);
  t.claim("job1");
  EXPECT_EQ(t.actions(), "start b key=" + t.effect_key("job1", "b"));
}

TEST(Drain, OfANodeAcceptsWhatItWasJustSentForTheOthers) {
  CoreFixture t("a[keyed]", shared_options());
  t.submit("job1");
  t.drain();
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer job1 accepted, forget job1 unfinished");
  EXPECT_EQ(t.stored("job1").owner, NodeId{});
  EXPECT_EQ(t.stored("job1").rev, 1u);
}

TEST(Shed, GivesTheNewestOfThoseThatWaitForAWorker) {
  CoreFixture t("a[keyed]", shared_options());
  t.capacity(Lane::kCpu, 0);
  t.capacity(Lane::kIo, 1);
  t.lease(10'000);
  for (const char* job : {"job1", "job2", "job3", "job4"}) {
    t.submit(job);
    t.write_done(job);
  }
  t.actions();
  t.shed(2);
  t.shed(2);  // the same wish, heard again
  t.write_done("job4");
  t.write_done("job3");
  EXPECT_EQ(t.actions(), "forget job4 unfinished, forget job3 unfinished");
  EXPECT_EQ(t.stored("job3").owner, NodeId{});
  EXPECT_FALSE(t.has_write("job2"));
  t.shed(2);  // job1 runs
  t.write_done("job2");
  EXPECT_EQ(t.core().stats().accepted, 1);
  EXPECT_EQ(t.actions(), "forget job2 unfinished");
  t.unclaimed(3);
  EXPECT_EQ(t.actions(), "");  // not back at once
  t.pass(9'000);
  t.lease(10'000);
  t.pass(1'000);
  EXPECT_EQ(t.actions(), "adopt 3");
}

TEST(Shed, GivesNoMoreThanTheOthersShare) {
  CoreFixture t("a[keyed]", shared_options());
  t.capacity(Lane::kCpu, 0);
  t.capacity(Lane::kIo, 2);
  t.lease(10'000);
  for (int i = 1; i <= 8; i++) {
    const std::string job = "job" + std::to_string(i);
    t.submit(job);
    t.write_done(job);
  }
  t.actions();
  t.shed(4);  // they have two thirds of all slots, and 6 wait
  for (const char* job : {"job8", "job7", "job6", "job5"}) t.write_done(job);
  EXPECT_FALSE(t.has_write("job4"));
  t.actions();
  t.shed(100);  // 2 wait: one for each of a hundred slots there, hardly any for two here
  t.write_done("job4");
  t.write_done("job3");
  EXPECT_EQ(t.core().stats().accepted, 2);
}

TEST(Shed, IsOverWhenTheOthersHaveTakenWhatWasGiven) {
  CoreFixture t("a[keyed]", shared_options());
  t.capacity(Lane::kCpu, 0);
  t.capacity(Lane::kIo, 1);
  t.lease(10'000);
  for (const char* job : {"job1", "job2"}) {
    t.submit(job);
    t.write_done(job);
  }
  t.shed(1);
  t.write_done("job2");
  t.actions();
  t.unclaimed(1);
  EXPECT_EQ(t.actions(), "");
  t.unclaimed(0);
  t.unclaimed(3);  // others'
  EXPECT_EQ(t.actions(), "adopt 3");
}

TEST(Shed, OfACancelledJobKeepsIt) {
  CoreFixture t("a[keyed]", shared_options());
  t.capacity(Lane::kIo, 0);
  t.lease(10'000);
  t.submit("job1");
  t.write_done("job1");
  t.shed(1);
  t.collect();
  t.actions();
  t.cancel("job1");
  t.write_done("job1");
  EXPECT_EQ(t.stored("job1").owner, NodeId{});
  t.write_done("job1");
  EXPECT_EQ(t.actions(), "answer cancel verb_done, forget job1");
  EXPECT_EQ(t.stored("job1").state, JobState::kCancelled);
}

TEST(Unclaimed, AreAskedForAsFarAsThereIsRoom) {
  CoreOptions options = shared_options();
  options.jobs_resident_max = 2;
  CoreFixture t("a[keyed]", options);
  t.unclaimed(5);
  EXPECT_EQ(t.actions(), "adopt 2");
}

}  // namespace
}  // namespace millrace::testing
