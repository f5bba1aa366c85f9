// Goal: after a failed sync nothing is known of what was written, so nothing may be promised on it:
// the server stops (a record), puts the bytes again (a blob), or the step says so (an object); what
// it acknowledged is there. Method: fsync and fdatasync fail once, at one point after the other,
// under disk_shim.so; then the power is cut, so that what the failed sync left unsynced is lost.
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>

#include "engine/base/digest.h"
#include "tests/process/photo.h"
#include "tests/process/power_cut.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr int kExitStoreFailed = 5;
constexpr int kPoints = 12;  // a job of this pipeline makes about that many syncs
constexpr int kRoundsMax = 5 * kPoints;

TEST(SyncFailure, ServerStopsOrRepeatsAndLosesNothing) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
#endif
  const std::string directory = make_directory("sync");
  ServerSettings settings = settings_in(directory);
  std::filesystem::create_directories(settings.data);
  const std::string photo = make_photo(1);
  std::mt19937 random(5);
  int stopped = 0, went_on = 0, failed = 0;
  PowerCut power(settings.data);
  // Which sync is the nth depends on which thread is faster, and a record's are few: the points are
  // gone through again until one was hit.
  int rounds = 0;
  while (rounds < kPoints || (stopped == 0 && rounds < kRoundsMax)) {
    const int at = rounds++ % kPoints + 1;
    SCOPED_TRACE(fmt::format("the {}th sync fails, round {}", at, rounds));
    const std::string key = fmt::format("Idempotency-Key: k{}\r\n", rounds);
    power.begin();
    settings.environment = power.environment();
    std::string acknowledged;
    {
      ServerProcess server(settings);
      power.plan_failure(DISK_SYNC, at, EIO, 1);
      const Reply reply = submit_image(server.port(), photo, key);
      if (reply.status == 202) acknowledged = reply.text("id");
      // Until the job has ended, or the server: one that does not answer is about to.
      eventually([&] {
        if (!server.running()) return true;
        if (acknowledged.empty()) return reply.status != 0;
        const std::string state =
            ask(server.port(), "GET", "/v1/jobs/" + acknowledged).text("state");
        return state == "succeeded" || state == "failed";
      });
      const bool ended = !server.running();
      power.power_off();
      const int code = ended ? server.stop() : 0;
      server.kill();
      EXPECT_TRUE(code == 0 || code == kExitStoreFailed) << code << file_text(server.log());
      (ended ? stopped : went_on)++;
    }
    power.cut(&random);
    settings.environment.clear();
    ServerProcess server(settings);
    const Reply again = submit_image(server.port(), photo, key + "Prefer: wait=120\r\n");
    if (!acknowledged.empty()) {
      EXPECT_EQ(again.text("id"), acknowledged) << "it was acknowledged";
    }
    if (again.text("state") == "failed") {
      // A sync of the step `store` itself: its attempt failed, and the job says of what.
      EXPECT_EQ(again.text("error.reason"), "io_error") << again.shown();
      failed++;
    } else {
      EXPECT_EQ(again.text("state"), "succeeded") << again.shown();
      const Reply stored =
          ask(server.port(), "GET", "/v1/files/default/originals/" + again.text("id") + ".jpg");
      EXPECT_EQ(sha256(stored.body), sha256(photo)) << stored.status;
    }
    EXPECT_EQ(server.stop(), 0);
  }
  EXPECT_GT(stopped, 0) << "no record's sync was among them";
  EXPECT_GT(went_on, 0) << "no blob's sync was among them";
  EXPECT_LT(failed, rounds / 2);
  remove_tree(directory);
}

}  // namespace
}  // namespace millrace
