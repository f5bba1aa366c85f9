// Store: where records and definitions are durable. One contract suite
// (tests/contract/store_suite.h) runs against every implementation, the simulator's included.
//
// Threads: commit, claim, sweep, remove and put_definitions are called by the writer thread only;
// read, list, definition, count by the reader thread (or the writer), at the same time.
//
// Errors: a full disk is a known outcome (every record of the batch is kNoSpace, nothing was
// written). After any other failed write or sync nothing is known: the call does not return, the
// process ends (exit 5) and resumes from the disk.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/core.h"

namespace millrace {

struct JobFilter {
  std::string pipeline;  // empty: any
  std::optional<JobState> state;
  std::vector<std::pair<std::string, std::string>> labels;  // all must match
  TimeMs created_after = 0;
};

// A job whose record is there and cannot be used: it is damaged (E125), or of a newer version
// (E122). It costs this job alone, and what it names is kept.
struct DamagedJob {
  JobKey key;
  Status status;
};

struct JobPage {
  std::vector<JobRecord> jobs;      // by created_at, then key, descending
  std::vector<DamagedJob> damaged;  // those that stand between them, in the same order
  std::string next;                 // opaque cursor; empty: that was all
};

struct StoredJob {
  JobRecord record;
  bool tombstone = false;  // deleted; only key, salt, pipeline, request and times are kept
};

// A pipeline as its author wrote it, under the digest of what it means.
struct Definition {
  Digest digest;
  std::string source;
};

class Store {
 public:
  virtual ~Store() = default;

  // Writes each record iff the stored owner and rev are the expected ones (rev 1: iff absent),
  // whole or not at all, independently of the others. On return everything reported kApplied
  // survives power loss. Results in batch order.
  virtual std::vector<WriteResult> commit(const std::vector<Write>& batch) = 0;

  // Up to `max` unfinished records in order of (created_at, key), after `after` (nothing: from the
  // oldest), whose owner is not `self`: jobs of earlier boots, and jobs that were parked for lack
  // of room (their owner is zero). The embedded store leaves them as they are, and the first write
  // carries the new owner; a shared store has rewritten each to `self` (rev + 1). A damaged record
  // is left out, and take_damaged() tells of it.
  virtual Result<std::vector<JobRecord>> claim(const NodeId& self,
                                               const std::optional<JobRecord>& after, int max) = 0;

  // Removes ended records and tombstones whose expire_at is at or before `now`, at most `max`;
  // returns how many. Appends to `orphans` (when not null) the digests that the removed records
  // named and no record names any more.
  virtual Result<int> sweep(TimeMs now, int max, std::vector<Digest>* orphans) = 0;

  // Jobs that claim() left out because they are damaged, each once a process. [writer]
  virtual std::vector<DamagedJob> take_damaged() { return {}; }

  // Deletes an ended record, or a damaged one. A keyed one that can be read leaves a tombstone
  // until its expire_at. NotFound E005, Conflict E021 when it has not ended.
  virtual Status remove(const JobKey& key) = 0;

  // E125, E122: see DamagedJob.
  virtual Result<std::optional<StoredJob>> read(const JobKey& key) = 0;
  // At most `limit` jobs, the damaged ones counted, and fewer where more would be beyond
  // kListBytesMax; one in any case. Invalid E025: the cursor is not one of ours.
  virtual Result<JobPage> list(const JobFilter& filter, const std::string& cursor, int limit) = 0;
  virtual Result<int64_t> count_unfinished() = 0;

  // Durable on return; of those that are there already nothing changes. Some may be stored when
  // others are not.
  virtual Status put_definitions(const std::vector<Definition>& definitions) = 0;
  virtual Result<std::optional<std::string>> definition(const Digest& digest) = 0;

  // Whether any record names the blob. Writer thread: what it says holds until the next commit.
  virtual Result<bool> names_blob(const Digest& digest) = 0;
};

// Says why and ends the process with exit code 5, to resume from the store or be mended. [any]
[[noreturn]] void end_on_failed_store(const Status& status);

}  // namespace millrace
