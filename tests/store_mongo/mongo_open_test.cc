// Goal: what a database holds, and what its URL says, is judged before anything is written; secrets
// of the URL stay in it.
#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "tests/contract/suite_record.h"
#include "tests/store_mongo/mongo_fixture.h"

namespace millrace {
namespace {

TEST(MongoUrl, WithoutADatabaseIsRefused) {
  const auto store = open_mongo_store(mongo_options("mongodb://127.0.0.1:1"));
  EXPECT_EQ(store.status().number(), errors::kStoreOpen);
  EXPECT_NE(store.status().message().find("names no database"), std::string::npos);
}

TEST(MongoUrl, ItsPasswordIsInNoMessageAndNoLogLine) {
  set_log(LogLevel::kDebug, LogFormat::kLogfmt);
  testing::internal::CaptureStderr();
  std::string said;
  for (const char* uri : {
           "mongodb://user:hunter2@127.0.0.1:1/jobs",              // nobody there
           "mongodb://user:hunter2@127.0.0.1:1",                   // no database
           "mongodb://user:hunter2/x@127.0.0.1/jobs",              // should be %2F
           "mongodb://user:hunter2@127.0.0.1:99999/jobs",          // no such port
           "mongodb://user:hunter2@127.0.0.1/jobs?no=hunter2",     // no such option
           "mongodb://user:hunter%32@127.0.0.1:1/jobs?tls=maybe",  // no such value
           "mongodb://user:x@hunter2@127.0.0.1:1/jobs",            // should be %40
           "mongodb://user:42/hunter2?appname=a@127.0.0.1/jobs",   // a host, a port, a database
           "postgres://user:hunter2@127.0.0.1/jobs",
       }) {
    MongoOptions options = mongo_options(uri);
    options.select_ms = options.connect_ms = 50;
    const auto store = open_mongo_store(options);
    ASSERT_FALSE(store.ok()) << uri;
    EXPECT_EQ(store.status().number(), errors::kStoreOpen) << uri;
    EXPECT_FALSE(store.status().message().empty());
    said += store.status().message() + "\n";
  }
  said += testing::internal::GetCapturedStderr();
  set_log(LogLevel::kInfo, LogFormat::kLogfmt);
  EXPECT_EQ(said.find("hunter"), std::string::npos) << said;
}

class MongoOpen : public MongoTest {};

TEST_F(MongoOpen, ADatabaseIsOpenedAgainAsItWas) {
  ASSERT_EQ(store_->commit({{std::make_shared<const JobRecord>(suite_record(1)), 0, {}}}).at(0),
            WriteResult::kApplied);
  store_ = open_mongo(uri_);
  ASSERT_NE(store_, nullptr);
  EXPECT_TRUE(store_->read(suite_record(1).key)->has_value());
}

TEST_F(MongoOpen, ACountIsKeptUpToDateWithoutCounting) {
  MongoOptions options = mongo_options(uri_);
  options.count_every_ms = 3'600'000;
  auto opened = open_mongo_store(options);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  MongoStore& store = **opened;
  const auto commit = [&](const JobRecord& record, const NodeId& owner) {
    return store.commit({{std::make_shared<const JobRecord>(record), record.rev - 1, owner}}).at(0);
  };
  EXPECT_EQ(*store.count_unfinished(), 0);
  JobRecord one = suite_record(1);
  EXPECT_EQ(commit(one, {}), WriteResult::kApplied);
  EXPECT_EQ(commit(suite_record(2), {}), WriteResult::kApplied);
  EXPECT_EQ(commit(suite_record(2), {}), WriteResult::kExists);
  EXPECT_EQ(*store.count_unfinished(), 2);
  one.rev = 2;
  one.state = JobState::kFailed;
  EXPECT_EQ(commit(one, one.owner), WriteResult::kApplied);
  EXPECT_EQ(*store.count_unfinished(), 1);
}

TEST_F(MongoOpen, ANewerFormatIsRefused) {
  store_.reset();
  ASSERT_TRUE(put_document(uri_, "meta",
                           fmt::format(R"({{"_id": "format", "version": {}}})", kMongoFormat + 1)));
  const auto store = open_mongo_store(mongo_options(uri_));
  EXPECT_EQ(store.status().number(), errors::kStoreVersion);
}

TEST_F(MongoOpen, ADamagedFormatIsRefused) {
  store_.reset();
  ASSERT_TRUE(put_document(uri_, "meta", R"({"_id": "format", "version": "one"})"));
  EXPECT_EQ(open_mongo_store(mongo_options(uri_)).status().number(), errors::kStoreCorrupt);
}

TEST_F(MongoOpen, SomebodyElsesDatabaseIsRefused) {
  const std::string uri = fresh_database();
  ASSERT_TRUE(put_document(uri, "jobs", R"({"_id": 7, "title": "plumber"})"));
  EXPECT_EQ(open_mongo_store(mongo_options(uri)).status().number(), errors::kStoreCorrupt);
  drop_database(uri);
}

TEST_F(MongoOpen, ARecordThatCannotBeReadIsReportedAndHindersNobody) {
  JobRecord fine = suite_record(1, 1000);
  fine.owner.bytes[0] = 1;
  ASSERT_EQ(store_->commit({{std::make_shared<const JobRecord>(fine), 0, {}}}).at(0),
            WriteResult::kApplied);
  const std::string id = "00000000-0000-7000-8000-0000000000aa";
  ASSERT_TRUE(put_document(
      uri_, "jobs",
      fmt::format(R"({{"_id": "{}", "rev": 1, "group": "live", "state": 0, "created_at": 5,
        "owner": {{"$binary": {{"base64": "AQAAAAAAAAAAAAAAAAAAAA==", "subType": "00"}}}},
        "record": {{"$binary": {{"base64": "AAAA", "subType": "00"}}}}}})",
                  id)));
  NodeId self;
  self.bytes[0] = 9;
  const auto page = store_->claim_from(self, {fine.owner}, {}, 10);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->jobs.size(), 1u);
  EXPECT_EQ(page->jobs[0].record.key, fine.key);
  ASSERT_EQ(page->unreadable.size(), 1u);
  EXPECT_EQ(page->unreadable[0].status.number(), errors::kStoreCorrupt);
  EXPECT_NE(page->unreadable[0].status.message().find(id), std::string::npos);
  const JobKey damaged = page->unreadable[0].key;
  EXPECT_EQ(store_->read(damaged).status().number(), errors::kStoreCorrupt);
  const auto listed = store_->list({}, "", 10);
  ASSERT_TRUE(listed.ok()) << listed.status().message();
  EXPECT_EQ(listed->jobs.size(), 1u);
  ASSERT_EQ(listed->damaged.size(), 1u);
  EXPECT_EQ(listed->damaged[0].key, damaged);
  for (const size_t told : {1u, 0u}) {  // each once a process
    NodeId next;
    next.bytes[0] = static_cast<uint8_t>(20 + told);
    EXPECT_EQ(store_->claim(next, {}, 1)->size(), 1u);
    EXPECT_EQ(store_->take_damaged().size(), told);
  }
  EXPECT_TRUE(store_->remove(damaged).ok());
  EXPECT_FALSE(store_->read(damaged)->has_value());
}

}  // namespace
}  // namespace millrace
