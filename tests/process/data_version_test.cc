// Goal: a data directory outlives the program that wrote it. Today's program goes on with what each
// format left behind, again and again; one of a later format, or of none that ever was, is refused
// before a byte of it is changed, with words that say what to do.
// Method: frozen/vN.tar.gz is a data directory as a killed server left it, with jobs in every
// state, beside jobs.json, what that server said of them. To make the next one (only when the
// format changes; the old ones stay): MILLRACE_FREEZE=tests/process/frozen/vN.tar.gz process_tests
// --gtest_also_run_disabled_tests --gtest_filter=*Freeze.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/base/digest.h"
#include "tests/process/frozen_data.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

constexpr off_t kVersionAt = 60;  // user_version in the header of a SQLite file, big-endian

class DataVersion : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = make_directory("version");
    settings_ = settings_in(directory_);
    database_ = settings_.data + "/millrace.db";
    // The frozen jobs ended long ago, and are to be kept all the same.
    // One of them runs for an hour: nobody waits for it.
    settings_.extra = {"steps=" + all_steps(directory_), "retention=36500d", "drain=100ms",
                       "workers.cpu=2"};
  }
  void TearDown() override { remove_tree(directory_); }

  void thaw(int format) {
    FrozenData frozen = thaw_data(directory_, format);
    at_rest_ = std::move(frozen.at_rest);
    unfinished_ = std::move(frozen.unfinished);
  }
  static std::string id_of(const Value& job) { return job.find("id")->as_string(); }
  static void expect_said_again(uint16_t port, const Value& job) {
    const Reply reply = ask(port, "GET", "/v1/jobs/" + id_of(job));
    EXPECT_EQ(reply.status, 200);
    EXPECT_TRUE(still_says(reply.json, job))
        << "then: " << canonical_json(job) << "\nnow:  " << reply.shown();
  }
  // Result and original of a job of the grayscale pipeline.
  static void expect_pictures(uint16_t port, const std::string& job) {
    const Reply reply = ask(port, "GET", "/v1/jobs/" + job);
    const Reply gray = ask(port, "GET", "/v1/jobs/" + job + "/outputs/image");
    EXPECT_EQ(sha256(gray.body).text(), reply.text("outputs.image.blob")) << reply.shown();
    const Reply original = ask(port, "GET", "/v1/files/default/originals/" + job + ".jpg");
    EXPECT_EQ(sha256(original.body).text(), reply.text("inputs.image.blob")) << reply.shown();
  }
  void set_version(int version) const {
    std::fstream file(database_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(kVersionAt);
    const char bytes[4] = {0, 0, 0, static_cast<char>(version)};
    file.write(bytes, sizeof bytes);
    ASSERT_TRUE(file.good());
  }
  int version() const { return file_text(database_).at(kVersionAt + 3); }
  int doctor(std::string* said) const {
    return run_program({"doctor", "--set", "data=" + settings_.data, "--set",
                        "pipelines=" + settings_.pipelines, "--set", settings_.extra.front()},
                       said);
  }
  // Neither the server nor doctor takes it: both say why, and what to do.
  void expect_refused(const std::string& code, const std::vector<std::string>& words) const {
    const std::string before = file_text(database_);
    for (const std::string verb : {"serve", "doctor"}) {
      std::vector<std::string> arguments = {verb};
      for (const std::string& set : {std::string("listen=127.0.0.1:0"), "data=" + settings_.data,
                                     "pipelines=" + settings_.pipelines, settings_.extra.front()}) {
        if (verb == "doctor" && set.starts_with("listen")) continue;
        arguments.insert(arguments.end(), {"--set", set});
      }
      std::string said;
      EXPECT_EQ(run_program(arguments, &said), 4) << said;
      EXPECT_NE(said.find(code + ": "), std::string::npos) << said;
      for (const std::string& word : words) {
        EXPECT_NE(said.find(word), std::string::npos) << word << " is not in " << said;
      }
    }
    EXPECT_TRUE(file_text(database_) == before) << "what was refused was changed";
    expect_in_reference(code);
  }

  std::string directory_, database_;
  ServerSettings settings_;
  std::vector<Value> at_rest_, unfinished_;  // as they were when they were frozen
};

class EachDataVersion : public DataVersion, public testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(From, EachDataVersion, testing::Range(1, kFrozenNewest + 1));

