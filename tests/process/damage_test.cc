// Goal: what a disk or a person damaged is never served as if it were right, and never brings the
// server down without a word. A database that cannot be trusted is refused, or the answer that
// needs the damaged part says so; a record that is altered costs its job, a blob that is missing or
// altered the job that names it. Doctor finds each of them.
// Method: the frozen data directory, damaged in one place, under the real program.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "engine/base/ids.h"
#include "tests/process/frozen_data.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPageBytes = 4096;
constexpr size_t kDigestWithin = 700;  // of a record's key
constexpr int kExitStoreOpen = 4, kExitStoreFailed = 5;

class Damage : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = make_directory("damage");
    settings_ = settings_in(directory_);
    settings_.extra = {"steps=" + all_steps(directory_), "retention=36500d", "drain=100ms",
                       "workers.cpu=2"};
    database_ = settings_.data + "/millrace.db";
    frozen_ = thaw_data(directory_);
  }
  void TearDown() override { remove_tree(directory_); }

  // The frozen log is copied into the database, and every job is at rest.
  void settle() {
    ServerProcess server(settings_);
    for (const Value& job : frozen_.unfinished) {
      const bool slow = job.find("pipeline")->as_string() == "slow";
      if (slow) ask(server.port(), "POST", "/v1/jobs/" + id_of(job) + "/cancel");
      const Reply end = await_job(server.port(), id_of(job));
      EXPECT_EQ(end.text("state"), slow ? "cancelled" : "succeeded") << end.shown();
      frozen_.at_rest.push_back(end.json);
    }
    frozen_.unfinished.clear();
    EXPECT_EQ(server.stop(), 0);
    EXPECT_FALSE(fs::exists(database_ + "-wal"));
  }
  static std::string id_of(const Value& job) { return job.find("id")->as_string(); }
  static void write(const std::string& path, const std::string& bytes) {
    fs::permissions(path, fs::perms::owner_all);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }
  int doctor(std::string* said) const {
    return run_program({"doctor", "--set", "data=" + settings_.data, "--set",
                        "pipelines=" + settings_.pipelines, "--set", settings_.extra[0]},
                       said);
  }
  // Every answer is right, or says that the store is damaged; the server goes on, or ends with the
  // words that doctor has. True: somebody noticed.
  bool serves_nothing_wrong() {
    bool noticed = false;
    fs::remove(settings_.data + ".log");
    ServerProcess server(settings_, ServerProcess::May::kDie);
    if (server.port() != 0) {
      for (const Value& job : frozen_.at_rest) {
        noticed =
            !right_or_damaged(ask(server.port(), "GET", "/v1/jobs/" + id_of(job)), job) || noticed;
      }
      const Reply list = ask(server.port(), "GET", "/v1/jobs");
      if (list.status == 200) {
        const size_t damaged = damaged_in(list).size();
        EXPECT_EQ(list.json.find("jobs")->as_list().size() + damaged, frozen_.at_rest.size());
        noticed = noticed || damaged > 0;
      } else if (list.status != 0) {
        expect_problem(list, 500, "E125");
        noticed = true;
      }
      const Reply fresh = submit_image(server.port(), make_photo(4));
      if (fresh.status == 202) {
        const Reply end = await_job(server.port(), fresh.text("id"));
        EXPECT_TRUE(end.status == 0 || end.text("state") == "succeeded") << end.shown();
      }
    }
    const bool ended = !server.running();
    const int code = server.stop();
    if (!ended && code == 0) return noticed;
    const std::string log = file_text(server.log());
    EXPECT_TRUE(server.port() == 0 || code == kExitStoreFailed) << code << log;
    EXPECT_NE(log.find("E125"), std::string::npos) << log;
    EXPECT_NE(log.find("restore"), std::string::npos) << log;
    return true;
  }
  static std::vector<std::string> damaged_in(const Reply& list) {
    std::vector<std::string> ids;
    const Value* damaged = list.json.find("damaged");
    if (damaged == nullptr) return ids;
    for (const Value& job : damaged->as_list()) {
      ids.push_back(id_of(job));
      EXPECT_EQ(job.find("code")->as_string(), "E125");
    }
    return ids;
  }
  // Of an id that is not known wholly: the key, and nothing of the salt.
  static std::string key_of(const std::string& id) { return id.substr(0, id.rfind('-')); }
  // Flips one bit of the request digest in each copy of the job's record: it would still decode.
  void flip_in_record(const std::string& id) {
    const JobKey key = JobId::parse(id)->key;
    std::string bytes = file_text(database_);
    const std::string mark = std::string("\5k\0\x10\0\0\0\0", 8) +
                             std::string(reinterpret_cast<const char*>(key.bytes.data()), 16);
    const std::string digest("\5q\0\x20\0\0\0\0", 8);
    int flipped = 0;
    for (size_t at = bytes.find(mark); at != std::string::npos; at = bytes.find(mark, at + 1)) {
      const size_t found = bytes.find(digest, at);
      if (found == std::string::npos || found - at > kDigestWithin) continue;  // the rest of one
      bytes[found + digest.size() + 7] ^= 4;
      flipped++;
    }
    ASSERT_GT(flipped, 0);
    write(database_, bytes);
  }
  // False: damaged.
  static bool right_or_damaged(const Reply& reply, const Value& job) {
    if (reply.status == 0) return false;  // its server ended, which is looked at later
    if (reply.status != 200) {
      expect_problem(reply, 500, "E125");
      return false;
    }
    EXPECT_TRUE(still_says(reply.json, job))
        << "was: " << canonical_json(job) << "\nis:  " << reply.shown();
    return true;
  }

  std::string directory_, database_;
  ServerSettings settings_;
  FrozenData frozen_;
};

