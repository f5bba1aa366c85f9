// Goal: a network that is slow or unreliable costs time and nothing else.
// Method: as in partition_test.cc, but for all replicas at once.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <thread>

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

// Replica 0 listens for a job of replica 1 when everything it has to the database breaks.
TEST_F(Network, ThatBreaksAChangeStreamCostsNoWait) {
  Fleet fleet({.lease_ms = 30'000});
  for (int round = 0; round < 3; round++) {
    Work work;
    work.key = fmt::format("awaited-{}", round);
    work.photo = round;
    ASSERT_TRUE(fleet.clients().submit(fleet.port(1), &work, "http://127.0.0.1:1/"));
    std::thread waiter([&] {
      Reply ended;
      do {  // who asks while everything is broken is told so, and asks again
        ended = ask(fleet.port(0), "GET", "/v1/jobs/" + work.job, "Prefer: wait=240\r\n");
      } while (ended.status == 503);
      EXPECT_EQ(ended.text("state"), "cancelled") << ended.shown() << fleet.log(0);
    });
    Fleet::network().reset(fleet.to_database(0));
    EXPECT_TRUE(eventually([&] { return !fleet.ready(0); }));
    Fleet::network().heal(fleet.to_database(0));
    EXPECT_TRUE(eventually([&] { return fleet.ready(0); }));
    EXPECT_EQ(ask(fleet.port(1), "POST", "/v1/jobs/" + work.job + "/cancel").status, 202);
    waiter.join();
  }
  EXPECT_EQ(fleet.given_up(), 0);
}

}  // namespace
}  // namespace millrace
