#include "engine/store/mongo_store.h"

#include <fmt/core.h>

#include <set>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/store/mongo_document.h"

namespace millrace {
namespace {

constexpr int64_t kCountShare = 100;  // of the time, at most one part goes into counting
constexpr int kRemoveTries = 3;

struct Index {
  const char* collection;
  const char* name;
  std::vector<std::pair<const char*, int32_t>> keys;
  const char* present;  // only documents with this field
};

const std::vector<Index>& indexes() {
  static const std::vector<Index> all = {
      {"jobs", "owner", {{"owner", 1}, {"created_at", 1}, {"_id", 1}}, "owner"},
      {"jobs", "group", {{"group", 1}, {"created_at", -1}, {"_id", -1}}, "group"},
      {"jobs", "created", {{"created_at", -1}, {"_id", -1}, {"pipeline", 1}}, "created_at"},
      {"jobs", "labels", {{"labels", 1}, {"created_at", -1}, {"_id", -1}}, "labels"},
      {"jobs", "refs", {{"refs", 1}}, "refs"},
      {"jobs", "expire", {{"expire_at", 1}}, "expire_at"},
      {"verbs", "job", {{"job", 1}}, "job"},
  };
  return all;
}

Status write_errors(const bson_t* reply) {
  Status status;
  each_write_error(reply, [&](size_t, int64_t code, std::string_view message) {
    if (code == kMongoDuplicateKey || !status.ok()) return;
    const int number = code == kMongoOutOfDiskSpace ? errors::kNoSpace : errors::kStoreFailed;
    status = Status::unavailable(number, std::string(message));
  });
  return status;
}

}  // namespace

Result<std::unique_ptr<MongoStore>> open_mongo_store(const MongoOptions& options) {
  std::unique_ptr<MongoStore> store(new MongoStore(options));
  RETURN_IF_ERROR(store->open());
  return store;
}

Status MongoStore::open() {
  auto client = MongoClient::open(options_);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  Status status = check_format();
  if (status.ok() && !options_.importing) status = check_import();
  if (status.ok() && !options_.must_exist) status = make_indexes();
  if (status.number() == errors::kStoreFailed) {
    return Status::unavailable(errors::kStoreOpen,
                               fmt::format("the store cannot be opened: {}", status.message()));
  }
  return status;
}

Status MongoStore::check_format() {
  std::optional<int64_t> version;
  bool found = false;
  const auto look = [&] {
    BsonDoc filter, options;
    filter.text("_id", "format");
    return client_->find("meta", filter, options.small("limit", 1), ReadLevel::kConfirmed,
                         [&](const bson_t* document) -> Status {
                           found = true;
                           version = bson_number(document, "version");
                           return {};
                         });
  };
  RETURN_IF_ERROR(look());
  if (!found) {
    RETURN_IF_ERROR(make_format());
    RETURN_IF_ERROR(look());  // another node may have been quicker, with another version
  }
  if (!version || *version < 1) {
    return Status::corrupt(errors::kStoreCorrupt,
                           fmt::format("the document `format` of {} is damaged; restore the "
                                       "database from a backup",
                                       name()));
  }
  if (*version > kMongoFormat) {
    return Status::unavailable(
        errors::kStoreVersion,
        fmt::format("the store {} has version {}, this program knows up to {}; start the version "
                    "that wrote it, or a newer one",
                    name(), *version, kMongoFormat));
  }
  return {};
}

Status MongoStore::make_format() {
  const auto used = any_job(BsonDoc(), nullptr);
  if (!used.ok()) return used.status();
  if (*used) {
    return Status::corrupt(
        errors::kStoreCorrupt,
        fmt::format("{} has a collection `jobs`, but is no store of millrace (its document "
                    "`format` in `meta` is missing); give the server another database",
                    name()));
  }
  if (options_.must_exist) {
    return Status::unavailable(errors::kStoreOpen,
                               fmt::format("there is no store in {}; `store` of the configuration "
                                           "names another database",
                                           name()));
  }
  BsonDoc format;
  format.text("_id", "format").number("version", kMongoFormat);
  return insert_absent("meta", BsonArray().add(format));
}

Status MongoStore::make_indexes() {
  for (const char* collection : {"jobs", "verbs"}) {
    BsonArray all;
    for (const Index& index : indexes()) {
      if (std::string_view(index.collection) != collection) continue;
      BsonDoc keys, exists, present, spec;
      for (const auto& [field, direction] : index.keys) keys.small(field, direction);
      present.doc(index.present, exists.flag("$exists", true));
      all.add(
          spec.doc("key", keys).text("name", index.name).doc("partialFilterExpression", present));
    }
    BsonDoc command;
    command.text("createIndexes", collection).array("indexes", all);
    const auto reply = client_->write(std::move(command));
    if (!reply.ok()) return reply.status();
  }
  return {};
}

// ---- small writes

Status MongoStore::insert_absent(const char* collection, const BsonArray& documents) {
  BsonDoc command;
  command.text("insert", collection).flag("ordered", false).array("documents", documents);
  const auto reply = client_->write(std::move(command));
  return reply.ok() ? write_errors(reply->get()) : reply.status();
}

// How many have found their document.
Result<int> MongoStore::update_each(const char* collection, const BsonArray& statements) {
  BsonDoc command;
  command.text("update", collection).flag("ordered", false).array("updates", statements);
  const auto reply = client_->write(std::move(command));
  if (!reply.ok()) return reply.status();
  RETURN_IF_ERROR(write_errors(reply->get()));
  return static_cast<int>(bson_number(reply->get(), "n").value_or(0));
}

Status MongoStore::delete_ids(const char* collection, const BsonArray& ids, const BsonDoc& also) {
  BsonDoc among, filter, one, command;
  filter.doc("_id", among.array("$in", ids)).all(also);
  one.doc("q", filter).small("limit", 0);
  command.text("delete", collection).array("deletes", BsonArray().add(one));
  const auto reply = client_->write(std::move(command));
  return reply.ok() ? write_errors(reply->get()) : reply.status();
}

// One by one: together they might be more than a message may hold.
Status MongoStore::put_definitions(const std::vector<Definition>& definitions) {
  ON_THREAD(kWriter);
  for (const auto& [digest, source] : definitions) {
    BsonDoc document;
    document.text("_id", digest.text()).text("source", source);
    RETURN_IF_ERROR(insert_absent("definitions", BsonArray().add(document)));
  }
  return {};
}

// ---- removal

// The first image of a job may be on its way for as long as nobody knows what became of it, but
// nothing sends it any more once the job has ended. So a trace is left of what ended lately.
TimeMs MongoStore::traced_until(TimeMs finished_at) const {
  return options_.trace_ms > 0 ? finished_at + options_.trace_ms : 0;
}

Result<int> MongoStore::sweep(TimeMs now, int max, std::vector<Digest>* orphans) {
  CHECK(max > 0);
  BsonDoc due, filter, fields, options, sort;
  filter.doc("expire_at", due.number("$lte", now));
  options.doc("sort", sort.small("expire_at", 1)).number("limit", max);
  fields.small("refs", 1).small("finished_at", 1);
  options.doc("projection", fields).text("hint", "expire");
  BsonArray over, lately;
  std::set<Digest> dropped;
  RETURN_IF_ERROR(client_->find(
      "jobs", filter, options, ReadLevel::kMajority, [&](const bson_t* document) -> Status {
        const auto finished = bson_number(document, "finished_at");
        const bool trace = finished && traced_until(*finished) > now;
        (trace ? lately : over).text(bson_text(document, "_id").value_or(""));
        each_ref(document, [&](const Digest& d) { dropped.insert(d); });
        return {};
      }));
  int removed = 0;
  if (!over.empty()) {
    BsonDoc among, chosen, one, command;
    chosen.doc("_id", among.array("$in", over)).all(filter);
    one.doc("q", chosen).small("limit", 0);
    command.text("delete", "jobs").array("deletes", BsonArray().add(one));
    const auto reply = client_->write(std::move(command));
    if (!reply.ok()) return reply.status();
    RETURN_IF_ERROR(write_errors(reply->get()));
    removed = static_cast<int>(bson_number(reply->get(), "n").value_or(0));
  }
  if (!lately.empty()) {
    const auto buried = leave_traces(lately);
    if (!buried.ok()) return buried.status();
    removed += *buried;
  }
  for (const Digest& digest : dropped) {
    if (orphans == nullptr) break;
    const auto named = seems_named(digest);
    // Not asked again: blobs that nobody names are found by their age as well.
    if (!named.ok()) break;
    if (!*named) orphans->push_back(digest);
  }
  return removed;
}

Result<int> MongoStore::leave_traces(const BsonArray& ids) {
  BsonDoc among, filter;
  filter.doc("_id", among.array("$in", ids));
  BsonArray statements, damaged;
  RecordEncoder encoder;
  RETURN_IF_ERROR(client_->find(
      "jobs", filter, BsonDoc(), ReadLevel::kMajority, [&](const bson_t* document) -> Status {
        const auto job = read_job(document);
        if (!job.ok()) {
          damaged.text(bson_text(document, "_id").value_or(""));
          return {};
        }
        const JobRecord& record = job->record;
        BsonDoc expected, one;
        expected.text("_id", record.key.text()).number("rev", static_cast<int64_t>(record.rev));
        one.doc("q", expected);
        one.doc("u", tombstone_document(record, traced_until(record.finished_at), &encoder));
        statements.add(one);
        return {};
      }));
  if (!damaged.empty()) RETURN_IF_ERROR(delete_ids("jobs", damaged, BsonDoc()));
  if (statements.empty()) return 0;
  return update_each("jobs", statements);
}

Status MongoStore::remove(const JobKey& key) {
  ON_THREAD(kWriter);
  for (int tries = 0; tries < kRemoveTries; tries++) {
    const auto job = read_at(key, ReadLevel::kConfirmed);
    // Whether a damaged job was keyed nobody knows, so its key is free again, ended or not.
    const int number = job.ok() ? 0 : job.status().number();
    if (number == errors::kStoreCorrupt || number == errors::kStoreVersion) {
      return delete_ids("jobs", BsonArray().text(key.text()), BsonDoc());
    }
    if (!job.ok()) return job.status();
    if (!job->has_value() || (*job)->tombstone) {
      return Status::not_found(errors::kJobUnknown, "there is no such job");
    }
    const JobRecord& record = (*job)->record;
    if (!is_final(record.state)) {
      return Status::conflict(errors::kVerbForbidden,
                              "the job has not ended; cancel it before it is removed");
    }
    BsonDoc expected, one, command;
    expected.text("_id", key.text()).number("rev", static_cast<int64_t>(record.rev));
    one.doc("q", expected);
    const TimeMs traced = traced_until(record.finished_at);
    if (record.keyed || traced > wall_clock_ms()) {
      const TimeMs expire_at = record.keyed ? std::max(record.expire_at, traced) : traced;
      one.doc("u", tombstone_document(record, expire_at, &encoder_));
      command.text("update", "jobs").array("updates", BsonArray().add(one));
    } else {
      command.text("delete", "jobs").array("deletes", BsonArray().add(one.small("limit", 1)));
    }
    const auto reply = client_->write(std::move(command));
    if (!reply.ok()) return reply.status();
    RETURN_IF_ERROR(write_errors(reply->get()));
    if (bson_number(reply->get(), "n").value_or(0) == 1) return {};
  }
  return Status::unavailable(errors::kStoreFailed, "others remove the same job; try again");
}

// ---- counting

Result<int64_t> MongoStore::count_unfinished() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (counted_ >= 0 && monotonic_us() < counted_until_us_) {
      return std::max<int64_t>(counted_ + unfinished_since_.load(std::memory_order_relaxed), 0);
    }
  }
  const int64_t begin_us = monotonic_us();
  unfinished_since_.store(0, std::memory_order_relaxed);
  BsonDoc query, command;
  command.text("count", "jobs").doc("query", query.text("group", "live")).text("hint", "group");
  const auto reply = client_->read(command, ReadLevel::kMajority);
  if (!reply.ok()) return reply.status();
  const std::lock_guard<std::mutex> lock(mutex_);
  counted_ = bson_number(reply->get(), "n").value_or(0);
  const int64_t now_us = monotonic_us();
  if (options_.count_every_ms > 0) {
    counted_until_us_ =
        now_us + std::max(options_.count_every_ms * 1000, kCountShare * (now_us - begin_us));
  }
  return counted_;
}

}  // namespace millrace
