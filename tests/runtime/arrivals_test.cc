// Goal: a record that was read from the store reaches the core only while it is what the job is: a
// job that ended meanwhile would begin anew, and what a claim brings must find nobody faster.
// Method: reads, claims and ends in the orders that hurt.
#include "engine/runtime/arrivals.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

JobKey key(uint8_t number) {
  JobKey key;
  key.bytes[0] = number;
  return key;
}

TEST(Arrivals, WhatEndedSinceTheReadBeganIsStale) {
  Arrivals arrivals;
  arrivals.read_begins();
  EXPECT_FALSE(arrivals.is_stale(key(1)));
  arrivals.ends(key(1));
  EXPECT_TRUE(arrivals.has_ended(key(1)));
  EXPECT_TRUE(arrivals.is_stale(key(1)));
  EXPECT_FALSE(arrivals.is_stale(key(2)));
}

// Asked when the record is handed over, not when it was read: the core may let go of a job, and
// the job may end elsewhere, while its definition or its verbs are still being read.
TEST(Arrivals, WhatTheCoreLetGoOfIsStaleUntilTheHandOver) {
  Arrivals arrivals;
  arrivals.read_begins();  // the record
  arrivals.read_begins();  // its hand-over, which outlives the read
  arrivals.read_ends();
  arrivals.is_let_go(key(1));
  EXPECT_FALSE(arrivals.has_ended(key(1)));
  EXPECT_TRUE(arrivals.is_stale(key(1)));
  arrivals.read_ends();
}

TEST(Arrivals, AReadThatBeganAfterwardsSeesItselfWhatHappened) {
  Arrivals arrivals;
  arrivals.ends(key(1));  // nobody reads
  arrivals.read_begins();
  EXPECT_FALSE(arrivals.is_stale(key(1)));
  arrivals.ends(key(2));
  arrivals.read_ends();
  arrivals.read_begins();
  EXPECT_FALSE(arrivals.is_stale(key(2)));
}

// While another read is under way it is not told apart whose read is older: one too many is called
// stale, which is asked for again, and never one too few.
TEST(Arrivals, IsRememberedUntilTheLastReadHasEnded) {
  Arrivals arrivals;
  arrivals.read_begins();
  arrivals.read_begins();
  arrivals.ends(key(1));
  arrivals.read_ends();
  EXPECT_TRUE(arrivals.is_stale(key(1)));
  arrivals.read_ends();
  EXPECT_FALSE(arrivals.reading());
}

// A claim under way may be making the very job ours that a verb has us read.
TEST(Arrivals, AJobThatAClaimMayBringIsLeftToIt) {
  Arrivals arrivals;
  EXPECT_FALSE(arrivals.claim_may_bring(key(1)));
  arrivals.claim_begins();
  EXPECT_TRUE(arrivals.claim_may_bring(key(1)));
  arrivals.claim_ends();
  arrivals.claim_brings(key(1));  // its definition is still being read
  EXPECT_TRUE(arrivals.claim_may_bring(key(1)));
  EXPECT_FALSE(arrivals.claim_may_bring(key(2)));
  arrivals.has_arrived(key(1));
  EXPECT_FALSE(arrivals.claim_may_bring(key(1)));
}

}  // namespace
}  // namespace millrace
