// Goal: a record that cannot be used costs its job alone: every other one is read, listed, claimed
// and removed as before, what the damaged one names is kept, and it can be deleted.
// Method: a store of five jobs, one record of which is altered below the store.
#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/store/sqlite_schema.h"
#include "tests/contract/suite_record.h"
#include "tests/store/store_fixture.h"

namespace millrace {
namespace {

constexpr TimeMs kCreated = 1'000'000;
constexpr int kDamaged = 2;

class SqliteDamage : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = open_store(options());
    for (int i = 0; i < 5; i++) {
      JobRecord record = suite_record(i, kCreated + i);
      record.inputs = suite_blob_text(blob(i));
      record.keyed = true;
      records_.push_back(record);
      ASSERT_EQ(store->commit({{share(record), 0, {}}}).at(0), WriteResult::kApplied);
    }
  }
  SqliteOptions options() { return sqlite_options(directory_.path()); }
  static std::shared_ptr<const JobRecord> share(JobRecord record) {
    return std::make_shared<const JobRecord>(std::move(record));
  }
  static Digest blob(int job) { return sha256(fmt::format("blob of {}", job)); }
  void end_all() {
    auto store = open_store(options());
    for (JobRecord& record : records_) {
      record.rev++;
      record.state = JobState::kSucceeded;
      record.finished_at = record.created_at + 1;
      record.expire_at = record.created_at + 2;
      ASSERT_EQ(store->commit({{share(record), record.rev - 1, record.owner}}).at(0),
                WriteResult::kApplied);
    }
  }
  void run_sql(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(options().path.c_str(), &db), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
  // Gives the bytes of the damaged job's record to `alter` and stores what it makes of them.
  template <typename Alter>
  void damage(const Alter& alter) {
    RecordEncoder encoder;
    std::string bytes(encoder.encode(records_[kDamaged]));
    alter(&bytes);
    run_sql(fmt::format("UPDATE jobs SET record = x'{}' WHERE created_at = {}", to_hex(bytes),
                        kCreated + kDamaged));
  }
  // One bit of a text, which would still be one.
  void flip_a_bit() {
    damage([](std::string* bytes) { (*bytes)[bytes->find("image/png")] ^= 1; });
  }
  const JobKey& damaged_key() const { return records_[kDamaged].key; }
  void expect_damaged(const Status& status) const {
    EXPECT_EQ(status.number(), errors::kStoreCorrupt);
    EXPECT_NE(status.message().find(damaged_key().text()), std::string::npos) << status.message();
  }
  // Every other job is there, and the damaged one is named where it stands.
  void expect_alone(SqliteStore* store) {
    expect_damaged(store->read(damaged_key()).status());
    std::vector<JobKey> others, listed, claimed;
    for (int i = 0; i < 5; i++) {
      if (i == kDamaged) continue;
      others.push_back(records_[static_cast<size_t>(i)].key);
      const auto job = store->read(others.back());
      ASSERT_TRUE(job.ok() && job->has_value());
      EXPECT_EQ((*job)->record, records_[static_cast<size_t>(i)]);
    }
    for (const int limit : {1, 2, 3, 10}) {
      listed.clear();
      int damaged = 0;
      std::string cursor;
      do {
        const auto page = store->list({}, cursor, limit);
        ASSERT_TRUE(page.ok()) << page.status().message();
        ASSERT_LE(page->jobs.size() + page->damaged.size(), static_cast<size_t>(limit));
        for (const JobRecord& job : page->jobs) listed.insert(listed.begin(), job.key);
        for (const DamagedJob& job : page->damaged) {
          damaged++;
          EXPECT_EQ(job.key, damaged_key());
          expect_damaged(job.status);
        }
        cursor = page->next;
      } while (!cursor.empty());
      EXPECT_EQ(listed, others);
      EXPECT_EQ(damaged, 1);
    }
    std::optional<JobRecord> after;
    for (;;) {
      const auto page = store->claim({}, after, 2);
      ASSERT_TRUE(page.ok()) << page.status().message();
      for (const JobRecord& record : *page) claimed.push_back(record.key);
      if (page->size() < 2) break;
      after = page->back();
    }
    EXPECT_EQ(claimed, others);
    const auto told = store->take_damaged();
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].key, damaged_key());
    expect_damaged(told[0].status);
    EXPECT_TRUE(store->claim({}, {}, 10).ok());
    EXPECT_TRUE(store->take_damaged().empty()) << "once is enough";
  }

  TemporaryDirectory directory_;
  std::vector<JobRecord> records_;
};

