// The contract of Store, as tests that every implementation passes: SQLite, the simulator's fake.
//
// To run it: derive a StoreFactory, then in one source file
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, StoreSuite, ::testing::Values(+[] {
//     return std::unique_ptr<StoreFactory>(new SqliteFactory);
//   }));
//
// and link GoogleTest. Header-only, so that a factory needs nothing of the others.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/base/errors.h"
#include "engine/store/store.h"
#include "tests/contract/suite_record.h"

namespace millrace {

class StoreFactory {
 public:
  virtual ~StoreFactory() = default;
  // A store that is empty the first time; after reopen() the same one with what survived.
  virtual Store* store() = 0;
  // As if the process had been killed and started again.
  virtual void reopen() = 0;
};

using MakeStoreFactory = std::unique_ptr<StoreFactory> (*)();

class StoreSuite : public ::testing::TestWithParam<MakeStoreFactory> {
 protected:
  void SetUp() override { factory_ = GetParam()(); }
  Store& store() { return *factory_->store(); }
  void reopen() { factory_->reopen(); }

  static Write write(JobRecord record, uint64_t expected_rev, const NodeId& owner) {
    return Write{std::make_shared<const JobRecord>(std::move(record)), expected_rev, owner};
  }
  static Write first(const JobRecord& record) { return write(record, 0, {}); }
  // The next revision of `record`, expecting that it is stored as it is.
  static JobRecord next(const JobRecord& record) {
    JobRecord after = record;
    after.rev++;
    after.write_id[1]++;
    return after;
  }
  static JobRecord ended(const JobRecord& record, TimeMs expire_at,
                         JobState state = JobState::kSucceeded) {
    JobRecord after = next(record);
    after.state = state;
    after.finished_at = record.created_at + 10;
    after.expire_at = expire_at;
    after.outputs = R"({"x":1})";
    return after;
  }
  WriteResult commit(const Write& one) { return store().commit({one}).at(0); }
  void must(const JobRecord& record) { ASSERT_EQ(commit(first(record)), WriteResult::kApplied); }
  void must(const JobRecord& before, const JobRecord& after) {
    ASSERT_EQ(commit(write(after, before.rev, before.owner)), WriteResult::kApplied);
  }
  std::optional<StoredJob> stored(const JobKey& key) {
    auto job = store().read(key);
    EXPECT_TRUE(job.ok()) << job.status().message();
    return job.ok() ? *job : std::nullopt;
  }
  void expect_stored(const JobRecord& record) {
    const auto job = stored(record.key);
    ASSERT_TRUE(job.has_value());
    EXPECT_FALSE(job->tombstone);
    EXPECT_TRUE(job->record == record);
  }
  std::vector<JobRecord> claim(const std::optional<JobRecord>& after = {}, int max = 100) {
    auto claimed = store().claim(self(), after, max);
    EXPECT_TRUE(claimed.ok()) << claimed.status().message();
    return claimed.ok() ? *claimed : std::vector<JobRecord>{};
  }
  // All pages of a list.
  std::vector<JobKey> listed(const JobFilter& filter, int limit = 3) {
    std::vector<JobKey> keys;
    std::string cursor;
    do {
      const auto page = store().list(filter, cursor, limit);
      EXPECT_TRUE(page.ok()) << page.status().message();
      if (!page.ok()) return keys;
      EXPECT_LE(page->jobs.size(), static_cast<size_t>(limit));
      for (const JobRecord& job : page->jobs) keys.push_back(job.key);
      cursor = page->next;
    } while (!cursor.empty());
    return keys;
  }
  static NodeId self() {
    NodeId node;
    node.bytes[0] = 9;
    return node;
  }

  std::unique_ptr<StoreFactory> factory_;
};

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreSuite);

// ---- commit

TEST_P(StoreSuite, ARecordIsReadBackAsItWasWritten) {
  JobRecord record = suite_record(1);
  record.labels = {{"a", "1"}, {"b", ""}};
  record.error = JobError{160, "truncated", "the file ends early", "upload", 2};
  record.steps[0].tries = {{1, 5, 6, "timeout", "no answer"}};
  record.steps[0].frozen = sha256("frozen");
  record.plugins = {{"upload", 1}, {"store", 2}};
  must(record);
  expect_stored(record);
  reopen();
  expect_stored(record);
}

TEST_P(StoreSuite, RevOneIsWrittenOnlyWhereNothingIs) {
  const JobRecord record = suite_record(1);
  must(record);
  JobRecord other = suite_record(1);
  other.inputs = R"({"n":"other"})";
  EXPECT_EQ(commit(first(other)), WriteResult::kExists);
  expect_stored(record);
}

TEST_P(StoreSuite, ARevIsWrittenOnlyOverTheOneBefore) {
  const JobRecord one = suite_record(1);
  must(one);
  const JobRecord two = next(one), three = next(two);
  EXPECT_EQ(commit(write(three, 2, one.owner)), WriteResult::kLost);
  expect_stored(one);
  must(one, two);
  EXPECT_EQ(commit(write(two, 1, one.owner)), WriteResult::kLost);
  expect_stored(two);
}

TEST_P(StoreSuite, ARevIsWrittenOnlyOverTheExpectedOwner) {
  const JobRecord one = suite_record(1);
  must(one);
  JobRecord two = next(one);
  two.owner = self();
  NodeId stranger;
  stranger.bytes[5] = 5;
  EXPECT_EQ(commit(write(two, 1, stranger)), WriteResult::kLost);
  expect_stored(one);
  EXPECT_EQ(commit(write(two, 1, one.owner)), WriteResult::kApplied);
  expect_stored(two);
}

TEST_P(StoreSuite, AnUpdateOfNothingIsLost) {
  const JobRecord one = suite_record(1);
  EXPECT_EQ(commit(write(next(one), 1, one.owner)), WriteResult::kLost);
  EXPECT_FALSE(stored(one.key).has_value());
}

TEST_P(StoreSuite, RecordsOfABatchAreIndependent) {
  const JobRecord old = suite_record(1), fresh = suite_record(2), also = suite_record(3);
  must(old);
  JobRecord stranger = next(suite_record(4));
  const auto results = store().commit({first(fresh), first(old), write(stranger, 1, old.owner),
                                       first(also), write(next(old), 1, old.owner)});
  const std::vector<WriteResult> expected = {WriteResult::kApplied, WriteResult::kExists,
                                             WriteResult::kLost, WriteResult::kApplied,
                                             WriteResult::kApplied};
  EXPECT_EQ(results, expected);
  reopen();
  expect_stored(fresh);
  expect_stored(also);
  expect_stored(next(old));
  EXPECT_FALSE(stored(stranger.key).has_value());
}

TEST_P(StoreSuite, WhatWasAppliedSurvivesARestart) {
  std::vector<JobRecord> records;
  for (int i = 0; i < 40; i++) {
    records.push_back(suite_record(i, 1'795'244'000'000 + i));
    must(records.back());
    if (i % 2 == 0) {
      const JobRecord after = next(records.back());
      must(records.back(), after);
      records.back() = after;
    }
  }
  reopen();
  for (const JobRecord& record : records) expect_stored(record);
}

TEST_P(StoreSuite, ALargeRecordIsKeptWhole) {
  JobRecord record = suite_record(1);
  record.inputs = R"({"text":")" + std::string(120'000, 'x') + "\"}";
  must(record);
  reopen();
  expect_stored(record);
}

// ---- claim and count

TEST_P(StoreSuite, UnfinishedJobsOfOthersAreClaimedOldestFirst) {
  std::vector<JobKey> expected;
  for (int i = 9; i >= 0; i--) {
    JobRecord record = suite_record(i, 1'000'000 + i);
    if (i == 3) record.owner = self();
    must(record);
    if (i == 5) must(record, ended(record, 5'000'000));
    if (i != 3 && i != 5) expected.insert(expected.begin(), record.key);
  }
  std::vector<JobKey> keys;
  std::optional<JobRecord> after;
  for (;;) {
    const auto page = claim(after, 3);
    if (page.empty()) break;
    EXPECT_LE(page.size(), 3u);
    for (const JobRecord& record : page) keys.push_back(record.key);
    after = page.back();
  }
  EXPECT_EQ(keys, expected);
}

TEST_P(StoreSuite, EqualTimesAreClaimedByKeyAndNoneTwice) {
  std::set<JobKey> expected, seen;
  for (int i = 0; i < 7; i++) {
    must(suite_record(i, 1'000'000));
    expected.insert(suite_record(i, 1'000'000).key);
  }
  std::optional<JobRecord> after;
  for (auto page = claim(after, 2); !page.empty(); page = claim(after, 2)) {
    for (const JobRecord& record : page) EXPECT_TRUE(seen.insert(record.key).second);
    after = page.back();
  }
  EXPECT_EQ(seen, expected);
}

TEST_P(StoreSuite, UnfinishedJobsAreCounted) {
  EXPECT_EQ(*store().count_unfinished(), 0);
  for (int i = 0; i < 5; i++) must(suite_record(i));
  EXPECT_EQ(*store().count_unfinished(), 5);
  commit(first(suite_record(0)));  // exists: not counted again
  must(suite_record(0), next(suite_record(0)));
  must(suite_record(1), ended(suite_record(1), 2'000'000));
  must(suite_record(2), ended(suite_record(2), 2'000'000, JobState::kFailed));
  EXPECT_EQ(*store().count_unfinished(), 3);
  reopen();
  EXPECT_EQ(*store().count_unfinished(), 3);
}

// ---- sweep and remove

TEST_P(StoreSuite, AnExpiredJobIsSweptAndAnUnfinishedOneNever) {
  must(suite_record(1));
  must(suite_record(2));
  must(suite_record(3));
  must(suite_record(2), ended(suite_record(2), 5000));
  must(suite_record(3), ended(suite_record(3), 5001, JobState::kCancelled));
  EXPECT_EQ(*store().sweep(4999, 100, nullptr), 0);
  EXPECT_EQ(*store().sweep(5000, 100, nullptr), 1);
  EXPECT_FALSE(stored(suite_record(2).key).has_value());
  EXPECT_TRUE(stored(suite_record(3).key).has_value());
  EXPECT_EQ(*store().sweep(kNever - 1, 100, nullptr), 1);
  EXPECT_TRUE(stored(suite_record(1).key).has_value());
  EXPECT_EQ(*store().count_unfinished(), 1);
}

TEST_P(StoreSuite, ASweepRemovesAtMostMax) {
  for (int i = 0; i < 5; i++) {
    must(suite_record(i));
    must(suite_record(i), ended(suite_record(i), 5000 + i));
  }
  EXPECT_EQ(*store().sweep(9000, 3, nullptr), 3);
  EXPECT_EQ(*store().sweep(9000, 3, nullptr), 2);
  EXPECT_EQ(*store().sweep(9000, 3, nullptr), 0);
}

TEST_P(StoreSuite, ASweepNamesTheBlobsThatNobodyNamesAnyMore) {
  const Digest only = sha256("only"), both = sha256("both");
  JobRecord a = suite_record(1), b = suite_record(2);
  a.inputs = suite_blob_text(only);
  a.steps[0].outputs = suite_blob_text(both);
  b.inputs = suite_blob_text(both);
  must(a);
  must(b);
  must(a, ended(a, 5000));
  std::vector<Digest> orphans;
  EXPECT_EQ(*store().sweep(5000, 100, &orphans), 1);
  EXPECT_EQ(orphans, std::vector<Digest>{only});
}

TEST_P(StoreSuite, OnlyAnEndedJobIsRemoved) {
  EXPECT_EQ(store().remove(suite_record(1).key).number(), errors::kJobUnknown);
  must(suite_record(1));
  EXPECT_EQ(store().remove(suite_record(1).key).number(), errors::kVerbForbidden);
  must(suite_record(1), ended(suite_record(1), 5000));
  EXPECT_TRUE(store().remove(suite_record(1).key).ok());
  EXPECT_FALSE(stored(suite_record(1).key).has_value());
  EXPECT_EQ(store().remove(suite_record(1).key).number(), errors::kJobUnknown);
  must(suite_record(1));  // not keyed: its key is free again
}

TEST_P(StoreSuite, ARemovedKeyedJobLeavesATombstoneUntilItExpires) {
  JobRecord record = suite_record(1);
  record.keyed = true;
  must(record);
  const JobRecord end = ended(record, 5000);
  must(record, end);
  ASSERT_TRUE(store().remove(record.key).ok());
  reopen();
  const auto job = stored(record.key);
  ASSERT_TRUE(job.has_value());
  EXPECT_TRUE(job->tombstone);
  EXPECT_EQ(job->record.key, record.key);
  EXPECT_EQ(job->record.salt, record.salt);
  EXPECT_EQ(job->record.pipeline, record.pipeline);
  EXPECT_EQ(job->record.request, record.request);
  EXPECT_EQ(job->record.expire_at, 5000);
  EXPECT_TRUE(job->record.inputs.empty() && job->record.outputs.empty());
  EXPECT_EQ(commit(first(record)), WriteResult::kExists);
  EXPECT_EQ(store().remove(record.key).number(), errors::kJobUnknown);
  EXPECT_TRUE(listed({}).empty());
  EXPECT_EQ(*store().sweep(5000, 10, nullptr), 1);
  EXPECT_FALSE(stored(record.key).has_value());
  must(record);
}

// ---- blobs

TEST_P(StoreSuite, EveryBlobOfARecordIsNamed) {
  const Digest in = sha256("in"), out = sha256("out"), spilled = sha256("spilled"),
               job_out = sha256("job out"), job_spilled = sha256("job spilled");
  JobRecord record = suite_record(1);
  record.inputs = suite_blob_text(in);
  must(record);
  EXPECT_TRUE(*store().names_blob(in));
  EXPECT_FALSE(*store().names_blob(out));
  JobRecord two = next(record);
  two.steps[0].outputs = suite_blob_text(out);
  two.steps[1].spilled = spilled;
  must(record, two);
  JobRecord three = ended(two, 5000);
  three.outputs = suite_blob_text(job_out);
  three.outputs_spilled = job_spilled;
  must(two, three);
  reopen();
  for (const Digest& digest : {in, out, spilled, job_out, job_spilled}) {
    EXPECT_TRUE(*store().names_blob(digest));
  }
  ASSERT_TRUE(store().remove(record.key).ok());
  for (const Digest& digest : {in, out, spilled, job_out, job_spilled}) {
    EXPECT_FALSE(*store().names_blob(digest));
  }
}

TEST_P(StoreSuite, ABlobThatARecordNoLongerNamesIsFree) {
  const Digest a = sha256("a"), b = sha256("b");
  JobRecord one = suite_record(1);
  one.inputs = suite_blob_text(a);
  must(one);
  JobRecord two = next(one);
  two.inputs = suite_blob_text(b);
  must(one, two);
  EXPECT_FALSE(*store().names_blob(a));
  EXPECT_TRUE(*store().names_blob(b));
  JobRecord three = next(two);
  three.inputs = "{}";
  must(two, three);
  EXPECT_FALSE(*store().names_blob(b));
}

TEST_P(StoreSuite, ALostWriteNamesNothing) {
  const Digest digest = sha256("x");
  must(suite_record(1));
  JobRecord late = next(next(suite_record(1)));
  late.inputs = suite_blob_text(digest);
  EXPECT_EQ(commit(write(late, 2, late.owner)), WriteResult::kLost);
  JobRecord again = suite_record(1);
  again.inputs = suite_blob_text(digest);
  EXPECT_EQ(commit(first(again)), WriteResult::kExists);
  EXPECT_FALSE(*store().names_blob(digest));
}

// ---- list

TEST_P(StoreSuite, AListIsByTimeThenKeyDescendingAcrossPages) {
  std::vector<std::pair<TimeMs, JobKey>> expected;
  for (int i = 0; i < 10; i++) {
    const JobRecord record = suite_record(i, 1'000'000 + i / 3);
    must(record);
    expected.emplace_back(record.created_at, record.key);
  }
  std::sort(expected.rbegin(), expected.rend());
  std::vector<JobKey> keys;
  for (const auto& [time, key] : expected) keys.push_back(key);
  for (const int limit : {1, 3, 10, 100}) EXPECT_EQ(listed({}, limit), keys);
}

TEST_P(StoreSuite, TheLastFullPageHasNoNext) {
  for (int i = 0; i < 4; i++) must(suite_record(i, 1000 + i));
  const auto page = store().list({}, "", 4);
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->jobs.size(), 4u);
  EXPECT_TRUE(page->next.empty());
}

