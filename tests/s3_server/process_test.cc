// Goal: a server whose blobs and objects are in buckets loses nothing when it is killed, waits
// while the bucket is away, and says so.
// Method: the real program over a versitygw of its own, which is stopped and started again.
#include "bench/harness/process.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/base/digest.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"
#include "tests/s3_server/server.h"

namespace millrace {
namespace {

class S3Process : public testing::Test {
 protected:
  S3Process() : s3_(S3Kind::kVersity), directory_(make_directory("s3-process")) {
    blobs_ = s3_.make_bucket("blobs");
    objects_ = s3_.make_bucket();
    settings_ = settings_in(directory_);
    settings_.extra.push_back("blobs=" + blobs_);
    settings_.extra.push_back("stores={default: {url: \"" + objects_ + "\"}}");
    settings_.environment = {"AWS_ACCESS_KEY_ID=millrace-test",
                             "AWS_SECRET_ACCESS_KEY=millrace-test-secret"};
    // For the verbs that this program runs itself.
    ::setenv("AWS_ACCESS_KEY_ID", "millrace-test", 1);
    ::setenv("AWS_SECRET_ACCESS_KEY", "millrace-test-secret", 1);
  }
  ~S3Process() override { remove_tree(directory_); }

  std::vector<std::string> verb(std::vector<std::string> arguments) const {
    for (const std::string& setting : settings_.extra) {
      arguments.emplace_back("--set");
      arguments.push_back(setting);
    }
    for (const std::string& setting :
         {"data=" + settings_.data, "pipelines=" + settings_.pipelines}) {
      arguments.emplace_back("--set");
      arguments.push_back(setting);
    }
    return arguments;
  }
  Reply submit(uint16_t port, int number) {
    return submit_image(port, make_photo(number), fmt::format("Idempotency-Key: k{}\r\n", number));
  }

  S3Server s3_;
  const std::string directory_;
  std::string blobs_, objects_;
  ServerSettings settings_;
};

TEST_F(S3Process, KilledAndStartedAgainLosesNothing) {
  constexpr int kJobs = 12;
  std::vector<std::string> jobs;
  {
    ServerProcess server(settings_);
    for (int i = 0; i < kJobs; i++) {
      const Reply reply = submit(server.port(), i);
      ASSERT_EQ(reply.status, 202) << reply.shown();
      jobs.push_back(reply.text("id"));
    }
    server.kill();
  }
  remove_tree(settings_.data + "/cache");  // the copies are copies
  ServerProcess server(settings_);
  for (int i = 0; i < kJobs; i++) {
    const Reply ended = await_job(server.port(), jobs[i]);
    ASSERT_EQ(ended.text("state"), "succeeded") << ended.shown();
    EXPECT_EQ(submit(server.port(), i).text("id"), jobs[i]);
    const Reply output = ask(server.port(), "GET", "/v1/jobs/" + jobs[i] + "/outputs/image");
    EXPECT_EQ(output.status, 200) << output.shown();
  }
  const Reply file = ask(server.port(), "GET", "/v1/files/default/originals/" + jobs[0] + ".jpg");
  EXPECT_EQ(file.status, 307) << file.shown();
  const size_t at = file.head.find("ocation: ") + 9;
  s3::Exchange exchange;
  exchange.method = "GET";
  exchange.url = file.head.substr(at, file.head.find('\r', at) - at);
  exchange.connect_ms = exchange.stall_ms = 10'000;
  const s3::Answer answer = s3::transfer(exchange);
  EXPECT_EQ(answer.status, 200) << answer.body << answer.detail;
  EXPECT_TRUE(answer.body == make_photo(0));
  EXPECT_EQ(server.stop(), 0);
  EXPECT_EQ(file_text(server.log()).find("millrace-test-secret"), std::string::npos);
  std::string said;
  EXPECT_EQ(run_program(verb({"doctor"}), &said), kDoctorContent) << said;
  EXPECT_NE(said.find("ok    blobs s3://"), std::string::npos) << said;
  EXPECT_NE(said.find("ok    stores.default s3://"), std::string::npos) << said;
  EXPECT_EQ(run_program(verb({"export", directory_ + "/copy"}), &said), 0) << said;
}

TEST_F(S3Process, ABucketThatIsAwayIsWaitedForAndSaid) {
  ServerProcess server(settings_);
  const Reply before = submit_image(server.port(), make_photo(1), "Prefer: wait=60\r\n");
  ASSERT_EQ(before.text("state"), "succeeded") << before.shown();
  s3_.stop();
  expect_problem(submit_image(server.port(), make_photo(2)), 503, "E126");
  EXPECT_TRUE(eventually([&] { return ask(server.port(), "GET", "/readyz").status == 503; }));
  s3_.start();
  EXPECT_TRUE(eventually([&] { return ask(server.port(), "GET", "/readyz").status == 200; }, 60));
  const Reply after = submit_image(server.port(), make_photo(2), "Prefer: wait=60\r\n");
  EXPECT_EQ(after.text("state"), "succeeded") << after.shown();
  EXPECT_EQ(server.stop(), 0);
}

TEST_F(S3Process, AnEmptyStoreBesideABucketWithBlobsIsRefused) {
  {
    ServerProcess server(settings_);
    ASSERT_EQ(submit(server.port(), 1).status, 202);
    EXPECT_EQ(server.stop(), 0);
  }
  remove_tree(settings_.data);
  std::string said;
  EXPECT_EQ(run_program(verb({"serve", "--set", "listen=127.0.0.1:0"}), &said), 4) << said;
  EXPECT_NE(said.find("E125"), std::string::npos) << said;
}

TEST_F(S3Process, WhatS3RefusesIsSaidAtTheStartWithItsKey) {
  std::string said;
  for (std::string& setting : settings_.extra) {
    if (!setting.starts_with("blobs=")) continue;
    setting.replace(setting.find("s3://bucket"), 11, "s3://bocket");
  }
  EXPECT_EQ(run_program(verb({"serve", "--set", "listen=127.0.0.1:0"}), &said), 4) << said;
  EXPECT_NE(said.find("make the bucket"), std::string::npos) << said;
  EXPECT_EQ(run_program(verb({"doctor"}), &said), 4) << said;
  EXPECT_NE(said.find("E126: blobs: cannot put"), std::string::npos) << said;
  ::unsetenv("AWS_SECRET_ACCESS_KEY");
  EXPECT_EQ(run_program(verb({"doctor"}), &said), 3) << said;
  EXPECT_NE(said.find("blobs: a bucket needs keys; the environment variable "
                      "AWS_SECRET_ACCESS_KEY is not set"),
            std::string::npos)
      << said;
}

}  // namespace
}  // namespace millrace
