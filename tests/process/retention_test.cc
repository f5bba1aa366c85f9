// Goal: a single server removes what has had its time, and nothing else: an ended job and the blobs
// that only it names go after `retention`, also when the server dies between the end and the
// removal, or in the middle of it; what another job names, kept or unfinished, stays and is served.
// Method: the real server under clock_shim.so. A job's time is set when it ends, so servers of
// different `retention`, one after the other, make jobs that the last one is to remove and to keep.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/process/photo.h"
#include "tests/process/power_cut.h"
#include "tests/process/shifted_clock.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// Set by less than an hour at a time: after a longer jump nothing is removed for as long. A blob
// that nobody names stays for ten minutes.
constexpr int kShortIsOverMinutes = 20, kLongIsOverMinutes = 50;
constexpr const char* kShort = "retention=10m";
constexpr const char* kLong = "retention=40m";
constexpr const char* kNone = "retention=1s";  // looks every second

class Retention : public testing::Test {
 protected:
  struct Job {
    std::string id;
    std::vector<std::string> blobs;  // of its input and its output
  };

  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
#endif
    directory_ = make_directory("retention");
    clock_ = std::make_unique<ShiftedClock>(directory_);
    settings_ = settings_in(directory_);
    settings_.environment = clock_->environment();
    settings_.extra.insert(settings_.extra.end(),
                           {"steps=" + all_steps(directory_), "workers.cpu=2"});
    // Fails at once, and is tried again when this test is over.
    std::ofstream(settings_.pipelines + "/held.yaml")
        << "pipeline: held\ninputs:\n  image: { type: image, media: [image/jpeg], max: 1MiB }\n"
           "steps:\n  work:\n    use: fault\n    with: { data: \"${{ inputs.image }}\", how: fail }"
           "\n    retry: { max: 9, backoff: 2h..2h, jitter: none }\n";
  }
  void TearDown() override {
    clock_.reset();
    if (!directory_.empty()) remove_tree(directory_);
  }

  ServerSettings with(const std::string& retention) const {
    ServerSettings settings = settings_;
    settings.extra.push_back(retention);
    return settings;
  }
  static Job ended_job(uint16_t port, const std::string& photo) {
    const Reply reply = submit_image(port, photo, "Prefer: wait=120\r\n");
    EXPECT_EQ(reply.text("state"), "succeeded") << reply.shown();
    return {reply.text("id"), {reply.text("inputs.image.blob"), reply.text("outputs.image.blob")}};
  }
  static Job held_job(uint16_t port, const std::string& photo) {
    const Reply reply =
        ask(port, "POST", "/v1/pipelines/held/jobs", "Content-Type: image/jpeg\r\n", photo);
    EXPECT_EQ(reply.status, 202) << reply.shown();
    return {reply.text("id"), {reply.text("inputs.image.blob")}};
  }
  std::string file_of(const std::string& blob) const {
    const std::string name = blob.substr(blob.find(':') + 1);
    return settings_.data + "/blobs/" + name.substr(0, 2) + "/" + name;
  }
  static bool listed(uint16_t port, const Job& job) {
    const Reply list = ask(port, "GET", "/v1/jobs");
    EXPECT_EQ(list.status, 200) << list.shown();
    return list.body.find(job.id) != std::string::npos;
  }

  void expect_goes(uint16_t port, const Job& job) const {
    Reply reply;
    EXPECT_TRUE(eventually([&] {
      reply = ask(port, "GET", "/v1/jobs/" + job.id);
      return reply.status == 404;
    })) << reply.shown();
    expect_problem(reply, 404, "E005");
    EXPECT_FALSE(listed(port, job));
    // Objects are not the job's.
    const std::string object = "/v1/files/default/originals/" + job.id + ".jpg";
    EXPECT_EQ(ask(port, "GET", object).status, 200) << object;
  }
  void expect_goes_with_blobs(uint16_t port, const Job& job) const {
    expect_goes(port, job);
    for (const std::string& blob : job.blobs) {
      EXPECT_TRUE(eventually([&] { return !fs::exists(file_of(blob)); })) << blob;
      EXPECT_EQ(ask(port, "GET", "/v1/blobs/" + blob).status, 404) << blob;
    }
  }
  void expect_stays(uint16_t port, const Job& job) const {
    const Reply reply = ask(port, "GET", "/v1/jobs/" + job.id);
    EXPECT_EQ(reply.status, 200) << reply.shown();
    EXPECT_TRUE(listed(port, job));
    for (const std::string& blob : job.blobs) {
      EXPECT_TRUE(fs::exists(file_of(blob))) << blob;
      const Reply bytes = ask(port, "GET", "/v1/blobs/" + blob);
      EXPECT_EQ(bytes.status, 200) << blob;
      EXPECT_EQ(sha256(bytes.body).text(), blob);
    }
  }

  std::string directory_;
  ServerSettings settings_;
  std::unique_ptr<ShiftedClock> clock_;
};

