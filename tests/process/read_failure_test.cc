// Goal: a disk that does not give back what is on it harms nothing. Of the database: the answer
// that needs it says so, a commit that needs it ends the server, a start that needs it is refused,
// and all is there when it can be read again. Of a blob: who asks for it is told to ask again, jobs
// that need it wait, all others go on. Method: reads of one file fail with EIO under disk_shim.so
// (a mapped one gives SIGBUS instead, as the kernel has it), and then no more.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/base/digest.h"
#include "tests/process/photo.h"
#include "tests/process/shimmed_disk.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr int kExitStoreOpen = 4, kExitStoreFailed = 5;
constexpr const char* kDatabase = "/millrace.db";
constexpr int kLargePhoto = 300;  // of more bytes than are copied into memory

class ReadFailure : public ShimmedDisk {
 protected:
  void SetUp() override {
    ShimmedDisk::SetUp();
    if (IsSkipped()) return;
    settings_.extra.push_back("steps=" + all_steps(directory_));
    write_pipeline("echo", "");
    write_pipeline("later", "  first: { use: fault, with: { how: sleep, n: 3000 } }\n");
  }

  void write_pipeline(const std::string& name, const std::string& first) const {
    std::ofstream(settings_.pipelines + "/" + name + ".yaml")
        << "pipeline: " << name << "\ninputs:\n"
        << "  image: { type: image, media: [image/jpeg], max: 9MiB }\nsteps:\n"
        << first << "  work:\n    use: grayscale\n    with: { image: \"${{ inputs.image }}\" }\n"
        << (first.empty() ? "" : "    needs: [first]\n")
        << "outputs:\n  image: ${{ steps.work.image }}\n";
  }

  // Jobs that ended under an earlier server: this one has read nothing of them.
  void make_jobs() {
    ServerProcess server(settings_);
    for (const int number : {0, 1, kLargePhoto}) {
      const Reply end = submit_image(server.port(), make_photo(number), "Prefer: wait=120\r\n");
      EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
      ended_.push_back(end);
    }
    // Of the last one, input and output are mapped and not copied.
    for (const char* size : {"inputs.image.size", "outputs.image.size"}) {
      EXPECT_GT(std::atoi(ended_.back().text(size).c_str()), 64 * 1024) << size;
    }
    EXPECT_EQ(server.stop(), 0) << file_text(server.log());
    power_->begin();
  }
  void expect_all_there(uint16_t port) const {
    for (const Reply& job : ended_) {
      EXPECT_EQ(ask(port, "GET", "/v1/jobs/" + job.text("id")).body, job.body);
      for (const char* blob : {"inputs.image.blob", "outputs.image.blob"}) {
        const Reply bytes = ask(port, "GET", "/v1/blobs/" + job.text(blob));
        EXPECT_EQ(sha256(bytes.body).text(), job.text(blob)) << bytes.status;
      }
    }
    const Reply list = ask(port, "GET", "/v1/jobs");
    for (const Reply& job : ended_) {
      EXPECT_NE(list.body.find(job.text("id")), std::string::npos) << list.shown();
    }
  }

  std::vector<Reply> ended_;
};

