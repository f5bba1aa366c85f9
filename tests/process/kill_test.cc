// Goal: the promise of the product, on the real binary: however a server dies under load, no
// acknowledged job is lost, every webhook key carries one body, every result and every stored
// object is the one that an undisturbed run gives, and no blob is torn.
// Method: rounds of load and death over one data directory (campaign.h): SIGKILL at random moments,
// at marked points around syncs, names and sends, and at such points with everything lost that was
// not synced (power_cut.h).
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/process/campaign.h"

namespace millrace {
namespace {

uint32_t seed_of_run() {
  const char* given = std::getenv("MILLRACE_SEED");
  return given ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device()();
}

void run_campaign(const std::string& name, int rounds, Death death) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  if (death == Death::kMarkedPoint || death == Death::kPowerCut) {
    GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
  }
#endif
  const uint32_t seed = seed_of_run();
  SCOPED_TRACE(fmt::format("MILLRACE_SEED={}", seed));
  Campaign campaign(name, seed);
  ASSERT_NO_FATAL_FAILURE(campaign.learn_results());
  for (int round = 0; round < rounds && !testing::Test::HasFailure(); round++) {
    campaign.run_round(death);
  }
  campaign.settle_and_compare();
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
