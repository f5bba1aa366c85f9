#include "engine/store/mongo_client.h"

#include <fmt/core.h>

#include "engine/base/errors.h"

namespace millrace {
namespace {

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
}

Result<std::unique_ptr<MongoClient>> MongoClient::open(const MongoOptions& options) {
  CHECK(options.majority_ms > 0 && options.majority_ms < options.answer_ms);
  std::unique_ptr<MongoClient> client(new MongoClient(options.away_try_ms));
  RETURN_IF_ERROR(client->connect(options));
  return client;
}

Status MongoClient::connect(const MongoOptions& options) {
  auto address = MongoAddress::read(options.uri);
  if (!address.ok()) return address.status();
  address_ = *std::move(address);
  name_ = address_->name();
  database_ = address_->database();
  driver_ = *load_mongo_driver();
  address_->set_unless_given(MONGOC_URI_SERVERSELECTIONTIMEOUTMS, options.select_ms);
  address_->set_unless_given(MONGOC_URI_CONNECTTIMEOUTMS, options.connect_ms);
  address_->set_unless_given(MONGOC_URI_SOCKETTIMEOUTMS, options.answer_ms);
  address_->set_unless_given(MONGOC_URI_HEARTBEATFREQUENCYMS, options.heartbeat_ms);
  majority_ms_ = options.majority_ms;
  primary_ = driver_->read_prefs_new(MONGOC_READ_PRIMARY);
  bson_error_t error;
  pool_ = driver_->client_pool_new_with_error(address_->uri(), &error);
  if (pool_ == nullptr) {
    return Status::unavailable(errors::kStoreOpen, failed("connecting to", error).message());
  }
  driver_->client_pool_set_error_api(pool_, MONGOC_ERROR_API_VERSION_2);
  return greet();
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

Status MongoClient::failed(std::string message) {
  message = address_->without_secrets(std::move(message));
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
