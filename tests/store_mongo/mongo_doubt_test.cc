// Goal: whatever becomes of a command or its answer, each image is applied once or not at all, and
// the store says which.
#include <fmt/core.h>
#include <poll.h>

#include <atomic>
#include <thread>

#include "engine/base/errors.h"
#include "tests/contract/suite_record.h"
#include "tests/store_mongo/mongo_fixture.h"
#include "tests/store_mongo/tcp_proxy.h"

namespace millrace {
namespace {

constexpr char kInsert[] = "\x02insert";
constexpr char kUpdate[] = "\x02update";

Write first(const JobRecord& record) {
  return Write{std::make_shared<const JobRecord>(record), 0, {}};
}

Write over(const JobRecord& before, const JobRecord& after) {
  return Write{std::make_shared<const JobRecord>(after), before.rev, before.owner};
}

JobRecord next(const JobRecord& record) {
  JobRecord after = record;
  after.rev++;
  after.write_id[1]++;
  return after;
}

NodeId node(int number) {
  NodeId id;
  id.bytes[0] = static_cast<uint8_t>(number);
  return id;
}

void wait_until_unavailable(const MongoStore& store) {
  for (int i = 0; i < 6000 && store.health().available; i++) ::poll(nullptr, 0, 10);
  EXPECT_FALSE(store.health().available);
}

// A store behind a proxy, and one that reaches the server directly.
class Doubt : public MongoTest {
 protected:
  void SetUp() override {
    if (!own_server()) GTEST_SKIP() << "MONGODB_URI is set: its connections cannot be cut";
    MongoTest::SetUp();
    if (store_ == nullptr) return;
    proxy_.set_server(own_server_port());
    const size_t name = uri_.rfind('/') + 1;
    behind_ = open_mongo(database_at(proxy_.port(), uri_.substr(name, uri_.find('?') - name)));
    ASSERT_NE(behind_, nullptr);
  }
  void TearDown() override {
    behind_.reset();
    MongoTest::TearDown();
  }
  WriteResult commit(const Write& write) { return behind_->commit({write}).at(0); }
  void expect_stored(const JobRecord& record) {
    const auto job = store_->read(record.key);
    ASSERT_TRUE(job.ok() && job->has_value());
    EXPECT_TRUE((*job)->record == record);
  }

