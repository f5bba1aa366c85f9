// Goal: jobs move into and out of a database as they are; while they come nobody else opens it, and
// they come into no other ones.
#include "tests/contract/transfer_suite.h"
#include "tests/store_mongo/mongo_fixture.h"

namespace millrace {
namespace {

constexpr TimeMs kNow = 1'795'244'000'000;

class MongoTransfer : public MongoTest {
 protected:
  int number_of_opening(bool importing) const {
    MongoOptions options = mongo_options(uri_);
    options.importing = importing;
    return open_mongo_store(options).status().number();
  }
};

TEST_F(MongoTransfer, TakesAndGivesJobsAsTheyAre) {
  expect_takes_and_gives(store_.get());
}

TEST_F(MongoTransfer, AnEmbeddedStoreComesBackAsItWas) {
  const std::vector<StoredJob> jobs = transfer_jobs();
  TemporaryDirectory from_directory, back_directory;
  const auto from = open_store(sqlite_options(from_directory.path()));
  const auto back = open_store(sqlite_options(back_directory.path()));
  ASSERT_TRUE(from->put_stored(jobs).ok());
  ASSERT_TRUE(from->put_definitions({{sha256("a"), "one"}}).ok());
  ASSERT_TRUE(transfer_store(from.get(), store_.get(), store_.get(), nullptr).ok());
  expect_stored(store_.get(), jobs);
  ASSERT_TRUE(transfer_store(store_.get(), back.get(), back.get(), nullptr).ok());
  expect_stored(back.get(), jobs);
  EXPECT_EQ(back->definition(sha256("a"))->value_or(""), "one");
}

TEST_F(MongoTransfer, NobodyOpensTheDatabaseUntilAnImportHasFinished) {
  const Digest source = sha256("a store"), other = sha256("another state of it");
  ASSERT_TRUE(store_->begin_import(source).ok());
  EXPECT_EQ(number_of_opening(false), errors::kImportUnfinished);
  EXPECT_EQ(number_of_opening(true), 0);
  ASSERT_TRUE(store_->put_stored(transfer_jobs()).ok());
  EXPECT_TRUE(store_->begin_import(source).ok()) << "it goes on";
  EXPECT_EQ(store_->begin_import(other).number(), errors::kImportRefused);
  EXPECT_EQ(number_of_opening(false), errors::kImportUnfinished);
  ASSERT_TRUE(store_->finish_import(source, kNow).ok());
  EXPECT_EQ(number_of_opening(false), 0);
  for (const Digest& again : {source, other}) {
    const Status status = store_->begin_import(again);
    EXPECT_EQ(status.number(), errors::kImportRefused);
    EXPECT_NE(status.message().find("has finished before"), std::string::npos);
  }
}

TEST_F(MongoTransfer, AStoreThatMustBeThereIsNotMade) {
  MongoOptions options = mongo_options(fresh_database());
  options.must_exist = true;
  const auto store = open_mongo_store(options);
  EXPECT_EQ(store.status().number(), errors::kStoreOpen);
  EXPECT_NE(store.status().message().find("there is no store in"), std::string::npos);
}

}  // namespace
}  // namespace millrace
