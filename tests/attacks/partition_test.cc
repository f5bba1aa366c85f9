// Goal: a replica that reaches its database or its bucket no more, for a while, loses nothing and
// harms nobody: others go on, take its jobs over where they must, and it comes back.
// Method: real replicas, each with ways of its own to a real database and a real bucket (fleet.h);
// toxiproxy cuts the ways of one of them, in each way that networks have.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/attacks/fleet.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

class Partition : public FleetTest {
 protected:
  using Cut = void (Toxiproxy::*)(const std::string& way);

  // Replica 0 is away for longer than its lease: the other one ends its jobs meanwhile, and it ends
  // when it comes back, since it may not go on with them.
  static void outlive_lease(Cut cut, const std::string& name) {
    Fleet fleet({});
    fleet.start_load();
    fleet.await_progress(10);
    for (int i = 0; i < 3; i++) fleet.submit_held(0);
    (Fleet::network().*cut)(fleet.to_database(0));
    EXPECT_TRUE(fleet.says(1, "ev=node.given_up"));
    EXPECT_TRUE(fleet.says(1, "ev=jobs.claimed"));
    EXPECT_TRUE(fleet.says(0, "ev=lease.over"));
    fleet.release();
    fleet.expect_held_told();
    fleet.await_progress(10);
    Fleet::network().heal(fleet.to_database(0));
    fleet.expect_given_up(0);
    fleet.settle_and_compare(name);
  }
  // Replica 0 cannot reach the bucket; its jobs wait for it. It says so when it has tried for long
  // enough: at once when it is refused.
  static void lose_bucket(Cut cut, bool until_said, const std::string& name) {
    Fleet fleet({});
    fleet.start_load();
    fleet.await_progress(10);
    for (int i = 0; i < 3; i++) fleet.submit_held(0);
    (Fleet::network().*cut)(fleet.to_bucket(0));
    fleet.await_progress(20);
    if (until_said) {
      expect_problem(submit_picture(fleet), 503, "E126");
      EXPECT_TRUE(eventually([&] { return !fleet.ready(0); }));
    }
    Fleet::network().heal(fleet.to_bucket(0));
    EXPECT_TRUE(eventually([&] { return fleet.ready(0); }));
    fleet.settle_and_compare(name);
  }
  static Reply submit_picture(const Fleet& fleet) {
    return ask(fleet.port(0), "POST",
               "/v1/pipelines/picture/jobs?callback=" + url_encoded("http://127.0.0.1:1/"),
               "Content-Type: image/jpeg\r\n", make_photo(9));
  }
};

TEST_F(Partition, FromADatabaseThatRefusesEndsItsJobsElsewhere) {
  outlive_lease(&Toxiproxy::refuse, "the database refuses one replica");
}

TEST_F(Partition, FromADatabaseThatIsSilentEndsItsJobsElsewhere) {
  outlive_lease(&Toxiproxy::swallow, "nothing arrives at the database");
}

TEST_F(Partition, FromADatabaseThatAnswersNoMoreEndsItsJobsElsewhere) {
  outlive_lease(&Toxiproxy::swallow_answers, "no answer of the database arrives");
}

// What the replica wrote before it was given up arrives when its jobs have ended elsewhere.
TEST_F(Partition, WhoseWritesArriveLateChangesNothing) {
  outlive_lease(&Toxiproxy::hold, "everything arrives at the database late");
}

TEST_F(Partition, ShorterThanTheLeaseEndsNobody) {
  Fleet fleet({.lease_ms = 30'000});
  fleet.start_load();
  fleet.await_progress(10);
  for (int i = 0; i < 3; i++) {
    Fleet::network().refuse(fleet.to_database(0));
    EXPECT_TRUE(fleet.says(0, "ev=store.doubt ", i + 1));
    EXPECT_TRUE(eventually([&] { return !fleet.ready(0); }));
    Fleet::network().heal(fleet.to_database(0));
    EXPECT_TRUE(fleet.says(0, "ev=store.doubt_over ", i + 1));
    EXPECT_TRUE(eventually([&] { return fleet.ready(0); }));
  }
  fleet.settle_and_compare("the database refuses for a moment");
  EXPECT_EQ(fleet.given_up(), 0);
}

// Regression: reads that need the database were answered one after the other, each when it had
// found nobody. Now one asks now and then, and the others are refused meanwhile: their answers say
// so.
TEST_F(Partition, FromADatabaseRefusesReadsOfJobsOfOthersWithoutAQueue) {
  constexpr int kClients = 4, kReadsEach = 20;
  Fleet fleet({.lease_ms = 60'000});
  Work work;
  work.key = "of-another";
  work.photo = 1;
  ASSERT_TRUE(fleet.clients().submit(fleet.port(1), &work));
  const std::string path = "/v1/jobs/" + work.job;
  EXPECT_EQ(ask(fleet.port(0), "GET", path).status, 200);
  Fleet::network().refuse(fleet.to_database(0));
  EXPECT_TRUE(eventually([&] { return ask(fleet.port(0), "GET", path).status == 503; }));
  std::atomic<int> refused{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; i++) {
    clients.emplace_back([&] {
      for (int j = 0; j < kReadsEach; j++) {
        const Reply reply = ask(fleet.port(0), "GET", path);
        expect_problem(reply, 503, "E124");
        refused += reply.body.find("is asked again soon") != std::string::npos ? 1 : 0;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(refused.load(), kClients * kReadsEach / 2);
  Fleet::network().heal(fleet.to_database(0));
  EXPECT_TRUE(eventually([&] { return ask(fleet.port(0), "GET", path).status == 200; }));
  EXPECT_EQ(fleet.given_up(), 0);
}

TEST_F(Partition, FromABucketThatRefusesIsSaidAndWaitedOut) {
  lose_bucket(&Toxiproxy::refuse, true, "the bucket refuses one replica");
}

TEST_F(Partition, FromABucketThatIsSilentIsWaitedOut) {
  lose_bucket(&Toxiproxy::swallow, false, "nothing arrives at the bucket");
}

using PartitionLong = Partition;

TEST_F(PartitionLong, FromABucketThatIsSilentIsSaidAndWaitedOut) {
  lose_bucket(&Toxiproxy::swallow, true, "nothing arrives at the bucket for long");
}

}  // namespace
}  // namespace millrace
