// StoreTransfer: what a store holds, as a whole, for moving it into another one.
//
// A job moves as it is: its rev, owner and write id with every byte of the record, so that both
// stores tell of one and the same image. Who owned it is gone by then, and whoever opens the new
// store takes it up as after a crash. Verbs that no owner has applied yet, leases and marks do not
// move.
//
// Thread: any, one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/store/store.h"

namespace millrace {

struct StoredPage {
  std::vector<StoredJob> jobs;      // ascending by key
  std::vector<DamagedJob> damaged;  // left out
  std::optional<JobKey> next;       // set: there may be more, behind this one
};

class StoreTransfer {
 public:
  virtual ~StoreTransfer() = default;

  // Jobs, or tombstones, with a key behind `after` (zero: from the first), at most `max` and of
  // about kListBytesMax. What is written meanwhile may be among them or not.
  virtual Result<StoredPage> stored_after(bool tombstones, const JobKey& after, int max) = 0;
  // The same of definitions.
  virtual Result<std::vector<Definition>> definitions_after(const Digest& after, int max) = 0;

  // Inserts them as they are, durable on return. May be repeated: what is there already as the same
  // image is left. Conflict E129: another image, or another job, is there under the same key.
  // Unavailable E123, E124: some of them may be there.
  virtual Status put_stored(const std::vector<StoredJob>& jobs) = 0;
};

struct Transferred {
  uint64_t jobs = 0, unfinished = 0, tombstones = 0;
  std::vector<DamagedJob> damaged;  // left out; the first kDamagedNamedMax of them
  uint64_t damaged_count = 0;
};

// Moves definitions, then jobs, then tombstones. `progress` is called after each page, and may be
// null. Records name blobs: those must be where the new store's users look for them.
Result<Transferred> transfer_store(StoreTransfer* from, StoreTransfer* to, Store* to_definitions,
                                   const std::function<void(const Transferred&)>& progress);

}  // namespace millrace