  TcpProxy proxy_;
  std::unique_ptr<MongoStore> behind_;
};

TEST_F(Doubt, AnInsertWhoseAnswerIsLostIsApplied) {
  const JobRecord one = suite_record(1);
  proxy_.set_trap(TcpProxy::Trap::kDropAnswer, kInsert);
  EXPECT_EQ(commit(first(one)), WriteResult::kApplied);
  expect_stored(one);
  EXPECT_EQ(behind_->health().resent_writes, 1u);
  EXPECT_TRUE(behind_->health().available);
}

TEST_F(Doubt, AnUpdateWhoseAnswerIsLostIsApplied) {
  const JobRecord one = suite_record(1), two = next(one);
  ASSERT_EQ(commit(first(one)), WriteResult::kApplied);
  proxy_.set_trap(TcpProxy::Trap::kDropAnswer, kUpdate, 2);
  EXPECT_EQ(commit(over(one, two)), WriteResult::kApplied);
  expect_stored(two);
  EXPECT_EQ(behind_->health().resent_writes, 2u);
}

TEST_F(Doubt, ACommandThatNeverArrivedIsSentAgain) {
  const JobRecord one = suite_record(1), two = next(one);
  proxy_.set_trap(TcpProxy::Trap::kDropRequest, kInsert, 2);
  EXPECT_EQ(commit(first(one)), WriteResult::kApplied);
  proxy_.set_trap(TcpProxy::Trap::kDropRequest, kUpdate, 2);
  EXPECT_EQ(commit(over(one, two)), WriteResult::kApplied);
  expect_stored(two);
}

TEST_F(Doubt, ABatchIsSortedOutRecordByRecord) {
  const JobRecord taken = suite_record(1), fresh = suite_record(2), grown = suite_record(3),
                  stolen = suite_record(4);
  for (const JobRecord& record : {taken, grown, stolen}) {
    ASSERT_EQ(commit(first(record)), WriteResult::kApplied);
  }
  JobRecord theft = next(stolen);
  theft.owner = node(7);
  theft.write_id[7] = 7;
  ASSERT_EQ(store_->commit({over(stolen, theft)}).at(0), WriteResult::kApplied);
  JobRecord also = taken;  // another job under the same key
  also.salt[4] = 4;
  for (const char* needle : {kInsert, kUpdate}) {
    proxy_.set_trap(TcpProxy::Trap::kDropAnswer, needle);
    const JobRecord step = needle == kInsert ? grown : next(grown);
    JobRecord young = fresh;
    if (needle == kUpdate) young = suite_record(9);
    const auto results = behind_->commit(
        {first(also), first(young), over(step, next(step)), over(stolen, next(stolen))});
    EXPECT_EQ(results, (std::vector<WriteResult>{WriteResult::kExists, WriteResult::kApplied,
                                                 WriteResult::kApplied, WriteResult::kLost}));
    expect_stored(young);
    expect_stored(next(step));
  }
  expect_stored(taken);
  expect_stored(theft);
}

TEST_F(Doubt, ACopyThatArrivesLateChangesNothing) {
  // Goal: a command that was held up somewhere and is delivered when its image has been written
  // and replaced does not bring it back.
  const JobRecord one = suite_record(1), two = next(one), three = next(two);
  proxy_.set_trap(TcpProxy::Trap::kDelay, kInsert);
  ASSERT_EQ(commit(first(one)), WriteResult::kApplied);
  ASSERT_TRUE(proxy_.wait_for_trap());
  proxy_.set_trap(TcpProxy::Trap::kNone, "", 0);
  ASSERT_EQ(commit(over(one, two)), WriteResult::kApplied);
  ASSERT_TRUE(proxy_.release());
  expect_stored(two);
  proxy_.set_trap(TcpProxy::Trap::kDelay, kUpdate);
  ASSERT_EQ(commit(over(two, three)), WriteResult::kApplied);
  ASSERT_TRUE(proxy_.wait_for_trap());
  ASSERT_TRUE(proxy_.release());
  expect_stored(three);
}

// Regression: a job without a key left nothing behind, and a late copy of its first image, which a
// server or the network had held up, brought it back to be carried out once more.
TEST_F(Doubt, ACopyThatArrivesLateBringsNoRemovedJobBack) {
  for (const bool by_sweep : {false, true}) {
    JobRecord one = suite_record(by_sweep ? 1 : 2, wall_clock_ms());
    JobRecord end = next(one);
    end.state = JobState::kSucceeded;
    end.finished_at = end.expire_at = wall_clock_ms();
    proxy_.set_trap(TcpProxy::Trap::kDelay, kInsert);
    ASSERT_EQ(commit(first(one)), WriteResult::kApplied);
    ASSERT_TRUE(proxy_.wait_for_trap());
    proxy_.set_trap(TcpProxy::Trap::kNone, "", 0);
    ASSERT_EQ(commit(over(one, end)), WriteResult::kApplied);
    if (by_sweep) {
      EXPECT_EQ(*store_->sweep(end.expire_at, 10, nullptr), 1);
    } else {
      ASSERT_TRUE(store_->remove(one.key).ok());
    }
    ASSERT_TRUE(proxy_.release());
    EXPECT_FALSE(store_->read(one.key)->has_value());
    EXPECT_FALSE(store_->read_confirmed(one.key)->has_value());
    EXPECT_TRUE(store_->list({}, "", 10)->jobs.empty());
    EXPECT_EQ(store_->remove(one.key).number(), errors::kJobUnknown);
    EXPECT_EQ(store_->changed({{one.key, 2}})->at(0).job.has_value(), false);
    // Sent again by who never heard of it: it was accepted, and is gone.
    EXPECT_EQ(*store_->sweep(end.finished_at + kTraceMs - 1, 10, nullptr), 0);
    EXPECT_EQ(*store_->sweep(end.finished_at + kTraceMs, 10, nullptr), 1);
  }
}

TEST_F(Doubt, NothingIsSentWhileItMayNotBe) {
  // Goal: neither a record nor a claim is sent, nor sent again, while its node must not; what waits
  // goes on once it may.
  std::atomic<bool> may{true};
  std::atomic<int> asked{0};
  behind_->set_may_send([&] {
    asked++;
    return may.load();
  });
  const JobRecord one = suite_record(1), two = next(one);
  proxy_.set_trap(TcpProxy::Trap::kDropAnswer, kInsert, 1'000'000);
  std::thread node_in_doubt([&] {
    EXPECT_TRUE(proxy_.wait_for_trap());
    may = false;
    proxy_.set_trap(TcpProxy::Trap::kNone, "", 0);
    const int before = asked;
    while (asked < before + 3) ::poll(nullptr, 0, 1);
    // It is there, and nobody has sent it again to hear so.
    EXPECT_LE(behind_->health().resent_writes, 1u);
    may = true;
  });
  EXPECT_EQ(commit(first(one)), WriteResult::kApplied);
  node_in_doubt.join();
  may = false;
  std::thread waits([&] {
    const int before = asked;
    while (asked < before + 3) ::poll(nullptr, 0, 1);
    expect_stored(one);
    may = true;
  });
  EXPECT_EQ(commit(over(one, two)), WriteResult::kApplied);
  waits.join();
  expect_stored(two);
}

TEST_F(Doubt, ASubmissionThatWasClaimedWhileInDoubtIsAccepted) {
  // Goal: rev 1 was applied, its answer was lost, and another node has claimed it before it is
  // sent again: the client hears 202, and the job has one owner.
  const JobRecord one = suite_record(1);
  proxy_.set_trap(TcpProxy::Trap::kDropAnswer, kInsert, 1'000'000);  // until the claim is made
  std::thread claimer([&] {
    EXPECT_TRUE(proxy_.wait_for_trap());
    const auto page = store_->claim_from(node(9), {one.owner}, {}, 10);
    EXPECT_TRUE(page.ok() && page->jobs.size() == 1);
    proxy_.set_trap(TcpProxy::Trap::kNone, "", 0);
  });
  const WriteResult result = commit(first(one));
  claimer.join();
  EXPECT_EQ(result, WriteResult::kApplied);
  EXPECT_EQ(commit(over(one, next(one))), WriteResult::kLost);
  const auto job = store_->read(one.key);
  ASSERT_TRUE(job.ok() && job->has_value());
  EXPECT_EQ((*job)->record.owner, node(9));
  EXPECT_EQ((*job)->record.rev, 2u);
}

TEST_F(Doubt, AClaimWhoseAnswerIsLostReturnsWhatItClaimed) {
  for (int i = 0; i < 3; i++) ASSERT_EQ(commit(first(suite_record(i))), WriteResult::kApplied);
  proxy_.set_trap(TcpProxy::Trap::kDropAnswer, kUpdate);
  const auto page = behind_->claim_from(node(9), {suite_record(0).owner}, {}, 10);
  ASSERT_TRUE(page.ok()) << page.status().message();
  ASSERT_EQ(page->jobs.size(), 3u);
  for (const ClaimedJob& job : page->jobs) expect_stored(job.record);
}

// ---- what the server says

class FailPoint : public MongoTest {
 protected:
  void SetUp() override {
    MongoTest::SetUp();
    if (store_ == nullptr) return;
    if (!admin_command(uri_, R"({"configureFailPoint": "failCommand", "mode": "off"})")) {
      ASSERT_FALSE(own_server()) << "the tests' own server has fail points";
      GTEST_SKIP() << "the server has no fail points";
    }
  }
  void fail(const std::string& command, const std::string& how, int times = 1) {
    ASSERT_TRUE(admin_command(
        uri_, fmt::format(R"({{"configureFailPoint": "failCommand", "mode": {{"times": {}}},
                              "data": {{"failCommands": ["{}"], {}}}}})",
                          times, command, how)));
  }
};

