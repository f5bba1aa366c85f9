#include "engine/store/sqlite_schema.h"

#include <fmt/core.h>

#include "engine/base/errors.h"

namespace millrace {
namespace {

constexpr int64_t kApplicationId = 0x6d696c6c;  // "mill"

// expire_at and failed are null while a job is unfinished and are set once, with its end. Only they
// decide which partial indexes a row is in, so the many updates before that touch no index at all.
constexpr char kSchema[] = R"sql(
CREATE TABLE jobs (
  key BLOB NOT NULL,
  rev INTEGER NOT NULL,
  owner BLOB NOT NULL,
  state INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  expire_at INTEGER,
  failed INTEGER,
  blobs INTEGER NOT NULL,
  pipeline TEXT NOT NULL,
  record BLOB NOT NULL
);
CREATE UNIQUE INDEX jobs_key ON jobs (key);
CREATE INDEX jobs_created ON jobs (created_at, key, pipeline);
CREATE INDEX jobs_unfinished ON jobs (created_at, key) WHERE expire_at IS NULL;
CREATE INDEX jobs_failed ON jobs (created_at, key, pipeline) WHERE failed IS NOT NULL;
CREATE INDEX jobs_expire ON jobs (expire_at) WHERE expire_at IS NOT NULL;
CREATE TABLE tombstones (
  key BLOB NOT NULL PRIMARY KEY,
  expire_at INTEGER NOT NULL,
  record BLOB NOT NULL
);
CREATE INDEX tombstones_expire ON tombstones (expire_at);
CREATE TABLE refs (
  job INTEGER NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (job, digest)
) WITHOUT ROWID;
CREATE INDEX refs_digest ON refs (digest);
CREATE TABLE labels (
  job INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  key BLOB NOT NULL,
  PRIMARY KEY (job, name)
) WITHOUT ROWID;
CREATE INDEX labels_value ON labels (name, value, created_at, key);
CREATE TABLE definitions (
  digest BLOB NOT NULL PRIMARY KEY,
  source TEXT NOT NULL
);
)sql";

Status create(SqliteConnection* connection) {
  const std::string sql = fmt::format(
      "BEGIN IMMEDIATE; {} PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT;", kSchema,
      kApplicationId, kSchemaVersion);
  const int code = connection->run(sql.c_str());
  if (code == SQLITE_OK) return {};
  const Status status = connection->status(code, "creating the store");
  if (connection->in_transaction()) connection->run("ROLLBACK");
  return status;
}

// From version 1: its tables are the same, its records are read as they are. The number alone keeps
// a program away that would refuse each new record.
Status bring_up(SqliteConnection* connection) {
  const std::string sql = fmt::format("PRAGMA user_version = {}", kSchemaVersion);
  const int code = connection->run(sql.c_str());
  return code == SQLITE_OK ? Status() : connection->status(code, "bringing the store up to date");
}

}  // namespace

Status prepare_schema(SqliteConnection* connection, const std::string& path, bool upgrade) {
  const auto tables = connection->number("SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  const auto application = connection->number("PRAGMA application_id");
  if (!application.ok()) return application.status();
  const auto version = connection->number("PRAGMA user_version");
  if (!version.ok()) return version.status();
  if (*tables == 0 && *application == 0 && *version == 0) return create(connection);
  if (*application != kApplicationId) {
    return Status::corrupt(errors::kStoreCorrupt,
                           fmt::format("{} is a database, but not a store of millrace; give the "
                                       "server another data directory or path",
                                       path));
  }
  if (*version > kSchemaVersion) {
    return Status::unavailable(
        errors::kStoreVersion,
        fmt::format("the store {} has version {}, this program knows up to {}; start the version "
                    "that wrote it, or a newer one",
                    path, *version, kSchemaVersion));
  }
  if (*version < 1) {
    return Status::corrupt(
        errors::kStoreCorrupt,
        fmt::format(
            "the store {} claims version {}, which never was; its header is damaged: restore "
            "the data directory from a backup",
            path, *version));
  }
  return *version < kSchemaVersion && upgrade ? bring_up(connection) : Status();
}

}  // namespace millrace
