// Goal: replicas that die at any moment, one after the other or all at once, lose nothing, give no
// effect two bodies, and leave the bytes that an undisturbed server makes.
// Method: rounds of load and SIGKILL over one database and one bucket; each dead one is started
// again at once, under a new name.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <cstdlib>
#include <random>

#include "tests/attacks/fleet.h"

namespace millrace {
namespace {

constexpr int kReplicas = 3;
constexpr uint32_t kRoundMsMax = 250;
constexpr uint32_t kOneInAllDie = 8;

uint32_t seed_of_run() {
  const char* given = std::getenv("MILLRACE_SEED");
  return given ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device()();
}

void run_campaign(int kills) {
  const uint32_t seed = seed_of_run();
  SCOPED_TRACE(fmt::format("MILLRACE_SEED={}", seed));
  std::mt19937 random(seed);
  Fleet fleet({.replicas = kReplicas});
  fleet.start_load();
  while (fleet.kills() < kills && !testing::Test::HasFailure()) {
    // The moment of death is what is random here; nothing waits for it.
    ::poll(nullptr, 0, static_cast<int>(random() % kRoundMsMax));
    const bool all = random() % kOneInAllDie == 0;
    const int one = static_cast<int>(random() % kReplicas);
    for (int i = 0; i < kReplicas; i++) {
      if (all || i == one) fleet.kill_replica(i);
    }
    for (int i = 0; i < kReplicas; i++) {
      if (all || i == one) fleet.start(i);
    }
    fleet.tend();
  }
  fleet.settle_and_compare("killed at random moments");
}

using ReplicasKill = FleetTest;
using ReplicasKillLong = FleetTest;

TEST_F(ReplicasKill, AtRandomMoments) {
  run_campaign(30);
}

TEST_F(ReplicasKillLong, AtRandomMoments) {
  run_campaign(300);
}

}  // namespace
}  // namespace millrace
