// Goal: a disk without room for the database itself, while its log still has some, costs nothing:
// what was answered is in the log, jobs go on, also under a server that starts so, and the log is
// copied back when there is room.
// Method: writes to the main database file alone fail with ENOSPC under disk_shim.so, under so many
// jobs that the log is due, and due again.
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "tests/process/shimmed_disk.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDatabase = "/millrace.db";
constexpr int kJobsMax = 20'000;   // some thousand make a log due
constexpr size_t kKeyBytes = 200;  // the larger a record, the fewer

class Checkpoint : public ShimmedDisk {
 protected:
  void SetUp() override {
    ShimmedDisk::SetUp();
    if (IsSkipped()) return;
    std::ofstream(settings_.pipelines + "/record.yaml")
        << "pipeline: record\nsteps:\n  work: { use: noop }\n";
  }

  // Until a write to the database was refused.
  void submit_until_refused(uint16_t port) {
    power_->plan_failures_of(kDatabase, DISK_WRITE, ENOSPC);
    for (int i = 0; i < kJobsMax && power_->fatal() < 0; i++) submit(port);
    EXPECT_EQ(power_->fatal(), DISK_WRITE) << "the log was never due";
  }
  void submit(uint16_t port) {
    const Reply reply = ask(port, "POST", "/v1/pipelines/record/jobs",
                            "Content-Type: application/json\r\nPrefer: wait=120\r\n",
                            "{\"labels\":{\"a\":\"" + std::string(kKeyBytes, 'x') + "\"}}");
    ASSERT_EQ(reply.status, 200) << reply.shown();
    jobs_.push_back(reply.text("id"));
  }
  void expect_all_there(uint16_t port) const {
    for (const std::string& job : jobs_) {
      const Reply reply = ask(port, "GET", "/v1/jobs/" + job);
      ASSERT_EQ(reply.text("state"), "succeeded") << reply.shown();
    }
  }

  std::vector<std::string> jobs_;
};

TEST_F(Checkpoint, WithoutRoomForTheDatabaseIsPutOffAndMadeGood) {
  const std::string database = settings_.data + kDatabase;
  uintmax_t before = 0;
  {
    ServerProcess server(settings_);
    submit(server.port());
    before = fs::file_size(database);
    submit_until_refused(server.port());
    for (int i = 0; i < 20; i++) submit(server.port());
    EXPECT_EQ(ask(server.port(), "GET", "/livez").status, 200);
    expect_all_there(server.port());
    server.kill();
  }
  EXPECT_EQ(fs::file_size(database), before);
  power_->begin();
  power_->plan_failures_of(kDatabase, DISK_WRITE, ENOSPC);
  {
    ServerProcess server(settings_);
    EXPECT_EQ(power_->fatal(), DISK_WRITE) << "a start copies the log back";
    expect_all_there(server.port());
    submit(server.port());
    power_->mend();
    submit(server.port());
    EXPECT_EQ(server.stop(), 0) << file_text(server.log());
  }
  EXPECT_GT(fs::file_size(database), before);
  EXPECT_FALSE(fs::exists(database + "-wal"));
  ServerProcess server(settings_);
  expect_all_there(server.port());
  submit(server.port());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

}  // namespace
}  // namespace millrace
