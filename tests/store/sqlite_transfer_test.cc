// Goal: jobs move into and out of the embedded store as they are, and one that cannot be read stays
// behind alone.
#include <fmt/core.h>

#include "tests/contract/transfer_suite.h"
#include "tests/store/store_fixture.h"

namespace millrace {
namespace {

TEST(SqliteTransfer, TakesAndGivesJobsAsTheyAre) {
  TemporaryDirectory directory;
  const auto store = open_store(sqlite_options(directory.path()));
  ASSERT_NE(store, nullptr);
  expect_takes_and_gives(store.get());
}

TEST(SqliteTransfer, MovesWhatCanBeReadAndNamesTheRest) {
  TemporaryDirectory from_directory, to_directory;
  std::vector<StoredJob> jobs = transfer_jobs();
  {
    const auto from = open_store(sqlite_options(from_directory.path()));
    ASSERT_TRUE(from->put_stored(jobs).ok());
  }
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(sqlite_options(from_directory.path()).path.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db,
                         fmt::format("UPDATE jobs SET record = x'00' WHERE created_at = {}",
                                     jobs[3].record.created_at)
                             .c_str(),
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  const auto from = open_store(sqlite_options(from_directory.path()));
  const auto to = open_store(sqlite_options(to_directory.path()));
  const auto moved = transfer_store(from.get(), to.get(), to.get(), nullptr);
  ASSERT_TRUE(moved.ok()) << moved.status().message();
  EXPECT_EQ(moved->jobs, 6u);
  EXPECT_EQ(moved->unfinished, 3u);
  EXPECT_EQ(moved->tombstones, 1u);
  ASSERT_EQ(moved->damaged.size(), 1u);
  EXPECT_EQ(moved->damaged_count, 1u);
  EXPECT_EQ(moved->damaged[0].key, jobs[3].record.key);
  jobs.erase(jobs.begin() + 3);
  expect_stored(to.get(), jobs);
}

TEST(SqliteTransfer, ASummaryTellsStatesApart) {
  TemporaryDirectory directory;
  const std::vector<StoredJob> jobs = transfer_jobs();
  const auto store = open_store(sqlite_options(directory.path()));
  ASSERT_TRUE(store->put_stored(jobs).ok());
  const auto summary = store->summary();
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->jobs, 7u);
  EXPECT_EQ(summary->tombstones, 1u);
  EXPECT_EQ(summary->blobs, 6u);
  EXPECT_EQ(store->summary()->state, summary->state);
  JobRecord next = jobs[0].record;
  next.rev++;
  ASSERT_EQ(
      store->commit({{std::make_shared<const JobRecord>(next), next.rev - 1, next.owner}}).at(0),
      WriteResult::kApplied);
  EXPECT_NE(store->summary()->state, summary->state);
}

}  // namespace
}  // namespace millrace
