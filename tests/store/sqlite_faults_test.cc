// Goal: whatever fails, and whenever power goes: what was reported applied is there, nothing is
// half there, and a full disk loses nothing. Method: one load of batches over a file layer that
// fails the first, second, third … write or sync, until it runs through; after each failure the
// disk keeps a random part of what was not synced. Then the same for each read.
#include <random>

#include "engine/base/errors.h"
#include "tests/contract/suite_record.h"
#include "tests/store/lossy_vfs.h"
#include "tests/store/store_fixture.h"

namespace millrace {
namespace {

using Fault = LossyVfs::Fault;

Digest blob_of(int seed) {
  return sha256("blob " + std::to_string(seed));
}

// What the store must hold: per job the newest record reported applied, and the ones whose outcome
// nobody heard.
class Expected {
 public:
  void sent(const std::vector<Write>& batch) {
    for (const Write& write : batch) doubt_[write.record->key] = write.record;
  }
  void heard(const std::vector<Write>& batch, const std::vector<WriteResult>& results) {
    for (size_t i = 0; i < batch.size(); i++) {
      doubt_.erase(batch[i].record->key);
      if (results[i] == WriteResult::kApplied) sure_[batch[i].record->key] = batch[i].record;
    }
  }
  // While a read may fail: an answer is right, or says that there is none.
  void ask_each(SqliteStore* store) {
    for (const auto& [key, record] : sure_) {
      const auto job = store->read(key);
      if (job.ok()) {
        ASSERT_TRUE(job->has_value() && (*job)->record == *record);
      } else {
        ASSERT_EQ(job.status().number(), errors::kStoreFailed) << job.status().message();
      }
    }
    const auto page = store->list({}, "", 1000);
    if (page.ok()) {
      ASSERT_EQ(page->jobs.size(), sure_.size());
    } else {
      ASSERT_EQ(page.status().number(), errors::kStoreFailed) << page.status().message();
    }
  }
  void verify(SqliteStore* store) {
    for (const auto& [key, record] : sure_) {
      const auto job = store->read(key);
      ASSERT_TRUE(job.ok() && job->has_value()) << "an applied record is lost";
      const bool newer = doubt_.contains(key) && (*job)->record == *doubt_[key];
      ASSERT_TRUE(newer || (*job)->record == *record) << "a record is another than was applied";
    }
    for (const auto& [key, record] : doubt_) {
      const auto job = store->read(key);
      ASSERT_TRUE(job.ok());
      if (job->has_value() && !sure_.contains(key)) {
        ASSERT_TRUE((*job)->record == *record);
      }
    }
    // The side tables went with the records.
    const auto page = store->list({}, "", 1000);
    ASSERT_TRUE(page.ok());
    int64_t unfinished = 0;
    for (const JobRecord& record : page->jobs) {
      if (!is_final(record.state)) unfinished++;
      for (const Digest& digest : named_blobs(record)) ASSERT_TRUE(*store->names_blob(digest));
      if (record.labels.empty()) continue;
      const auto labelled = store->list({"", {}, {*record.labels.begin()}, 0}, "", 10);
      ASSERT_TRUE(labelled.ok());
      ASSERT_EQ(labelled->jobs.size(), 1u);
    }
    ASSERT_EQ(*store->count_unfinished(), unfinished);
  }

 private:
  std::map<JobKey, std::shared_ptr<const JobRecord>> sure_, doubt_;
};

class SqliteFaults : public ::testing::Test {
 protected:
  SqliteOptions options() {
    SqliteOptions options = sqlite_options(directory_.path());
    options.vfs = LossyVfs::kName;
    options.checkpoint_pages = checkpoint_pages_;
    return options;
  }

  void empty_directory() {
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      std::filesystem::remove_all(entry);
    }
  }

  JobRecord job(int seed) {
    JobRecord record = suite_record(seed, 1'000'000 + seed);
    record.inputs = suite_blob_text(blob_of(seed));
    record.labels["seed"] = std::to_string(seed);
    return record;
  }