TEST_F(FailPoint, AMajorityThatDoesNotAnswerLeavesDoubtThatIsResolved) {
  const JobRecord one = suite_record(1), two = next(one);
  const std::string how = R"("writeConcernError": {"code": 64, "errmsg": "waiting timed out"})";
  fail("insert", how);
  EXPECT_EQ(store_->commit({first(one)}).at(0), WriteResult::kApplied);
  fail("update", how, 2);
  EXPECT_EQ(store_->commit({over(one, two)}).at(0), WriteResult::kApplied);
  const auto job = store_->read(one.key);
  ASSERT_TRUE(job.ok() && job->has_value());
  EXPECT_TRUE((*job)->record == two);
  EXPECT_EQ(store_->health().resent_writes, 3u);
}

TEST_F(FailPoint, AFailoverIsWaitedOut) {
  const JobRecord one = suite_record(1), two = next(one);
  fail("insert", R"("errorCode": 10107)");  // NotWritablePrimary
  EXPECT_EQ(store_->commit({first(one)}).at(0), WriteResult::kApplied);
  fail("update", R"("errorCode": 91)");  // ShutdownInProgress
  EXPECT_EQ(store_->commit({over(one, two)}).at(0), WriteResult::kApplied);
  EXPECT_TRUE((*store_->read(one.key))->record == two);
}

