// Goal: a stream of hints tells of what it was opened for and of nothing else, ends when it is told
// to, and a server that has none says so.
#include <fmt/core.h>

#include <thread>

#include "engine/base/errors.h"
#include "tests/contract/suite_record.h"
#include "tests/store_mongo/mongo_fixture.h"

namespace millrace {
namespace {

constexpr DurationMs kWaitMs = 20'000;

NodeId node(int number) {
  NodeId id;
  id.bytes[0] = static_cast<uint8_t>(number);
  return id;
}

class Stream : public MongoTest {
 protected:
  void SetUp() override {
    MongoTest::SetUp();
    if (store_ == nullptr) return;
    other_ = open_mongo(uri_);
    for (int i = 0; i < 3; i++) {
      jobs_.push_back(suite_record(i));
      jobs_.back().owner = node(i);
      ASSERT_EQ(store_->commit({{std::make_shared<const JobRecord>(jobs_[i]), 0, {}}}).at(0),
                WriteResult::kApplied);
    }
  }
  void TearDown() override {
    stream_.reset();
    other_.reset();
    MongoTest::TearDown();
  }
  void open(const Topics& topics) {
    auto stream = store_->open_hints(topics, kWaitMs);
    if (stream.status().code() == Code::kNotFound && !own_server()) {
      GTEST_SKIP() << stream.status().message();
    }
    ASSERT_TRUE(stream.ok()) << stream.status().message();
    stream_ = *stream;
  }
  static Topics topics(std::vector<JobKey> jobs, const NodeId& verbs_of = {}) {
    Topics all;
    std::sort(jobs.begin(), jobs.end());
    all.jobs = std::move(jobs);
    all.verbs_of = verbs_of;
    return all;
  }
  void change(int i) {
    JobRecord after = jobs_[i];
    after.rev++;
    after.write_id[1]++;
    ASSERT_EQ(
        other_->commit({{std::make_shared<const JobRecord>(after), jobs_[i].rev, jobs_[i].owner}})
            .at(0),
        WriteResult::kApplied);
    jobs_[i] = after;
  }
  void leave_verb(int i, int number) {
    PendingVerb verb;
    verb.id[6] = 0x70;
    verb.id[15] = static_cast<uint8_t>(number);
    verb.job = jobs_[i].id();
    verb.verb = "cancel";
    ASSERT_TRUE(other_->put_verb(verb).ok());
  }
  // The next that are any.
  Hints heard() {
    for (int i = 0; i < 10; i++) {
      auto hints = stream_->next();
      EXPECT_TRUE(hints.ok()) << hints.status().message();
      if (!hints.ok() || !hints->jobs.empty() || hints->verbs) return hints.ok() ? *hints : Hints();
    }
    ADD_FAILURE() << "nothing was heard";
    return {};
  }

  std::unique_ptr<MongoStore> other_;
  std::vector<JobRecord> jobs_;
  std::shared_ptr<HintStream> stream_;
};

TEST_F(Stream, TellsOfAwaitedJobsAndOfNoOthers) {
  open(topics({jobs_[0].key, jobs_[2].key}));
  ASSERT_NE(stream_, nullptr);
  change(1);
  leave_verb(0, 1);
  change(2);
  const Hints hints = heard();
  EXPECT_EQ(hints.jobs, std::vector<JobKey>{jobs_[2].key});
  EXPECT_FALSE(hints.verbs);
  change(0);
  EXPECT_EQ(heard().jobs, std::vector<JobKey>{jobs_[0].key});
}

TEST_F(Stream, TellsOfVerbsForItsNodeAndOfNoOthers) {
  open(topics({}, node(1)));
  ASSERT_NE(stream_, nullptr);
  change(1);
  leave_verb(0, 1);
  leave_verb(2, 2);
  leave_verb(1, 3);
  Hints hints = heard();
  EXPECT_TRUE(hints.verbs);
  EXPECT_TRUE(hints.jobs.empty());
  // Carried out: nobody has to look for it any more.
  const auto verbs = other_->pending_verbs(node(1), 10);
  ASSERT_TRUE(verbs.ok() && verbs->size() == 1);
  ASSERT_TRUE(other_->remove_verbs({verbs->at(0).id}).ok());
  stream_.reset();
  open(topics({jobs_[0].key}, node(1)));
  ASSERT_NE(stream_, nullptr);
  leave_verb(2, 4);
  change(2);
  change(0);
  hints = heard();
  EXPECT_FALSE(hints.verbs);
  EXPECT_EQ(hints.jobs, std::vector<JobKey>{jobs_[0].key});
  leave_verb(1, 5);
  EXPECT_TRUE(heard().verbs);
}

TEST_F(Stream, EndsAtOnceWhenItIsInterrupted) {
  open(topics({jobs_[0].key}));
  ASSERT_NE(stream_, nullptr);
  std::thread interrupts([&] { stream_->interrupt(); });
  // An answer that it had waited for to its end would be a good one.
  EXPECT_EQ(stream_->next().status().code(), Code::kNotFound);
  interrupts.join();
  EXPECT_EQ(stream_->next().status().code(), Code::kNotFound);
  stream_.reset();
  EXPECT_TRUE(store_->health().available);
}

TEST_F(Stream, ThatBreaksSaysSoAndIsNoReasonToDoubtTheStore) {
  if (!admin_command(uri_, R"({"configureFailPoint": "failCommand", "mode": "off"})")) {
    ASSERT_FALSE(own_server()) << "the tests' own server has fail points";
    GTEST_SKIP() << "the server has no fail points";
  }
  for (const char* how : {R"("closeConnection": true)", R"("errorCode": 286)"}) {
    open(topics({jobs_[0].key}));
    ASSERT_NE(stream_, nullptr);
    ASSERT_TRUE(admin_command(
        uri_, fmt::format(R"({{"configureFailPoint": "failCommand", "mode": {{"times": 1}},
                              "data": {{"failCommands": ["getMore"], {}}}}})",
                          how)));
    EXPECT_EQ(stream_->next().status().number(), errors::kStoreFailed);
    EXPECT_EQ(stream_->next().status().number(), errors::kStoreFailed);
    EXPECT_TRUE(store_->health().available);
    stream_.reset();
  }
}

TEST(SingleServer, HasNoStreams) {
  if (!MongoServer::installed()) {
    ASSERT_EQ(std::getenv("CI"), nullptr) << "the test server is missing";
    GTEST_SKIP() << MongoServer::program() << " is missing; ./run test installs it";
  }
  MongoServer server(MongoServer::Kind::kSingle);
  ASSERT_TRUE(server.start()) << server.why();
  const auto store = open_mongo(database_at(server.port(), "single"));
  ASSERT_NE(store, nullptr);
  Topics topics;
  topics.verbs_of = node(1);
  const auto stream = store->open_hints(topics, kWaitMs);
  EXPECT_EQ(stream.status().code(), Code::kNotFound) << stream.status().message();
  EXPECT_TRUE(store->health().available);
}

}  // namespace
}  // namespace millrace
