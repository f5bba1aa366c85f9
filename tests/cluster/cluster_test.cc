// Goal: `./run cluster` shows what it says, and leaves nothing behind, however it ends.
// Method: its program with few photographs, in a directory for temporary files of its own.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "bench/harness/process.h"
#include "cmake/tree.h"
#include "tests/http/child.h"
#include "tests/store_mongo/mongo_server.h"

namespace millrace {
namespace {

class ClusterProgram : public testing::Test {
 protected:
  void SetUp() override {
    if (!MongoServer::installed()) {
      ASSERT_EQ(std::getenv("CI"), nullptr) << "the test server is missing";
      GTEST_SKIP() << MongoServer::program() << " is missing; ./run test installs it";
    }
    directory_ = make_directory("cluster-test");
    ::setenv("TMPDIR", directory_.c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("TMPDIR");
    if (!directory_.empty()) remove_tree(directory_);
  }
  static std::vector<std::string> command(int jobs) {
    return {in_build("/millrace-cluster"), "--jobs", std::to_string(jobs)};
  }
  // Processes that were told of the directory, by their command line.
  std::string processes() const {
    std::string found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
      std::ifstream file(entry.path() / "cmdline", std::ios::binary);
      std::stringstream text;
      text << file.rdbuf();
      if (text.str().find(directory_) != std::string::npos) found += text.str() + "\n";
    }
    return found;
  }
  void expect_nothing_left() const {
    EXPECT_TRUE(std::filesystem::is_empty(directory_));
    EXPECT_EQ(processes(), "");
  }

  std::string directory_;
};

TEST_F(ClusterProgram, ShowsThatEveryJobEndsOnceTwiceInARow) {
  for (int run = 0; run < 2; run++) {
    test::Child program(command(15));
    EXPECT_EQ(program.wait(), 0) << program.output << program.text;
    for (const char* line : {"replica 1 is killed", "goes on with its jobs", "taken over",
                             "effect keys with two bodies            0", "every job ended once"}) {
      EXPECT_NE(program.output.find(line), std::string::npos) << line << program.output;
    }
    expect_nothing_left();
  }
}

TEST_F(ClusterProgram, LeavesNothingWhenItIsInterrupted) {
  // It says so on stdout, which is read at the end only: the directory tells when it is at work.
  test::Child program(command(100'000));
  const auto at_work = [&] { return processes().find("replica-2") != std::string::npos; };
  const double until = now_seconds() + 120;
  while (!at_work() && now_seconds() < until) ::poll(nullptr, 0, 20);
  EXPECT_TRUE(at_work());
  program.signal(SIGINT);
  EXPECT_EQ(program.wait(), 130) << program.output << program.text;
  expect_nothing_left();
}

}  // namespace
}  // namespace millrace
