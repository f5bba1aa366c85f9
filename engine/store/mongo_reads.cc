// What MongoStore answers without writing.
#include <fmt/core.h>

#include <map>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/store/list_cursor.h"
#include "engine/store/mongo_document.h"
#include "engine/store/mongo_store.h"

namespace millrace {
namespace {

// The condition of a list, and the name of the index that drives it: the one with the fewest
// entries beside those that match. Each condition says by itself that the index has all of it.
BsonDoc list_filter(const JobFilter& filter, const ListCursor& from, const char** index) {
  BsonDoc all, times;
  times.number("$gt", filter.created_after > 0 ? filter.created_after : INT64_MIN)
      .number("$lte", from.created_at);
  all.doc("created_at", times);
  BsonDoc before, earlier, same, smaller;
  earlier.doc("created_at", before.number("$lt", from.created_at));
  same.number("created_at", from.created_at).doc("_id", smaller.text("$lt", from.key.text()));
  all.array("$or", BsonArray().add(earlier).add(same));
  *index = "created";
  if (filter.state) {
    all.small("state", static_cast<int32_t>(*filter.state));
    if (*filter.state != JobState::kSucceeded) {
      all.text("group", is_final(*filter.state) ? "failed" : "live");
      *index = "group";
    }
  }
  if (!filter.pipeline.empty()) all.text("pipeline", filter.pipeline);
  if (!filter.labels.empty()) {
    BsonArray labels;
    for (const auto& [key, value] : filter.labels) labels.text(label_text(key, value));
    BsonDoc every;
    all.doc("labels", every.array("$all", labels));
    *index = "labels";
  }
  return all;
}

}  // namespace

Result<std::optional<StoredJob>> MongoStore::read_at(const JobKey& key, ReadLevel level) {
  BsonDoc filter, options;
  filter.text("_id", key.text());
  std::optional<StoredJob> job;
  RETURN_IF_ERROR(client_->find("jobs", filter, options.small("limit", 1), level,
                                [&](const bson_t* document) -> Status {
                                  auto found = read_job(document);
                                  if (!found.ok()) return found.status();
                                  // A trace, for delayed images alone.
                                  if (found->tombstone && !found->record.keyed) return {};
                                  job = *std::move(found);
                                  return {};
                                }));
  return job;
}

Result<std::optional<StoredJob>> MongoStore::read(const JobKey& key) {
  return read_at(key, ReadLevel::kMajority);
}

Result<std::optional<StoredJob>> MongoStore::read_confirmed(const JobKey& key) {
  return read_at(key, ReadLevel::kConfirmed);
}

Result<JobPage> MongoStore::list(const JobFilter& filter, const std::string& cursor, int limit) {
  CHECK(limit > 0);
  const auto from = list_start(cursor);
  if (!from.ok()) return from.status();
  const char* index = nullptr;
  const BsonDoc condition = list_filter(filter, *from, &index);
  BsonDoc options, sort;
  options.doc("sort", sort.small("created_at", -1).small("_id", -1))
      .number("limit", int64_t{limit} + 1)
      .text("hint", index);
  JobPage page;
  ListCursor last;
  size_t bytes = 0;
  bool more = false;
  const Status status = client_->find(
      "jobs", condition, options, ReadLevel::kMajority, [&](const bson_t* document) -> Status {
        const size_t jobs = page.jobs.size() + page.damaged.size();
        bytes += bson_bytes(document, "record").value_or("").size();
        more = jobs == static_cast<size_t>(limit) || (jobs > 0 && bytes > kListBytesMax);
        if (more) return Status::busy(0, "the page is full");
        last = {bson_number(document, "created_at").value_or(0),
                parse_key(bson_text(document, "_id").value_or("")).value_or(JobKey{})};
        auto job = read_job(document);
        if (job.ok()) {
          page.jobs.push_back(std::move(job->record));
        } else {
          page.damaged.push_back({last.key, job.status()});
        }
        return {};
      });
  if (!more) RETURN_IF_ERROR(status);
  if (more) page.next = cursor_text(last);
  return page;
}

Result<std::optional<std::string>> MongoStore::definition(const Digest& digest) {
  BsonDoc filter, options;
  filter.text("_id", digest.text());
  std::optional<std::string> source;
  RETURN_IF_ERROR(client_->find("definitions", filter, options.small("limit", 1),
                                ReadLevel::kMajority, [&](const bson_t* document) -> Status {
                                  source = bson_text(document, "source").value_or("");
                                  return {};
                                }));
  return source;
}

Result<bool> MongoStore::any_job(const BsonDoc& filter, const char* index, ReadLevel level) {
  BsonDoc options, fields;
  options.small("limit", 1).doc("projection", fields.small("_id", 1));
  if (index != nullptr) options.text("hint", index);
  bool any = false;
  RETURN_IF_ERROR(client_->find("jobs", filter, options, level, [&](const bson_t*) -> Status {
    any = true;
    return {};
  }));
  return any;
}

// Confirmed, since a blob is removed on its word.
Result<bool> MongoStore::names_blob(const Digest& digest) {
  BsonDoc filter;
  return any_job(filter.binary("refs", digest.bytes), "refs");
}

Result<bool> MongoStore::seems_named(const Digest& digest) {
  BsonDoc filter;
  return any_job(filter.binary("refs", digest.bytes), "refs", ReadLevel::kMajority);
}

// Two steps, so that records which did not change are not sent: awaited jobs change rarely.
Result<std::vector<ChangedJob>> MongoStore::changed(const std::vector<WatchedJob>& known) {
  std::vector<ChangedJob> all;
  for (size_t begin = 0; begin < known.size(); begin += kWatchedPageMax) {
    const size_t end = std::min(begin + kWatchedPageMax, known.size());
    BsonArray ids;
    for (size_t i = begin; i < end; i++) ids.text(known[i].key.text());
    BsonDoc among, filter, options, fields;
    filter.doc("_id", among.array("$in", ids));
    options.doc("projection", fields.small("rev", 1).small("tombstone", 1));
    std::map<std::string, int64_t, std::less<>> revs;  // a tombstone has the rev of its job
    RETURN_IF_ERROR(client_->find(
        "jobs", filter, options, ReadLevel::kMajority, [&](const bson_t* document) -> Status {
          const int64_t rev = bson_flag(document, "tombstone")
                                  ? INT64_MAX
                                  : bson_number(document, "rev").value_or(0);
          revs.emplace(bson_text(document, "_id").value_or(""), rev);
          return {};
        }));
    for (size_t i = begin; i < end; i++) {
      const auto found = revs.find(known[i].key.text());
      if (found == revs.end()) {
        all.push_back({known[i].key, std::nullopt});
        continue;
      }
      if (found->second == static_cast<int64_t>(known[i].rev)) continue;
      auto job = read_at(known[i].key, ReadLevel::kMajority);
      if (!job.ok()) return job.status();
      all.push_back({known[i].key, *std::move(job)});
    }
  }
  return all;
}

}  // namespace millrace
