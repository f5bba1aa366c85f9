#include "engine/store/sqlite_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/store/sqlite_schema.h"

namespace millrace {
namespace {

constexpr int kExitStoreFailed = 5;  // part of the program's contract
// The log is cut back to this after a burst; below, its blocks are kept and written again.
constexpr int kLogBytesKept = 8 << 20;
// A log this many times its due length means that readers kept it busy: they are waited for.
constexpr int kLogOverdue = 16;
constexpr int kBusyMs = 5'000;
constexpr int kRestartWaitMs = 50;
constexpr int kCacheKib = 16 << 10;  // of the writer's page cache

// Creates the directory and those above it that are missing.
Status make_directory(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0700) == 0) {
      RETURN_IF_ERROR(sync_directory(directory_of(part)));
    } else if (errno != EEXIST) {
      return Status::unavailable(
          errors::kStoreOpen,
          fmt::format("cannot create the directory {}: {}", part, std::strerror(errno)));
    }
    if (slash == std::string::npos) return {};
  }
}

Status sync_log(const std::string& path) {
  // SQLite's locks are on other files: closing this one drops none.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return {};
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const Status status =
      synced ? Status()
             : Status::unavailable(errors::kStoreOpen,
                                   fmt::format("cannot sync {}: {}", path, std::strerror(errno)));
  if (fd >= 0) ::close(fd);
  return status;
}

}  // namespace

void end_on_failed_store(const Status& status) {
  log_event(LogLevel::kError, "store.failed",
            {{"code", error_code(status.number())}, {"error", status.message()}});
  _exit(kExitStoreFailed);
}

SqliteStore::SqliteStore(const SqliteOptions& options)
    : options_(options), reserve_(options.path + ".reserve", options.reserve_bytes) {}

SqliteStore::~SqliteStore() = default;

Result<std::unique_ptr<SqliteStore>> open_sqlite_store(const SqliteOptions& options) {
  CHECK(!options.path.empty() && options.checkpoint_pages > 0);
  std::unique_ptr<SqliteStore> store(new SqliteStore(options));
  RETURN_IF_ERROR(store->open());
  return store;
}

Status SqliteStore::open() {
  const std::string directory = directory_of(options_.path);
  RETURN_IF_ERROR(make_directory(directory));
  RETURN_IF_ERROR(check_local_file_system(directory));
  RETURN_IF_ERROR(lock_.acquire(options_.path + ".lock"));
  Status status = open_writer();
  if (status.number() == errors::kNoSpace) {
    // Replaying the log may need room that the reserve has.
    writer_.close();
    reserve_.release();
    status = open_writer();
  }
  if (status.number() == errors::kNoSpace) {
    return Status::unavailable(errors::kNoSpace,
                               fmt::format("the store {} cannot be opened: {}; free some space",
                                           options_.path, status.message()));
  }
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(prepare());
  const auto unfinished = writer_.number(
      "SELECT count(*) FROM jobs INDEXED BY jobs_unfinished WHERE expire_at IS NULL");
  if (!unfinished.ok()) return unfinished.status();
  unfinished_.store(*unfinished, std::memory_order_relaxed);
  reserve_.restore();
  // Not only for the new names: the rollback journal of a store that was just made is gone, and if
  // it came back after a power loss it would roll the store back to nothing.
  return sync_directory(directory);
}

bool SqliteStore::regain_space() {
  ON_THREAD(kWriter);
  return reserve_.restore();
}

