// SqliteConnection and Statement: SQLite's C interface with owners, and with its result codes
// sorted into what the store can live with and what it cannot.
//
// It knows nothing of records. A connection and its statements belong to one thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace millrace {

class SqliteConnection {
 public:
  SqliteConnection() = default;
  ~SqliteConnection() { close(); }
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // E120, E125 (no database, or a damaged one), E123.
  Status open(const std::string& path, int flags, const char* vfs);
  void close();

  // Runs statements that return nothing. SQLite's result code.
  int run(const char* sql);
  // Looks at every page and at every index. E125 with the first flaws; `path` is for people.
  Status check(const std::string& path);
  // The first column of the first row; E120, E125.
  Result<int64_t> number(const char* sql);

  bool in_transaction() const { return sqlite3_get_autocommit(db_) == 0; }
  int changes() const { return sqlite3_changes(db_); }
  int64_t last_rowid() const { return sqlite3_last_insert_rowid(db_); }
  sqlite3* get() const { return db_; }

  // Whether `code` says that there was no room, as opposed to any other failure. Only before a
  // sync: a failed sync is never a mere lack of room.
  bool is_no_space(int code) const;
  // What went wrong last, for people.
  std::string error(int code) const;
  // As a Status: E125 for damage, E123 for lack of room, else E124.
  Status status(int code, const char* what) const;

 private:
  sqlite3* db_ = nullptr;
};

// A prepared statement. Bind, step, read columns, reset; bound memory must live until the reset.
class Statement {
 public:
  Statement() = default;
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  int prepare(const SqliteConnection& connection, std::string_view sql);

  void bind(int at, int64_t value) {
    CHECK(sqlite3_bind_int64(statement_, at, value) == SQLITE_OK);
  }
  void bind_null(int at) { CHECK(sqlite3_bind_null(statement_, at) == SQLITE_OK); }
  void bind_text(int at, std::string_view text);
  void bind_blob(int at, const void* data, size_t size);
  template <typename Array>
  void bind_bytes(int at, const Array& bytes) {
    bind_blob(at, bytes.data(), bytes.size());
  }

  int step() { return sqlite3_step(statement_); }
  // Steps a statement that returns no row, and resets it. SQLITE_DONE or an error.
  int run();
  void reset() { sqlite3_reset(statement_); }

  int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  // Valid until the next step or reset.
  std::string_view bytes(int column) const;

 private:
  sqlite3_stmt* statement_ = nullptr;
};

// Resets a statement at the end of a scope, so that no read transaction outlives its reader.
class ResetAtEnd {
 public:
  explicit ResetAtEnd(Statement* statement) : statement_(statement) {}
  ~ResetAtEnd() { statement_->reset(); }
  ResetAtEnd(const ResetAtEnd&) = delete;
  ResetAtEnd& operator=(const ResetAtEnd&) = delete;

 private:
  Statement* statement_;
};

}  // namespace millrace