TEST_P(StoreSuite, AJobAddedDuringPagingMovesNothing) {
  for (int i = 0; i < 4; i++) must(suite_record(i, 1000 + i));
  const auto page = store().list({}, "", 2);
  ASSERT_TRUE(page.ok());
  must(suite_record(9, 9000));
  const auto rest = store().list({}, page->next, 2);
  ASSERT_TRUE(rest.ok());
  ASSERT_EQ(rest->jobs.size(), 2u);
  EXPECT_EQ(rest->jobs[0].created_at, 1001);
  EXPECT_EQ(rest->jobs[1].created_at, 1000);
}

TEST_P(StoreSuite, AListShowsOnlyWhatEveryFilterMatches) {
  std::vector<JobRecord> records;
  for (int i = 0; i < 24; i++) {
    JobRecord record = suite_record(i, 1'000'000 + i);
    record.pipeline = i % 2 == 0 ? "even" : "odd";
    if (i % 3 == 0) record.labels["third"] = "yes";
    if (i % 4 == 0) record.labels["fourth"] = std::to_string(i);
    must(record);
    constexpr JobState kStates[] = {JobState::kQueued,    JobState::kRunning, JobState::kWaiting,
                                    JobState::kSucceeded, JobState::kFailed,  JobState::kCancelled};
    const JobState state = kStates[i % 6];
    JobRecord after = is_final(state) ? ended(record, 9'000'000, state) : next(record);
    after.state = state;
    must(record, after);
    records.push_back(after);
  }
  std::vector<JobFilter> filters(1);
  for (const char* pipeline : {"even", "odd", "none"}) filters.push_back({pipeline, {}, {}, 0});
  for (int state = 0; state <= 6; state++) {
    filters.push_back({"", static_cast<JobState>(state), {}, 0});
    filters.push_back({"even", static_cast<JobState>(state), {}, 1'000'005});
    filters.push_back({"", static_cast<JobState>(state), {{"third", "yes"}}, 0});
  }
  filters.push_back({"", {}, {{"third", "yes"}}, 0});
  filters.push_back({"", {}, {{"third", "no"}}, 0});
  filters.push_back({"", {}, {{"third", "yes"}, {"fourth", "12"}}, 0});
  filters.push_back({"odd", {}, {{"third", "yes"}}, 1'000'010});
  filters.push_back({"", {}, {}, 1'000'020});
  for (const JobFilter& filter : filters) {
    std::vector<JobKey> expected;
    for (auto record = records.rbegin(); record != records.rend(); ++record) {
      bool match = (filter.pipeline.empty() || record->pipeline == filter.pipeline) &&
                   (!filter.state || record->state == *filter.state) &&
                   record->created_at > filter.created_after;
      for (const auto& [name, value] : filter.labels) {
        const auto found = record->labels.find(name);
        match = match && found != record->labels.end() && found->second == value;
      }
      if (match) expected.push_back(record->key);
    }
    EXPECT_EQ(listed(filter), expected)
        << filter.pipeline << " " << (filter.state ? state_name(*filter.state) : "") << " "
        << filter.labels.size();
  }
}

