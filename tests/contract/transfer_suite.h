// What any store must do that jobs are moved into or out of.
#pragma once

#include <gtest/gtest.h>

#include "engine/base/errors.h"
#include "engine/store/transfer.h"
#include "tests/contract/suite_record.h"

namespace millrace {

// Jobs and a tombstone in every shape that stores treat differently; of any rev and owner.
inline std::vector<StoredJob> transfer_jobs() {
  std::vector<StoredJob> jobs;
  for (int i = 0; i < 7; i++) {
    JobRecord record = suite_record(i, 1'795'244'000'000 + i);
    record.rev = static_cast<uint64_t>(1 + 3 * i);
    record.keyed = i % 2 == 0;
    if (i > 0) record.inputs = suite_blob_text(sha256(std::to_string(i)));
    if (i == 1) record.labels = {{"kind", "good"}};
    if (i == 2) record.owner = {};
    if (i >= 4) {
      record.state = i == 4   ? JobState::kSucceeded
                     : i == 5 ? JobState::kFailed
                              : JobState::kCancelled;
      record.finished_at = record.created_at + 5;
      record.expire_at = record.created_at + 1'000'000;
    }
    jobs.push_back({record, false});
  }
  JobRecord rest;
  rest.key = suite_record(100).key;
  rest.rev = 9;
  rest.salt[3] = 5;
  rest.pipeline = "noop";
  rest.request = sha256("request");
  rest.state = JobState::kSucceeded;
  rest.keyed = true;
  rest.created_at = rest.finished_at = 1'795'244'000'000;
  rest.expire_at = rest.created_at + 1'000'000;
  jobs.push_back({rest, true});
  return jobs;
}

inline std::vector<StoredJob> all_stored(StoreTransfer* store, int page) {
  std::vector<StoredJob> all;
  for (const bool tombstones : {false, true}) {
    std::optional<JobKey> next = JobKey{};
    while (next) {
      const auto found = store->stored_after(tombstones, *next, page);
      EXPECT_TRUE(found.ok()) << found.status().message();
      if (!found.ok()) return all;
      EXPECT_TRUE(found->damaged.empty());
      all.insert(all.end(), found->jobs.begin(), found->jobs.end());
      next = found->next;
    }
  }
  return all;
}

inline void expect_stored(StoreTransfer* store, std::vector<StoredJob> wanted) {
  const auto before = [](const StoredJob& a, const StoredJob& b) {
    return std::pair(a.tombstone, a.record.key) < std::pair(b.tombstone, b.record.key);
  };
  std::sort(wanted.begin(), wanted.end(), before);
  for (const int page : {1, 3, 100}) {
    const std::vector<StoredJob> found = all_stored(store, page);
    ASSERT_EQ(found.size(), wanted.size()) << page;
    for (size_t i = 0; i < wanted.size(); i++) {
      EXPECT_TRUE(found[i].record == wanted[i].record) << i;
      EXPECT_EQ(found[i].tombstone, wanted[i].tombstone) << i;
    }
  }
}

// `Both` is a Store and a StoreTransfer, empty.
template <typename Both>
void expect_takes_and_gives(Both* store) {
  const std::vector<StoredJob> jobs = transfer_jobs();
  // Broken off in the middle, and repeated.
  ASSERT_TRUE(store->put_stored({jobs.begin(), jobs.begin() + 3}).ok());
  for (int i = 0; i < 2; i++) {
    const Status status = store->put_stored(jobs);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  expect_stored(store, jobs);
  EXPECT_EQ(*store->count_unfinished(), 4);
  JobFilter labelled;
  labelled.labels = {{"kind", "good"}};
  EXPECT_EQ(store->list(labelled, "", 10)->jobs.size(), 1u);
  EXPECT_TRUE(*store->names_blob(sha256("6")));

  // Who opened it goes on: each fits its own rev and owner.
  JobRecord next = jobs[1].record;
  const NodeId owner = next.owner;
  next.owner.bytes[0] = 42;
  next.rev++;
  EXPECT_EQ(store->commit({{std::make_shared<const JobRecord>(next), next.rev - 1, owner}}).at(0),
            WriteResult::kApplied);
  // From now on it is another image, and another job under a key is none of this move.
  const Status changed = store->put_stored(jobs);
  EXPECT_EQ(changed.number(), errors::kImportRefused) << changed.message();
  EXPECT_NE(changed.message().find(jobs[1].record.id().text()), std::string::npos);
  StoredJob other = jobs.back();
  other.record.salt[0]++;
  EXPECT_EQ(store->put_stored({other}).number(), errors::kImportRefused);

  ASSERT_TRUE(store->put_definitions({{sha256("a"), "one"}}).ok());
  ASSERT_TRUE(store->put_definitions({{sha256("b"), "two"}}).ok());
  Digest last;
  std::vector<std::string> sources;
  for (;;) {
    const auto page = store->definitions_after(last, 1);
    ASSERT_TRUE(page.ok()) << page.status().message();
    if (page->empty()) break;
    sources.push_back(page->at(0).source);
    last = page->at(0).digest;
  }
  EXPECT_EQ(sources.size(), 2u);
}

}  // namespace millrace