  // Six rounds of new jobs, second revisions and ends. Throws Fatal where the process would end.
  void run_load(SqliteStore* store, Expected* expected, int first = 0) {
    std::vector<JobRecord> live;
    for (int round = 0; round < 6; round++) {
      std::vector<Write> batch;
      const auto add = [&](JobRecord record, uint64_t expected_rev) {
        batch.push_back({std::make_shared<const JobRecord>(std::move(record)), expected_rev,
                         expected_rev == 0 ? NodeId{} : suite_record(0).owner});
      };
      for (JobRecord& record : live) {
        record.rev++;
        if (record.rev == 3) record.state = JobState::kFailed;
        record.expire_at = record.rev == 3 ? 9'000'000 : 0;
        record.outputs = record.rev == 3 ? suite_blob_text(blob_of(1000)) : "";
        add(record, record.rev - 1);
      }
      std::erase_if(live, [](const JobRecord& record) { return record.rev == 3; });
      for (int i = 0; i < 4; i++) {
        live.push_back(job(first + round * 10 + i));
        add(live.back(), 0);
      }
      expected->sent(batch);
      const auto results = store->commit(batch);
      expected->heard(batch, results);
      full_ += std::count(results.begin(), results.end(), WriteResult::kNoSpace);
      if (full_ > 0) return;
    }
  }

  // Breaks at each call in turn; `after` runs on what was left, with what must be in it.
  void break_each_call(Fault fault) {
    std::mt19937 random(7);
    for (int at = 1;; at++) {
      ASSERT_LT(at, 1000);
      SCOPED_TRACE(at);
      LossyVfs vfs;
      empty_directory();
      auto store = open_store(options());
      Expected expected;
      bool ended = false;
      vfs.fail(fault, at);
      try {
        run_load(store.get(), &expected);
      } catch (const Fatal&) {
        ended = true;
      }
      const bool through = !vfs.reached();
      vfs.power_off();
      store.reset();
      vfs.power_loss(&random);
      store = open_store(options());
      ASSERT_NE(store, nullptr);
      expected.verify(store.get());
      if (HasFatalFailure()) return;
      if (through) {
        EXPECT_FALSE(ended);
        return;
      }
    }
  }

