// Goal: jobs move from the embedded store into a database that replicas share, and back, and nobody
// outside notices: same ids, same bytes, same keys, each ends once.
// Method: the real program with jobs in every state, killed; `millrace import` or `export`; the
// servers that go on, and the receiver of the notifications, say what came of each.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/http/child.h"
#include "tests/transfer/transfer_fixture.h"

namespace millrace {
namespace {

TEST_F(Moving, ToADatabaseAndABucketKeepsJobsInEveryState) {
  make_jobs();
  std::string said;
  ASSERT_EQ(run_import(&said), 0) << said;
  EXPECT_NE(said.find("12 jobs (10 unfinished), 1 kept idempotency keys"), std::string::npos)
      << said;
  ServerProcess a(replica_settings("a")), b(replica_settings("b"));
  expect_rest_as_before(a.port());
  expect_rest_as_before(b.port());
  expect_all_end(b.port());
  const Reply fresh = submit_image(a.port(), make_photo(50), "Prefer: wait=120\r\n");
  EXPECT_EQ(fresh.text("state"), "succeeded") << fresh.shown();
  EXPECT_EQ(a.stop(), 0) << file_text(a.log());
  EXPECT_EQ(b.stop(), 0) << file_text(b.log());
}

TEST_F(Moving, ThatWasBrokenOffGoesOnWhenItIsRepeated) {
  constexpr int kJobs = 40;
  make_queued_jobs(kJobs);
  // A bucket that is not there: it has begun, and ends before the first blob.
  std::string said;
  EXPECT_EQ(run_import(&said, {"blobs=s3://millrace/none?endpoint=http://127.0.0.1:1"}), 4) << said;
  EXPECT_NE(said.find("E126"), std::string::npos) << said;
  {
    ServerProcess early(replica_settings("early"), ServerProcess::May::kDie);
    EXPECT_EQ(early.port(), 0);
    EXPECT_NE(file_text(early.log()).find("E128"), std::string::npos) << file_text(early.log());
  }
  bool finished = false;
  {
    test::Child killed(import_command(blobs()));
    EXPECT_TRUE(eventually([&] { return bucket_->objects("blobs-" + name_) > 0; }));
    killed.signal(SIGKILL);
    killed.wait();
    finished = killed.output.find("are in the store") != std::string::npos;
  }
  if (!finished) {
    test::Child killed(import_command(blobs()));
    EXPECT_TRUE(killed.read_until("now the jobs")) << killed.text;
    killed.signal(SIGKILL);
    killed.wait();
    finished = killed.output.find("are in the store") != std::string::npos;
  }
  // Whoever was slow to kill it killed nothing; then the repetition finds that all is done.
  said.clear();
  const int code = run_import(&said);
  if (code != 0) {
    EXPECT_NE(said.find("E129"), std::string::npos) << said;
    EXPECT_NE(said.find("has finished before"), std::string::npos) << said;
  }
  ServerProcess server(replica_settings("a"));
  expect_rest_as_before(server.port());
  expect_all_end(server.port());
}

TEST_F(Moving, IsRefusedWhereItWouldMixOrLoseJobs) {
  std::string said;
  EXPECT_EQ(run_import(&said), 4) << said;
  EXPECT_NE(said.find("E120"), std::string::npos) << said;
  EXPECT_NE(said.find("there is no store at"), std::string::npos) << said;
  make_queued_jobs(2);
  {
    ServerProcess server(old_);
    EXPECT_EQ(run_import(&said), 4) << said;
    EXPECT_NE(said.find("E121"), std::string::npos) << said;
    server.kill();
  }
  {
    ServerProcess replica(replica_settings("a"));
    EXPECT_EQ(run_import(&said), 4) << said;
    EXPECT_NE(said.find("E129"), std::string::npos) << said;
    EXPECT_NE(said.find("is at work"), std::string::npos) << said;
    EXPECT_EQ(submit_image(replica.port(), make_photo(7), "Prefer: wait=120\r\n").status, 200);
    EXPECT_EQ(replica.stop(), 0);
  }
  EXPECT_EQ(run_import(&said), 4) << said;
  EXPECT_NE(said.find("E129"), std::string::npos) << said;
  EXPECT_NE(said.find("holds jobs"), std::string::npos) << said;
  ServerProcess replica(replica_settings("a"));  // it has done nothing
  EXPECT_EQ(ask(replica.port(), "GET", "/v1/jobs").body.find(unfinished_[0]), std::string::npos);
}

TEST_F(Moving, OfAnotherStateBehindAnInterruptedOneIsRefused) {
  make_queued_jobs(2);
  std::string said;
  EXPECT_EQ(run_import(&said, {"blobs=s3://millrace/none?endpoint=http://127.0.0.1:1"}), 4) << said;
  {
    ServerProcess server(old_);
    EXPECT_EQ(submit_image(server.port(), make_photo(9)).status, 202);
    server.kill();
  }
  EXPECT_EQ(run_import(&said), 4) << said;
  EXPECT_NE(said.find("E129"), std::string::npos) << said;
  EXPECT_NE(said.find("another state"), std::string::npos) << said;
}

TEST_F(Moving, BackIntoADataDirectoryIsAnExport) {
  make_jobs();
  std::string said;
  ASSERT_EQ(run_import(&said), 0) << said;
  {
    receiver_.set_away(true);
    ServerProcess replica(replica_settings("a"));
    expect_rest_as_before(replica.port());
    replica.kill();
    receiver_.set_away(false);
  }
  const std::string back = directory_ + "/back/data";
  const ServerSettings from = replica_settings("a");
  std::vector<std::string> command = {"export", back, "--set", "data=" + from.data};
  for (const char* key : {"store=", "blobs="}) {
    for (const std::string& setting : from.extra) {
      if (setting.starts_with(key)) command.insert(command.end(), {"--set", setting});
    }
  }
  ASSERT_EQ(run_program(command, &said), 0) << said;
  ServerProcess server(embedded_settings(back));
  expect_rest_as_before(server.port());
  expect_all_end(server.port());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(Moving, IntoAnotherDataDirectoryIsARestoreAndBlobsMayChangeTheirPlace) {
  make_jobs();
  ServerSettings settings = embedded_settings(directory_ + "/new/data");
  settings.extra.push_back("blobs=" + blobs());
  const std::vector<std::string> command = {
      "import", old_data(), "--set", "data=" + settings.data, "--set", "blobs=" + blobs()};
  std::string said;
  ASSERT_EQ(run_program(command, &said), 0) << said;
  EXPECT_EQ(run_program(command, &said), 4) << said;
  EXPECT_NE(said.find("E129"), std::string::npos) << said;
  ServerProcess server(settings);
  expect_rest_as_before(server.port());
  expect_all_end(server.port());
  EXPECT_EQ(server.stop(), 0) << file_text(server.log());
}

TEST_F(Moving, NamesTheBlobThatIsMissing) {
  make_queued_jobs(3);
  const std::string digest = sha256(make_photo(1)).hex();
  EXPECT_TRUE(std::filesystem::remove(old_data() + "/blobs/" + digest.substr(0, 2) + "/" + digest));
  std::string said;
  EXPECT_EQ(run_import(&said), 1) << said;
  EXPECT_NE(said.find("E127"), std::string::npos) << said;
  EXPECT_NE(said.find(digest), std::string::npos) << said;
  EXPECT_NE(said.find(unfinished_[1]), std::string::npos) << said;
  ServerProcess server(replica_settings("a"));
  EXPECT_EQ(ask(server.port(), "POST", "/v1/jobs/" + slow_ + "/cancel").status, 202);
  EXPECT_EQ(await_job(server.port(), unfinished_[0]).text("state"), "succeeded");
  EXPECT_EQ(await_job(server.port(), unfinished_[1]).text("state"), "failed");
}

}  // namespace
}  // namespace millrace
