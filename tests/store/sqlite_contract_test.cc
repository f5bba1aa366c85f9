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

}  // namespace
}  // namespace millrace
