// Goal: a store that must not be opened is refused, with words; a killed process loses nothing it
// acknowledged and leaves no lock.
// Method: directories made wrong by hand; a child process that commits and is killed.
#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "engine/base/errors.h"
#include "engine/base/signals.h"
#include "engine/store/sqlite_schema.h"
#include "tests/contract/suite_record.h"
#include "tests/store/store_fixture.h"

namespace millrace {
namespace {

class SqliteOpen : public ::testing::Test {
 protected:
  SqliteOptions options() { return sqlite_options(directory_.path()); }
  Status refusal() {
    const auto store = open_sqlite_store(options());
    EXPECT_FALSE(store.ok());
    return store.ok() ? Status() : store.status();
  }
  void run_sql(const char* sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(options().path.c_str(), &db), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(db);
  }
  static Write first(const JobRecord& record) {
    return {std::make_shared<const JobRecord>(record), 0, {}};
  }
  TemporaryDirectory directory_;
};

TEST_F(SqliteOpen, DirectoriesAreMadeAsNeeded) {
  SqliteOptions o = options();
  o.path = directory_.path() + "/a/b/c/jobs.db";
  EXPECT_NE(open_store(o), nullptr);
}

TEST_F(SqliteOpen, ASecondStoreInTheSameProcessIsRefused) {
  auto store = open_store(options());
  const Status status = refusal();
  EXPECT_EQ(status.number(), errors::kStoreLocked);
  EXPECT_NE(status.message().find("process " + std::to_string(getpid())), std::string::npos);
  // The refused one has not let the lock go: another process is still kept out.
  const pid_t child = ::fork();
  if (child == 0) _exit(open_sqlite_store(options()).ok() ? 1 : 0);
  int code = -1;
  ::waitpid(child, &code, 0);
  EXPECT_EQ(code, 0);
  store.reset();
  EXPECT_NE(open_store(options()), nullptr);
}

TEST_F(SqliteOpen, ASecondProcessIsRefusedAndToldWhoHoldsTheStore) {
  int up[2], down[2];
  ASSERT_EQ(::pipe(up), 0);
  ASSERT_EQ(::pipe(down), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto store = open_sqlite_store(options());
    char byte = store.ok() ? 'y' : 'n';
    if (::write(up[1], &byte, 1) != 1 || ::read(down[0], &byte, 1) < 0) _exit(1);
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(up[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  const Status status = refusal();
  EXPECT_EQ(status.number(), errors::kStoreLocked);
  EXPECT_NE(status.message().find("process " + std::to_string(child)), std::string::npos)
      << status.message();
  signal_process(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_NE(open_store(options()), nullptr);
  for (const int fd : {up[0], up[1], down[0], down[1]}) ::close(fd);
}

TEST_F(SqliteOpen, AStoreOfANewerVersionIsRefused) {
  open_store(options());
  run_sql(fmt::format("PRAGMA user_version = {}", kSchemaVersion + 1).c_str());
  const Status status = refusal();
  EXPECT_EQ(status.number(), errors::kStoreVersion);
  EXPECT_NE(status.message().find(fmt::format("version {}", kSchemaVersion + 1)), std::string::npos)
      << status.message();
}

TEST_F(SqliteOpen, AnotherProgramsDatabaseIsRefused) {
  run_sql("CREATE TABLE t (x)");
  EXPECT_EQ(refusal().number(), errors::kStoreCorrupt);
}

TEST_F(SqliteOpen, AFileThatIsNoDatabaseIsRefused) {
  std::ofstream(options().path) << std::string(10'000, 'x');
  const Status status = refusal();
  EXPECT_EQ(status.number(), errors::kStoreCorrupt);
  EXPECT_NE(status.message().find("damaged"), std::string::npos) << status.message();
}

TEST_F(SqliteOpen, DamagedPagesAreCorruptAndNeverACrash) {
  {
    auto store = open_store(options());
    for (int i = 0; i < 200; i++) {
      ASSERT_EQ(store->commit({first(suite_record(i, 1'000'000 + i))}).at(0),
                WriteResult::kApplied);
    }
  }
  std::ifstream in(options().path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  std::mt19937 random(3);
  for (int round = 0; round < 60; round++) {
    std::string bad = good;
    for (int i = 0; i < 40; i++) bad[random() % bad.size()] = static_cast<char>(random());
    std::ofstream(options().path, std::ios::binary | std::ios::trunc) << bad;
    auto store = open_sqlite_store(options());
    if (!store.ok()) continue;
    std::string cursor;
    for (int pages = 0; pages < 100; pages++) {
      const auto page = (*store)->list({}, cursor, 10);
      if (!page.ok() || page->next.empty()) break;
      cursor = page->next;
    }
    [[maybe_unused]] const auto claimed = (*store)->claim({}, {}, 1000);
    std::filesystem::remove(options().path + "-wal");
  }
}

TEST_F(SqliteOpen, ADirectoryThatCannotBeMadeIsRefused) {
  std::ofstream(directory_.path() + "/file") << "x";
  SqliteOptions o = options();
  o.path = directory_.path() + "/file/jobs.db";
  const auto store = open_sqlite_store(o);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.status().number(), errors::kStoreOpen);
}

TEST_F(SqliteOpen, RemoteFileSystemsAreKnown) {
  EXPECT_EQ(remote_file_system(0x6969, "nfs4"), "NFS");
  EXPECT_EQ(remote_file_system(0xff534d42, "cifs"), "CIFS");
  EXPECT_EQ(remote_file_system(0xfe534d42, "cifs"), "SMB2");
  EXPECT_EQ(remote_file_system(0xfffffffffe534d42, "cifs"), "SMB2");  // f_type is signed
  EXPECT_EQ(remote_file_system(0x65735546, "fuse.sshfs"), "fuse.sshfs");
  EXPECT_EQ(remote_file_system(0x65735546, "fuse.fuse-overlayfs"), "");
  EXPECT_EQ(remote_file_system(0xef53, "ext4"), "");
  EXPECT_EQ(remote_file_system(0x01021994, "tmpfs"), "");
  EXPECT_TRUE(check_local_file_system(directory_.path()).ok());
}

// What a killed process had acknowledged, as it told over a pipe.
struct Told {
  int seed;
  uint64_t rev;
};

[[noreturn]] void commit_until_killed(const SqliteOptions& options, int round, int pipe) {
  const auto store = open_sqlite_store(options);
  if (!store.ok()) _exit(1);
  for (int i = 0;; i++) {
    std::vector<Write> batch;
    std::vector<Told> told;
    for (int k = 0; k < 5; k++) {
      const int seed = round * 100'000 + i * 5 + k;
      batch.push_back({std::make_shared<const JobRecord>(suite_record(seed)), 0, {}});
      told.push_back({seed, 1});
      if (i == 0) continue;
      JobRecord next = suite_record(seed - 5);
      next.rev = 2;
      batch.push_back({std::make_shared<const JobRecord>(next), 1, next.owner});
      told.push_back({seed - 5, 2});
    }
    for (const WriteResult result : (*store)->commit(batch)) {
      if (result != WriteResult::kApplied) _exit(1);
    }
    const size_t size = told.size() * sizeof(Told);
    if (::write(pipe, told.data(), size) != static_cast<ssize_t>(size)) _exit(1);
  }
}

TEST_F(SqliteOpen, AKilledProcessLosesNothingItAcknowledgedAndLeavesNoLock) {
  std::mt19937 random(5);
  std::map<int, uint64_t> revs;
  for (int round = 0; round < 30; round++) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) commit_until_killed(options(), round, pipe[1]);
    ::close(pipe[1]);
    Told told{};
    // So many acknowledgements, and wherever the child is then.
    for (auto left = static_cast<int>(random() % 200); left > 0; left--) {
      ASSERT_EQ(::read(pipe[0], &told, sizeof told), static_cast<ssize_t>(sizeof told));
      revs[told.seed] = std::max(revs[told.seed], told.rev);
    }
    signal_process(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (::read(pipe[0], &told, sizeof told) == static_cast<ssize_t>(sizeof told)) {
      revs[told.seed] = std::max(revs[told.seed], told.rev);
    }
    ::close(pipe[0]);
    const auto store = open_store(options());
    ASSERT_NE(store, nullptr);
    for (const auto& [seed, rev] : revs) {
      const auto job = store->read(suite_record(seed).key);
      ASSERT_TRUE(job.ok() && job->has_value()) << seed;
      ASSERT_GE((*job)->record.rev, rev);
    }
  }
}

}  // namespace
}  // namespace millrace
