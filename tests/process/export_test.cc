// Goal: a copy made of a server at work is a data directory from which another one goes on: it
// holds every job that was acknowledged before, and what it repeats has the same keys and bytes.
// Method: the real program, exported while clients submit, killed, and started again on the copy.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "bench/harness/receiver.h"
#include "engine/base/digest.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

class Export : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = make_directory("export");
    copy_ = directory_ + "/copy";
    settings_ = settings_in(directory_);
  }
  void TearDown() override { remove_tree(directory_); }

  int run_export(std::string* said) {
    return run_program({"export", copy_, "--set", "data=" + settings_.data}, said);
  }
  ServerSettings on_the_copy() const {
    ServerSettings settings = settings_;
    settings.data = copy_;
    return settings;
  }

  std::string directory_, copy_;
  ServerSettings settings_;
};

TEST_F(Export, OfAServerAtWorkIsWhereAnotherOneGoesOn) {
  constexpr int kBefore = 20;
  Receiver receiver;
  const std::string query = "?callback=" + url_encoded(receiver.url());
  std::vector<std::string> acknowledged(kBefore), photos(kBefore);
  std::string original;
  {
    ServerProcess server(settings_);
    const auto submit = [&](int number) {
      return submit_image(server.port(), make_photo(number % kBefore),
                          fmt::format("Idempotency-Key: k{}\r\n", number), query);
    };
    for (int i = 0; i < kBefore; i++) {
      acknowledged[i] = submit(i).text("id");
      ASSERT_FALSE(acknowledged[i].empty());
    }
    original =
        ask(server.port(), "GET",
            "/v1/jobs/" + await_job(server.port(), acknowledged[0]).text("id") + "/outputs/image")
            .body;
    std::atomic<bool> over{false};
    std::atomic<int> more{0};
    std::thread client([&] {
      for (int i = kBefore; !over; i++) more += submit(i).status == 202 ? 1 : 0;
    });
    // Jobs come before, during and after.
    EXPECT_TRUE(eventually([&] { return more > 0; }));
    std::string said;
    EXPECT_EQ(run_export(&said), 0) << said;
    const int then = more;
    EXPECT_TRUE(eventually([&] { return more > then; })) << "the server goes on";
    over = true;
    client.join();
    server.kill();
  }
  {
    ServerProcess server(on_the_copy());
    for (int i = 0; i < kBefore; i++) {
      EXPECT_EQ(await_job(server.port(), acknowledged[i]).text("state"), "succeeded");
      const Reply again = submit_image(server.port(), make_photo(i),
                                       fmt::format("Idempotency-Key: k{}\r\n", i), query);
      EXPECT_EQ(again.text("id"), acknowledged[i]);
    }
    const Reply output =
        ask(server.port(), "GET", "/v1/jobs/" + acknowledged[0] + "/outputs/image");
    EXPECT_EQ(output.status, 200);
    EXPECT_EQ(sha256(output.body), sha256(original));
    EXPECT_EQ(server.stop(), 0);
  }
  for (const auto& [id, delivery] : receiver.deliveries()) EXPECT_EQ(delivery.other_bodies, 0u);
  std::string said;
  EXPECT_EQ(
      run_program({"doctor", "--set", "data=" + copy_, "--set", "pipelines=" + settings_.pipelines},
                  &said),
      kDoctorContent)
      << said;
  EXPECT_NE(said.find("ok    store"), std::string::npos) << said;
  EXPECT_EQ(said.find("missing"), std::string::npos) << said;
}

TEST_F(Export, NeedsADirectoryThatIsNewAndAStore) {
  std::string said;
  EXPECT_EQ(run_export(&said), 4) << said;
  EXPECT_NE(said.find("E120"), std::string::npos) << said;
  EXPECT_FALSE(std::filesystem::exists(copy_));
  {
    ServerProcess server(settings_);
    EXPECT_EQ(server.stop(), 0);
  }
  std::filesystem::create_directories(copy_);
  std::ofstream(copy_ + "/mine") << "precious";
  EXPECT_EQ(run_export(&said), 2) << said;
  EXPECT_NE(said.find("is not empty"), std::string::npos) << said;
  EXPECT_EQ(file_text(copy_ + "/mine"), "precious");
}

TEST_F(Export, NamesTheBlobThatIsMissing) {
  std::string job;
  {
    ServerProcess server(settings_);
    job = submit_image(server.port(), make_photo(1), "Prefer: wait=120\r\n").text("id");
    EXPECT_EQ(server.stop(), 0);
  }
  const std::string digest = sha256(make_photo(1)).text().substr(strlen("sha256:"));
  EXPECT_TRUE(
      std::filesystem::remove(settings_.data + "/blobs/" + digest.substr(0, 2) + "/" + digest));
  std::string said;
  EXPECT_EQ(run_export(&said), 1) << said;
  EXPECT_NE(said.find("E127"), std::string::npos) << said;
  EXPECT_NE(said.find(digest), std::string::npos) << said;
  EXPECT_NE(said.find(job), std::string::npos) << said;
}

}  // namespace
}  // namespace millrace
