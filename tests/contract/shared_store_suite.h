// The contract of SharedStore beyond that of Store, as tests that every implementation passes.
//
// To run it: derive a SharedStoreFactory and instantiate SharedStoreSuite, as store_suite.h shows.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/errors.h"
#include "engine/store/shared_store.h"
#include "tests/contract/suite_record.h"

namespace millrace {

class SharedStoreFactory {
 public:
  virtual ~SharedStoreFactory() = default;
  // The same stored things as two nodes see them: 0 and 1. Empty at first.
  virtual SharedStore* node(int number) = 0;
};

using MakeSharedStoreFactory = std::unique_ptr<SharedStoreFactory> (*)();

class SharedStoreSuite : public ::testing::TestWithParam<MakeSharedStoreFactory> {
 protected:
  void SetUp() override { factory_ = GetParam()(); }
  SharedStore& store() { return *factory_->node(0); }
  SharedStore& other() { return *factory_->node(1); }

  static NodeId node(int number) {
    NodeId id;
    id.bytes[0] = static_cast<uint8_t>(number);
    return id;
  }
  static JobRecord record_of(int seed, const NodeId& owner) {
    JobRecord record = suite_record(seed, 1'000'000 + seed);
    record.owner = owner;
    return record;
  }
  static Write write(const JobRecord& record, uint64_t expected_rev, const NodeId& owner) {
    return Write{std::make_shared<const JobRecord>(record), expected_rev, owner};
  }
  static JobRecord next(const JobRecord& record) {
    JobRecord after = record;
    after.rev++;
    after.write_id[1]++;
    return after;
  }
  static JobRecord ended(const JobRecord& record) {
    JobRecord after = next(record);
    after.state = JobState::kSucceeded;
    after.finished_at = record.created_at + 10;
    after.expire_at = 5'000'000;
    return after;
  }
  WriteResult commit(const Write& one) { return store().commit({one}).at(0); }
  JobRecord accepted(int seed, const NodeId& owner) {
    JobRecord record = record_of(seed, owner);
    EXPECT_EQ(commit(write(record, 0, {})), WriteResult::kApplied);
    return record;
  }
  std::vector<JobRecord> accepted_many(int count, const NodeId& owner) {
    std::vector<JobRecord> records;
    std::vector<Write> batch;
    for (int i = 0; i < count; i++) {
      records.push_back(record_of(i, owner));
      batch.push_back(write(records.back(), 0, {}));
    }
    for (const WriteResult result : store().commit(batch)) EXPECT_EQ(result, WriteResult::kApplied);
    return records;
  }
  ClaimPage claim(SharedStore& by, const NodeId& self, const std::vector<NodeId>& owners,
                  int max = 100, const std::optional<JobPlace>& after = {}) {
    auto page = by.claim_from(self, owners, after, max);
    EXPECT_TRUE(page.ok()) << page.status().message();
    return page.ok() ? *std::move(page) : ClaimPage{};
  }
  std::optional<JobRecord> stored(const JobKey& key) {
    const auto job = store().read(key);
    EXPECT_TRUE(job.ok()) << job.status().message();
    return job.ok() && job->has_value() ? std::optional((*job)->record) : std::nullopt;
  }
  static PendingVerb verb(int number, const JobRecord& record, std::string what = "cancel") {
    PendingVerb verb;
    verb.id[6] = 0x70;
    verb.id[15] = static_cast<uint8_t>(number);
    verb.job = record.id();
    verb.verb = std::move(what);
    verb.argument = R"({"step":"gray"})";
    verb.created_at = 7'000'000 + number;
    return verb;
  }
  std::vector<PendingVerb> pending(const NodeId& owner, int max = 100) {
    auto verbs = store().pending_verbs(owner, max);
    EXPECT_TRUE(verbs.ok()) << verbs.status().message();
    return verbs.ok() ? *verbs : std::vector<PendingVerb>{};
  }

  std::unique_ptr<SharedStoreFactory> factory_;
};

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SharedStoreSuite);