Status SqliteStore::open_writer() {
  RETURN_IF_ERROR(
      writer_.open(options_.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, options_.vfs));
  sqlite3_busy_timeout(writer_.get(), kBusyMs);
  // The automatic checkpoint would swallow its errors: checkpoint_if_due() does not.
  const std::string pragmas = fmt::format(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; "
      "PRAGMA journal_size_limit = {}; PRAGMA cache_size = -{}; PRAGMA temp_store = MEMORY;",
      kLogBytesKept, kCacheKib);
  int code = writer_.run(pragmas.c_str());
  if (code != SQLITE_OK) return writer_.status(code, "opening the store");
  RETURN_IF_ERROR(prepare_schema(&writer_, options_.path, options_.upgrade));
  sqlite3_busy_timeout(writer_.get(), kRestartWaitMs);
  code = sqlite3_wal_checkpoint_v2(writer_.get(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr,
                                   nullptr);
  sqlite3_busy_timeout(writer_.get(), kBusyMs);
  if (writer_.is_no_space(code) || (code & 0xff) == SQLITE_BUSY) {
    // The database cannot grow, or somebody copies it (copy_store). Commits of the log count once
    // they are durable where they are.
    RETURN_IF_ERROR(sync_log(options_.path + "-wal"));
  } else if (code != SQLITE_OK) {
    return writer_.status(code, "replaying the log of the store");
  }
  const auto on_commit = [](void* self, sqlite3*, const char*, int pages) {
    static_cast<SqliteStore*>(self)->log_pages_ = pages;
    return SQLITE_OK;
  };
  sqlite3_wal_hook(writer_.get(), on_commit, this);
  return {};
}

Status SqliteStore::prepare() {
  RETURN_IF_ERROR(reader_.open(options_.path, SQLITE_OPEN_READONLY, options_.vfs));
  sqlite3_busy_timeout(reader_.get(), kBusyMs);
  RETURN_IF_ERROR(writer_reads_.prepare(&writer_));
  RETURN_IF_ERROR(reader_reads_.prepare(&reader_));
  const struct {
    Statement* statement;
    const char* sql;
  } all[] = {
      {&begin_, "BEGIN IMMEDIATE"},
      {&commit_, "COMMIT"},
      {&insert_,
       "INSERT INTO jobs (key, rev, owner, state, created_at, expire_at, failed, blobs, pipeline, "
       "record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (key) DO NOTHING"},
      {&has_tombstone_, "SELECT 1 FROM tombstones WHERE key = ?1"},
      {&update_,
       "UPDATE jobs SET rev = ?1, owner = ?2, state = ?3, record = ?4 WHERE key = ?5 AND rev = ?6 "
       "AND owner = ?7 AND blobs = 0 AND expire_at IS NULL"},
      {&end_,
       "UPDATE jobs SET rev = ?1, owner = ?2, state = ?3, record = ?4, expire_at = ?8, failed = ?9 "
       "WHERE key = ?5 AND rev = ?6 AND owner = ?7 AND blobs = 0 AND expire_at IS NULL"},
      {&find_, "SELECT rowid, rev, owner, blobs, expire_at FROM jobs WHERE key = ?1"},
      {&update_found_,
       "UPDATE jobs SET rev = ?1, owner = ?2, state = ?3, record = ?4, blobs = ?6, expire_at = ?7, "
       "failed = ?8 WHERE rowid = ?5"},
      {&job_refs_, "SELECT digest FROM refs WHERE job = ?1"},
      {&add_ref_, "INSERT INTO refs (job, digest) VALUES (?1, ?2)"},
      {&drop_ref_, "DELETE FROM refs WHERE job = ?1 AND digest = ?2"},
      {&drop_refs_, "DELETE FROM refs WHERE job = ?1"},
      {&add_label_,
       "INSERT INTO labels (job, name, value, created_at, key) VALUES (?1, ?2, ?3, ?4, ?5)"},
      {&drop_labels_, "DELETE FROM labels WHERE job = ?1"},
      {&delete_job_, "DELETE FROM jobs WHERE rowid = ?1"},
      {&add_tombstone_, "INSERT INTO tombstones (key, expire_at, record) VALUES (?1, ?2, ?3)"},
      {&expired_,
       "SELECT rowid FROM jobs INDEXED BY jobs_expire WHERE expire_at IS NOT NULL AND "
       "expire_at <= ?1 ORDER BY expire_at LIMIT ?2"},
      {&drop_tombstones_,
       "DELETE FROM tombstones WHERE rowid IN (SELECT rowid FROM tombstones WHERE expire_at <= ?1 "
       "ORDER BY expire_at LIMIT ?2)"},
      {&add_definition_,
       "INSERT INTO definitions (digest, source) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING"},
  };
  for (const auto& [statement, sql] : all) {
    const int code = statement->prepare(writer_, sql);
    if (code != SQLITE_OK) return writer_.status(code, sql);
  }
  return {};
}

// ---- reading

SqliteReads& SqliteStore::reads() {
  return current_thread() == Thread::kWriter ? writer_reads_ : reader_reads_;
}

Result<std::optional<StoredJob>> SqliteStore::read(const JobKey& key) {
  return reads().read(key);
}

Result<JobPage> SqliteStore::list(const JobFilter& filter, const std::string& cursor, int limit) {
  return reads().list(filter, cursor, limit);
}

Result<std::optional<std::string>> SqliteStore::definition(const Digest& digest) {
  return reads().definition(digest);
}

Result<int64_t> SqliteStore::count_unfinished() {
  return unfinished_.load(std::memory_order_relaxed);
}

Result<bool> SqliteStore::names_blob(const Digest& digest) {
  ON_THREAD(kWriter);
  return writer_reads_.names_blob(digest);
}

Result<std::vector<Digest>> SqliteStore::blobs_after(const Digest& after, int max) {
  return reads().blobs_after(after, max);
}

Status SqliteStore::check() {
  return reader_.check(options_.path);
}

Result<std::vector<JobId>> SqliteStore::jobs_naming(const Digest& digest, int max) {
  return reads().jobs_naming(digest, max);
}

Result<std::vector<JobRecord>> SqliteStore::claim(const NodeId& self,
                                                  const std::optional<JobRecord>& after, int max) {
  ON_THREAD(kWriter);
  return writer_reads_.unfinished_after(self, after, max);
}

std::vector<DamagedJob> SqliteStore::take_damaged() {
  ON_THREAD(kWriter);
  return writer_reads_.take_damaged();
}

// ---- removing

Result<int> SqliteStore::sweep(TimeMs now, int max, std::vector<Digest>* orphans) {
  ON_THREAD(kWriter);
  CHECK(max > 0);
  int removed = 0;
  std::vector<Digest> dropped;
  RETURN_IF_ERROR(transact("sweeping", [&] {
    const int code = sweep_jobs(now, max, &dropped, &removed);
    return code == SQLITE_DONE ? sweep_tombstones(now, max, &removed) : code;
  }));
  if (orphans == nullptr) return removed;
  std::sort(dropped.begin(), dropped.end());
  dropped.erase(std::unique(dropped.begin(), dropped.end()), dropped.end());
  for (const Digest& digest : dropped) {
    const auto named = writer_reads_.names_blob(digest);
    if (!named.ok()) return named.status();
    if (!*named) orphans->push_back(digest);
  }
  return removed;
}

int SqliteStore::sweep_jobs(TimeMs now, int max, std::vector<Digest>* dropped, int* removed) {
  std::vector<int64_t> rows;
  int code;
  {
    const ResetAtEnd reset(&expired_);
    expired_.bind(1, now);
    expired_.bind(2, max);
    while ((code = expired_.step()) == SQLITE_ROW) rows.push_back(expired_.integer(0));
  }
  for (size_t i = 0; i < rows.size() && code == SQLITE_DONE; i++) {
    code = delete_row(rows[i], dropped);
  }
  *removed = static_cast<int>(rows.size());
  return code;
}

int SqliteStore::sweep_tombstones(TimeMs now, int max, int* removed) {
  if (*removed >= max) return SQLITE_DONE;
  drop_tombstones_.bind(1, now);
  drop_tombstones_.bind(2, int64_t{max} - *removed);
  const int code = drop_tombstones_.run();
  if (code == SQLITE_DONE) *removed += writer_.changes();
  return code;
}

// Appends the digests that the row named to `dropped`.
int SqliteStore::delete_row(int64_t rowid, std::vector<Digest>* dropped) {
  int code;
  {
    const ResetAtEnd reset(&job_refs_);
    job_refs_.bind(1, rowid);
    while ((code = job_refs_.step()) == SQLITE_ROW) {
      const std::string_view bytes = job_refs_.bytes(0);
      Digest& digest = dropped->emplace_back();
      if (bytes.size() != digest.bytes.size()) return SQLITE_CORRUPT;
      std::copy(bytes.begin(), bytes.end(), digest.bytes.begin());
    }
  }
  for (Statement* statement : {&drop_refs_, &drop_labels_, &delete_job_}) {
    if (code != SQLITE_DONE) return code;
    statement->bind(1, rowid);
    code = statement->run();
  }
  return code;
}

Status SqliteStore::remove(const JobKey& key) {
  ON_THREAD(kWriter);
  bool unreadable = false;
  auto job = writer_reads_.read(key, &unreadable);
  if (unreadable) return remove_damaged(key);
  if (!job.ok()) return job.status();
  if (!job->has_value() || (*job)->tombstone) {
    return Status::not_found(errors::kJobUnknown, "no such job");
  }
  const JobRecord& record = (*job)->record;
  if (!is_final(record.state)) {
    return Status::conflict(errors::kVerbForbidden,
                            fmt::format("job {} is {}; only an ended job can be deleted, cancel it "
                                        "first",
                                        record.id().text(), state_name(record.state)));
  }
  std::vector<Digest> dropped;
  return transact("removing a job", [&] {
    std::optional<Row> row;
    int code = find_row(key, &row);
    if (code == SQLITE_DONE && row) code = delete_row(row->rowid, &dropped);
    if (code == SQLITE_DONE && record.keyed) code = leave_tombstone(record);
    return code;
  });
}

// Whether it was keyed nobody knows, so its key is free again, ended or not: nothing else can be
// done with such a job. What it named becomes garbage.
Status SqliteStore::remove_damaged(const JobKey& key) {
  bool unfinished = false;
  const Status status = transact("removing a damaged job", [&] {
    std::optional<Row> row;
    std::vector<Digest> dropped;
    int code = find_row(key, &row);
    if (code != SQLITE_DONE || !row) return code;
    unfinished = !row->ended;
    return delete_row(row->rowid, &dropped);
  });
  if (status.ok() && unfinished) unfinished_.fetch_sub(1, std::memory_order_relaxed);
  return status;
}

int SqliteStore::leave_tombstone(const JobRecord& record) {
  return add_tombstone(tombstone_of(record));
}

int SqliteStore::add_tombstone(const JobRecord& rest) {
  const std::string_view bytes = encoder_.encode(rest);
  add_tombstone_.bind_bytes(1, rest.key.bytes);
  add_tombstone_.bind(2, rest.expire_at);
  add_tombstone_.bind_blob(3, bytes.data(), bytes.size());
  return add_tombstone_.run();
}

// ---- definitions

Status SqliteStore::put_definitions(const std::vector<Definition>& definitions) {
  ON_THREAD(kWriter);
  return transact("storing definitions", [&] {
    int code = SQLITE_DONE;
    for (const auto& [digest, source] : definitions) {
      if (code != SQLITE_DONE) break;
      add_definition_.bind_bytes(1, digest.bytes);
      add_definition_.bind_text(2, source);
      code = add_definition_.run();
    }
    return code;
  });
}

// ---- transactions

Status SqliteStore::transact(const char* what, const std::function<int()>& work) {
  int code = begin();
  if (code == SQLITE_DONE) code = work();
  if (code == SQLITE_DONE) code = finish();
  if (code == SQLITE_DONE) {
    checkpoint_if_due();
    return {};
  }
  if (!writer_.is_no_space(code)) fatal(code, what);
  Status status = writer_.status(code, what);
  roll_back();
  return status;
}

// SQLite may have rolled back by itself.
void SqliteStore::roll_back() {
  if (!writer_.in_transaction()) return;
  const int code = writer_.run("ROLLBACK");
  if (code != SQLITE_OK) fatal(code, "rolling back");
}

void SqliteStore::checkpoint_if_due() {
  if (log_pages_ < restart_at_pages_) restart_at_pages_ = 0;  // it has begun anew
  if (log_pages_ < options_.checkpoint_pages) return;
  const int overdue = kLogOverdue * options_.checkpoint_pages;
  int mode = SQLITE_CHECKPOINT_PASSIVE;
  if (log_pages_ >= restart_at_pages_ + overdue) {
    // Readers that began earlier keep the log from starting anew. Ours end soon; one that copies
    // the whole store does not: then the log grows, and commits need not wait for it each time.
    mode = SQLITE_CHECKPOINT_RESTART;
    restart_at_pages_ = log_pages_;
    sqlite3_busy_timeout(writer_.get(), kRestartWaitMs);
  }
  const int code = sqlite3_wal_checkpoint_v2(writer_.get(), nullptr, mode, nullptr, nullptr);
  if (mode == SQLITE_CHECKPOINT_RESTART) sqlite3_busy_timeout(writer_.get(), kBusyMs);
  log_pages_ = 0;  // until the next commit tells
  // Without room the database cannot grow: the log holds everything and grows instead.
  const bool harmless = code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY ||
                        (code & 0xff) == SQLITE_LOCKED || writer_.is_no_space(code);
  if (!harmless) fatal(code, "copying the log back");
}

void SqliteStore::fatal(int code, const char* what) {
  Status status = writer_.status(code, what);
  if (status.code() != Code::kCorrupt) {  // a restart does not mend that, and it says what does
    status = Status::unavailable(
        errors::kStoreFailed,
        fmt::format("{}: {}; nothing is known of the last write, restart resumes from the disk",
                    what, writer_.error(code)));
  }
  if (options_.on_fatal) options_.on_fatal(status.message());
  end_on_failed_store(status);
}

}  // namespace millrace
