// Goal: a network that is slow or unreliable costs time and nothing else.
// Method: as in partition_test.cc, but for all replicas at once.
#include <gtest/gtest.h>

#include "tests/attacks/fleet.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

using Network = FleetTest;

// A renewal takes more than half of the time between two. A submission takes several round trips,
// one behind the other, hence the patience.
TEST_F(Network, ThatTakesHalfASecondToTheDatabaseOnlyCostsTime) {
  Fleet fleet({.lease_ms = 3000});
  fleet.start_load(20'000);
  fleet.await_progress(10);
  for (int i = 0; i < fleet.size(); i++) Fleet::network().delay(fleet.to_database(i), 500);
  fleet.await_progress(24);
  EXPECT_EQ(ask(fleet.port(0), "GET", "/v1/jobs").status, 200);
  EXPECT_EQ(ask(fleet.port(1), "GET", "/v1/jobs").status, 200);
  fleet.settle_and_compare("500 ms to the database");
}

TEST_F(Network, ThatResetsConnectionsToDatabaseAndBucketOnlyCostsTime) {
  constexpr int kRounds = 6;
  Fleet fleet({});
  fleet.start_load();
  for (int round = 0; round < kRounds; round++) {
    fleet.await_progress(8);
    for (int i = 0; i < fleet.size(); i++) {
      // Old connections end with their next bytes, new ones with their first; so at the replicas'
      // next renewals at the latest.
      Fleet::network().reset(fleet.to_database(i));
      Fleet::network().reset(fleet.to_bucket(i));
      EXPECT_TRUE(eventually([&] { return !fleet.ready(i); }));
      Fleet::network().heal(fleet.to_database(i));
      Fleet::network().heal(fleet.to_bucket(i));
    }
  }
  fleet.settle_and_compare("connections are reset");
}

}  // namespace
}  // namespace millrace
