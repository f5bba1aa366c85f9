// A directory per test, and a factory of SQLite stores in it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "engine/store/sqlite_store.h"

namespace millrace {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    // In memory where possible: what survives is the business of tests with their own disk.
    char name[] = "/dev/shm/millrace-store-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Ends a test as the process would end: commit must not return after a failed write.
struct Fatal {
  std::string message;
};

inline SqliteOptions sqlite_options(const std::string& directory) {
  SqliteOptions options;
  options.path = directory + "/jobs.db";
  options.reserve_bytes = 64 * 1024;
  options.on_fatal = [](const std::string& message) { throw Fatal{message}; };
  return options;
}

inline std::unique_ptr<SqliteStore> open_store(const SqliteOptions& options) {
  auto store = open_sqlite_store(options);
  EXPECT_TRUE(store.ok()) << store.status().message();
  return store.ok() ? std::move(store).value() : nullptr;
}

}  // namespace millrace