TEST_P(StoreSuite, ARemovedJobIsInNoList) {
  JobRecord record = suite_record(1);
  record.labels = {{"a", "b"}};
  must(record);
  must(record, ended(record, 5000, JobState::kFailed));
  ASSERT_TRUE(store().remove(record.key).ok());
  EXPECT_TRUE(listed({}).empty());
  EXPECT_TRUE(listed({"", JobState::kFailed, {}, 0}).empty());
  EXPECT_TRUE(listed({"", {}, {{"a", "b"}}, 0}).empty());
}

TEST_P(StoreSuite, AForeignCursorIsRefused) {
  must(suite_record(1));
  for (const char* cursor : {"x", "0", "zz", "00112233445566778899", "../../etc/passwd"}) {
    EXPECT_EQ(store().list({}, cursor, 10).status().number(), errors::kQueryInvalid) << cursor;
  }
}

// ---- definitions

TEST_P(StoreSuite, DefinitionsAreKeptUnderTheirDigests) {
  const Definition one{sha256("graph"), "pipeline: x\n"}, two{sha256("other"), "pipeline: y\n"};
  EXPECT_FALSE(store().definition(one.digest)->has_value());
  ASSERT_TRUE(store().put_definitions({one}).ok());
  ASSERT_TRUE(store().put_definitions({one, two}).ok());
  reopen();
  EXPECT_EQ(store().definition(one.digest)->value_or(""), one.source);
  EXPECT_EQ(store().definition(two.digest)->value_or(""), two.source);
}

}  // namespace millrace

#include "tests/contract/store_suite_pages.h"