TEST_F(Damage, AnyPageOfTheDatabaseIsNoticed) {
  settle();
  const std::string good = file_text(database_);
  ASSERT_GT(good.size(), 10 * kPageBytes);
  int noticed = 0;
  for (size_t page = 0; page * kPageBytes < good.size(); page++) {
    SCOPED_TRACE(fmt::format("page {}", page + 1));
    std::string bad = good;
    bad.replace(page * kPageBytes, kPageBytes, std::string(kPageBytes, page % 2 != 0 ? '\0' : 'x'));
    write(database_, bad);
    std::string said;
    const int code = doctor(&said);
    EXPECT_TRUE(code == 1 || code == kExitStoreOpen) << said;
    EXPECT_NE(said.find("mend  E125: "), std::string::npos) << said;
    EXPECT_NE(said.find("restore"), std::string::npos) << said;
    noticed += serves_nothing_wrong() ? 1 : 0;
    fs::remove(database_ + "-wal");
  }
  EXPECT_GT(noticed, 5);
  write(database_, good);
  EXPECT_FALSE(serves_nothing_wrong());
}

TEST_F(Damage, ATruncatedDatabaseIsNoticed) {
  settle();
  const std::string good = file_text(database_);
  for (const size_t left : {good.size() - kPageBytes, good.size() / 2, size_t{1000}, size_t{50}}) {
    SCOPED_TRACE(fmt::format("{} of {} bytes", left, good.size()));
    write(database_, good.substr(0, left));
    std::string said;
    const int code = doctor(&said);
    EXPECT_TRUE(code == 1 || code == kExitStoreOpen) << said;
    EXPECT_NE(said.find("mend  E125: "), std::string::npos) << said;
    EXPECT_TRUE(serves_nothing_wrong());
    fs::remove(database_ + "-wal");
  }
}

