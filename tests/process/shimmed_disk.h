// ShimmedDisk: a server's settings on a directory whose reads and writes PowerCut can make fail.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "cmake/precompiled_test.h"
#include "tests/process/power_cut.h"
#include "tests/process/trial.h"

namespace millrace {

class ShimmedDisk : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's runtime must come before the shim";
#endif
    directory_ = make_directory("shimmed");
    settings_ = settings_in(directory_);
    std::filesystem::create_directories(settings_.data);
    power_ = std::make_unique<PowerCut>(settings_.data);
    power_->begin();
    settings_.environment = power_->environment();
  }
  void TearDown() override {
    power_.reset();
    if (!directory_.empty()) remove_tree(directory_);
  }

  std::string directory_;
  ServerSettings settings_;
  std::unique_ptr<PowerCut> power_;
};

}  // namespace millrace