TEST_P(EachDataVersion, IsTakenUpWhereItWasLeft) {
  thaw(GetParam());
  std::string said;
  EXPECT_EQ(doctor(&said), kDoctorContent) << said;
  EXPECT_EQ(version(), GetParam()) << "who only looks leaves it to the program that wrote it";
  ASSERT_EQ(at_rest_.size(), 4u);
  ASSERT_EQ(unfinished_.size(), 2u);
  std::vector<std::string> states;
  std::string succeeded;
  for (const Value& job : at_rest_) {
    states.push_back(job.find("state")->as_string());
    if (states.back() == "succeeded") succeeded = id_of(job);
  }
  std::sort(states.begin(), states.end());
  EXPECT_EQ(states, (std::vector<std::string>{"cancelled", "failed", "succeeded", "waiting"}));
  for (int round = 0; round < 3; round++) {
    SCOPED_TRACE(fmt::format("start {}", round + 1));
    ServerProcess server(settings_);
    for (const Value& job : at_rest_) expect_said_again(server.port(), job);
    expect_pictures(server.port(), succeeded);
    for (const Value& job : unfinished_) {
      const std::string id = id_of(job);
      const bool slow = job.find("pipeline")->as_string() == "slow";
      if (slow && round == 0) {
        const Reply reply = ask(server.port(), "POST", "/v1/jobs/" + id + "/cancel");
        EXPECT_EQ(reply.status, 202) << reply.shown();
      }
      const Reply end = await_job(server.port(), id);
      EXPECT_EQ(end.text("state"), slow ? "cancelled" : "succeeded") << end.shown();
      EXPECT_TRUE(still_says(*end.json.find("inputs"), *job.find("inputs"))) << end.shown();
      if (!slow) expect_pictures(server.port(), id);
    }
    const Reply fresh = submit_image(server.port(), make_photo(3), "Prefer: wait=120\r\n");
    EXPECT_EQ(fresh.text("state"), "succeeded") << fresh.shown();
    if (round == 1) {
      server.kill();
    } else {
      EXPECT_EQ(server.stop(), 0) << file_text(server.log());
      EXPECT_EQ(version(), kFrozenNewest);
    }
  }
}

TEST_F(DataVersion, OtherOnesAreRefusedUntouched) {
  thaw(kFrozenNewest);
  { EXPECT_EQ(ServerProcess(settings_).stop(), 0); }  // the log is in the file now
  set_version(kFrozenNewest + 1);
  expect_refused("E122", {database_, fmt::format("has version {}", kFrozenNewest + 1),
                          "start the version that wrote it"});
  set_version(0);
  expect_refused("E125", {database_, "claims version 0", "restore"});
  set_version(kFrozenNewest);
  ServerProcess server(settings_);
  for (const Value& job : at_rest_) expect_said_again(server.port(), job);
}

// ---- how it is made

class DataVersionFreezer : public DataVersion {
 protected:
  static std::string submit(uint16_t port, const std::string& pipeline) {
    const Reply reply = ask(port, "POST", "/v1/pipelines/" + pipeline + "/jobs",
                            "Content-Type: application/json\r\n", "{}");
    EXPECT_EQ(reply.status, 202) << reply.shown();
    return reply.text("id");
  }
  static void await(uint16_t port, const std::string& job, const std::string& field,
                    const std::string& value) {
    EXPECT_TRUE(eventually([&] {
      return ask(port, "GET", "/v1/jobs/" + job).text(field) == value;
    })) << ask(port, "GET", "/v1/jobs/" + job).shown();
  }
};

TEST_F(DataVersionFreezer, DISABLED_Freeze) {
  const char* to = std::getenv("MILLRACE_FREEZE");
  ASSERT_NE(to, nullptr);
  for (const std::string step : {"fault", "fault_once"}) {
    std::ofstream(settings_.pipelines + (step == "fault" ? "/slow.yaml" : "/once.yaml"))
        << "pipeline: " << (step == "fault" ? "slow" : "once")
        << "\nsteps:\n  work:\n    use: " << step
        << "\n    timeout: 2h\n    with: { how: sleep, n: 3600000 }\ntimeout: 3h\n";
  }
  settings_.extra.back() = "workers.cpu=1";
  {
    ServerProcess server(settings_);
    const uint16_t port = server.port();
    await(port, submit_image(port, make_photo(0), "", "?label=kind:good").text("id"), "state",
          "succeeded");
    await(port, submit_image(port, make_photo(1).substr(0, 900)).text("id"), "state", "failed");
    const std::string cancelled = submit(port, "slow");
    await(port, cancelled, "steps.work.state", "running");
    EXPECT_EQ(ask(port, "POST", "/v1/jobs/" + cancelled + "/cancel").status, 202);
    await(port, cancelled, "state", "cancelled");
    await(port, submit(port, "once"), "steps.work.state", "running");
    server.kill();  // whether its effect happened only a person can say
  }
  ServerProcess server(settings_);
  const uint16_t port = server.port();
  const Reply list = ask(port, "GET", "/v1/jobs?pipeline=once&limit=1");
  await(port, list.json.find("jobs")->as_list().at(0).find("id")->as_string(), "state", "waiting");
  // It holds the only worker, so the next one stays as it was accepted.
  await(port, submit(port, "slow"), "steps.work.state", "running");
  EXPECT_EQ(submit_image(port, make_photo(2), "Idempotency-Key: frozen\r\n").status, 202);
  const Reply all = ask(port, "GET", "/v1/jobs");
  std::ofstream(directory_ + "/jobs.json") << all.body << "\n";
  server.kill();
  ASSERT_TRUE(
      tar({"-czf", to, "-C", directory_, "--owner=0", "--group=0", "--exclude=millrace.db.reserve",
           "--exclude=millrace.db-shm", "data", "jobs.json"}));
}

}  // namespace
}  // namespace millrace