// One bit, in a record that ended and in one that is unfinished.
TEST_F(Damage, AFlippedBitInARecordCostsItsJobAlone) {
  std::string unfinished, ended;
  {
    ServerProcess server(settings_);
    for (const Value& job : frozen_.unfinished) {
      if (job.find("pipeline")->as_string() == "slow") {
        unfinished = id_of(job);
        continue;
      }
      frozen_.at_rest.push_back(await_job(server.port(), id_of(job)).json);
    }
    EXPECT_EQ(server.stop(), 0);
  }
  std::vector<Value> others;
  for (const Value& job : frozen_.at_rest) {
    const bool first = ended.empty() && job.find("state")->as_string() == "succeeded";
    if (first) ended = id_of(job);
    if (!first) others.push_back(job);
  }
  ASSERT_FALSE(ended.empty() || unfinished.empty());
  flip_in_record(ended);
  flip_in_record(unfinished);
  std::string said;
  EXPECT_EQ(doctor(&said), 1) << said;
  for (const std::string& id : {ended, unfinished}) {
    EXPECT_NE(said.find("mend  E125: job " + key_of(id)), std::string::npos) << said;
  }
  fs::remove(settings_.data + ".log");
  ServerProcess server(settings_);
  const std::string log = file_text(server.log());
  const size_t line = log.find(key_of(unfinished));
  ASSERT_NE(line, std::string::npos) << log;
  EXPECT_NE(log.find("E125", line), std::string::npos) << log;
  for (const Value& job : others) {
    EXPECT_TRUE(right_or_damaged(ask(server.port(), "GET", "/v1/jobs/" + id_of(job)), job));
  }
  for (const std::string& id : {ended, unfinished}) {
    expect_problem(ask(server.port(), "GET", "/v1/jobs/" + id), 500, "E125");
  }
  const Reply list = ask(server.port(), "GET", "/v1/jobs");
  EXPECT_EQ(list.status, 200) << list.shown();
  EXPECT_EQ(list.json.find("jobs")->as_list().size(), others.size());
  EXPECT_EQ(damaged_in(list).size(), 2u) << list.shown();
  const Reply fresh = submit_image(server.port(), make_photo(4), "Prefer: wait=30\r\n");
  EXPECT_EQ(fresh.text("state"), "succeeded") << fresh.shown();
  EXPECT_EQ(run_program({"export", directory_ + "/copy", "--set", "data=" + settings_.data}, &said),
            1)
      << said;
  EXPECT_NE(said.find("2 jobs are damaged"), std::string::npos) << said;
  for (const std::string& id : damaged_in(list)) {
    EXPECT_EQ(ask(server.port(), "DELETE", "/v1/jobs/" + id).status, 204);
    EXPECT_EQ(ask(server.port(), "GET", "/v1/jobs/" + id).status, 404);
  }
  EXPECT_TRUE(damaged_in(ask(server.port(), "GET", "/v1/jobs")).empty());
  EXPECT_EQ(server.stop(), 0);
  EXPECT_EQ(doctor(&said), kDoctorContent) << said;
}

// An emptied file looks like one that was never filled; the other files know better.
TEST_F(Damage, AnEmptiedOrAbsentDatabaseBesideBlobsIsNoNewOne) {
  settle();
  for (const bool absent : {false, true}) {
    absent ? static_cast<void>(fs::remove(database_)) : write(database_, "");
    std::string said;
    EXPECT_EQ(doctor(&said), kExitStoreOpen) << said;
    EXPECT_NE(said.find("mend  E125: "), std::string::npos) << said;
    fs::remove(settings_.data + ".log");
    ServerProcess server(settings_, ServerProcess::May::kDie);
    EXPECT_EQ(server.port(), 0);
    const std::string log = file_text(server.log());
    EXPECT_NE(log.find("error E125: "), std::string::npos) << log;
    EXPECT_NE(log.find("restore"), std::string::npos) << log;
  }
}

