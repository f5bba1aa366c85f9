// Goal: reads are refused exactly while the server is known to be away, and one at a time tries it.
#include "engine/store/away_gate.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

constexpr int64_t kTryUs = 1'000'000;

TEST(AwayGate, RefusesReadsAfterAnOperationThatFoundNobodyUntilOneIsAnswered) {
  AwayGate gate(kTryUs / 1000);
  EXPECT_TRUE(gate.admits(0));
  gate.found_nobody(0, 10);
  EXPECT_FALSE(gate.admits(11));
  EXPECT_FALSE(gate.admits(12));
  EXPECT_EQ(gate.refused(), 2u);
  gate.answered(13);
  EXPECT_TRUE(gate.admits(14));
  EXPECT_EQ(gate.refused(), 2u);
}

TEST(AwayGate, LetsOneReadTryWhenNobodyHasTriedForLong) {
  AwayGate gate(kTryUs / 1000);
  gate.found_nobody(0, 10);
  EXPECT_FALSE(gate.admits(10 + kTryUs - 1));
  EXPECT_TRUE(gate.admits(10 + kTryUs));
  EXPECT_FALSE(gate.admits(10 + kTryUs)) << "the other one is trying";
  EXPECT_TRUE(gate.admits(10 + 2 * kTryUs)) << "what became of it nobody knows";
  // Others who find nobody, a renewal of the lease for instance, put it off.
  gate.found_nobody(20 + 2 * kTryUs, 30 + 2 * kTryUs);
  EXPECT_FALSE(gate.admits(10 + 3 * kTryUs));
}

TEST(AwayGate, BelievesNoFailureThatBeganBeforeTheLastAnswer) {
  AwayGate gate(kTryUs / 1000);
  gate.answered(20);
  gate.found_nobody(10, 30);
  EXPECT_TRUE(gate.admits(31));
}

}  // namespace
}  // namespace millrace