TEST_F(ReadFailure, OfTheDatabaseIsTheAnswerThatNeedsItAndIsOverWithTheFault) {
  make_jobs();
  ServerProcess server(settings_);
  power_->plan_failures_of(kDatabase, DISK_READ, EIO);
  for (const std::string& path : {"/v1/jobs/" + ended_[0].text("id"), std::string("/v1/jobs")}) {
    expect_problem(ask(server.port(), "GET", path), 500, "E125");
  }
  EXPECT_EQ(ask(server.port(), "GET", "/livez").status, 200);
  power_->mend();
  expect_all_there(server.port());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(ReadFailure, OfTheDatabaseUnderACommitEndsTheServerOrIsNotNeeded) {
  make_jobs();
  std::string accepted;
  {
    ServerProcess server(settings_);
    power_->plan_failures_of(kDatabase, DISK_READ, EIO);
    const Reply reply = submit_image(server.port(), make_photo(2), "Idempotency-Key: k\r\n");
    if (reply.status == 202) accepted = reply.text("id");
    const bool went_on = reply.status == 202 && server.running();
    const int code = server.stop();
    EXPECT_TRUE(code == kExitStoreFailed || (went_on && code == 0))
        << code << reply.shown() << file_text(server.log());
  }
  power_->mend();
  ServerProcess server(settings_);
  const Reply again =
      submit_image(server.port(), make_photo(2), "Idempotency-Key: k\r\nPrefer: wait=120\r\n");
  EXPECT_EQ(again.text("state"), "succeeded") << again.shown();
  if (!accepted.empty()) {
    EXPECT_EQ(again.text("id"), accepted);
  }
  expect_all_there(server.port());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(ReadFailure, OfTheDatabaseAtAStartIsExit4AndLeavesItAsItIs) {
  make_jobs();
  power_->plan_failures_of(kDatabase, DISK_READ, EIO);
  for (const std::string& variable : settings_.environment) {
    const size_t is = variable.find('=');
    ::setenv(variable.substr(0, is).c_str(), variable.substr(is + 1).c_str(), 1);
  }
  std::string said;
  const int code =
      run_program({"serve", "--set", "listen=127.0.0.1:0", "--set", "data=" + settings_.data,
                   "--set", "pipelines=" + settings_.pipelines},
                  &said);
  for (const char* name : {"LD_PRELOAD", "DISK_SHIM"}) ::unsetenv(name);
  EXPECT_EQ(code, kExitStoreOpen) << said;
  EXPECT_NE(said.find("error E120: "), std::string::npos) << said;
  EXPECT_NE(said.find(settings_.data + kDatabase), std::string::npos) << said;
  EXPECT_NE(said.find("Input/output error"), std::string::npos) << said;
  power_->begin();
  ServerProcess server(settings_);
  expect_all_there(server.port());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(ReadFailure, OfABlobIsSaidAndWaitedOutAndHarmsNobodyElse) {
  make_jobs();
  for (const Reply& job : ended_) {
    SCOPED_TRACE(job.shown());
    const std::string image = job.text("inputs.image.blob");
    ServerProcess server(settings_);
    const uint16_t port = server.port();
    power_->plan_failures_of(image.substr(image.find(':') + 1), DISK_READ, EIO);
    expect_problem(ask(port, "GET", "/v1/blobs/" + image), 503, "E126");
    // A job that names it is not refused for good: the request is right.
    const std::string body = "{\"inputs\":{\"image\":{\"blob\":\"" + image + "\"}}}";
    const std::string headers = "Content-Type: application/json\r\nPrefer: wait=120\r\n";
    expect_problem(ask(port, "POST", "/v1/pipelines/echo/jobs", headers, body), 503, "E126");
    const Reply other = submit_image(port, make_photo(7), "Prefer: wait=120\r\n");
    EXPECT_EQ(other.text("state"), "succeeded") << other.shown();
    EXPECT_EQ(ask(port, "GET", "/readyz").status, 200);
    power_->mend();
    const Reply end = ask(port, "POST", "/v1/pipelines/echo/jobs", headers, body);
    EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
    expect_all_there(port);
    EXPECT_EQ(server.stop(), 0) << file_text(server.log());
    power_->begin();
  }
}

// The server that took the image dies before the step that reads it has begun.
TEST_F(ReadFailure, OfABlobIsWaitedOutByAJobThatNeedsItAndByNoOther) {
  const std::string photo = make_photo(kLargePhoto);
  std::string job;
  {
    ServerProcess server(settings_);
    const Reply reply = ask(server.port(), "POST", "/v1/pipelines/later/jobs",
                            "Content-Type: image/jpeg\r\n", photo);
    EXPECT_EQ(reply.status, 202) << reply.shown();
    job = reply.text("id");
    server.kill();
  }
  power_->begin();
  power_->plan_failures_of("/" + sha256(photo).hex(), DISK_READ, EIO);
  ServerProcess server(settings_);
  const auto text = [&](const char* path) {
    return ask(server.port(), "GET", "/v1/jobs/" + job).text(path);
  };
  EXPECT_TRUE(eventually([&] { return text("steps.first.state") == "succeeded"; }));
  const Reply other = submit_image(server.port(), make_photo(7), "Prefer: wait=120\r\n");
  EXPECT_EQ(other.text("state"), "succeeded") << other.shown();
  EXPECT_EQ(text("state"), "running");
  power_->mend();
  const Reply end = await_job(server.port(), job);
  EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
  EXPECT_EQ(end.text("steps.work.attempts"), "1") << end.shown();
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(ReadFailure, OfAnOutputIsSaidAndIsOverWithTheFault) {
  make_jobs();
  for (const Reply& job : ended_) {
    SCOPED_TRACE(job.shown());
    const std::string blob = job.text("outputs.image.blob");
    ServerProcess server(settings_);
    power_->plan_failures_of(blob.substr(blob.find(':') + 1), DISK_READ, EIO);
    const std::string path = "/v1/jobs/" + job.text("id") + "/outputs/image";
    expect_problem(ask(server.port(), "GET", path), 503, "E126");
    power_->mend();
    EXPECT_EQ(sha256(ask(server.port(), "GET", path).body).text(), blob);
    EXPECT_EQ(server.stop(), 0) << file_text(server.log());
    power_->begin();
  }
}

}  // namespace
}  // namespace millrace
