// The store of a runtime, by its address: a file of its own, or a database that others use too.
#include "engine/runtime/local_runtime.h"
#include "engine/store/mongo_store.h"

namespace millrace {

Status LocalRuntime::open_store(const BlobPlace& place) {
  if (options_.store.starts_with("mongodb")) return open_shared_store();
  auto database = store_path(options_.store, options_.data);
  if (!database.ok()) return database.status();
  RETURN_IF_ERROR(check_not_lost(*database, place, options_));
  SqliteOptions sqlite;
  sqlite.path = *database;
  auto store = open_sqlite_store(sqlite);
  if (!store.ok()) return store.status();
  embedded_ = store->get();
  store_ = std::move(*store);
  written_directories_.push_back(directory_of(*database));
  return {};
}

// After the template process was spawned: the driver has threads of its own.
Status LocalRuntime::open_shared_store() {
  MongoOptions mongo;
  mongo.uri = options_.store;
  auto store = open_mongo_store(mongo);
  if (!store.ok()) return store.status();
  shared_ = store->get();
  store_ = std::move(*store);
  return {};
}

}  // namespace millrace
