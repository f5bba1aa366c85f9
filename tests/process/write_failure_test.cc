// Goal: a write that fails or is torn below the running server, once or from now on (as when the
// system makes a failing disk read-only), harms nothing that was acknowledged and is never answered
// as done: the server repeats it, or the step says so, or it ends and resumes from the disk.
// Method: writes below the data directory fail under disk_shim.so, at one point after the other;
// the server is then started again without it.
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "engine/base/digest.h"
#include "tests/process/photo.h"
#include "tests/process/power_cut.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr int kExitStoreFailed = 5;
constexpr int kPoints = 14;    // a job of this pipeline makes some more writes
constexpr int kAll = 1 << 20;  // calls: more than there are

class WriteFailure : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
#endif
    directory_ = make_directory("write");
    settings_ = settings_in(directory_);
    std::ofstream(settings_.pipelines + "/record.yaml")
        << "pipeline: record\nsteps:\n  work: { use: noop_keyed }\n";
    std::filesystem::create_directories(settings_.data);
    power_ = std::make_unique<PowerCut>(settings_.data);
  }
  void TearDown() override {
    power_.reset();
    if (!directory_.empty()) remove_tree(directory_);
  }
  static bool job_ended(uint16_t port, const std::string& job) {
    const std::string state = ask(port, "GET", "/v1/jobs/" + job).text("state");
    return state == "succeeded" || state == "failed";
  }
  // The job, and what it stored, are what an undisturbed server makes of them.
  static void expect_whole(uint16_t port, const Reply& job, const std::string& photo) {
    EXPECT_EQ(job.text("state"), "succeeded") << job.shown();
    const std::string id = job.text("id");
    const Reply stored = ask(port, "GET", "/v1/files/default/originals/" + id + ".jpg");
    EXPECT_EQ(sha256(stored.body), sha256(photo)) << stored.status;
    const Reply gray = ask(port, "GET", "/v1/jobs/" + id + "/outputs/image");
    EXPECT_EQ(sha256(gray.body).text(), job.text("outputs.image.blob")) << gray.status;
  }

  Reply submit(uint16_t port, int number) {
    const std::string key = fmt::format("k{}", number);
    const Reply reply =
        submit_image(port, make_photo(number % 5) + key, "Idempotency-Key: " + key + "\r\n");
    if (reply.status == 202) jobs_[key] = reply.text("id");
    return reply;
  }
  void expect_all_whole(uint16_t port) const {
    for (const auto& [key, job] : jobs_) {
      const int number = std::atoi(key.c_str() + 1);
      expect_whole(port, await_job(port, job), make_photo(number % 5) + key);
    }
  }

  std::string directory_;
  std::map<std::string, std::string> jobs_;  // acknowledged, by key
  ServerSettings settings_;
  std::unique_ptr<PowerCut> power_;
};

TEST_F(WriteFailure, OnceOrTornIsRepeatedOrSaidAndLosesNothing) {
  int stopped = 0, went_on = 0, failed = 0;
  for (int at = 1; at <= kPoints; at++) {
    SCOPED_TRACE(fmt::format("the {}th write fails", at));
    const std::string photo = make_photo(at % 5) + std::to_string(at);  // stored anew each time
    const std::string key = fmt::format("Idempotency-Key: k{}\r\n", at);
    power_->begin();
    settings_.environment = power_->environment();
    std::string acknowledged;
    {
      ServerProcess server(settings_);
      power_->plan_failure(DISK_WRITE, at, EIO, 1, at % 2 == 0);
      const Reply reply = submit_image(server.port(), photo, key);
      if (reply.status == 202) acknowledged = reply.text("id");
      EXPECT_TRUE(eventually([&] {
        return !server.running() ||
               (acknowledged.empty() ? reply.status != 0 : job_ended(server.port(), acknowledged));
      }));
      const bool ended = !server.running();
      const int code = server.stop();
      EXPECT_EQ(code, ended ? kExitStoreFailed : 0) << file_text(server.log());
      (ended ? stopped : went_on)++;
    }
    settings_.environment.clear();
    ServerProcess server(settings_);
    const Reply again = submit_image(server.port(), photo, key + "Prefer: wait=120\r\n");
    if (!acknowledged.empty()) {
      EXPECT_EQ(again.text("id"), acknowledged) << "it was acknowledged";
    }
    if (again.text("state") == "failed") {
      EXPECT_EQ(again.text("error.reason"), "io_error") << again.shown();
      failed++;
    } else {
      expect_whole(server.port(), again, photo);
    }
    EXPECT_EQ(server.stop(), 0);
  }
  EXPECT_LT(failed, kPoints / 2);
  EXPECT_GT(stopped, 0) << "no record's write was among them";
  EXPECT_GT(went_on, 0) << "no blob's write was among them";
}

TEST_F(WriteFailure, FromNowOnEndsAServerWithJobsUnderWayAndLosesNone) {
  power_->begin();
  settings_.environment = power_->environment();
  {
    ServerProcess server(settings_);
    for (int i = 0; i < 10; i++) EXPECT_EQ(submit(server.port(), i).status, 202);
    power_->plan_failure(-1, 1, EROFS, kAll);
    const Reply unknown = ask(server.port(), "POST", "/v1/pipelines/record/jobs");
    EXPECT_EQ(unknown.status, 0) << unknown.shown();
    EXPECT_TRUE(eventually([&] { return !server.running(); }));
    EXPECT_EQ(server.stop(), kExitStoreFailed) << file_text(server.log());
  }
  settings_.environment.clear();
  ServerProcess server(settings_);
  EXPECT_EQ(submit(server.port(), 10).status, 202);
  expect_all_whole(server.port());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(WriteFailure, FromNowOnRefusesUploadsOfAnIdleServerUntilItIsMended) {
  power_->begin();
  settings_.environment = power_->environment();
  ServerProcess server(settings_);
  for (int i = 0; i < 3; i++) EXPECT_EQ(submit(server.port(), i).status, 202);
  expect_all_whole(server.port());
  power_->plan_failure(-1, 1, EROFS, kAll);
  const Reply refused = submit(server.port(), 3);
  expect_problem(refused, 503, "E126");
  EXPECT_NE(refused.head.find("Retry-After: "), std::string::npos) << refused.head;
  const Reply ready = ask(server.port(), "GET", "/readyz");
  EXPECT_EQ(ready.status, 503) << ready.shown();
  expect_sentence(ready.body);
  expect_all_whole(server.port());  // they are read as before
  power_->plan_failure(-1, 1, 0, 0);
  EXPECT_TRUE(eventually([&] { return ask(server.port(), "GET", "/readyz").status == 200; }));
  EXPECT_EQ(submit(server.port(), 3).status, 202);
  expect_all_whole(server.port());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

}  // namespace
}  // namespace millrace
