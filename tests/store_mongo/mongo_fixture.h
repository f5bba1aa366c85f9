// What the tests of MongoStore share: one server for the whole program, a new database per test.
//
// MONGODB_URI names another server to test with (a replica set, a real mongod); its databases
// millrace_test_* are dropped afterwards. Tests that kill the server or cut its connections run
// with one of their own, or are skipped.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "engine/store/mongo_store.h"
#include "tests/store_mongo/mongo_server.h"

namespace millrace {

// The URL of a database that nobody has used yet; empty, with the test skipped (or failed, where
// CI is set), when there is no server.
std::string fresh_database();
// The same for a server at a port of this machine that is reached directly, for instance a proxy.
std::string database_at(int port, const std::string& name);
// Whether the program's own server is used. With MONGODB_URI it is not.
bool own_server();
// The port of the program's own server.
int own_server_port();
// Removes a database that fresh_database() gave, where that matters.
void drop_database(const std::string& uri);
// Runs a command on `admin`. False: the server refuses.
bool admin_command(const std::string& uri, const std::string& json);
// Writes or replaces one document, given as JSON.
bool put_document(const std::string& uri, const std::string& collection, const std::string& json);

// Removes all documents of a collection.
bool empty_collection(const std::string& uri, const std::string& collection);

// Ends a test as the process would end.
struct MongoFatal {
  std::string message;
};

MongoOptions mongo_options(const std::string& uri);
std::unique_ptr<MongoStore> open_mongo(const std::string& uri);

// A test with a store in a database of its own.
class MongoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    uri_ = fresh_database();
    if (!uri_.empty()) store_ = open_mongo(uri_);
  }
  void TearDown() override {
    store_.reset();
    if (!uri_.empty()) drop_database(uri_);
  }

  std::string uri_;
  std::unique_ptr<MongoStore> store_;
};

}  // namespace millrace
