// Goal: large pictures do not pile up in memory: what waits for `workers.memory` waits, and ends
// well. Method: the real server with many workers and little memory to promise; pictures of few
// bytes and many pixels, whose size `upload` reads from the header.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr double kBudgetBytes = 64 << 20;
constexpr uint16_t kSide = 2000;

class LargePictures : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = make_directory("large_pictures");
    settings_ = settings_in(directory_);
    settings_.extra.insert(settings_.extra.end(), {"steps=" + all_steps(directory_),
                                                   "workers.cpu=4", "workers.memory=64MiB"});
    // `held` is a step of the tests that takes a byte a pixel and lasts as it is told.
    std::ofstream(settings_.pipelines + "/held.yaml")
        << "pipeline: held\ninputs:\n  image: image\n  how: string\nsteps:\n"
           "  upload: { use: upload, with: { image: \"${{ inputs.image }}\" } }\n"
           "  held: { use: fault_memory, with: { data: \"${{ steps.upload.image }}\", n: 600000,\n"
           "          how: \"${{ inputs.how }}\" } }\n";
    std::ofstream(settings_.pipelines + "/blurred.yaml")
        << "pipeline: blurred\ninputs:\n  image: image\nsteps:\n"
           "  upload: { use: upload, with: { image: \"${{ inputs.image }}\" } }\n"
           "  blur: { use: blur, with: { image: \"${{ steps.upload.image }}\", format: png } }\n";
  }
  void TearDown() override { remove_tree(directory_); }

  static double metric(uint16_t port, const std::string& name) {
    const std::string text = ask(port, "GET", "/metrics").body;
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::atof(text.c_str() + at + name.size() + 2);
  }
  static std::string submit(uint16_t port, const std::string& pipeline, const std::string& image,
                            const std::string& query = "") {
    const Reply reply = ask(port, "POST", "/v1/pipelines/" + pipeline + "/jobs" + query,
                            "Content-Type: application/octet-stream\r\n", image);
    EXPECT_EQ(reply.status, 202) << reply.shown();
    return reply.text("id");
  }

  std::string directory_;
  ServerSettings settings_;
};

TEST_F(LargePictures, WaitUntilTheirMemoryIsFreeAlsoOverAllFrames) {
  ServerProcess server(settings_);
  const uint16_t port = server.port();
  EXPECT_EQ(metric(port, "millrace_workers_memory_bytes_max"), kBudgetBytes);
  // 20 frames of 4 million pixels: more than all there is, taken alone.
  const std::string picture = make_gif_bomb(20, kSide);
  const std::string runs = submit(port, "held", picture, "?how=sleep");
  ASSERT_TRUE(eventually([&] {
    return metric(port, "millrace_workers_memory_bytes") == kBudgetBytes;
  })) << ask(port, "GET", "/metrics").body;
  const std::string waits = submit(port, "held", make_gif_bomb(1, kSide), "?how=ok");
  ASSERT_TRUE(eventually([&] { return metric(port, "millrace_workers_memory_waiting") == 1; }));
  EXPECT_EQ(ask(port, "POST", "/v1/jobs/" + runs + "/cancel").status, 202);
  const Reply end = await_job(port, waits);
  EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
  EXPECT_TRUE(eventually([&] { return metric(port, "millrace_workers_memory_bytes") == 0; }));
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(LargePictures, ManyAtOnceAllEndAndNeverTakeMoreThanTheBudget) {
  constexpr int kPictures = 8;
  ServerProcess server(settings_);
  const uint16_t port = server.port();
  std::vector<std::string> jobs;
  for (int i = 0; i < kPictures; i++) {
    jobs.push_back(submit(port, "blurred", make_photo(1000 + i)));  // 4 million pixels
  }
  for (const std::string& job : jobs) {
    EXPECT_LE(metric(port, "millrace_workers_memory_bytes"), kBudgetBytes);
    const Reply end = await_job(port, job);
    EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
  }
  EXPECT_TRUE(eventually([&] { return metric(port, "millrace_workers_memory_bytes") == 0; }));
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

}  // namespace
}  // namespace millrace
