#include "engine/store/sqlite_connection.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>

#include "engine/base/errors.h"

namespace millrace {
namespace {

constexpr int kFlawsShown = 3;

int primary(int code) {
  return code & 0xff;
}

}  // namespace

Status SqliteConnection::open(const std::string& path, int flags, const char* vfs) {
  CHECK(db_ == nullptr);
  const int code = sqlite3_open_v2(path.c_str(), &db_, flags | SQLITE_OPEN_NOMUTEX, vfs);
  if (code == SQLITE_OK) {
    sqlite3_extended_result_codes(db_, 1);
    return {};
  }
  const std::string why = db_ != nullptr ? error(code) : sqlite3_errstr(code);
  close();
  return Status::unavailable(errors::kStoreOpen,
                             fmt::format("the store {} cannot be opened: {}", path, why));
}

void SqliteConnection::close() {
  // Every statement is finalized before: their owners are declared after the connection.
  if (db_ != nullptr) CHECK(sqlite3_close(db_) == SQLITE_OK);
  db_ = nullptr;
}

int SqliteConnection::run(const char* sql) {
  return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
}

Result<int64_t> SqliteConnection::number(const char* sql) {
  Statement statement;
  int code = statement.prepare(*this, sql);
  if (code == SQLITE_OK) code = statement.step();
  if (code != SQLITE_ROW) return status(code, sql);
  return statement.integer(0);
}

Status SqliteConnection::check(const std::string& path) {
  Statement statement;
  int code = statement.prepare(*this, fmt::format("PRAGMA integrity_check({})", kFlawsShown));
  std::string flaws;
  while (code == SQLITE_OK || code == SQLITE_ROW) {
    code = statement.step();
    if (code != SQLITE_ROW) break;
    flaws += fmt::format("{}{}", flaws.empty() ? "" : "; ", statement.bytes(0));
  }
  if (code != SQLITE_DONE) return status(code, "checking the store");
  if (flaws == "ok") return {};
  return Status::corrupt(
      errors::kStoreCorrupt,
      fmt::format("the store {} is damaged: {}; restore it from a backup", path, flaws));
}

bool SqliteConnection::is_no_space(int code) const {
  if (primary(code) == SQLITE_FULL) return true;
  // SQLite knows ENOSPC; a used-up quota comes as a failed write.
  return code == SQLITE_IOERR_WRITE && sqlite3_system_errno(db_) == EDQUOT;
}

std::string SqliteConnection::error(int code) const {
  std::string text = fmt::format("{} (SQLite {})", sqlite3_errmsg(db_), code);
  const int system = sqlite3_system_errno(db_);
  if (system != 0 && primary(code) != SQLITE_CONSTRAINT) {
    text += fmt::format(", {}", std::strerror(system));
  }
  return text;
}

Status SqliteConnection::status(int code, const char* what) const {
  const std::string text = fmt::format("{}: {}", what, error(code));
  if (primary(code) == SQLITE_CORRUPT || primary(code) == SQLITE_NOTADB) {
    return Status::corrupt(errors::kStoreCorrupt,
                           text + "; the database file is damaged, restore it from a backup");
  }
  // The shared index could not grow. While opening that is all there is to it; when it happens to a
  // commit nothing is known of it, so is_no_space() does not say so.
  const bool no_index = code == SQLITE_IOERR_SHMSIZE && sqlite3_system_errno(db_) == ENOSPC;
  if (is_no_space(code) || no_index) return Status::unavailable(errors::kNoSpace, text);
  return Status::unavailable(errors::kStoreFailed, text);
}

int Statement::prepare(const SqliteConnection& connection, std::string_view sql) {
  CHECK(statement_ == nullptr);
  const int code = sqlite3_prepare_v3(connection.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  // SQL is written here and not by users: only a damaged schema makes it wrong.
  return code;
}

void Statement::bind_text(int at, std::string_view text) {
  CHECK(sqlite3_bind_text(statement_, at, text.data() != nullptr ? text.data() : "",
                          static_cast<int>(text.size()), SQLITE_STATIC) == SQLITE_OK);
}

void Statement::bind_blob(int at, const void* data, size_t size) {
  CHECK(sqlite3_bind_blob(statement_, at, data, static_cast<int>(size), SQLITE_STATIC) ==
        SQLITE_OK);
}

int Statement::run() {
  const int code = sqlite3_step(statement_);
  sqlite3_reset(statement_);
  return code;
}

std::string_view Statement::bytes(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column));
  return data == nullptr ? std::string_view() : std::string_view(data, size);
}

}  // namespace millrace
