// Moving: an embedded server with jobs in every state, and a database and a bucket for where they
// go.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness/receiver.h"
#include "bench/harness/services.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {

class Moving : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;
  void TearDown() override;

  // ---- the old server
  const std::string& old_data() const { return old_.data; }
  // Jobs in every state; the server is killed in the middle of them.
  void make_jobs();
  // So many that are accepted and not begun.
  void make_queued_jobs(int count);

  // ---- where they go
  std::string database() const;
  std::string blobs() const { return bucket_->url("blobs-" + name_); }
  // `millrace import` into both, with other settings behind: its exit code.
  int run_import(std::string* said, const std::vector<std::string>& settings = {}) const;
  std::vector<std::string> import_command(const std::string& blobs) const;
  ServerSettings replica_settings(const std::string& name) const;
  ServerSettings embedded_settings(const std::string& data) const;

  // ---- what must be true of whoever has the jobs now
  // What rests is told as before, byte for byte; outputs and keys are the same.
  void expect_rest_as_before(uint16_t port) const;
  // What is unfinished ends, under its id; nothing was told with two bodies.
  void expect_all_end(uint16_t port);
  void expect_one_body_each() const;

  static std::unique_ptr<DatabaseServer> server_;
  static std::unique_ptr<BucketServer> bucket_;
  static std::string shared_directory_;

  std::string directory_, name_;
  ServerSettings old_;
  Receiver receiver_;
  size_t notifications_ = 0;                    // distinct ones, when all have ended
  std::map<std::string, std::string> at_rest_;  // id -> its JSON
  std::map<std::string, std::string> outputs_;  // id -> the bytes of its output
  std::map<std::string, std::string> keyed_;    // idempotency key -> id
  std::map<std::string, std::string> photos_;   // idempotency key -> what was sent
  std::vector<std::string> unfinished_;         // ids of jobs that will succeed
  std::string slow_;                            // holds the only worker until it is cancelled
  std::string deleted_key_;

 private:
  std::string query() const;
  Reply submit(uint16_t port, const std::string& key, int photo, const std::string& more = "");
  std::string start(uint16_t port, const std::string& pipeline);
  void make_ended_jobs(uint16_t port);
};

}  // namespace millrace