  TemporaryDirectory directory_;
  int checkpoint_pages_ = 6;  // after each batch
  int64_t full_ = 0;
};

TEST_F(SqliteFaults, PowerLossAtAnyMomentLosesNothingThatWasApplied) {
  break_each_call(Fault::kPowerOff);
}

// The sync of a checkpoint must not be what made the commits before it durable.
TEST_F(SqliteFaults, TheSameWithoutCheckpoints) {
  checkpoint_pages_ = 10'000;
  break_each_call(Fault::kPowerOff);
}

TEST_F(SqliteFaults, AFailedWriteOrSyncEndsTheProcessAndLosesNothing) {
  break_each_call(Fault::kIoError);
}

// Of an opening, a commit, a sweep or an answer. A record is never taken for absent, nor a store
// for a new one, because its page was not read.
TEST_F(SqliteFaults, AFailedReadIsSaidOrEndsTheProcessAndLosesNothing) {
  for (int at = 1;; at++) {
    ASSERT_LT(at, 2000);
    SCOPED_TRACE(at);
    LossyVfs vfs;
    empty_directory();
    Expected expected;
    auto store = open_store(options());
    run_load(store.get(), &expected);
    store.reset();
    vfs.fail(Fault::kUnreadable, at);
    bool ended = false;
    auto opened = open_sqlite_store(options());
    if (opened.ok()) {
      store = *std::move(opened);
      try {
        expected.ask_each(store.get());
        EXPECT_TRUE(store->sweep(10, 10, nullptr).ok());
        run_load(store.get(), &expected, 100);
      } catch (const Fatal&) {
        ended = true;
      }
    } else {
      const int number = opened.status().number();
      EXPECT_TRUE(number == errors::kStoreOpen || number == errors::kStoreFailed)
          << opened.status().message();
    }
    const bool through = !vfs.reached();
    vfs.fail(Fault::kNone, 0);
    store.reset();
    store = open_store(options());
    ASSERT_NE(store, nullptr);
    expected.verify(store.get());
    if (HasFatalFailure()) return;
    if (through) {
      EXPECT_FALSE(ended);
      EXPECT_GT(at, 50);  // there were so many reads
      return;
    }
  }
}

TEST_F(SqliteFaults, AFailedSyncIsFatalAndNotRetried) {
  LossyVfs vfs;
  auto store = open_store(options());
  vfs.fail(Fault::kIoError, 1, 1000);
  EXPECT_THROW(store->commit({{std::make_shared<const JobRecord>(job(1)), 0, {}}}), Fatal);
  vfs.power_off();
  store.reset();
}

// The reserve is real and the disk is not full: so the second try of accepted jobs must run into
// the fault as well for every record to come back kNoSpace.
TEST_F(SqliteFaults, AFullDiskAtAnyMomentIsAKnownOutcome) {
  for (int at = 1;; at++) {
    ASSERT_LT(at, 1000);
    SCOPED_TRACE(at);
    LossyVfs vfs;
    empty_directory();
    SqliteOptions o = options();
    auto store = open_store(o);
    Expected expected;
    full_ = 0;
    vfs.fail(Fault::kFull, at, 1 << 20);
    ASSERT_NO_THROW(run_load(store.get(), &expected));
    const bool through = !vfs.reached();
    expected.verify(store.get());
    if (HasFatalFailure()) return;
    if (!through && full_ > 0) {
      EXPECT_FALSE(store->has_space());
    }
    vfs.fail(Fault::kNone, 0);  // room again: accepted jobs go on
    store.reset();
    store = open_store(o);
    expected.verify(store.get());
    EXPECT_TRUE(store->has_space());
    EXPECT_EQ(store->commit({{std::make_shared<const JobRecord>(job(999)), 0, {}}}).at(0),
              WriteResult::kApplied);
    if (HasFatalFailure() || through) return;
  }
}

TEST_F(SqliteFaults, OnAFullDiskAcceptedJobsGoOnFromTheReserveAndNewOnesWait) {
  LossyVfs vfs;
  auto store = open_store(options());
  const JobRecord accepted = job(1);
  ASSERT_EQ(store->commit({{std::make_shared<const JobRecord>(accepted), 0, {}}}).at(0),
            WriteResult::kApplied);
  EXPECT_TRUE(std::filesystem::exists(options().path + ".reserve"));
  JobRecord next = accepted;
  next.rev = 2;
  vfs.fail(Fault::kFull, 1);  // one write fails, the reserve is given back, the rest has room
  const auto results = store->commit({{std::make_shared<const JobRecord>(job(2)), 0, {}},
                                      {std::make_shared<const JobRecord>(next), 1, next.owner}});
  EXPECT_EQ(results, (std::vector<WriteResult>{WriteResult::kNoSpace, WriteResult::kApplied}));
  EXPECT_FALSE(std::filesystem::exists(options().path + ".reserve"));
  EXPECT_FALSE(store->has_space());
  // Without the reserve a new job is not even tried.
  EXPECT_EQ(store->commit({{std::make_shared<const JobRecord>(job(2)), 0, {}}}).at(0),
            WriteResult::kNoSpace);
}

TEST_F(SqliteFaults, ASweepOnAFullDiskIsRefusedAndHarmless) {
  LossyVfs vfs;
  auto store = open_store(options());
  JobRecord record = job(1);
  record.state = JobState::kSucceeded;
  record.expire_at = 5;
  ASSERT_EQ(store->commit({{std::make_shared<const JobRecord>(record), 0, {}}}).at(0),
            WriteResult::kApplied);
  vfs.fail(Fault::kFull, 1, 100);
  EXPECT_EQ(store->sweep(10, 10, nullptr).status().number(), errors::kNoSpace);
  EXPECT_EQ(store->put_definitions({{sha256("x"), "x"}}).number(), errors::kNoSpace);
  vfs.fail(Fault::kNone, 0);
  EXPECT_TRUE(store->read(record.key)->has_value());
  EXPECT_EQ(*store->sweep(10, 10, nullptr), 1);
}

}  // namespace
}  // namespace millrace