// ---- leases

TEST_P(SharedStoreSuite, ARenewedLeaseIsSeenByAllNodes) {
  NodeLease lease;
  lease.node = node(1);
  lease.counter = 1;
  lease.lease_ms = 10'000;
  lease.waiting_steps = 7;
  lease.free_slots = 3;
  lease.name = "host:8080";
  ASSERT_TRUE(store().renew(lease).ok());
  lease.counter = 2;
  lease.departed = true;
  ASSERT_TRUE(store().renew(lease).ok());
  NodeLease second;
  second.node = node(2);
  ASSERT_TRUE(other().renew(second).ok());
  const auto leases = other().leases();
  ASSERT_TRUE(leases.ok());
  ASSERT_EQ(leases->size(), 2u);
  const NodeLease& first = (*leases)[0];
  EXPECT_EQ(first.node, node(1));
  EXPECT_EQ(first.counter, 2u);
  EXPECT_TRUE(first.departed);
  EXPECT_EQ(first.lease_ms, 10'000);
  EXPECT_EQ(first.waiting_steps, 7);
  EXPECT_EQ(first.free_slots, 3);
  EXPECT_EQ(first.name, "host:8080");
  EXPECT_EQ((*leases)[1].node, node(2));
  EXPECT_FALSE((*leases)[1].departed);
}

TEST_P(SharedStoreSuite, ANodeIsForgottenOnlyWhenItOwnsNothing) {
  NodeLease lease;
  lease.node = node(1);
  ASSERT_TRUE(store().renew(lease).ok());
  const JobRecord record = accepted(1, node(1));
  EXPECT_FALSE(*store().forget_node(node(1)));
  EXPECT_EQ(store().leases()->size(), 1u);
  ASSERT_EQ(claim(store(), node(9), {node(1)}).jobs.size(), 1u);
  EXPECT_TRUE(*store().forget_node(node(1)));
  EXPECT_TRUE(store().leases()->empty());
  EXPECT_EQ(stored(record.key)->owner, node(9));
}

TEST_P(SharedStoreSuite, ANodeThatWasGivenUpNeverRenewsAgain) {
  NodeLease lease;
  lease.node = node(1);
  lease.counter = 1;
  ASSERT_TRUE(store().renew(lease).ok());
  lease.counter = 2;
  ASSERT_TRUE(store().renew(lease).ok());
  EXPECT_FALSE(*other().give_node_up(node(1), 1));  // it lives: the counter has moved
  EXPECT_TRUE(*other().give_node_up(node(1), 2));
  EXPECT_TRUE(*other().give_node_up(node(1), 2));  // told again: it stays so
  lease.counter = 3;
  EXPECT_EQ(store().renew(lease).code(), Code::kConflict);
  EXPECT_TRUE((*store().leases())[0].departed);
  ASSERT_TRUE(*other().forget_node(node(1)));
  EXPECT_EQ(store().renew(lease).code(), Code::kConflict);  // nor is it born again
  EXPECT_TRUE(store().leases()->empty());
}

TEST_P(SharedStoreSuite, OwnersOfUnfinishedRecordsAreEachNamedOnce) {
  EXPECT_TRUE(store().owners()->empty());
  accepted(1, node(0));
  accepted(2, node(3));
  accepted(3, node(3));
  accepted(4, node(1));
  const JobRecord done = accepted(5, node(7));
  ASSERT_EQ(commit(write(ended(done), 1, node(7))), WriteResult::kApplied);
  EXPECT_EQ(*store().owners(), (std::vector<NodeId>{node(0), node(1), node(3)}));
}

// ---- claims

TEST_P(SharedStoreSuite, AClaimRewritesTheRecordsOfTheGivenOwnersOldestFirst) {
  std::vector<JobRecord> wanted;
  for (int i = 0; i < 9; i++) {
    const JobRecord record = accepted(i, node(i % 3));
    if (i % 3 != 2) wanted.push_back(record);
  }
  const ClaimPage page = claim(store(), node(9), {node(0), node(1)});
  ASSERT_EQ(page.jobs.size(), wanted.size());
  EXPECT_FALSE(page.next.has_value());
  for (size_t i = 0; i < wanted.size(); i++) {
    const JobRecord& mine = page.jobs[i].record;
    EXPECT_NE(mine.write_id, wanted[i].write_id);
    JobRecord expected = wanted[i];
    expected.owner = node(9);
    expected.rev = 2;
    expected.write_id = mine.write_id;
    EXPECT_TRUE(mine == expected) << i;
    EXPECT_TRUE(*stored(mine.key) == mine) << i;
  }
  EXPECT_TRUE(claim(store(), node(8), {node(0), node(1)}).jobs.empty());
}

TEST_P(SharedStoreSuite, AClaimGoesOnBehindItsLastPlace) {
  accepted_many(7, node(1));
  std::vector<JobKey> keys;
  std::optional<JobPlace> after;
  for (int pages = 0; pages < 4; pages++) {
    const ClaimPage page = claim(store(), node(9), {node(1)}, 3, after);
    EXPECT_LE(page.jobs.size(), 3u);
    for (const ClaimedJob& job : page.jobs) keys.push_back(job.record.key);
    after = page.next;
    if (!after) break;
  }
  ASSERT_EQ(keys.size(), 7u);
  for (int i = 0; i < 7; i++) EXPECT_EQ(keys[i], record_of(i, node(1)).key);
}

TEST_P(SharedStoreSuite, TheFormerOwnerLosesItsWrites) {
  const JobRecord one = accepted(1, node(1));
  ASSERT_EQ(claim(other(), node(2), {node(1)}).jobs.size(), 1u);
  EXPECT_EQ(commit(write(next(one), 1, node(1))), WriteResult::kLost);
  EXPECT_EQ(stored(one.key)->owner, node(2));
  EXPECT_EQ(stored(one.key)->rev, 2u);
}

TEST_P(SharedStoreSuite, ASubmissionUnderAClaimedKeyFindsTheJob) {
  JobRecord one = record_of(1, node(1));
  one.keyed = true;
  ASSERT_EQ(commit(write(one, 0, {})), WriteResult::kApplied);
  ASSERT_EQ(claim(other(), node(2), {node(1)}).jobs.size(), 1u);
  JobRecord again = one;
  again.salt[3] = 9;
  again.owner = node(1);
  EXPECT_EQ(commit(write(again, 0, {})), WriteResult::kExists);
  EXPECT_EQ(stored(one.key)->salt, one.salt);
  EXPECT_EQ(stored(one.key)->rev, 2u);
}

TEST_P(SharedStoreSuite, ClaimsBesideCommitsAndClaimsGiveEachRevToOne) {
  // Goal: two nodes that claim and an owner that commits never both have a rev.
  // Method: all three at once over the same records; then each record's stored image is compared
  // with what each of them was told.
  const std::vector<JobRecord> records = accepted_many(24, node(1));
  ClaimPage pages[2];
  factory_->node(1);
  std::thread first([&] { pages[0] = claim(other(), node(2), {node(1)}); });
  std::vector<Write> batch;
  for (const JobRecord& record : records) batch.push_back(write(next(record), 1, node(1)));
  const std::vector<WriteResult> results = store().commit(batch);
  pages[1] = claim(store(), node(3), {node(1)});
  first.join();
  std::map<JobKey, std::vector<JobRecord>> told;
  for (size_t i = 0; i < records.size(); i++) {
    if (results[i] == WriteResult::kApplied) told[records[i].key].push_back(*batch[i].record);
  }
  for (const ClaimPage& page : pages) {
    for (const ClaimedJob& job : page.jobs) told[job.record.key].push_back(job.record);
  }
  for (const JobRecord& record : records) {
    auto& images = told[record.key];
    ASSERT_FALSE(images.empty());
    std::sort(images.begin(), images.end(),
              [](const JobRecord& a, const JobRecord& b) { return a.rev < b.rev; });
    // A commit that was applied and claimed over at once may have heard kLost: the rest is gapless.
    const uint64_t from = images.front().owner == node(1) ? 2 : images.front().rev;
    EXPECT_LE(from, 3u);
    for (size_t i = 0; i < images.size(); i++) EXPECT_EQ(images[i].rev, from + i);
    EXPECT_TRUE(*stored(record.key) == images.back());
  }
}

TEST_P(SharedStoreSuite, ByItselfAClaimTakesOnlyWhatNoLivingNodeOwns) {
  for (const int number : {1, 2}) {
    NodeLease lease;
    lease.node = node(number);
    lease.departed = number == 2;
    ASSERT_TRUE(store().renew(lease).ok());
  }
  accepted(1, node(1));
  const JobRecord departed = accepted(2, node(2)), unknown = accepted(3, node(3)),
                  nobody = accepted(4, node(0));
  const auto claimed = store().claim(node(9), {}, 100);
  ASSERT_TRUE(claimed.ok());
  ASSERT_EQ(claimed->size(), 3u);
  EXPECT_EQ((*claimed)[0].key, departed.key);
  EXPECT_EQ((*claimed)[1].key, unknown.key);
  EXPECT_EQ((*claimed)[2].key, nobody.key);
  for (const JobRecord& record : *claimed) EXPECT_EQ(record.owner, node(9));
}

// ---- verbs

TEST_P(SharedStoreSuite, AVerbIsPendingForTheOwnerUntilItIsRemoved) {
  const JobRecord one = accepted(1, node(1)), two = accepted(2, node(2));
  const PendingVerb a = verb(1, one), b = verb(2, two), c = verb(3, one, "pause");
  ASSERT_TRUE(other().put_verb(c).ok());
  ASSERT_TRUE(other().put_verb(a).ok());
  ASSERT_TRUE(other().put_verb(a).ok());  // sent again: the same verb
  ASSERT_TRUE(other().put_verb(b).ok());
  const auto mine = pending(node(1));
  ASSERT_EQ(mine.size(), 2u);
  EXPECT_EQ(mine[0].id, a.id);
  EXPECT_EQ(mine[0].job, one.id());
  EXPECT_EQ(mine[0].verb, "cancel");
  EXPECT_EQ(mine[0].argument, a.argument);
  EXPECT_EQ(mine[0].created_at, a.created_at);
  EXPECT_EQ(mine[1].verb, "pause");
  EXPECT_EQ(pending(node(1), 1).size(), 1u);
  ASSERT_TRUE(store().remove_verbs({a.id}).ok());
  ASSERT_EQ(pending(node(1)).size(), 1u);
  EXPECT_EQ(pending(node(1))[0].id, c.id);
  EXPECT_EQ(pending(node(2)).size(), 1u);
}

TEST_P(SharedStoreSuite, AClaimBringsThePendingVerbs) {
  const JobRecord one = accepted(1, node(1));
  accepted(2, node(1));
  ASSERT_TRUE(store().put_verb(verb(2, one, "pause")).ok());
  ASSERT_TRUE(store().put_verb(verb(1, one)).ok());
  const ClaimPage page = claim(other(), node(9), {node(1)});
  ASSERT_EQ(page.jobs.size(), 2u);
  ASSERT_EQ(page.jobs[0].verbs.size(), 2u);
  EXPECT_EQ(page.jobs[0].verbs[0].verb, "cancel");
  EXPECT_EQ(page.jobs[0].verbs[1].verb, "pause");
  EXPECT_TRUE(page.jobs[1].verbs.empty());
  EXPECT_TRUE(pending(node(1)).empty());
  EXPECT_EQ(pending(node(9)).size(), 2u);
}

TEST_P(SharedStoreSuite, AVerbNeedsAnUnfinishedJob) {
  EXPECT_EQ(store().put_verb(verb(1, suite_record(1))).number(), errors::kJobUnknown);
  const JobRecord one = accepted(1, node(1));
  ASSERT_TRUE(store().put_verb(verb(1, one)).ok());
  ASSERT_EQ(commit(write(ended(one), 1, node(1))), WriteResult::kApplied);
  EXPECT_EQ(store().put_verb(verb(2, one)).number(), errors::kVerbForbidden);
}

TEST_P(SharedStoreSuite, AVerbIsNotForTheNextJobUnderItsKey) {
  const JobRecord one = accepted(1, node(1));
  ASSERT_TRUE(store().put_verb(verb(1, one)).ok());
  ASSERT_EQ(commit(write(ended(one), 1, node(1))), WriteResult::kApplied);
  ASSERT_TRUE(store().remove(one.key).ok());
  JobRecord fresh = one;
  fresh.salt[2] = 8;
  ASSERT_EQ(commit(write(fresh, 0, {})), WriteResult::kApplied);
  EXPECT_TRUE(pending(node(1)).empty());
  EXPECT_EQ(store().put_verb(verb(2, one)).number(), errors::kJobUnknown);
  EXPECT_TRUE(store().put_verb(verb(3, fresh)).ok());
}

TEST_P(SharedStoreSuite, VerbsOnWhatHasEndedAreRemovedOnTheWay) {
  const JobRecord one = accepted(1, node(1)), two = accepted(2, node(1));
  ASSERT_TRUE(store().put_verb(verb(1, one)).ok());
  ASSERT_TRUE(store().put_verb(verb(2, two)).ok());
  ASSERT_EQ(commit(write(ended(one), 1, node(1))), WriteResult::kApplied);
  ASSERT_EQ(pending(node(1)).size(), 1u);
  ASSERT_TRUE(store().remove(one.key).ok());
  // The key is free again: had the verb stayed, it would reach the new job.
  JobRecord fresh = one;
  fresh.salt[2] = 8;
  ASSERT_EQ(commit(write(fresh, 0, {})), WriteResult::kApplied);
  const auto verbs = pending(node(1));
  ASSERT_EQ(verbs.size(), 1u);
  EXPECT_EQ(verbs[0].job, two.id());
}

// ---- reads

TEST_P(SharedStoreSuite, AConfirmedReadSaysWhatIsThere) {
  EXPECT_FALSE(other().read_confirmed(suite_record(1).key)->has_value());
  const JobRecord one = accepted(1, node(1));
  const auto job = other().read_confirmed(one.key);
  ASSERT_TRUE(job.ok() && job->has_value());
  EXPECT_TRUE((*job)->record == one);
}

TEST_P(SharedStoreSuite, OfAwaitedJobsThoseThatChangedAreGiven) {
  const JobRecord same = accepted(1, node(1)), grown = accepted(2, node(1)),
                  unseen = accepted(3, node(1)), gone = record_of(4, node(1));
  JobRecord deleted = record_of(5, node(1));
  deleted.keyed = true;
  ASSERT_EQ(commit(write(deleted, 0, {})), WriteResult::kApplied);
  ASSERT_EQ(commit(write(ended(deleted), 1, node(1))), WriteResult::kApplied);
  ASSERT_TRUE(store().remove(deleted.key).ok());
  ASSERT_EQ(commit(write(ended(grown), 1, node(1))), WriteResult::kApplied);
  const auto changed = other().changed(
      {{same.key, 1}, {grown.key, 1}, {unseen.key, 0}, {gone.key, 3}, {deleted.key, 2}});
  ASSERT_TRUE(changed.ok()) << changed.status().message();
  ASSERT_EQ(changed->size(), 4u);
  EXPECT_TRUE((*changed)[0].job->record == ended(grown));
  EXPECT_TRUE((*changed)[1].job->record == unseen);
  EXPECT_EQ((*changed)[2].key, gone.key);
  EXPECT_FALSE((*changed)[2].job.has_value());
  EXPECT_TRUE((*changed)[3].job->tombstone);
  EXPECT_TRUE(other().changed({})->empty());
}

}  // namespace millrace

#include "tests/contract/shared_store_suite_marks.h"
