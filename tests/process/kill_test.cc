// Goal: the promise of the product, on the real binary: however a server dies under load, no
// acknowledged job is lost, every webhook key carries one body, every result and every stored
// object is the one that an undisturbed run gives, and no blob is torn.
// Method: rounds of load and death over one data directory (campaign.h): SIGKILL at random moments,
// at marked points around syncs, names and sends, and at such points with everything lost that was
// not synced (power_cut.h). A campaign counts only when servers have died before and behind calls
// of each kind, and when its oracle finds what a lying disk loses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "tests/process/campaign.h"

namespace millrace {
namespace {

uint32_t seed_of_run() {
  const char* given = std::getenv("MILLRACE_SEED");
  return given ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device()();
}

constexpr size_t kShown = 20;
constexpr int kLyingRounds = 3;

void expect_none(const std::vector<std::string>& found, const char* what) {
  EXPECT_EQ(found.size(), 0u) << what;
  for (size_t i = 0; i < std::min(found.size(), kShown); i++) ADD_FAILURE() << found[i];
}

void run_campaign(const std::string& name, int rounds, Death death) {
  const bool marked = death == Death::kMarkedPoint || death == Death::kPowerCut;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  if (marked) GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
#endif
  const uint32_t seed = seed_of_run();
  SCOPED_TRACE(fmt::format("MILLRACE_SEED={}", seed));
  Campaign campaign(name, seed);
  ASSERT_NO_FATAL_FAILURE(campaign.learn_results());
  // A round may end before its point was reached, on a slow machine most do.
  const auto goes_on = [&](int round) {
    return round < rounds || (marked && round < 2 * rounds && !campaign.died_everywhere());
  };
  for (int round = 0; goes_on(round) && !testing::Test::HasFailure(); round++) {
    campaign.run_round(death);
  }
  EXPECT_TRUE(!marked || campaign.died_everywhere()) << "see the table";
  const Findings found = campaign.settle_and_compare();
  expect_none(found.lost, "lost");
  expect_none(found.wrong, "wrong");
}

TEST(Kill, AtRandomMoments) {
  run_campaign("kill", 60, Death::kMoment);
}

TEST(Kill, AtMarkedPoints) {
  run_campaign("points", 70, Death::kMarkedPoint);
}

TEST(Kill, WithUnsyncedWritesLost) {
  run_campaign("power", 70, Death::kPowerCut);
}

TEST(Kill, ByBeingToldToStopUnderLoad) {
  run_campaign("drain", 25, Death::kDrained);
}

// Were the oracle blind, or the cut no cut, the campaigns above would prove nothing: on a disk that
// does not do what they trust it for they have to find losses.
TEST(Kill, OnADiskThatLiesAboutSyncsLosesAndIsFoundOut) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
#endif
  Campaign campaign("lies", seed_of_run());
  ASSERT_NO_FATAL_FAILURE(campaign.learn_results());
  for (int round = 0; round < kLyingRounds; round++) campaign.run_round(Death::kLyingDisk);
  EXPECT_GT(campaign.settle_and_compare().lost.size(), 0u) << "a loss went unseen";
}

TEST(KillLong, AtRandomMoments) {
  run_campaign("kill", 300, Death::kMoment);
}

TEST(KillLong, AtMarkedPoints) {
  run_campaign("points", 350, Death::kMarkedPoint);
}

TEST(KillLong, WithUnsyncedWritesLost) {
  run_campaign("power", 350, Death::kPowerCut);
}

}  // namespace
}  // namespace millrace
