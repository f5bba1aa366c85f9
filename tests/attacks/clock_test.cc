// Goal: replicas whose clocks are minutes apart, and are set while they run, are one service: who
// is alive is judged by lengths of time, and who waits for a back-off that another one has begun
// waits no longer than all of it. Method: real replicas under clock_shim.so, each with an offset of
// its own to the true time.
#include <gtest/gtest.h>

#include "tests/attacks/fleet.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

class Clocks : public FleetTest {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
#endif
    FleetTest::SetUp();
  }
};

TEST_F(Clocks, MinutesApartTakeJobsOverEitherWay) {
  Fleet fleet({.clocks = true});
  fleet.set_clock(0, 7 * 60);
  fleet.set_clock(1, -9 * 60);
  fleet.start_load();
  for (const int dies : {0, 1}) {
    const int lives = 1 - dies;
    fleet.await_progress(10);
    // In back-off when it dies: when its next attempt is due stands in the record.
    for (int i = 0; i < 3; i++) fleet.submit_held(dies);
    fleet.await_held_tried();
    fleet.kill_replica(dies);
    EXPECT_TRUE(fleet.says(lives, "ev=jobs.claimed"));
    fleet.release();
    fleet.expect_held_told();
    fleet.start(dies);
    fleet.hold_back();
  }
  // Set while they run, past each other.
  fleet.set_clock(0, -5 * 60);
  fleet.set_clock(1, 8 * 60);
  fleet.await_progress(20);
  fleet.settle_and_compare("clocks minutes apart");
}

}  // namespace
}  // namespace millrace
