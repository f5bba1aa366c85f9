// Goal: the gate is one table without gaps or overlaps, and says what design.md says.
// Method: try all combinations of facts.
#include "engine/core/gate.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

GateFacts facts_of(uint32_t bits) {
  GateFacts facts;
  facts.effect = static_cast<Effect>(bits & 3);
  facts.stopping = bits & 1 << 2;
  facts.parked = bits & 1 << 3;
  facts.room = bits & 1 << 4;
  facts.known = bits & 1 << 5;
  facts.backing_off = bits & 1 << 6;
  facts.draining = bits & 1 << 7;
  facts.accepted = bits & 1 << 8;
  facts.ancestors_durable = bits & 1 << 9;
  facts.slot = bits & 1 << 10;
  facts.intent_durable = bits & 1 << 11;
  facts.blame_pending = bits & 1 << 12;
  facts.inside = bits & 1 << 13;
  facts.doubt = bits & 1 << 14;
  return facts;
}

TEST(Gate, EachCombinationOfFactsMatchesExactlyOneRow) {
  for (uint32_t bits = 0; bits < 1u << kGateBits; bits++) {
    ASSERT_EQ(facts_of(bits).bits(), bits);
    int matches = 0;
    for (const GateRow& row : gate_rows()) matches += (bits & row.mask) == row.value;
    EXPECT_EQ(matches, 1) << "facts " << bits;
  }
}

TEST(Gate, EachRowIsReachable) {
  for (const GateRow& row : gate_rows()) {
    EXPECT_EQ(row.value & ~row.mask, 0u);
    EXPECT_EQ(ask_gate(facts_of(row.value)), row.verdict);
  }
}

TEST(Gate, AnEffectStartsOnlyOnDurableFacts) {
  for (uint32_t bits = 0; bits < 1u << kGateBits; bits++) {
    const GateFacts facts = facts_of(bits);
    const Verdict verdict = ask_gate(facts);
    if (verdict != Verdict::kStart && verdict != Verdict::kWriteIntent) continue;
    EXPECT_TRUE(facts.known && facts.slot && facts.room);
    EXPECT_FALSE(facts.stopping || facts.parked || facts.backing_off || facts.draining);
    EXPECT_FALSE(facts.blame_pending);
    EXPECT_TRUE(facts.accepted || !facts.inside) << bits;
    if (facts.effect == Effect::kPure) continue;
    EXPECT_TRUE(facts.accepted && facts.ancestors_durable) << bits;
    EXPECT_FALSE(facts.doubt) << bits;
    if (facts.effect == Effect::kOnce) {
      EXPECT_EQ(verdict == Verdict::kStart, facts.intent_durable) << bits;
    }
  }
}

}  // namespace
}  // namespace millrace
