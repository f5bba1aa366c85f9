// Goal: whatever becomes of the database, as long as it keeps what it has acknowledged: nothing
// that replicas acknowledged is lost, nothing is done twice under another key, and all goes on when
// it is back. Method: real replicas under load; their one database is told to stop, killed, steps
// down, answers with errors, or carries writes out and says that it has not.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tests/attacks/fleet.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr int kFailuresInARow = 5;

class Database : public FleetTest {
 protected:
  static void expect_away(const Fleet& fleet) {
    for (int i = 0; i < fleet.size(); i++) {
      EXPECT_TRUE(eventually([&] { return !fleet.ready(i); })) << fleet.log(i);
    }
  }
  // For longer than anybody's lease: the replicas cannot tell each other that they live, and give
  // nobody up for it.
  static void outlast_leases(void (MongoServer::*end)(), const std::string& name) {
    Fleet fleet({.lease_ms = 6000});
    fleet.start_load();
    fleet.await_progress(10);
    for (int i = 0; i < 3; i++) fleet.submit_held(0);
    (Fleet::database().*end)();
    expect_away(fleet);
    for (int i = 0; i < fleet.size(); i++) EXPECT_TRUE(fleet.says(i, "ev=lease.over"));
    fleet.start_database();
    fleet.await_progress(10);
    fleet.settle_and_compare(name);
    EXPECT_EQ(fleet.given_up(), 0) << fleet.log(0) << fleet.log(1);
  }
  // The next writes fail like this.
  static void fail_writes(const Fleet& fleet, const std::string& how) {
    fleet.command(fmt::format(
        R"({{"configureFailPoint": "failCommand", "mode": {{"times": {}}},
             "data": {{"failCommands": ["insert", "update"], {}}}}})",
        kFailuresInARow, how));
  }
};

TEST_F(Database, ThatIsToldToStopAndStartedAgainIsWaitedFor) {
  outlast_leases(&MongoServer::stop, "database stopped for longer than the lease");
}

TEST_F(Database, ThatIsKilledAndStartedAgainIsWaitedFor) {
  Fleet fleet({});
  fleet.start_load();
  for (int i = 0; i < 2; i++) {
    fleet.await_progress(10);
    Fleet::database().kill();
    expect_away(fleet);
    fleet.start_database();
  }
  fleet.await_progress(10);
  fleet.settle_and_compare("database killed");
}

TEST_F(Database, WhosePrimaryStepsDownIsWaitedFor) {
  // Reads may go on meanwhile: who looks sees that nobody renews, and is itself nobody who does.
  Fleet fleet({.lease_ms = 6000, .replica_set = true});
  fleet.start_load();
  fleet.await_progress(10);
  fleet.command(R"({"replSetStepDown": 8, "force": true})");
  expect_away(fleet);
  for (int i = 0; i < fleet.size(); i++) EXPECT_TRUE(fleet.says(i, "ev=lease.over"));
  fleet.await_progress(10);
  fleet.settle_and_compare("primary stepped down for longer than the lease");
  EXPECT_EQ(fleet.given_up(), 0) << fleet.log(0) << fleet.log(1);
}

TEST_F(Database, ThatRefusesWritesInAFailoverIsAskedAgain) {
  Fleet fleet({});
  fleet.start_load();
  // NotWritablePrimary, PrimarySteppedDown, InterruptedDueToReplStateChange, ShutdownInProgress
  for (const int code : {10107, 189, 11602, 91}) {
    fail_writes(fleet, fmt::format(R"("errorCode": {})", code));
    fleet.await_progress(10);
  }
  fleet.settle_and_compare("errors of a failover");
}

TEST_F(Database, ThatAppliesWritesAndSaysOtherwiseAppliesThemOnce) {
  Fleet fleet({});
  fleet.start_load();
  for (int i = 0; i < 4; i++) {
    fail_writes(fleet, R"("writeConcernError": {"code": 64, "errmsg": "waiting timed out"})");
    fleet.await_progress(10);
    // Carried out, or cut off before: nobody hears which.
    for (int j = 0; j < fleet.size(); j++) {
      Fleet::network().swallow_answers(fleet.to_database(j));
    }
    EXPECT_TRUE(eventually([&] { return !fleet.ready(0); }));
    for (int j = 0; j < fleet.size(); j++) Fleet::network().heal(fleet.to_database(j));
    fleet.await_progress(10);
  }
  fleet.settle_and_compare("applied, and an error said");
}

}  // namespace
}  // namespace millrace
