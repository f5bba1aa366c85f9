// Goal: the embedded store keeps the contract of Store.
#include "tests/contract/store_suite.h"
#include "tests/store/store_fixture.h"

namespace millrace {
namespace {

class SqliteFactory final : public StoreFactory {
 public:
  SqliteFactory() : store_(open_store(sqlite_options(directory_.path()))) {}
  Store* store() override { return store_.get(); }
  void reopen() override {
    store_.reset();
    store_ = open_store(sqlite_options(directory_.path()));
  }

 private:
  TemporaryDirectory directory_;
  std::unique_ptr<SqliteStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreSuite, ::testing::Values(+[] {
                           return std::unique_ptr<StoreFactory>(new SqliteFactory);
                         }));

// Goal: a check of the whole store sees each named blob once, page by page, and who names it.
TEST(SqliteStore, BlobsAreWalkedInOrderWithTheJobsThatNameThem) {
  TemporaryDirectory directory;
  const auto store = open_store(sqlite_options(directory.path()));
  const Digest shared = sha256("shared");
  std::vector<Digest> wanted = {shared};
  std::vector<Write> batch;
  for (int i = 0; i < 3; i++) {
    JobRecord record = suite_record(i);
    const Digest own = sha256(std::to_string(i));
    wanted.push_back(own);
    record.inputs = suite_blob_text(shared);
    record.steps[0].state = StepState::kSucceeded;
    record.steps[0].outputs = suite_blob_text(own);
    batch.push_back({std::make_shared<const JobRecord>(record), 0, {}});
  }
  store->commit(batch);
  std::sort(wanted.begin(), wanted.end());
  std::vector<Digest> seen;
  for (Digest last;; last = seen.back()) {
    const auto page = store->blobs_after(last, 3);
    ASSERT_TRUE(page.ok()) << page.status().message();
    ASSERT_LE(page->size(), 3u);
    if (page->empty()) break;
    seen.insert(seen.end(), page->begin(), page->end());
  }
  EXPECT_EQ(seen, wanted);
  EXPECT_EQ(store->jobs_naming(shared, 2)->size(), 2u);
  const auto one = store->jobs_naming(sha256("1"), 2);
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ((*one)[0], batch[1].record->id());
  EXPECT_TRUE(store->jobs_naming(sha256("nobody"), 2)->empty());
}

}  // namespace
}  // namespace millrace