TEST_F(Retention, EndedJobsGoWithTheirBlobsUnlessAnotherJobNamesThem) {
  Job kept, held, alone, like_kept, like_held;
  {
    ServerProcess server(with(kLong));
    kept = ended_job(server.port(), make_photo(1));
    held = held_job(server.port(), make_photo(2));
    EXPECT_EQ(server.stop(), 0) << file_text(server.log());
  }
  {
    ServerProcess server(with(kShort));
    like_kept = ended_job(server.port(), make_photo(1));
    like_held = ended_job(server.port(), make_photo(2));
    alone = ended_job(server.port(), make_photo(3));
    EXPECT_EQ(like_kept.blobs, kept.blobs);
    EXPECT_EQ(like_held.blobs.front(), held.blobs.front());
    server.kill();  // between end and removal
  }
  ServerProcess server(with(kNone));
  // When this one has had its second and is gone, the others are still there: they have more.
  expect_goes_with_blobs(server.port(), ended_job(server.port(), make_photo(4)));
  for (const Job* job : {&kept, &held, &like_kept, &like_held, &alone}) {
    expect_stays(server.port(), *job);
  }
  clock_->set_minutes(kShortIsOverMinutes);
  expect_goes_with_blobs(server.port(), alone);
  expect_goes(server.port(), like_kept);
  expect_goes(server.port(), like_held);
  EXPECT_TRUE(eventually([&] { return !fs::exists(file_of(like_held.blobs.back())); }))
      << "nobody names the gray picture of the held job's image";
  // A later sweep than the one that removed those.
  expect_goes_with_blobs(server.port(), ended_job(server.port(), make_photo(4)));
  expect_stays(server.port(), kept);
  expect_stays(server.port(), held);
  clock_->set_minutes(kLongIsOverMinutes);
  expect_goes_with_blobs(server.port(), kept);
  expect_stays(server.port(), held);
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

// The record goes first: a server that dies between the two leaves files that nobody names.
TEST_F(Retention, ADeathInTheMiddleOfTheRemovalLeavesNothing) {
  fs::create_directories(settings_.data);
  for (const bool behind : {false, true}) {
    SCOPED_TRACE(behind ? "behind the first unlink" : "before it");
    clock_->set_minutes(0);
    Job alone;
    {
      ServerProcess server(with(kShort));
      alone = ended_job(server.port(), make_photo(5));
      EXPECT_EQ(server.stop(), 0) << file_text(server.log());
    }
    PowerCut power(settings_.data);
    power.begin();
    ServerSettings watched = with(kNone);
    const auto both = power.environment();
    watched.environment.front() += ":" + both.front().substr(both.front().find('=') + 1);
    watched.environment.push_back(both.back());
    {
      ServerProcess server(watched);
      expect_stays(server.port(), alone);
      power.plan_death(DISK_UNLINK, behind ? 2 : 1);
      clock_->set_minutes(kShortIsOverMinutes);
      EXPECT_TRUE(eventually([&] { return power.dead(); })) << "nothing is removed";
      server.kill();
    }
    int files = 0;
    for (const std::string& blob : alone.blobs) files += fs::exists(file_of(blob)) ? 1 : 0;
    EXPECT_EQ(files, behind ? 1 : 2);
    ServerProcess server(with(kNone));
    EXPECT_EQ(ask(server.port(), "GET", "/v1/jobs/" + alone.id).status, 404);
    expect_goes_with_blobs(server.port(), alone);
    EXPECT_EQ(server.stop(), 0) << file_text(server.log());
  }
}

}  // namespace
}  // namespace millrace
