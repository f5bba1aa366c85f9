// Goal: a server starts with no library that only some servers need, and who needs one that is not
// there hears which. Method: the memory maps of a running server and of its template process; a
// file that is no library stands in the place of one.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "tests/process/trial.h"

namespace millrace {
namespace {

class Libraries : public testing::Test {
 protected:
  void SetUp() override { directory_ = make_directory("libraries"); }
  void TearDown() override { remove_tree(directory_); }

  std::string directory_;
};

std::string maps_of(pid_t pid) {
  return file_text("/proc/" + std::to_string(pid) + "/maps");
}

TEST_F(Libraries, AreLoadedWhereTheyAreWanted) {
  ServerProcess server(settings_in(directory_));
  const std::string maps = maps_of(server.pid());
  EXPECT_NE(maps.find("libsqlite3.so"), std::string::npos);
  EXPECT_EQ(maps.find("libmongoc"), std::string::npos);
  EXPECT_EQ(maps.find("libcurl"), std::string::npos);
  const std::string children = file_text("/proc/" + std::to_string(server.pid()) + "/task/" +
                                         std::to_string(server.pid()) + "/children");
  const std::string of_template = maps_of(std::atoi(children.c_str()));
  // Step `store` wants it, and could not load it any more in its sandbox.
  EXPECT_NE(of_template.find("libcurl.so"), std::string::npos) << children;
  EXPECT_EQ(of_template.find("libmongoc"), std::string::npos);
}

TEST_F(Libraries, OneThatIsMissingIsNamed) {
  std::ofstream(directory_ + "/libmongoc-1.0.so.0") << "no library\n";
  const ServerSettings settings = settings_in(directory_);
  ASSERT_EQ(setenv("LD_LIBRARY_PATH", directory_.c_str(), 1), 0);
  std::string said;
  EXPECT_EQ(run_program(
                {"serve", "--set", "listen=127.0.0.1:0", "--set", "data=" + settings.data, "--set",
                 "pipelines=" + settings.pipelines, "--set", "store=mongodb://127.0.0.1:1/none",
                 "--set", "blobs=file:" + directory_ + "/blobs"},
                &said),
            4)
      << said;
  unsetenv("LD_LIBRARY_PATH");
  EXPECT_NE(said.find("error E120: the driver for MongoDB cannot be loaded: "), std::string::npos)
      << said;
  EXPECT_NE(said.find("libmongoc-1.0-0"), std::string::npos) << said;
}

}  // namespace
}  // namespace millrace
