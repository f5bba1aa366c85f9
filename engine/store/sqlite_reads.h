// SqliteReads: what the store answers without writing, over one connection.
//
// The store has two: one on the writer's connection, one on a read-only connection of its own for
// the reader thread, so that a long list never holds up a commit.
//
// Errors: E125 the file is damaged, E124 any other. A record that is damaged is one job's trouble:
// see DamagedJob.
// Thread: one at a time.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/store/sqlite_connection.h"
#include "engine/store/store.h"

namespace millrace {

// The record in the row of `key`. E125, E122; the message names the job. [any]
Result<JobRecord> decode_row(const JobKey& key, std::string_view bytes);

class SqliteReads {
 public:
  // Prepares its statements on `connection`, which must outlive it.
  Status prepare(SqliteConnection* connection);

  // `unreadable` (may be null): set when the row is there and its record is not to be used.
  Result<std::optional<StoredJob>> read(const JobKey& key, bool* unreadable = nullptr);
  Result<JobPage> list(const JobFilter& filter, const std::string& cursor, int limit);
  Result<std::vector<JobRecord>> unfinished_after(const NodeId& self,
                                                  const std::optional<JobRecord>& after, int max);
  // What unfinished_after() left out since the last call and had not left out before.
  std::vector<DamagedJob> take_damaged() { return std::exchange(damaged_, {}); }
  Result<std::optional<std::string>> definition(const Digest& digest);
  Result<bool> names_blob(const Digest& digest);
  Result<std::vector<Digest>> blobs_after(const Digest& after, int max);
  Result<std::vector<JobId>> jobs_naming(const Digest& digest, int max);

 private:
  Result<std::optional<StoredJob>> read_from(Statement* statement, const JobKey& key,
                                             bool tombstone, bool* unreadable);

  std::vector<DamagedJob> damaged_;
  std::set<JobKey> told_;  // of them
  SqliteConnection* connection_ = nullptr;
  Statement job_, tombstone_, claim_, definition_, blob_, blobs_, blob_jobs_;
};

}  // namespace millrace
