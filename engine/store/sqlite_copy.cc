#include "engine/store/sqlite_copy.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "engine/base/errors.h"
#include "engine/store/sqlite_schema.h"
#include "engine/store/store_lock.h"

namespace millrace {
namespace {

constexpr int kBusyMs = 10'000;  // while a server that was killed is recovered

// Page by page and not by VACUUM, which may number the rows anew: refs name them by number.
Status copy_pages(SqliteConnection* from, SqliteConnection* to) {
  sqlite3_backup* backup = sqlite3_backup_init(to->get(), "main", from->get(), "main");
  if (backup == nullptr) return to->status(sqlite3_errcode(to->get()), "copying the store");
  // All in one step: it is one read transaction, which other connections' commits do not disturb.
  const int stepped = sqlite3_backup_step(backup, -1);
  const int code = sqlite3_backup_finish(backup);
  if (stepped == SQLITE_DONE && code == SQLITE_OK) return {};
  return to->status(code != SQLITE_OK ? code : stepped, "copying the store");
}

}  // namespace

Status copy_sqlite_store(const std::string& from, const std::string& to) {
  SqliteConnection source, copy;
  RETURN_IF_ERROR(source.open(from, SQLITE_OPEN_READONLY, nullptr));
  sqlite3_busy_timeout(source.get(), kBusyMs);
  RETURN_IF_ERROR(prepare_schema(&source, from, false));
  RETURN_IF_ERROR(copy.open(to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr));
  RETURN_IF_ERROR(copy_pages(&source, &copy));
  RETURN_IF_ERROR(copy.check(from));
  return sync_directory(directory_of(to));
}

// The log was copied back and removed when the last connection was closed.
Status rename_store(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return Status::unavailable(
        errors::kStoreOpen, fmt::format("cannot rename {} to {}: {}", from, to, strerror(errno)));
  }
  for (const char* beside : {".lock", ".reserve"}) ::unlink((from + beside).c_str());
  return sync_directory(directory_of(to));
}

}  // namespace millrace
