#include "engine/store/mongo_stream.h"

#include <fmt/core.h>

#include <algorithm>

#include "engine/base/errors.h"
#include "engine/store/mongo_document.h"
#include "engine/store/mongo_store.h"

namespace millrace {
namespace {

constexpr char kJobs[] = "jobs", kVerbs[] = "verbs";

// Codes with which a server says that it has no change streams, or none for this user: a single
// server (40573), services that speak the protocol and lack the stage, missing rights. A server
// without sessions has none either.
bool says_never(const bson_error_t& error) {
  if (error.domain == MONGOC_ERROR_CLIENT) return error.code == MONGOC_ERROR_CLIENT_SESSION_FAILURE;
  constexpr uint32_t kCodes[] = {13, 20, 59, 115, 238, 303, 8000, 40324, 40573};
  return error.domain == MONGOC_ERROR_SERVER &&
         std::find(std::begin(kCodes), std::end(kCodes), error.code) != std::end(kCodes);
}

// The collection to watch; empty: both, by the database.
std::string watched(const Topics& topics) {
  if (topics.jobs.empty()) return kVerbs;
  return topics.verbs_of == NodeId{} ? kJobs : "";
}

BsonDoc filter_of(const Topics& topics, bool by_database) {
  BsonDoc verbs, jobs, among;
  if (by_database) {
    verbs.text("ns.coll", kVerbs);
    jobs.text("ns.coll", kJobs);
  }
  verbs.text("operationType", "insert").binary("fullDocument.owner", topics.verbs_of.bytes);
  BsonArray keys;
  for (const JobKey& key : topics.jobs) keys.text(key.text());
  jobs.doc("documentKey._id", among.array("$in", keys));
  if (topics.jobs.empty()) return verbs;
  if (topics.verbs_of == NodeId{}) return jobs;
  BsonDoc either;
  either.array("$or", BsonArray().add(verbs).add(jobs));
  return either;
}

// The _id is the resume token, which a stream must keep.
BsonArray pipeline_of(const Topics& topics, bool by_database) {
  BsonDoc begin, match, project, fields, nothing;
  begin.doc("$changeStream", nothing);
  match.doc("$match", filter_of(topics, by_database));
  project.doc("$project", fields.small("documentKey", 1).small("ns", 1));
  BsonArray stages;
  stages.add(begin).add(match).add(project);
  return stages;
}

}  // namespace

Result<std::shared_ptr<HintStream>> MongoStore::open_hints(const Topics& topics,
                                                           DurationMs wait_ms) {
  return MongoStream::open(client_.get(), topics, wait_ms);
}

Result<std::shared_ptr<HintStream>> MongoStream::open(MongoClient* client, const Topics& topics,
                                                      DurationMs wait_ms) {
  CHECK(!topics.empty() && topics.jobs.size() <= kHintedJobsMax);
  if (client->gate_.away()) {
    return Status::unavailable(errors::kStoreFailed, "the database does not answer");
  }
  auto stream = std::make_shared<MongoStream>(client);
  RETURN_IF_ERROR(stream->start(topics, wait_ms));
  return std::shared_ptr<HintStream>(std::move(stream));
}

MongoStream::MongoStream(MongoClient* client)
    : owner_(client), driver_(client->driver_), client_(driver_->client_pool_pop(client->pool_)) {}

MongoStream::~MongoStream() {
  interrupt();  // the server would keep the cursor for minutes
  if (session_ != nullptr) driver_->client_session_destroy(session_);
  driver_->client_pool_push(owner_->pool_, client_);
}

Status MongoStream::start(const Topics& topics, DurationMs wait_ms) {
  // An answer that says nothing must come before the driver gives the connection up.
  const int32_t answer_ms =
      driver_->uri_get_option_as_int32(owner_->address_->uri(), MONGOC_URI_SOCKETTIMEOUTMS, 0);
  wait_ms_ = answer_ms > 0 ? std::min<DurationMs>(wait_ms, answer_ms / 2) : wait_ms;
  watched_ = watched(topics);
  RETURN_IF_ERROR(begin_session());
  BsonDoc command, batch, reply;
  if (watched_.empty()) {
    command.small("aggregate", 1);
  } else {
    command.text("aggregate", watched_);
  }
  command.array("pipeline", pipeline_of(topics, watched_.empty()))
      .doc("cursor", batch.small("batchSize", kHintsPageMax));
  bson_error_t error;
  if (!run(client_, true, command, &reply, &error)) return broken(error);
  bson_t cursor;
  const auto* made = bson_inner(reply.get(), "cursor", &cursor);
  const std::string name(made == nullptr ? "" : bson_text(made, "ns").value_or(""));
  // "DATABASE.COLLECTION"; a stream of the database has "$cmd.aggregate" there.
  collection_ = name.substr(std::min(name.size(), owner_->database_.size() + 1));
  return read(reply.get(), "firstBatch").status();
}

Status MongoStream::begin_session() {
  bson_error_t error;
  mongoc_server_description_t* server =
      driver_->client_select_server(client_, true, nullptr, &error);
  if (server == nullptr) return broken(error);
  server_ = driver_->server_description_id(server);
  driver_->server_description_destroy(server);
  session_ = driver_->client_start_session(client_, nullptr, &error);
  return session_ == nullptr ? broken(error) : Status();
}

bool MongoStream::run(mongoc_client_t* by, bool in_session, const BsonDoc& command, BsonDoc* reply,
                      bson_error_t* error) const {
  BsonDoc options;
  options.small("serverId", static_cast<int32_t>(server_));
  if (in_session && !driver_->client_session_append(session_, options.more(), error)) return false;
  return driver_->client_command_with_opts(by, owner_->database_.c_str(), command.get(), nullptr,
                                           options.get(), reply->reply(), error);
}

Result<Hints> MongoStream::next() {
  const int64_t id = cursor_.load();
  if (id == 0) return over();
  BsonDoc command, reply;
  command.number("getMore", id)
      .text("collection", collection_)
      .small("batchSize", kHintsPageMax)
      .number("maxTimeMS", wait_ms_);
  bson_error_t error;
  if (!run(client_, true, command, &reply, &error)) {
    cursor_.store(0);
    return interrupted_.load() ? over() : broken(error);
  }
  auto hints = read(reply.get(), "nextBatch");
  if (hints.ok() && cursor_.load() == 0) return over();
  return hints;
}

Status MongoStream::over() const {
  if (interrupted_.load()) return Status::not_found(0, "the stream was interrupted");
  return Status::unavailable(errors::kStoreFailed, "the server has ended the stream");
}

Result<Hints> MongoStream::read(const bson_t* reply, const char* batch) {
  bson_t cursor;
  if (bson_inner(reply, "cursor", &cursor) == nullptr) {
    cursor_.store(0);
    return Status::unavailable(errors::kStoreFailed, "an answer without a cursor");
  }
  cursor_.store(bson_number(&cursor, "id").value_or(0));
  Hints hints;
  bson_each(&cursor, batch, [&](const bson_t* event) {
    bson_t key, space;
    const bool has_space = watched_.empty() && bson_inner(event, "ns", &space) != nullptr;
    const std::string_view in =
        has_space ? bson_text(&space, "coll").value_or("") : std::string_view(watched_);
    if (bson_inner(event, "documentKey", &key) == nullptr) return;
    if (in == kVerbs) hints.verbs = true;
    const auto job = parse_key(bson_text(&key, "_id").value_or(""));
    if (in == kJobs && job) hints.jobs.push_back(*job);
  });
  return hints;
}

// What is sent by another client meanwhile: this one waits for its answer.
void MongoStream::interrupt() {
  const int64_t id = cursor_.load();
  interrupted_.store(true);
  if (id == 0 || !owner_->answered()) return;
  BsonDoc command, reply;
  command.text("killCursors", collection_).array("cursors", BsonArray().number(id));
  mongoc_client_t* other = driver_->client_pool_pop(owner_->pool_);
  bson_error_t error;
  (void)run(other, false, command, &reply, &error);  // else it ends by itself
  driver_->client_pool_push(owner_->pool_, other);
}

Status MongoStream::broken(const bson_error_t& error) const {
  std::string message = owner_->address_->without_secrets(
      fmt::format("watching {}: {} ({})", owner_->name_, error.message, error.code));
  if (says_never(error)) return Status::not_found(0, std::move(message));
  return Status::unavailable(errors::kStoreFailed, std::move(message));
}

}  // namespace millrace
