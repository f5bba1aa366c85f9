// The embedded store as a whole: what moves out of it, and what moves in.
#include <fmt/core.h>

#include <algorithm>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/store/sqlite_store.h"

namespace millrace {
namespace {

template <typename Array>
bool copy_exactly(std::string_view bytes, Array* to) {
  if (bytes.size() != to->size()) return false;
  std::copy(bytes.begin(), bytes.end(), to->begin());
  return true;
}

}  // namespace

Result<StoredPage> SqliteStore::stored_after(bool tombstones, const JobKey& after, int max) {
  CHECK(max > 0);
  Statement statement;
  const char* sql = tombstones
                        ? "SELECT key, record FROM tombstones WHERE key > ?1 ORDER BY key LIMIT ?2"
                        : "SELECT key, record FROM jobs INDEXED BY jobs_key WHERE key > ?1 "
                          "ORDER BY key LIMIT ?2";
  int code = statement.prepare(reader_, sql);
  if (code != SQLITE_OK) return reader_.status(code, "reading all jobs");
  statement.bind_bytes(1, after.bytes);
  statement.bind(2, max);
  StoredPage page;
  size_t bytes = 0;
  JobKey last = after;
  while ((code = statement.step()) == SQLITE_ROW) {
    if (!copy_exactly(statement.bytes(0), &last.bytes)) {
      return reader_.status(SQLITE_CORRUPT, "reading all jobs");
    }
    bytes += statement.bytes(1).size();
    auto record = decode_row(last, statement.bytes(1));
    if (record.ok()) {
      page.jobs.push_back({*std::move(record), tombstones});
    } else {
      page.damaged.push_back({last, record.status()});
    }
    const size_t rows = page.jobs.size() + page.damaged.size();
    if (rows == static_cast<size_t>(max) || bytes > kListBytesMax) {
      page.next = last;
      return page;
    }
  }
  if (code != SQLITE_DONE) return reader_.status(code, "reading all jobs");
  return page;
}

Result<std::vector<Definition>> SqliteStore::definitions_after(const Digest& after, int max) {
  CHECK(max > 0);
  Statement statement;
  int code = statement.prepare(
      reader_, "SELECT digest, source FROM definitions WHERE digest > ?1 ORDER BY digest LIMIT ?2");
  if (code != SQLITE_OK) return reader_.status(code, "reading all definitions");
  statement.bind_bytes(1, after.bytes);
  statement.bind(2, max);
  std::vector<Definition> all;
  while ((code = statement.step()) == SQLITE_ROW) {
    Definition& one = all.emplace_back();
    if (!copy_exactly(statement.bytes(0), &one.digest.bytes)) {
      return reader_.status(SQLITE_CORRUPT, "reading all definitions");
    }
    one.source = std::string(statement.bytes(1));
  }
  if (code != SQLITE_DONE) return reader_.status(code, "reading all definitions");
  return all;
}

Status SqliteStore::put_stored(const std::vector<StoredJob>& jobs) {
  ON_THREAD(kWriter);
  std::vector<const StoredJob*> met;  // something is there under their keys
  unfinished_delta_ = 0;
  RETURN_IF_ERROR(transact("moving jobs in", [&] {
    int code = SQLITE_DONE;
    for (size_t i = 0; i < jobs.size() && code == SQLITE_DONE; i++) {
      bool there = false;
      code = put_one(jobs[i], &there);
      if (there) met.push_back(&jobs[i]);
    }
    return code;
  }));
  unfinished_.fetch_add(unfinished_delta_, std::memory_order_relaxed);
  for (const StoredJob* job : met) {
    const auto stored = writer_reads_.read(job->record.key);
    if (!stored.ok()) return stored.status();
    if (stored->has_value() && (*stored)->tombstone == job->tombstone &&
        (*stored)->record == job->record) {
      continue;
    }
    return Status::conflict(errors::kImportRefused,
                            fmt::format("the store {} holds something else under the key of job {}",
                                        options_.path, job->record.id().text()));
  }
  return {};
}

int SqliteStore::put_one(const StoredJob& job, bool* there) {
  has_tombstone_.bind_bytes(1, job.record.key.bytes);
  const int found = has_tombstone_.step();
  has_tombstone_.reset();
  *there = found == SQLITE_ROW;
  if (found != SQLITE_DONE) return *there ? SQLITE_DONE : found;
  if (job.tombstone) return add_tombstone(job.record);
  WriteResult result = WriteResult::kApplied;
  const int code = insert(job.record, &result);
  *there = result == WriteResult::kExists;
  return code;
}

Result<SqliteSummary> SqliteStore::summary() {
  SqliteSummary summary;
  Sha256 hash;
  const auto add = [&](const char* sql, uint64_t* count) -> Status {
    Statement statement;
    int code = statement.prepare(reader_, sql);
    if (code != SQLITE_OK) return reader_.status(code, "counting jobs");
    while ((code = statement.step()) == SQLITE_ROW) {
      hash.update(statement.bytes(0));
      hash.update(fmt::format(" {}\n", statement.integer(1)));
      (*count)++;
    }
    return code == SQLITE_DONE ? Status() : reader_.status(code, "counting jobs");
  };
  // As they lie in the file, which is the fastest way to see them all.
  RETURN_IF_ERROR(add("SELECT key, rev FROM jobs ORDER BY rowid", &summary.jobs));
  RETURN_IF_ERROR(add("SELECT key, expire_at FROM tombstones ORDER BY rowid", &summary.tombstones));
  const auto blobs = reader_.number("SELECT count(DISTINCT digest) FROM refs");
  if (!blobs.ok()) return blobs.status();
  summary.blobs = static_cast<uint64_t>(*blobs);
  summary.state = hash.finish();
  return summary;
}

}  // namespace millrace
