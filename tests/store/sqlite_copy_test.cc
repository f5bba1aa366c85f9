// Goal: a copy of a store in use is the store as of one moment, and whoever copies delays nobody.
// Method: a second connection that reads, as a copy under way does, beside commits and openings.
#include "engine/store/sqlite_copy.h"

#include <fstream>

#include "engine/base/errors.h"
#include "tests/contract/suite_record.h"
#include "tests/store/store_fixture.h"

namespace millrace {
namespace {

class SqliteCopy : public ::testing::Test {
 protected:
  SqliteCopy() {
    options_ = sqlite_options(directory_.path());
    options_.checkpoint_pages = 2;
  }
  ~SqliteCopy() override { stop_reading(); }

  // As sqlite3_backup_step() does until it has all pages.
  void start_reading() {
    ASSERT_EQ(sqlite3_open_v2(options_.path.c_str(), &reader_, SQLITE_OPEN_READONLY, nullptr),
              SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(reader_, "BEGIN; SELECT count(*) FROM jobs", nullptr, nullptr, nullptr),
              SQLITE_OK);
  }
  void stop_reading() {
    sqlite3_close(reader_);
    reader_ = nullptr;
  }
  void commit(SqliteStore* store, int seed) {
    const auto record = std::make_shared<const JobRecord>(suite_record(seed, 1'000'000 + seed));
    EXPECT_EQ(store->commit({{record, 0, {}}}), std::vector{WriteResult::kApplied});
  }
  static int64_t count(SqliteStore* store) { return *store->count_unfinished(); }
  uintmax_t log_bytes() { return std::filesystem::file_size(options_.path + "-wal"); }

  TemporaryDirectory directory_;
  SqliteOptions options_;
  sqlite3* reader_ = nullptr;
};

TEST_F(SqliteCopy, HasWhatWasCommittedBeforeAndCanBeOpened) {
  auto store = open_store(options_);
  for (int i = 0; i < 50; i++) commit(store.get(), i);
  SqliteOptions copy = options_;
  copy.path = directory_.path() + "/copy.db";
  ASSERT_TRUE(copy_sqlite_store(options_.path, copy.path).ok());
  commit(store.get(), 50);
  EXPECT_EQ(count(store.get()), 51);
  EXPECT_EQ(count(open_store(copy).get()), 50);
  EXPECT_EQ(copy_sqlite_store(directory_.path() + "/none.db", copy.path).number(),
            errors::kStoreOpen);
}

TEST_F(SqliteCopy, ADamagedStoreIsNotCopiedInSilence) {
  {
    auto store = open_store(options_);
    for (int i = 0; i < 200; i++) commit(store.get(), i);
  }
  std::fstream file(options_.path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(5 * 4096);
  file << std::string(3 * 4096, 'x');
  file.close();
  const Status status = copy_sqlite_store(options_.path, directory_.path() + "/copy.db");
  EXPECT_EQ(status.number(), errors::kStoreCorrupt) << status.message();
  EXPECT_NE(status.message().find("damaged"), std::string::npos) << status.message();
}

// It waited five seconds at each commit once.
TEST_F(SqliteCopy, WhileItIsMadeCommitsGoOnAndTheLogIsCutBackAfterwards) {
  auto store = open_store(options_);
  commit(store.get(), 0);
  start_reading();
  int seed = 1;
  for (; seed < 300; seed++) commit(store.get(), seed);
  const uintmax_t longest = log_bytes();
  stop_reading();
  for (; seed < 600; seed++) commit(store.get(), seed);
  EXPECT_LE(log_bytes(), longest + longest / 2) << "it begins anew instead of growing on";
  EXPECT_EQ(count(store.get()), 600);
}

TEST_F(SqliteCopy, WhileItIsMadeTheStoreCanBeOpened) {
  auto store = open_store(options_);
  commit(store.get(), 0);
  start_reading();
  commit(store.get(), 1);  // only in the log, which cannot be cut back now
  store.reset();
  store = open_store(options_);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(count(store.get()), 2);
  commit(store.get(), 2);
  EXPECT_EQ(count(store.get()), 3);
}

}  // namespace
}  // namespace millrace
