#include "engine/store/mongo_client.h"

#include <fmt/core.h>

#include <cstring>

#include "engine/base/errors.h"
#include "engine/base/log.h"

namespace millrace {
namespace {

// The driver repeats parts of a URL in what it says about it.
thread_local bool url_is_being_read = false;

void log_driver(mongoc_log_level_t level, const char* domain, const char* message, void*) {
  if (url_is_being_read || level > MONGOC_LOG_LEVEL_WARNING) return;
  log_event(LogLevel::kDebug, "store.driver", {{"part", domain}, {"message", message}});
}

Result<const MongoDriver*> start_driver() {
  const auto driver = load_mongo_driver();
  static std::once_flag once;
  if (!driver.ok()) return driver;
  std::call_once(once, [&driver] {
    (*driver)->log_set_handler(log_driver, nullptr);
    (*driver)->init();  // for the life of the process: clean-up could not be repeated
  });
  return driver;
}

// A client of the pool for the length of a scope.
class Client {
 public:
  Client(const MongoDriver* driver, mongoc_client_pool_t* pool)
      : driver_(driver), pool_(pool), client_(driver->client_pool_pop(pool)) {}
  ~Client() { driver_->client_pool_push(pool_, client_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  mongoc_client_t* get() const { return client_; }

 private:
  const MongoDriver* driver_;
  mongoc_client_pool_t* pool_;
  mongoc_client_t* client_;
};

// The password as it stands in the URL, where some characters are written as %XX.
std::string written_password(const std::string& uri) {
  const size_t begin = uri.find("://");
  const size_t end = uri.find('@');
  if (begin == std::string::npos || end == std::string::npos) return "";
  const size_t colon = uri.find(':', begin + 3);
  return colon < end ? uri.substr(colon + 1, end - colon - 1) : "";
}

}  // namespace

void each_write_error(const bson_t* reply,
                      const std::function<void(size_t, int64_t, std::string_view)>& visit) {
  bson_each(reply, "writeErrors", [&](const bson_t* error) {
    visit(static_cast<size_t>(bson_number(error, "index").value_or(0)),
          bson_number(error, "code").value_or(0), bson_text(error, "errmsg").value_or(""));
  });
}

MongoClient::~MongoClient() {
  if (pool_ != nullptr) driver_->client_pool_destroy(pool_);
  if (primary_ != nullptr) driver_->read_prefs_destroy(primary_);
  if (uri_ != nullptr) driver_->uri_destroy(uri_);
}

Result<std::unique_ptr<MongoClient>> MongoClient::open(const MongoOptions& options) {
  CHECK(options.majority_ms > 0 && options.majority_ms < options.answer_ms);
  std::unique_ptr<MongoClient> client(new MongoClient(options.away_try_ms));
  RETURN_IF_ERROR(client->connect(options));
  return client;
}

Status MongoClient::connect(const MongoOptions& options) {
  auto driver = start_driver();
  if (!driver.ok()) return driver.status();
  driver_ = *driver;
  bson_error_t error;
  url_is_being_read = true;
  uri_ = driver_->uri_new_with_error(options.uri.c_str(), &error);
  url_is_being_read = false;
  // What the driver says may hold the password, for instance when it has a character that must be
  // written as %XX. With a '/' in it, the rest of it may have been taken for the database.
  const char* database = uri_ != nullptr ? driver_->uri_get_database(uri_) : nullptr;
  if (uri_ == nullptr || (database != nullptr && std::strchr(database, '@') != nullptr)) {
    return Status::unavailable(
        errors::kStoreOpen,
        "the URL of the store cannot be read; it should be mongodb://USER:PASSWORD@HOST:PORT/"
        "DATABASE?OPTIONS, with %XX for special characters in user and password");
  }
  if (database == nullptr || *database == '\0') {
    return Status::unavailable(errors::kStoreOpen,
                               "the URL of the store names no database: mongodb://HOST/DATABASE");
  }
  database_ = database;
  if (const char* password = driver_->uri_get_password(uri_)) {
    secrets_ = {password, written_password(options.uri)};
  }
  name_ = "mongodb://";
  for (auto* host = driver_->uri_get_hosts(uri_); host != nullptr; host = host->next) {
    name_ += host->host_and_port;
    if (host->next != nullptr) name_ += ',';
  }
  if (const char* service = driver_->uri_get_srv_hostname(uri_)) name_ += service;
  name_ += '/' + database_;
  RETURN_IF_ERROR(set_options(options));
  primary_ = driver_->read_prefs_new(MONGOC_READ_PRIMARY);
  pool_ = driver_->client_pool_new_with_error(uri_, &error);
  if (pool_ == nullptr) {
    return Status::unavailable(errors::kStoreOpen, failed("connecting to", error).message());
  }
  driver_->client_pool_set_error_api(pool_, MONGOC_ERROR_API_VERSION_2);
  return greet();
}

Status MongoClient::set_options(const MongoOptions& options) {
  const struct {
    const char* name;
    DurationMs value;
  } defaults[] = {
      {MONGOC_URI_SERVERSELECTIONTIMEOUTMS, options.select_ms},
      {MONGOC_URI_CONNECTTIMEOUTMS, options.connect_ms},
      {MONGOC_URI_SOCKETTIMEOUTMS, options.answer_ms},
      {MONGOC_URI_HEARTBEATFREQUENCYMS, options.heartbeat_ms},
  };
  for (const auto& [name, value] : defaults) {
    if (driver_->uri_has_option(uri_, name)) continue;
    CHECK(driver_->uri_set_option_as_int32(uri_, name, static_cast<int32_t>(value)));
  }
  majority_ms_ = options.majority_ms;
  CHECK(driver_->uri_set_option_as_bool(uri_, MONGOC_URI_RETRYWRITES, false));
  CHECK(driver_->uri_set_option_as_bool(uri_, MONGOC_URI_RETRYREADS, true));
  if (driver_->uri_get_appname(uri_) == nullptr) CHECK(driver_->uri_set_appname(uri_, "millrace"));
  return {};
}

Status MongoClient::greet() {
  const Client client(driver_, pool_);
  bson_error_t error;
  BsonDoc hello, reply;
  hello.small("hello", 1);
  const bool answered = driver_->client_command_simple(client.get(), "admin", hello.get(), primary_,
                                                       reply.reply(), &error);
  if (!answered) {
    const Status status = failed("greeting", error);
    return Status::unavailable(errors::kStoreOpen, status.message());
  }
  replicated_ = bson_text(reply.get(), "setName").has_value() ||
                bson_text(reply.get(), "msg").value_or("") == "isdbgrid";
  succeeded();
  return {};
}

BsonDoc MongoClient::read_concern(ReadLevel level) const {
  BsonDoc concern;
  concern.text("level",
               level == ReadLevel::kConfirmed && replicated_ ? "linearizable" : "majority");
  return concern;
}

Result<BsonDoc> MongoClient::write(BsonDoc command) {
  BsonDoc concern;
  concern.text("w", "majority").flag("j", true).number("wtimeout", majority_ms_);
  command.doc("writeConcern", concern);
  const int64_t began_us = monotonic_us();
  const Client client(driver_, pool_);
  bson_error_t error;
  BsonDoc reply;
  if (!driver_->client_command_simple(client.get(), database_.c_str(), command.get(), nullptr,
                                      reply.reply(), &error)) {
    // A cut connection may have been this one alone: a write is not tried twice here.
    if (error.domain == MONGOC_ERROR_SERVER_SELECTION) {
      gate_.found_nobody(began_us, monotonic_us());
    }
    return failed("writing to", error);
  }
  bson_t inner;
  if (const bson_t* doubt = bson_inner(reply.get(), "writeConcernError", &inner)) {
    return failed(fmt::format("writing to {}: no majority has acknowledged it: {}", name_,
                              bson_text(doubt, "errmsg").value_or("")));
  }
  succeeded();
  return reply;
}

Result<BsonDoc> MongoClient::read(const BsonDoc& command, ReadLevel level) {
  RETURN_IF_ERROR(admit_read());
  const int64_t began_us = monotonic_us();
  BsonDoc options, reply;
  options.doc("readConcern", read_concern(level));
  const Client client(driver_, pool_);
  bson_error_t error;
  if (!driver_->client_read_command_with_opts(client.get(), database_.c_str(), command.get(),
                                              primary_, options.get(), reply.reply(), &error)) {
    return read_failed(began_us, error);
  }
  succeeded();
  return reply;
}

Status MongoClient::find(const char* collection, const BsonDoc& filter, const BsonDoc& options,
                         ReadLevel level, const std::function<Status(BsonView)>& visit) {
  RETURN_IF_ERROR(admit_read());
  const int64_t began_us = monotonic_us();
  BsonDoc all;
  all.all(options).doc("readConcern", read_concern(level));
  const Client client(driver_, pool_);
  mongoc_collection_t* where =
      driver_->client_get_collection(client.get(), database_.c_str(), collection);
  mongoc_cursor_t* cursor =
      driver_->collection_find_with_opts(where, filter.get(), all.get(), primary_);
  Status status;
  const bson_t* found = nullptr;
  while (status.ok() && driver_->cursor_next(cursor, &found)) status = visit(found);
  bson_error_t error;
  if (driver_->cursor_error(cursor, &error)) {
    status = read_failed(began_us, error);
  } else {
    succeeded();
  }
  driver_->cursor_destroy(cursor);
  driver_->collection_destroy(where);
  return status;
}

// ---- health

Status MongoClient::failed(const char* what, const bson_error_t& error) {
  return failed(fmt::format("{} {}: {} ({})", what, name_, error.message, error.code));
}

// The driver has tried a second time where a connection broke.
Status MongoClient::read_failed(int64_t began_us, const bson_error_t& error) {
  if (error.domain == MONGOC_ERROR_SERVER_SELECTION || error.domain == MONGOC_ERROR_STREAM) {
    gate_.found_nobody(began_us, monotonic_us());
  }
  return failed("reading from", error);
}

Status MongoClient::admit_read() {
  if (gate_.admits(monotonic_us())) return {};
  return Status::unavailable(
      errors::kStoreFailed,
      fmt::format("the database does not answer, and is asked again soon: {}", last_error()));
}

std::string MongoClient::without_secrets(std::string message) const {
  for (const std::string& secret : secrets_) {
    if (secret.empty()) continue;
    for (size_t at = 0; (at = message.find(secret, at)) != std::string::npos; at += 3) {
      message.replace(at, secret.size(), "***");
    }
  }
  return message;
}

Status MongoClient::failed(std::string message) {
  message = without_secrets(std::move(message));
  int64_t none = 0;
  unanswered_since_us_.compare_exchange_strong(none, monotonic_us());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_error_ = message;
  }
  return Status::unavailable(errors::kStoreFailed, std::move(message));
}

void MongoClient::succeeded() {
  gate_.answered(monotonic_us());
  unanswered_since_us_.store(0, std::memory_order_relaxed);
}

std::string MongoClient::last_error() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_error_;
}

}  // namespace millrace
