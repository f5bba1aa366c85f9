#include "tests/transfer/transfer_fixture.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cmake/tree.h"

namespace millrace {
namespace {

constexpr int kBeingTold = 4, kQueued = 4;
bool installed() {
  return DatabaseServer::installed() && BucketServer::installed();
}

void await(uint16_t port, const std::string& job, const std::string& field,
           const std::string& value) {
  EXPECT_TRUE(eventually([&] { return ask(port, "GET", "/v1/jobs/" + job).text(field) == value; }))
      << ask(port, "GET", "/v1/jobs/" + job).shown();
}

void write_pipeline(const std::string& directory, const std::string& name,
                    const std::string& step) {
  std::ofstream(directory + "/" + name + ".yaml")
      << "pipeline: " << name << "\nsteps:\n  work:\n    use: " << step
      << "\n    timeout: 2h\n    with: { how: sleep, n: 3600000 }\ntimeout: 3h\n";
}

}  // namespace

std::unique_ptr<DatabaseServer> Moving::server_;
std::unique_ptr<BucketServer> Moving::bucket_;
std::string Moving::shared_directory_;

void Moving::SetUpTestSuite() {
  if (!installed()) return;
  shared_directory_ = make_directory("transfer-servers");
  server_ = std::make_unique<DatabaseServer>(shared_directory_ + "/database");
  bucket_ = std::make_unique<BucketServer>(shared_directory_ + "/s3");
  for (const std::string& variable : BucketServer::environment()) {
    const size_t equals = variable.find('=');
    ::setenv(variable.substr(0, equals).c_str(), variable.c_str() + equals + 1, 1);
  }
}

void Moving::TearDownTestSuite() {
  server_.reset();
  bucket_.reset();
  if (!shared_directory_.empty()) remove_tree(shared_directory_);
}

void Moving::SetUp() {
  if (!installed()) {
    ASSERT_EQ(std::getenv("CI"), nullptr) << "the test servers are missing";
    GTEST_SKIP() << "./run test installs the database and the S3 server";
  }
  directory_ = make_directory("transfer");
  name_ = testing::UnitTest::GetInstance()->current_test_info()->name();
  old_ = embedded_settings(directory_ + "/old/data");
}

void Moving::TearDown() {
  if (!directory_.empty()) remove_tree(directory_);
}

ServerSettings Moving::embedded_settings(const std::string& data) const {
  std::filesystem::create_directories(directory_ + "/common");
  ServerSettings settings = settings_in(directory_ + "/common");
  settings.data = data;
  std::filesystem::create_directories(std::filesystem::path(data).parent_path());
  write_pipeline(settings.pipelines, "slow", "fault");
  write_pipeline(settings.pipelines, "once", "fault_once");
  const std::string steps = directory_ + "/common/steps";
  if (!std::filesystem::exists(steps)) all_steps(directory_ + "/common");
  settings.extra = {"webhook.allow=127.0.0.0/8", "steps=" + steps,
                    "stores={default: {url: \"file:" + directory_ + "/objects\"}}",
                    "workers.cpu=1"};
  return settings;
}

ServerSettings Moving::replica_settings(const std::string& name) const {
  ServerSettings settings = embedded_settings(directory_ + "/" + name + "/data");
  settings.extra.push_back("store=" + database());
  settings.extra.push_back("blobs=" + blobs());
  settings.extra.emplace_back("lease=3s");
  return settings;
}

std::string Moving::database() const {
  return server_->url(name_);
}

std::vector<std::string> Moving::import_command(const std::string& blobs) const {
  return {in_build("/millrace"),           "import", old_data(),       "--set",
          "store=" + database(),           "--set",  "blobs=" + blobs, "--set",
          "data=" + directory_ + "/import"};
}

int Moving::run_import(std::string* said, const std::vector<std::string>& settings) const {
  std::vector<std::string> command = import_command(blobs());
  command.erase(command.begin());
  for (const std::string& setting : settings) {
    command.emplace_back("--set");
    command.push_back(setting);
  }
  return run_program(command, said);
}

// ---- jobs

std::string Moving::query() const {
  return "?callback=" + url_encoded(receiver_.url());
}

Reply Moving::submit(uint16_t port, const std::string& key, int photo, const std::string& more) {
  photos_[key] = make_photo(photo);
  const Reply reply =
      submit_image(port, photos_[key], "Idempotency-Key: " + key + "\r\n", query() + more);
  EXPECT_EQ(reply.status, 202) << reply.shown();
  keyed_[key] = reply.text("id");
  notifications_++;
  return reply;
}

std::string Moving::start(uint16_t port, const std::string& pipeline) {
  const Reply reply = ask(port, "POST", "/v1/pipelines/" + pipeline + "/jobs",
                          "Content-Type: application/json\r\n", "{}");
  EXPECT_EQ(reply.status, 202) << reply.shown();
  await(port, reply.text("id"), "steps.work.state", "running");
  return reply.text("id");
}

void Moving::make_ended_jobs(uint16_t port) {
  const std::string done = submit(port, "done", 0, "&label=kind:good").text("id");
  EXPECT_EQ(await_job(port, done).text("state"), "succeeded");
  outputs_[done] = ask(port, "GET", "/v1/jobs/" + done + "/outputs/image").body;
  const std::string failed = submit_image(port, make_photo(1).substr(0, 900)).text("id");
  EXPECT_EQ(await_job(port, failed).text("state"), "failed");
  deleted_key_ = "deleted";
  const std::string deleted = submit(port, deleted_key_, 2).text("id");
  EXPECT_EQ(await_job(port, deleted).text("state"), "succeeded");
  EXPECT_EQ(ask(port, "DELETE", "/v1/jobs/" + deleted).status, 204);
  keyed_.erase(deleted_key_);
  for (const std::string& job : {done, failed}) {
    at_rest_[job] = ask(port, "GET", "/v1/jobs/" + job).body;
  }
}

void Moving::make_jobs() {
  std::string once;
  {
    ServerProcess server(old_);
    make_ended_jobs(server.port());
    once = start(server.port(), "once");
    server.kill();  // whether its effect happened only a person can say
  }
  receiver_.set_away(true);
  ServerProcess server(old_);
  await(server.port(), once, "state", "waiting");
  at_rest_[once] = ask(server.port(), "GET", "/v1/jobs/" + once).body;
  for (int i = 0; i < kBeingTold; i++) {
    unfinished_.push_back(submit(server.port(), fmt::format("told-{}", i), 10 + i).text("id"));
  }
  EXPECT_TRUE(receiver_.wait_for(notifications_, 120)) << "each was told, and heard 503";
  slow_ = start(server.port(), "slow");
  for (int i = 0; i < kQueued; i++) {
    unfinished_.push_back(submit(server.port(), fmt::format("queued-{}", i), 20 + i).text("id"));
  }
  server.kill();
  receiver_.set_away(false);
}

void Moving::make_queued_jobs(int count) {
  ServerProcess server(old_);
  slow_ = start(server.port(), "slow");
  for (int i = 0; i < count; i++) {
    unfinished_.push_back(submit(server.port(), fmt::format("queued-{}", i), i).text("id"));
  }
  server.kill();
}

// ---- afterwards

void Moving::expect_rest_as_before(uint16_t port) const {
  for (const auto& [job, said] : at_rest_) {
    EXPECT_EQ(ask(port, "GET", "/v1/jobs/" + job).body, said);
  }
  for (const auto& [job, bytes] : outputs_) {
    EXPECT_EQ(ask(port, "GET", "/v1/jobs/" + job + "/outputs/image").body, bytes);
    EXPECT_NE(ask(port, "GET", "/v1/jobs?label=kind:good").body.find(job), std::string::npos);
  }
  for (const auto& [key, job] : keyed_) {
    const std::string more = key == "done" ? "&label=kind:good" : "";
    const Reply again =
        submit_image(port, photos_.at(key), "Idempotency-Key: " + key + "\r\n", query() + more);
    EXPECT_EQ(again.text("id"), job) << again.shown();
  }
  if (deleted_key_.empty()) return;
  const Reply gone = submit_image(port, photos_.at(deleted_key_),
                                  "Idempotency-Key: " + deleted_key_ + "\r\n", query());
  EXPECT_EQ(gone.status, 410) << gone.shown();
}

void Moving::expect_all_end(uint16_t port) {
  const Reply cancelled = ask(port, "POST", "/v1/jobs/" + slow_ + "/cancel");
  EXPECT_TRUE(cancelled.status == 202 || cancelled.status == 409) << cancelled.shown();
  for (const std::string& job : unfinished_) {
    const Reply end = await_job(port, job);
    EXPECT_EQ(end.text("state"), "succeeded") << end.shown();
    EXPECT_EQ(ask(port, "GET", "/v1/jobs/" + job + "/outputs/image").status, 200);
  }
  EXPECT_EQ(await_job(port, slow_).text("state"), "cancelled");
  EXPECT_TRUE(receiver_.wait_for(notifications_, 120));
  expect_one_body_each();
}

void Moving::expect_one_body_each() const {
  const auto deliveries = receiver_.deliveries();
  EXPECT_EQ(deliveries.size(), notifications_);
  for (const auto& [key, delivery] : deliveries) EXPECT_EQ(delivery.other_bodies, 0u) << key;
}

}  // namespace millrace