TEST_F(FailPoint, AConnectionThatTheServerClosesIsWaitedOut) {
  const JobRecord one = suite_record(1);
  fail("insert", R"("closeConnection": true)");
  EXPECT_EQ(store_->commit({first(one)}).at(0), WriteResult::kApplied);
  fail("find", R"("closeConnection": true)");
  EXPECT_TRUE(store_->read(one.key)->has_value());  // the driver reads again
}

TEST_F(FailPoint, OtherWritesSayThatTheyAreInDoubt) {
  const JobRecord one = suite_record(1);
  ASSERT_EQ(store_->commit({first(one)}).at(0), WriteResult::kApplied);
  NodeLease lease;
  lease.node = node(1);
  fail("update", R"("closeConnection": true)");
  EXPECT_EQ(store_->renew(lease).number(), errors::kStoreFailed);
  EXPECT_TRUE(store_->renew(lease).ok());
  PendingVerb verb;
  verb.job = one.id();
  verb.verb = "cancel";
  fail("insert", R"("writeConcernError": {"code": 64, "errmsg": "waiting timed out"})");
  EXPECT_EQ(store_->put_verb(verb).number(), errors::kStoreFailed);
  EXPECT_TRUE(store_->put_verb(verb).ok());
  EXPECT_EQ(store_->pending_verbs(one.owner, 10)->size(), 1u);
}

// ---- a server that dies

class Death : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!own_server()) GTEST_SKIP() << "MONGODB_URI is set: it is not ours to kill";
    if (!MongoServer::installed()) {
      fresh_database();  // says so
      return;
    }
    start();
    store_ = open_mongo(database_at(proxy_.port(), "death"));
    ASSERT_NE(store_, nullptr);
  }
  void start() {
    ASSERT_TRUE(server().running() || server().start()) << server().why();
    proxy_.set_server(server().port());
  }
  // One for all tests, since it takes long to start: each leaves it as it is, dead or alive.
  static MongoServer& server() {
    static MongoServer one;
    return one;
  }

  TcpProxy proxy_;
  std::unique_ptr<MongoStore> store_;
};

