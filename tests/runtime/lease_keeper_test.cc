// Goal: a lease counts from the moment before a renewal that was acknowledged, and from nothing
// else; and a node that was given up hears of it.
// Method: a keeper with a short lease over a store in memory that answers as it is told.
#include "engine/runtime/lease_keeper.h"

#include <gtest/gtest.h>

#include "engine/base/errors.h"
#include "tests/runtime/fake_shared_store.h"

namespace millrace {
namespace {

constexpr DurationMs kLeaseMs = 30;

Status unanswered() {
  return Status::unavailable(errors::kStoreFailed, "no answer");
}

class LeaseKeeperTest : public testing::Test {
 protected:
  void keep(DurationMs lease_ms = kLeaseMs) {
    keeper_ = std::make_unique<LeaseKeeper>(&store_, node_, lease_ms, "host:8080");
  }
  FakeSharedStore store_;
  NodeId node_ = NodeId::random();
  std::unique_ptr<LeaseKeeper> keeper_;
};

TEST_F(LeaseKeeperTest, TheFirstRenewalIsOverBeforeTheNodeBegins) {
  keep(600'000);  // no second one comes while we look
  EXPECT_EQ(keeper_->held_until_us(), 0);
  const int64_t before_us = boot_clock_us();
  ASSERT_TRUE(keeper_->begin().ok());
  const int64_t after_us = boot_clock_us();
  const auto renewals = store_.renewals(1);
  ASSERT_EQ(renewals.size(), 1u);
  EXPECT_EQ(renewals[0].node, node_);
  EXPECT_EQ(renewals[0].counter, 1u);
  EXPECT_EQ(renewals[0].lease_ms, 600'000);
  EXPECT_EQ(renewals[0].name, "host:8080");
  EXPECT_FALSE(renewals[0].departed);
  // From before the call, and a tenth less than the others wait.
  EXPECT_GE(keeper_->held_until_us(), before_us + 540'000'000);
  EXPECT_LE(keeper_->held_until_us(), after_us + 540'000'000);
}

TEST_F(LeaseKeeperTest, WithoutAnAnswerThereIsNoLease) {
  keep();
  store_.answer_renewals({unanswered()});
  EXPECT_EQ(keeper_->begin().number(), errors::kStoreFailed);
  EXPECT_EQ(keeper_->held_until_us(), 0);
}

TEST_F(LeaseKeeperTest, ItRenewsByItselfWithCountersThatGrow) {
  keep();
  ASSERT_TRUE(keeper_->begin().ok());
  const int64_t first_until_us = keeper_->held_until_us();
  const auto renewals = store_.renewals(5);
  for (size_t i = 0; i < renewals.size(); i++) EXPECT_EQ(renewals[i].counter, i + 1);
  store_.renewals(renewals.size() + 1);  // so the last of them has been noted
  EXPECT_GT(keeper_->held_until_us(), first_until_us);
}

TEST_F(LeaseKeeperTest, ARenewalWithoutAnAnswerProlongsNothingAndIsTriedAgain) {
  keep();
  store_.answer_renewals({Status(), unanswered(), unanswered(), unanswered()});
  ASSERT_TRUE(keeper_->begin().ok());
  const int64_t until_us = keeper_->held_until_us();
  store_.renewals(4);  // the third failure is being answered, two have been noted
  EXPECT_EQ(keeper_->held_until_us(), until_us);
  const auto renewals = store_.renewals(6);
  // The counter grows all the same: nobody knows what became of the others.
  for (size_t i = 0; i < renewals.size(); i++) EXPECT_EQ(renewals[i].counter, i + 1);
  EXPECT_GT(keeper_->held_until_us(), until_us);
  EXPECT_FALSE(keeper_->given_up().has_value());
}

TEST_F(LeaseKeeperTest, WhoWasGivenUpHearsOfItAndRenewsNoMore) {
  keep();
  store_.answer_renewals(
      {Status(), Status::conflict(errors::kStoreFailed, "the others took it for dead")});
  ASSERT_TRUE(keeper_->begin().ok());
  while (!keeper_->given_up()) std::this_thread::yield();
  EXPECT_NE(keeper_->given_up()->message().find("took it for dead"), std::string::npos);
  keeper_.reset();  // its thread has ended
  EXPECT_EQ(store_.renewals(2).size(), 2u);
}

TEST_F(LeaseKeeperTest, TheOthersAreToldOfTheLoadWithTheNextRenewal) {
  keep();
  ASSERT_TRUE(keeper_->begin().ok());
  keeper_->set_load(7, 3);
  const size_t so_far = store_.renewals(1).size();
  const auto renewals = store_.renewals(so_far + 2);
  EXPECT_EQ(renewals.back().waiting_steps, 7);
  EXPECT_EQ(renewals.back().free_slots, 3);
}

TEST_F(LeaseKeeperTest, WhoDepartsHoldsNoLeaseAndRenewsNoMore) {
  keep();
  ASSERT_TRUE(keeper_->begin().ok());
  ASSERT_TRUE(keeper_->depart().ok());
  EXPECT_EQ(keeper_->held_until_us(), 0);
  const auto renewals = store_.renewals(2);
  EXPECT_TRUE(renewals.back().departed);
  for (size_t i = 0; i + 1 < renewals.size(); i++) EXPECT_FALSE(renewals[i].departed);
  keeper_.reset();
  EXPECT_EQ(store_.renewals(2).size(), renewals.size());
}

TEST_F(LeaseKeeperTest, ADepartureThatGotNoAnswerIsRepeated) {
  keep(600'000);
  store_.answer_renewals({Status(), unanswered()});
  ASSERT_TRUE(keeper_->begin().ok());
  EXPECT_FALSE(keeper_->depart().ok());
  EXPECT_TRUE(keeper_->depart().ok());
  const auto renewals = store_.renewals(3);
  EXPECT_TRUE(renewals[1].departed && renewals[2].departed);
  EXPECT_EQ(renewals[2].counter, 3u);
}

}  // namespace
}  // namespace millrace
