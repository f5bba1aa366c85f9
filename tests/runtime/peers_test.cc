// Goal: what one node concludes from its looks at the others: whom it gives up, from whom it may
// claim, whom it may forget.
// Method: looks made by hand, at times of our choosing.
#include <gtest/gtest.h>

#include "engine/runtime/cluster.h"

namespace millrace {
namespace {

constexpr DurationMs kLease = 10'000;

NodeId node(uint8_t number) {
  NodeId id;
  id.bytes[0] = number;
  return id;
}

class PeersTest : public testing::Test {
 protected:
  PeersTest() { peers_.configure(node(1), kLease); }
  // A look that took from `began` to `ended` (ms).
  void look(int64_t began, int64_t ended, std::vector<NodeLease> leases,
            std::vector<NodeId> owners = {}) {
    ClusterLook look;
    look.began_us = began * 1000;
    look.ended_us = ended * 1000;
    look.leases = std::move(leases);
    look.owners = std::move(owners);
    peers_.note(look);
  }
  static NodeLease lease(uint8_t number, uint64_t counter, bool departed = false) {
    NodeLease lease;
    lease.node = node(number);
    lease.counter = counter;
    lease.departed = departed;
    lease.lease_ms = kLease;
    return lease;
  }
  Peers peers_;
};

TEST_F(PeersTest, ACounterThatStandsStillForALeaseIsSilent) {
  look(0, 100, {lease(2, 5)});
  look(5'000, 5'050, {lease(2, 5)});
  look(10'000, 10'050, {lease(2, 5)});  // 9.9 s after it was seen first
  EXPECT_TRUE(peers_.silent().empty());
  look(10'101, 10'200, {lease(2, 5)});
  ASSERT_EQ(peers_.silent().size(), 1u);
  EXPECT_EQ(peers_.silent()[0].node, node(2));
  EXPECT_EQ(peers_.silent()[0].counter, 5u);
}

TEST_F(PeersTest, ACounterThatMovesLives) {
  look(0, 100, {lease(2, 5)});
  look(20'000, 20'100, {lease(2, 6)});
  EXPECT_TRUE(peers_.silent().empty());
  EXPECT_EQ(peers_.living(), 2u);
}

// A slow look proves nothing about the time while it was under way.
TEST_F(PeersTest, TheTimeOfALookIsNotCounted) {
  look(0, 30'000, {lease(2, 5)});
  look(35'000, 60'000, {lease(2, 5)});
  EXPECT_TRUE(peers_.silent().empty());
}

// While the store is away nobody can renew, and the first to look again gives nobody up for it.
TEST_F(PeersTest, SilenceWhileThisNodeWasInDoubtCountsForHalfALease) {
  look(0, 0, {lease(2, 5)});
  peers_.note_doubt();  // a look failed, or the own lease was over
  look(20'000, 20'000, {lease(2, 5)}, {node(2)});
  EXPECT_TRUE(peers_.silent().empty());
  EXPECT_FALSE(peers_.any_claimable());
  look(22'000, 22'000, {lease(2, 5)});
  look(25'000, 25'000, {lease(2, 5)});
  EXPECT_TRUE(peers_.silent().empty());
  look(25'001, 25'001, {lease(2, 5)});
  EXPECT_EQ(peers_.silent().size(), 1u);
}

// Regression: a look that had to wait until the store was back found all others silent for longer
// than their leases, and its own lease renewed.
TEST_F(PeersTest, SilenceThatNobodyLookedAtCountsForHalfALease) {
  look(1, 1, {lease(2, 5)});
  look(20'000, 20'000, {lease(2, 5)});
  EXPECT_TRUE(peers_.silent().empty());
  look(24'000, 24'000, {lease(2, 5)});
  EXPECT_TRUE(peers_.silent().empty());
  look(25'001, 25'001, {lease(2, 5)});
  EXPECT_EQ(peers_.silent().size(), 1u);
}

// Nodes that doubt now and then, on a machine that is too busy, still give the dead up.
TEST_F(PeersTest, DoubtAddsNoSilenceAndDoesNotForgetIt) {
  look(0, 0, {lease(2, 5)});
  for (int64_t at = 6'000; at <= 18'000; at += 6'000) {
    peers_.note_doubt();
    look(at, at, {lease(2, 5)});
    EXPECT_TRUE(peers_.silent().empty());
  }
  look(21'000, 21'000, {lease(2, 5)});
  look(23'001, 23'001, {lease(2, 5)});
  EXPECT_EQ(peers_.silent().size(), 1u);
}

TEST_F(PeersTest, ALongerLeaseOfTheOtherHolds) {
  NodeLease patient = lease(2, 5);
  patient.lease_ms = 60'000;
  for (int64_t at = 1'000; at <= 59'000; at += 1'000) look(at, at, {patient});
  EXPECT_TRUE(peers_.silent().empty());
}

TEST_F(PeersTest, ASilentNodesJobsAreNotClaimableBeforeItHasDeparted) {
  for (int64_t at = 8'000; at <= 20'000; at += 4'000) look(at, at, {lease(2, 5)}, {node(2)});
  EXPECT_EQ(peers_.silent().size(), 1u);
  EXPECT_FALSE(peers_.any_claimable());
  EXPECT_EQ(peers_.gone(), std::vector<NodeId>{NodeId{}});
  look(20'100, 20'100, {lease(2, 5, true)}, {node(2)});
  EXPECT_TRUE(peers_.any_claimable());
  EXPECT_EQ(peers_.gone(), (std::vector<NodeId>{NodeId{}, node(2)}));
  EXPECT_TRUE(peers_.forgettable().empty());
  look(20'200, 20'200, {lease(2, 5, true)}, {node(1)});
  EXPECT_EQ(peers_.forgettable(), std::vector<NodeId>{node(2)});
  EXPECT_FALSE(peers_.any_claimable());
}

TEST_F(PeersTest, OwnersWithoutALeaseAndNobodyAreGone) {
  look(0, 0, {lease(1, 1)}, {NodeId{}, node(1), node(7)});
  EXPECT_TRUE(peers_.any_claimable());
  EXPECT_EQ(peers_.gone(), (std::vector<NodeId>{NodeId{}, node(7)}));
}

TEST_F(PeersTest, OnlySlotsOfNodesWithoutWaitingStepsAreIdle) {
  NodeLease idle = lease(2, 1), busy = lease(3, 1);
  idle.free_slots = 4;
  busy.free_slots = 4;
  busy.waiting_steps = 1;
  look(0, 0, {idle, busy});
  EXPECT_EQ(peers_.idle_slots(), 4);
}

TEST_F(PeersTest, TheLivingNodeWithTheSmallestIdIsFirst) {
  EXPECT_FALSE(peers_.first());  // nothing is known yet
  peers_.configure(node(3), kLease);
  look(0, 0, {lease(2, 1), lease(3, 1), lease(4, 1)});
  EXPECT_FALSE(peers_.first());
  look(100, 100, {lease(2, 1, true), lease(3, 1), lease(4, 1)});
  EXPECT_TRUE(peers_.first());
  look(200, 200, {lease(1, 1), lease(3, 1)});
  EXPECT_FALSE(peers_.first());
  for (int64_t at = 3'000; at <= 11'000; at += 4'000) look(at, at, {lease(1, 1), lease(3, 1)});
  EXPECT_TRUE(peers_.first()) << "the other is silent for too long";
}

}  // namespace
}  // namespace millrace
