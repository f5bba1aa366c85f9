#include "engine/store/sqlite_reads.h"

#include <fmt/core.h>

#include <algorithm>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/store/codec.h"
#include "engine/store/list_cursor.h"

namespace millrace {

// Its own checksum cannot say that it is another's.
Result<JobRecord> decode_row(const JobKey& key, std::string_view bytes) {
  auto record = decode_record(bytes);
  if (record.ok() && record->key == key) return record;
  const Status status =
      record.ok() ? Status::corrupt(errors::kStoreCorrupt,
                                    "the stored record is another job's; restore the store from a "
                                    "backup, or delete this job")
                  : record.status();
  return Status(status.code(), status.number(),
                fmt::format("job {}: {}", key.text(), status.message()));
}

namespace {

// The key in a column. A damaged one can only be another's.
JobKey key_of(std::string_view bytes) {
  JobKey key;
  std::copy_n(bytes.begin(), std::min(bytes.size(), key.bytes.size()), key.bytes.begin());
  return key;
}

// The query of a list: ?1 and ?2 are the cursor, ?3 created_after, ?4 the limit, ?5 on the labels,
// ?100 the pipeline.
std::string list_sql(const JobFilter& filter) {
  // One index drives, in the order of the list; the rest is looked at row by row. Which index: the
  // one with the fewest entries beside those that match.
  const bool ended_badly =
      filter.state && (*filter.state == JobState::kFailed || *filter.state == JobState::kCancelled);
  std::string sql = "SELECT j.key, j.created_at, j.record FROM ";
  const char* order = "j";
  if (!filter.labels.empty()) {
    sql +=
        "labels l INDEXED BY labels_value CROSS JOIN jobs j ON j.rowid = l.job WHERE l.name = ?5 "
        "AND l.value = ?6";
    order = "l";
  } else if (ended_badly) {
    sql += "jobs j INDEXED BY jobs_failed WHERE j.failed IS NOT NULL";
  } else if (filter.state && !is_final(*filter.state)) {
    sql += "jobs j INDEXED BY jobs_unfinished WHERE j.expire_at IS NULL";
  } else {
    sql += "jobs j INDEXED BY jobs_created WHERE 1";
  }
  sql += fmt::format(" AND ({0}.created_at, {0}.key) < (?1, ?2) AND {0}.created_at > ?3", order);
  for (size_t i = 1; i < filter.labels.size(); i++) {
    sql += fmt::format(
        " AND EXISTS (SELECT 1 FROM labels x WHERE x.job = j.rowid AND x.name = ?{} "
        "AND x.value = ?{})",
        5 + 2 * i, 6 + 2 * i);
  }
  if (!filter.pipeline.empty()) sql += " AND j.pipeline = ?100";
  if (filter.state) sql += fmt::format(" AND j.state = {}", static_cast<int>(*filter.state));
  sql += fmt::format(" ORDER BY {0}.created_at DESC, {0}.key DESC LIMIT ?4", order);
  return sql;
}

}  // namespace

Status SqliteReads::prepare(SqliteConnection* connection) {
  connection_ = connection;
  const struct {
    Statement* statement;
    const char* sql;
  } all[] = {
      {&job_, "SELECT record FROM jobs WHERE key = ?1"},
      {&tombstone_, "SELECT record FROM tombstones WHERE key = ?1"},
      {&claim_,
       "SELECT key, record FROM jobs INDEXED BY jobs_unfinished "
       "WHERE expire_at IS NULL AND (created_at, key) > (?1, ?2) AND owner <> ?3 "
       "ORDER BY created_at, key"},
      {&definition_, "SELECT source FROM definitions WHERE digest = ?1"},
      {&blob_, "SELECT 1 FROM refs INDEXED BY refs_digest WHERE digest = ?1 LIMIT 1"},
      {&blobs_,
       "SELECT DISTINCT digest FROM refs INDEXED BY refs_digest WHERE digest > ?1 "
       "ORDER BY digest LIMIT ?2"},
      {&blob_jobs_,
       "SELECT j.key, j.record FROM refs r INDEXED BY refs_digest CROSS JOIN jobs j "
       "ON j.rowid = r.job WHERE r.digest = ?1 LIMIT ?2"},
  };
  for (const auto& [statement, sql] : all) {
    const int code = statement->prepare(*connection, sql);
    if (code != SQLITE_OK) return connection->status(code, sql);
  }
  return {};
}

Result<std::optional<StoredJob>> SqliteReads::read_from(Statement* statement, const JobKey& key,
                                                        bool tombstone, bool* unreadable) {
  const ResetAtEnd reset(statement);
  statement->bind_bytes(1, key.bytes);
  const int code = statement->step();
  if (code == SQLITE_DONE) return std::optional<StoredJob>();
  if (code != SQLITE_ROW) return connection_->status(code, "reading a job");
  auto record = decode_row(key, statement->bytes(0));
  if (unreadable != nullptr) *unreadable = !record.ok();
  if (!record.ok()) return record.status();
  return std::optional<StoredJob>(StoredJob{*std::move(record), tombstone});
}

Result<std::optional<StoredJob>> SqliteReads::read(const JobKey& key, bool* unreadable) {
  if (unreadable != nullptr) *unreadable = false;
  auto job = read_from(&job_, key, false, unreadable);
  // A deletion between the two looks makes neither miss: the tombstone is written with it.
  if (!job.ok() || job->has_value()) return job;
  return read_from(&tombstone_, key, true, nullptr);
}

Result<JobPage> SqliteReads::list(const JobFilter& filter, const std::string& cursor, int limit) {
  CHECK(limit > 0);
  const auto start = list_start(cursor);
  if (!start.ok()) return start.status();
  const ListCursor& from = *start;
  const std::string sql = list_sql(filter);
  Statement statement;
  int code = statement.prepare(*connection_, sql);
  if (code != SQLITE_OK) return connection_->status(code, "listing jobs");
  statement.bind(1, from.created_at);
  statement.bind_bytes(2, from.key.bytes);
  statement.bind(3, filter.created_after > 0 ? filter.created_after : INT64_MIN);
  statement.bind(4, int64_t{limit} + 1);
  for (size_t i = 0; i < filter.labels.size(); i++) {
    statement.bind_text(static_cast<int>(5 + 2 * i), filter.labels[i].first);
    statement.bind_text(static_cast<int>(6 + 2 * i), filter.labels[i].second);
  }
  if (!filter.pipeline.empty()) statement.bind_text(100, filter.pipeline);

  JobPage page;
  ListCursor last;
  size_t bytes = 0;
  while ((code = statement.step()) == SQLITE_ROW) {
    const size_t rows = page.jobs.size() + page.damaged.size();
    bytes += statement.bytes(2).size();
    if (rows == static_cast<size_t>(limit) || (rows > 0 && bytes > kListBytesMax)) {
      page.next = cursor_text(last);
      return page;
    }
    last = {statement.integer(1), key_of(statement.bytes(0))};
    auto record = decode_row(last.key, statement.bytes(2));
    if (record.ok()) {
      page.jobs.push_back(*std::move(record));
    } else {
      page.damaged.push_back({last.key, record.status()});
    }
  }
  if (code != SQLITE_DONE) return connection_->status(code, "listing jobs");
  return page;
}

Result<std::vector<JobRecord>> SqliteReads::unfinished_after(const NodeId& self,
                                                             const std::optional<JobRecord>& after,
                                                             int max) {
  CHECK(max > 0);
  const ResetAtEnd reset(&claim_);
  const JobKey none{};
  claim_.bind(1, after ? after->created_at : INT64_MIN);
  claim_.bind_bytes(2, after ? after->key.bytes : none.bytes);
  claim_.bind_bytes(3, self.bytes);
  std::vector<JobRecord> records;
  int code;
  while ((code = claim_.step()) == SQLITE_ROW) {
    const JobKey key = key_of(claim_.bytes(0));
    auto record = decode_row(key, claim_.bytes(1));
    if (!record.ok()) {
      // To stop here would cost all others as well.
      if (told_.insert(key).second) damaged_.push_back({key, record.status()});
      continue;
    }
    records.push_back(*std::move(record));
    if (records.size() == static_cast<size_t>(max)) return records;
  }
  if (code != SQLITE_DONE) return connection_->status(code, "reading unfinished jobs");
  return records;
}

Result<std::optional<std::string>> SqliteReads::definition(const Digest& digest) {
  const ResetAtEnd reset(&definition_);
  definition_.bind_bytes(1, digest.bytes);
  const int code = definition_.step();
  if (code == SQLITE_DONE) return std::optional<std::string>();
  if (code != SQLITE_ROW) return connection_->status(code, "reading a definition");
  return std::optional<std::string>(std::string(definition_.bytes(0)));
}

Result<bool> SqliteReads::names_blob(const Digest& digest) {
  const ResetAtEnd reset(&blob_);
  blob_.bind_bytes(1, digest.bytes);
  const int code = blob_.step();
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return connection_->status(code, "asking who names a blob");
}

Result<std::vector<Digest>> SqliteReads::blobs_after(const Digest& after, int max) {
  CHECK(max > 0);
  const ResetAtEnd reset(&blobs_);
  blobs_.bind_bytes(1, after.bytes);
  blobs_.bind(2, max);
  std::vector<Digest> digests;
  int code;
  while ((code = blobs_.step()) == SQLITE_ROW) {
    const std::string_view bytes = blobs_.bytes(0);
    Digest& digest = digests.emplace_back();
    if (bytes.size() != digest.bytes.size()) {
      return connection_->status(SQLITE_CORRUPT, "listing blobs");
    }
    std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
  }
  if (code != SQLITE_DONE) return connection_->status(code, "listing blobs");
  return digests;
}

Result<std::vector<JobId>> SqliteReads::jobs_naming(const Digest& digest, int max) {
  CHECK(max > 0);
  const ResetAtEnd reset(&blob_jobs_);
  blob_jobs_.bind_bytes(1, digest.bytes);
  blob_jobs_.bind(2, max);
  std::vector<JobId> jobs;
  int code;
  while ((code = blob_jobs_.step()) == SQLITE_ROW) {
    const JobKey key = key_of(blob_jobs_.bytes(0));
    const auto record = decode_row(key, blob_jobs_.bytes(1));
    jobs.push_back(record.ok() ? record->id() : JobId{key, {}});
  }
  if (code != SQLITE_DONE) return connection_->status(code, "asking who names a blob");
  return jobs;
}

}  // namespace millrace