TEST_F(Death, UnderLoadLosesNoAcknowledgedWriteAndAppliesNoneTwice) {
  // Method: one thread commits batch after batch, each job one rev further, while the server is
  // killed with kill -9 and started again over its data. Every result must be kApplied: an image
  // that was applied twice, or whose predecessor was lost, is kLost or kExists.
  constexpr int kJobs = 6, kDeaths = 2, kBatchesBetween = 6;
  std::vector<JobRecord> jobs;
  for (int i = 0; i < kJobs; i++) jobs.push_back(suite_record(i));
  std::atomic<int> batches{0};
  std::atomic<bool> stop{false};
  std::thread load([&] {
    while (!stop) {
      std::vector<Write> batch;
      for (int i = 0; i < kJobs; i++) {
        if (batches == 0) {
          batch.push_back(first(jobs[i]));
        } else {
          const JobRecord after = next(jobs[i]);
          batch.push_back(over(jobs[i], after));
          jobs[i] = after;
        }
      }
      const int fresh = 1000 + batches;
      batch.push_back(first(suite_record(fresh)));
      for (const WriteResult result : store_->commit(batch)) {
        EXPECT_EQ(result, WriteResult::kApplied);
      }
      batches++;
    }
  });
  const auto wait_for = [&](int count) {
    for (int i = 0; i < 12000 && batches < count; i++) ::poll(nullptr, 0, 10);
    EXPECT_GE(batches, count);
  };
  for (int death = 0; death < kDeaths; death++) {
    wait_for(batches + kBatchesBetween);
    server().kill();
    wait_until_unavailable(*store_);
    start();
  }
  wait_for(batches + kBatchesBetween);
  stop = true;
  load.join();
  EXPECT_TRUE(store_->health().available);
  for (const JobRecord& job : jobs) {
    const auto stored = store_->read(job.key);
    ASSERT_TRUE(stored.ok() && stored->has_value());
    EXPECT_TRUE((*stored)->record == job);
    EXPECT_EQ(job.rev, static_cast<uint64_t>(batches));
  }
  for (int i = 0; i < batches; i++) {
    const auto stored = store_->read(suite_record(1000 + i).key);
    ASSERT_TRUE(stored.ok() && stored->has_value()) << i;
  }
}

TEST_F(Death, IsWaitedOutUntilTheProcessGivesUp) {
  MongoOptions options = mongo_options(database_at(proxy_.port(), "death"));
  options.select_ms = 300;
  auto opened = open_mongo_store(options);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  store_ = *std::move(opened);
  server().kill();
  std::string why;
  std::thread writer([&] {
    try {
      store_->commit({first(suite_record(1))});
      ADD_FAILURE() << "nobody can know what became of it";
    } catch (const MongoFatal& fatal) {
      why = fatal.message;
    }
  });
  wait_until_unavailable(*store_);
  EXPECT_FALSE(store_->health().message.empty());
  EXPECT_GT(store_->health().since_us, 0);
  store_->give_up();
  writer.join();
  EXPECT_NE(why.find("nothing is known"), std::string::npos) << why;
}

// Regression: reads waited for a server that was away one after the other, each as long as the
// driver looks for one.
TEST_F(Death, IsWaitedForByOneReadAndTheOthersAreRefused) {
  constexpr int kReads = 20;
  MongoOptions options = mongo_options(database_at(proxy_.port(), "death"));
  options.select_ms = 1'000;
  options.away_try_ms = 3'600'000;
  auto opened = open_mongo_store(options);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  store_ = *std::move(opened);
  const JobKey key = suite_record(1).key;
  ASSERT_TRUE(store_->read(key).ok());
  server().kill();
  for (int i = 0; i < 1 + kReads; i++) {
    EXPECT_EQ(store_->read(key).status().number(), errors::kStoreFailed);
  }
  EXPECT_EQ(store_->list({}, "", 10).status().number(), errors::kStoreFailed);
  EXPECT_EQ(store_->health().refused_reads, uint64_t{kReads + 1});
  EXPECT_FALSE(store_->health().available);
  start();
  // A renewal of a lease is such a write.
  NodeLease lease;
  lease.node = node(1);
  for (int i = 0; i < 60 && !store_->renew(lease).ok(); i++) {
  }
  EXPECT_TRUE(store_->read(key).ok());
  EXPECT_EQ(store_->health().refused_reads, uint64_t{kReads + 1});
}

TEST_F(Death, IsOverForReadsWhenTheyAreAlone) {
  MongoOptions options = mongo_options(database_at(proxy_.port(), "death"));
  options.select_ms = 1'000;
  options.away_try_ms = 1;
  auto opened = open_mongo_store(options);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  store_ = *std::move(opened);
  const JobKey key = suite_record(1).key;
  server().kill();
  EXPECT_FALSE(store_->read(key).ok());
  start();
  bool read = false;
  for (int i = 0; i < 6000 && !read; i++) {
    ::poll(nullptr, 0, 10);
    read = store_->read(key).ok();
  }
  EXPECT_TRUE(read);
  EXPECT_TRUE(store_->health().available);
}

}  // namespace
}  // namespace millrace
