#include "tests/store_mongo/mongo_fixture.h"

#include <fmt/core.h>
#include <mongoc/mongoc.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

namespace millrace {
namespace {

const char* given_uri() {
  const char* uri = std::getenv("MONGODB_URI");
  return uri != nullptr && *uri != '\0' ? uri : nullptr;
}

// Started by the first test that wants it, ended with the program.
MongoServer& program_server() {
  static MongoServer server;
  return server;
}

void skip_or_fail(const std::string& why) {
  if (std::getenv("CI") != nullptr) {
    FAIL() << why;
  }
  GTEST_SKIP() << why << "; the store on MongoDB is not tested";
}

std::string new_name() {
  static std::atomic<int> count{0};
  return fmt::format("millrace_test_{}_{}", ::getpid(), count++);
}

struct Connection {
  explicit Connection(const std::string& uri)
      : uri_(mongoc_uri_new(uri.c_str())), client_(mongoc_client_new_from_uri(uri_)) {}
  ~Connection() {
    mongoc_client_destroy(client_);
    mongoc_uri_destroy(uri_);
  }
  mongoc_uri_t* uri_;
  mongoc_client_t* client_;
};

bool run(mongoc_client_t* client, const char* database, const std::string& json) {
  bson_error_t error;
  bson_t* command = bson_new_from_json(reinterpret_cast<const uint8_t*>(json.data()),
                                       static_cast<ssize_t>(json.size()), &error);
  EXPECT_NE(command, nullptr) << error.message << " in " << json;
  if (command == nullptr) return false;
  const bool done =
      mongoc_client_command_simple(client, database, command, nullptr, nullptr, &error);
  bson_destroy(command);
  return done;
}

}  // namespace

std::string database_at(int port, const std::string& name) {
  return fmt::format("mongodb://127.0.0.1:{}/{}?directConnection=true", port, name);
}

bool own_server() {
  return given_uri() == nullptr;
}

int own_server_port() {
  return program_server().port();
}

std::string fresh_database() {
  if (const char* given = given_uri()) {
    // scheme://hosts[/database][?options]
    const std::string uri = given;
    const size_t hosts = uri.find("://") + 3;
    const size_t options = std::min(uri.find('?'), uri.size());
    const size_t slash = std::min(uri.find('/', hosts), options);
    return uri.substr(0, slash) + '/' + new_name() + uri.substr(options);
  }
  if (!MongoServer::installed()) {
    skip_or_fail("no MONGODB_URI, and " + MongoServer::program() +
                 " is missing (./run test installs it)");
    return "";
  }
  MongoServer& server = program_server();
  static const bool started = server.start();
  if (!started) {
    ADD_FAILURE() << "the test server did not start: " << server.why();
    skip_or_fail("no server");
    return "";
  }
  return database_at(server.port(), new_name());
}

void drop_database(const std::string& uri) {
  if (own_server()) return;  // it goes with its server
  const Connection connection(uri);
  run(connection.client_, mongoc_uri_get_database(connection.uri_), R"({"dropDatabase": 1})");
}

bool admin_command(const std::string& uri, const std::string& json) {
  const Connection connection(uri);
  return run(connection.client_, "admin", json);
}

bool put_document(const std::string& uri, const std::string& collection, const std::string& json) {
  const Connection connection(uri);
  const std::string id = json.substr(0, json.find(',')) + "}";
  return run(connection.client_, mongoc_uri_get_database(connection.uri_),
             fmt::format(R"({{"update": "{}", "updates": [{{"q": {}, "u": {}, "upsert": true}}]}})",
                         collection, id, json));
}

bool empty_collection(const std::string& uri, const std::string& collection) {
  const Connection connection(uri);
  return run(
      connection.client_, mongoc_uri_get_database(connection.uri_),
      fmt::format(R"({{"delete": "{}", "deletes": [{{"q": {{}}, "limit": 0}}]}})", collection));
}

MongoOptions mongo_options(const std::string& uri) {
  MongoOptions options;
  options.uri = uri;
  // Generous: what is not meant to fail must not, on whatever machine.
  options.select_ms = 30'000;
  options.connect_ms = 30'000;
  options.answer_ms = 60'000;
  options.majority_ms = 50'000;
  options.heartbeat_ms = 500;
  options.on_fatal = [](const std::string& message) { throw MongoFatal{message}; };
  return options;
}

std::unique_ptr<MongoStore> open_mongo(const std::string& uri) {
  auto store = open_mongo_store(mongo_options(uri));
  EXPECT_TRUE(store.ok()) << store.status().message();
  return store.ok() ? *std::move(store) : nullptr;
}

}  // namespace millrace