// A log that lost its end is what a power loss leaves of what was not acknowledged: nobody can tell
// it from one that lost more. Whatever is left is right.
TEST_F(Damage, ATruncatedLogLeavesWhatIsRight) {
  const std::string log = file_text(database_ + "-wal"), pages = file_text(database_);
  ASSERT_GT(log.size(), 4 * kPageBytes);
  for (const size_t left : {log.size() - 10, log.size() / 2, size_t{20}, size_t{0}}) {
    SCOPED_TRACE(fmt::format("{} of {} bytes", left, log.size()));
    write(database_, pages);
    std::ofstream(database_ + "-wal", std::ios::binary) << log.substr(0, left);
    std::string said;
    EXPECT_EQ(doctor(&said), kDoctorContent) << said;
    ServerProcess server(settings_);
    for (const Value& job : frozen_.at_rest) {
      const Reply reply = ask(server.port(), "GET", "/v1/jobs/" + id_of(job));
      if (reply.status == 404) continue;
      EXPECT_EQ(reply.status, 200) << reply.shown();
      for (const char* same : {"pipeline", "inputs", "created_at", "definition"}) {
        EXPECT_EQ(*reply.json.find(same), *job.find(same)) << reply.shown();
      }
    }
    const Reply fresh = submit_image(server.port(), make_photo(4), "Prefer: wait=120\r\n");
    EXPECT_EQ(fresh.text("state"), "succeeded") << fresh.shown();
    EXPECT_EQ(server.stop(), 0);
  }
}

TEST_F(Damage, ABlobThatIsAlteredOrMissingFailsItsJobAlone) {
  const auto ours = std::find_if(
      frozen_.unfinished.begin(), frozen_.unfinished.end(),
      [](const Value& job) { return job.find("pipeline")->as_string() == "grayscale"; });
  const std::string id = id_of(*ours);
  const std::string digest = ours->find("inputs")->find("image")->find("blob")->as_string();
  const std::string hex = digest.substr(digest.find(':') + 1);
  const std::string blob = settings_.data + "/blobs/" + hex.substr(0, 2) + "/" + hex;
  const std::string good = file_text(blob);
  std::string flipped = good;
  flipped[flipped.size() / 2] ^= 1;
  ASSERT_TRUE(tar({"-cf", directory_ + "/as_frozen.tar", "-C", directory_, "data"}));
  for (const std::string how : {"flipped", "shorter", "missing"}) {
    SCOPED_TRACE(how);
    fs::remove_all(settings_.data);
    ASSERT_TRUE(tar({"-xf", directory_ + "/as_frozen.tar", "-C", directory_}));
    write(blob, how == "flipped" ? flipped : good.substr(0, 100));
    if (how == "missing") fs::remove(blob);
    std::string said;
    EXPECT_EQ(doctor(&said), 1) << said;
    EXPECT_NE(said.find("mend  E127: the blob " + digest), std::string::npos) << said;
    EXPECT_NE(said.find("named by job " + id), std::string::npos) << said;
    ServerProcess server(settings_);
    const Reply end = await_job(server.port(), id);
    EXPECT_EQ(end.text("state"), "failed") << end.shown();
    EXPECT_EQ(end.text("error.code"), "E127") << end.shown();
    expect_sentence(end.text("error.message"));
    const Reply other = submit_image(server.port(), make_photo(4), "Prefer: wait=120\r\n");
    EXPECT_EQ(other.text("state"), "succeeded") << other.shown();
    const Reply read = ask(server.port(), "GET", "/v1/blobs/" + digest);
    EXPECT_TRUE(read.status == 404 || read.text("code") == "E127") << read.status;
    EXPECT_EQ(ask(server.port(), "GET", "/v1/files/default/originals/" + id + ".jpg").status, 404);
    // The right bytes mend it.
    const Reply again = submit_image(server.port(), good, "Prefer: wait=120\r\n");
    EXPECT_EQ(again.text("state"), "succeeded") << again.shown();
    EXPECT_EQ(ask(server.port(), "GET", "/v1/blobs/" + digest).body, good);
    EXPECT_EQ(server.stop(), 0);
  }
}

}  // namespace
}  // namespace millrace
