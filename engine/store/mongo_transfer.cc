// MongoStore as a whole: what moves out of it, what moves in, and the mark of an import.
#include <fmt/core.h>

#include <map>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/store/mongo_document.h"
#include "engine/store/mongo_store.h"

namespace millrace {

// ---- out

Result<StoredPage> MongoStore::stored_after(bool tombstones, const JobKey& after, int max) {
  CHECK(max > 0);
  BsonDoc behind, kind, filter, options, sort;
  filter.doc("_id", behind.text("$gt", after.text()));
  filter.doc("tombstone", kind.flag("$exists", tombstones));
  options.doc("sort", sort.small("_id", 1)).number("limit", max);
  StoredPage page;
  size_t bytes = 0;
  JobKey last = after;
  bool full = false;
  const Status status = client_->find(
      "jobs", filter, options, ReadLevel::kMajority, [&](const bson_t* document) -> Status {
        last = parse_key(bson_text(document, "_id").value_or("")).value_or(last);
        bytes += bson_bytes(document, "record").value_or("").size();
        auto job = read_job(document);
        if (job.ok()) {
          page.jobs.push_back(*std::move(job));
        } else {
          page.damaged.push_back({last, job.status()});
        }
        full = page.jobs.size() + page.damaged.size() == static_cast<size_t>(max) ||
               bytes > kListBytesMax;
        return full ? Status::busy(0, "the page is full") : Status();
      });
  if (full) {
    page.next = last;
  } else {
    RETURN_IF_ERROR(status);
  }
  return page;
}

Result<std::vector<Definition>> MongoStore::definitions_after(const Digest& after, int max) {
  CHECK(max > 0);
  BsonDoc behind, filter, options, sort;
  filter.doc("_id", behind.text("$gt", after.text()));
  options.doc("sort", sort.small("_id", 1)).number("limit", max);
  std::vector<Definition> all;
  RETURN_IF_ERROR(client_->find(
      "definitions", filter, options, ReadLevel::kMajority, [&](const bson_t* document) -> Status {
        const auto digest = Digest::parse(bson_text(document, "_id").value_or(""));
        const auto source = bson_text(document, "source");
        if (!digest || !source) {
          return Status::corrupt(errors::kStoreCorrupt,
                                 fmt::format("a document of `definitions` of {} is damaged; "
                                             "restore the database from a backup",
                                             name()));
        }
        all.push_back({*digest, std::string(*source)});
        return {};
      }));
  return all;
}

// ---- in

Status MongoStore::put_stored(const std::vector<StoredJob>& jobs) {
  ON_THREAD(kWriter);
  BsonArray documents;
  for (const StoredJob& job : jobs) {
    const JobRecord& record = job.record;
    documents.add(job.tombstone ? tombstone_document(record, record.expire_at, &encoder_)
                                : job_document(record, &encoder_));
  }
  BsonDoc command;
  command.text("insert", "jobs").flag("ordered", false).array("documents", documents);
  const auto reply = client_->write(std::move(command));
  if (!reply.ok()) return reply.status();
  std::vector<const StoredJob*> met;
  Status status;
  each_write_error(reply->get(), [&](size_t index, int64_t code, std::string_view message) {
    if (code == kMongoDuplicateKey && index < jobs.size()) {
      met.push_back(&jobs[index]);
      return;
    }
    const int number = code == kMongoOutOfDiskSpace ? errors::kNoSpace : errors::kStoreFailed;
    status = Status::unavailable(number, fmt::format("the database refuses a record: {}", message));
  });
  RETURN_IF_ERROR(status);
  return met.empty() ? Status() : compare_stored(met);
}

Status MongoStore::compare_stored(const std::vector<const StoredJob*>& jobs) {
  BsonArray ids;
  for (const StoredJob* job : jobs) ids.text(job->record.key.text());
  const auto found_images = images_of(ids);
  if (!found_images.ok()) return found_images.status();
  const std::map<JobKey, StoredImage>& stored = *found_images;
  for (const StoredJob* job : jobs) {
    const JobRecord& record = job->record;
    const auto found = stored.find(record.key);
    if (found != stored.end() && found->second.rev == record.rev &&
        found->second.write_id == record.write_id && found->second.salt == record.salt &&
        found->second.tombstone == job->tombstone) {
      continue;
    }
    return Status::conflict(errors::kImportRefused,
                            fmt::format("{} holds something else under the key of job {}; drop the "
                                        "database and begin anew, or give another one",
                                        name(), record.id().text()));
  }
  return {};
}

// ---- the mark

Result<std::optional<ImportMark>> MongoStore::import_mark() {
  BsonDoc filter, options;
  filter.text("_id", "import");
  std::optional<ImportMark> mark;
  RETURN_IF_ERROR(client_->find(
      "meta", filter, options.small("limit", 1), ReadLevel::kConfirmed,
      [&](const bson_t* document) -> Status {
        mark.emplace();
        mark->source = Digest::parse(bson_text(document, "source").value_or("")).value_or(Digest());
        mark->finished_at = bson_number(document, "finished_at").value_or(0);
        return {};
      }));
  return mark;
}

Status MongoStore::put_import_mark(const ImportMark& mark) {
  BsonDoc which, document, one, command;
  document.text("_id", "import")
      .text("source", mark.source.text())
      .number("finished_at", mark.finished_at);
  one.doc("q", which.text("_id", "import")).doc("u", document).flag("upsert", true);
  command.text("update", "meta").array("updates", BsonArray().add(one));
  const auto reply = client_->write(std::move(command));
  if (!reply.ok()) return reply.status();
  Status status;
  each_write_error(reply->get(), [&](size_t, int64_t, std::string_view message) {
    status = Status::unavailable(errors::kStoreFailed,
                                 fmt::format("the import was not noted: {}", message));
  });
  return status;
}

Status MongoStore::check_import() {
  const auto mark = import_mark();
  if (!mark.ok()) return mark.status();
  if (!mark->has_value() || (*mark)->finished_at != 0) return {};
  return Status::unavailable(
      errors::kImportUnfinished,
      fmt::format("an import into {} has not finished, so only some of its jobs are here; repeat "
                  "`millrace import`, or drop the database to begin anew",
                  name()));
}

Status MongoStore::begin_import(const Digest& source) {
  const auto mark = import_mark();
  if (!mark.ok()) return mark.status();
  if (mark->has_value() && (*mark)->finished_at == 0) {
    if ((*mark)->source == source) return {};
    return Status::conflict(
        errors::kImportRefused,
        fmt::format("an import into {} has begun that was of another store, or of another state "
                    "of it; drop the database to begin anew",
                    name()));
  }
  const auto used = any_job(BsonDoc(), nullptr);
  if (!used.ok()) return used.status();
  if (*used) {
    return Status::conflict(
        errors::kImportRefused,
        fmt::format("{} holds jobs{}; an import goes into an empty database", name(),
                    mark->has_value() ? ", and an import into it has finished before" : ""));
  }
  return put_import_mark({source, 0});
}

Status MongoStore::finish_import(const Digest& source, TimeMs now) {
  CHECK(now > 0);
  return put_import_mark({source, now});
}

}  // namespace millrace
