// Goal: the store on MongoDB keeps the contracts of Store and of SharedStore.
#include "tests/contract/shared_marks_suite.h"
#include "tests/contract/shared_store_suite.h"
#include "tests/contract/store_suite.h"
#include "tests/store_mongo/mongo_fixture.h"

namespace millrace {
namespace {

// What every test of this file starts with: the same database, emptied, and the same stores open on
// it, since making them takes longer than most tests.
struct Shared {
  std::string uri;
  std::unique_ptr<MongoStore> stores[2];
  ~Shared() {
    stores[0].reset();
    stores[1].reset();
    if (!uri.empty()) drop_database(uri);
  }
};

Shared& shared() {
  static Shared all;
  return all;
}

std::unique_ptr<MongoStore> open(const std::string& uri) {
  MongoOptions options = mongo_options(uri);
  options.count_every_ms = 0;              // the documents go between two tests
  options.trace_ms = -10'000'000'000'000;  // whose jobs expire long before they end
  auto store = open_mongo_store(options);
  EXPECT_TRUE(store.ok()) << store.status().message();
  return store.ok() ? *std::move(store) : nullptr;
}

class MongoFactory final : public StoreFactory, public SharedStoreFactory {
 public:
  MongoFactory() {
    Shared& all = shared();
    if (all.uri.empty()) all.uri = fresh_database();
    if (all.uri.empty()) return;
    for (auto& store : all.stores) {
      if (store == nullptr) store = open(all.uri);
    }
    for (const char* collection : {"jobs", "definitions", "nodes", "verbs", "dying"}) {
      empty_collection(all.uri, collection);
    }
  }
  Store* store() override { return shared().stores[0].get(); }
  void reopen() override {
    Shared& all = shared();
    if (all.uri.empty()) return;
    all.stores[0].reset();
    all.stores[0] = open(all.uri);
  }
  SharedStore* node(int number) override { return shared().stores[number].get(); }
};

INSTANTIATE_TEST_SUITE_P(Mongo, StoreSuite, ::testing::Values(+[] {
                           return std::unique_ptr<StoreFactory>(new MongoFactory);
                         }));
INSTANTIATE_TEST_SUITE_P(Mongo, SharedStoreSuite, ::testing::Values(+[] {
                           return std::unique_ptr<SharedStoreFactory>(new MongoFactory);
                         }));

}  // namespace
}  // namespace millrace