TEST_F(SqliteDamage, AFlippedBitIsNoticedAndCostsItsJobAlone) {
  flip_a_bit();
  expect_alone(open_store(options()).get());
}

TEST_F(SqliteDamage, BytesThatAreNoRecordCostTheirJobAlone) {
  damage([](std::string* bytes) { bytes->resize(20); });
  expect_alone(open_store(options()).get());
}

// Its checksum is right; only its place is wrong.
TEST_F(SqliteDamage, TheRecordOfAnotherJobIsNoticed) {
  damage([this](std::string* bytes) {
    RecordEncoder encoder;
    *bytes = encoder.encode(records_[0]);
  });
  expect_alone(open_store(options()).get());
}

// Its checksum is right here as well, and a record of the first format had none.
TEST_F(SqliteDamage, AnUnfinishedRecordWithoutStepsCostsItsJobAlone) {
  damage([this](std::string* bytes) {
    RecordEncoder encoder;
    JobRecord record = records_[kDamaged];
    record.steps.clear();
    *bytes = encoder.encode(record);
  });
  expect_alone(open_store(options()).get());
}

TEST_F(SqliteDamage, WhatADamagedRecordNamesIsKept) {
  end_all();
  flip_a_bit();
  auto store = open_store(options());
  std::vector<Digest> orphans;
  // All others expire, one by one before and after it.
  run_sql(fmt::format("UPDATE jobs SET expire_at = expire_at + 1000000 WHERE created_at = {}",
                      kCreated + kDamaged));
  EXPECT_EQ(*store->sweep(kCreated + 1000, 10, &orphans), 4);
  EXPECT_EQ(orphans.size(), 4u);
  EXPECT_TRUE(std::find(orphans.begin(), orphans.end(), blob(kDamaged)) == orphans.end());
  EXPECT_TRUE(*store->names_blob(blob(kDamaged)));
  const auto naming = store->jobs_naming(blob(kDamaged), 5);
  ASSERT_TRUE(naming.ok() && naming->size() == 1);
  EXPECT_EQ(naming->front().key, damaged_key());
  // Its own time comes as that of any other.
  orphans.clear();
  EXPECT_EQ(*store->sweep(kCreated + 2'000'000, 10, &orphans), 1);
  EXPECT_EQ(orphans, std::vector<Digest>{blob(kDamaged)});
}

TEST_F(SqliteDamage, ADamagedJobCanBeDeleted) {
  for (const bool ended : {false, true}) {
    if (ended) {
      SetUp();
      end_all();
    }
    flip_a_bit();
    auto store = open_store(options());
    const int64_t before = *store->count_unfinished();
    ASSERT_TRUE(store->remove(damaged_key()).ok());
    EXPECT_EQ(*store->count_unfinished(), before - (ended ? 0 : 1));
    EXPECT_FALSE(store->read(damaged_key())->has_value());
    EXPECT_FALSE(*store->names_blob(blob(kDamaged)));
    EXPECT_EQ(store->remove(damaged_key()).number(), errors::kJobUnknown);
    store.reset();
    std::filesystem::remove(options().path);
    records_.clear();
  }
}

// What is resident is right: its next write mends the row.
TEST_F(SqliteDamage, TheNextWriteMendsTheRecord) {
  flip_a_bit();
  auto store = open_store(options());
  JobRecord next = records_[kDamaged];
  next.rev++;
  ASSERT_EQ(store->commit({{share(next), next.rev - 1, next.owner}}).at(0), WriteResult::kApplied);
  const auto job = store->read(damaged_key());
  ASSERT_TRUE(job.ok()) << job.status().message();
  EXPECT_EQ((*job)->record, next);
}

// A program that looks without serving must not keep an older one from serving.
TEST_F(SqliteDamage, AnOlderStoreIsBroughtUpOnlyByWhoWritesIt) {
  const auto version = [this] {
    SqliteConnection connection;
    EXPECT_TRUE(connection.open(options().path, SQLITE_OPEN_READONLY, nullptr).ok());
    return *connection.number("PRAGMA user_version");
  };
  run_sql("PRAGMA user_version = 1");
  SqliteOptions looks = options();
  looks.upgrade = false;
  EXPECT_EQ(*open_store(looks)->count_unfinished(), 5);
  EXPECT_EQ(version(), 1);
  EXPECT_EQ(*open_store(options())->count_unfinished(), 5);
  EXPECT_EQ(version(), kSchemaVersion);
}

}  // namespace
}  // namespace millrace
