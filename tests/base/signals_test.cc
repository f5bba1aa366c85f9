#include "engine/base/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace millrace {
namespace {

// Goal: a pid that no process has can never become a signal to all of them.
// Method: signal 0, which only asks: harmless should the guard be missing.
TEST(Signals, GoToOneProcess) {
  EXPECT_EQ(signal_process(getpid(), 0), 0);
  for (const pid_t nobody : {-2, -1, 0, 1}) {
    EXPECT_DEATH(signal_process(nobody, 0), "pid > 1") << nobody;
  }
}

}  // namespace
}  // namespace millrace
