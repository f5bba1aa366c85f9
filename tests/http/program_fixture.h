// Program: the built binary as a child process, with a directory and a pipeline of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cmake/tree.h"
#include "tests/http/child.h"

namespace millrace::test {

constexpr char kNoop[] =
    "pipeline: noop\nsteps:\n  work: { use: noop }\noutputs:\n  data: ${{ steps.work.data }}\n";

class Program : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(std::filesystem::exists(binary_)) << binary_ << " is not built";
    std::string name = testing::TempDir() + "program_test_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    std::filesystem::create_directory(directory_ + "/pipelines");
    write("pipelines/noop.yaml", kNoop);
  }
  void TearDown() override {
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ + "/" + name, std::ios::binary) << text;
  }
  std::vector<std::string> serve(const std::vector<std::string>& settings = {}) const {
    std::vector<std::string> out = {binary_, "serve"};
    std::vector<std::string> all = {"listen=127.0.0.1:0", "data=" + directory_ + "/data",
                                    "pipelines=" + directory_ + "/pipelines", "workers.cpu=1"};
    all.insert(all.end(), settings.begin(), settings.end());
    for (const std::string& setting : all) {
      out.emplace_back("--set");
      out.push_back(setting);
    }
    return out;
  }
  int code_of(const std::vector<std::string>& arguments, std::string* text = nullptr) const {
    std::vector<std::string> all = {binary_};
    all.insert(all.end(), arguments.begin(), arguments.end());
    Child child(all);
    const int code = child.wait();
    if (text != nullptr) *text = child.output + child.text;
    return code;
  }

  const std::string binary_ = in_build("/millrace");
  std::string directory_;
};

}  // namespace millrace::test
