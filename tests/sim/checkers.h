// Checkers: what must hold, judged from outside the core, by what the world saw.
//
// The store here is the judge's own: it is what survives crashes. The ledger knows every byte that
// each effect key ever carried.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/machine.h"
#include "tests/sim/sim_store.h"

namespace millrace::sim {

// The bytes behind a blob, hashed, whether they are in memory or on the simulated disk.
std::string content_hash(const BlobContent& content);
// Everything a step is given, as text that is equal iff the bytes are.
std::string given_text(const std::vector<Value>& with);

struct Tombstone {
  Salt salt{};
  TimeMs expire_at = 0;
};

struct StoredBlob {
  TimeMs put_at = 0;   // by the wall clock, as a file's age is
  uint64_t order = 0;  // of the puts of all boots
};

// What runs inside the server, and whether it is known to have been there at a death.
struct SlotNote {
  uint32_t deaths = 0;
  bool running = false;
  bool alone = false;    // it was, at the last death
  bool beside = false;   // others were, at the last death or one before it
  bool suspect = false;  // an earlier death struck while it ran
};

class Checkers {
 public:
  // `shared`: several nodes write. What may be removed by one while another is about to name it is
  // judged when the other counts on it (settled), and each node may know less than the last.
  explicit Checkers(bool shared = false) : shared_(shared) {}

  // ---- what the world keeps; crashes do not touch it
  SimStore store;
  std::map<Digest, StoredBlob> disk;               // durable blobs
  std::map<std::pair<JobId, int>, SlotNote> slot;  // of steps that run inside the server

  // ---- what happens
  void boot();
  void acknowledged(const JobKey& key, const Salt& salt) { acknowledged_[key] = salt; }
  void write_collected(const Write& write);
  // Gives one write to the store and judges what became of it.
  WriteResult apply_write(const Write& write);
  // `owned`: the job is still that of the node that starts it.
  void step_started(const StartStep& start, const CoreStats& stats, const uint32_t* slots,
                    bool owned = true);
  void step_ended(const StartStep& start, StepOutcome::Kind kind);
  void step_succeeded(const StartStep& start);
  void shown(const Answer& answer);
  void resident(int64_t jobs, int64_t bound);
  void at_rest();  // after the liveness phase

  // ---- deaths (check_blame.cc)
  // Steps of these were running inside the server when it died.
  void died(const std::vector<StartStep>& inside);
  void cleared(const ClearSuspect& clear);

  // ---- removals (check_removal.cc)
  void clock_jumped(DurationMs by_ms, int64_t monotonic_ms);
  void sweep_begins(int64_t monotonic_ms) const;
  // The record is gone from the store, by a client's wish or because its time is over.
  void job_removed(const JobRecord& record, bool by_client, TimeMs wall);
  void tombstone_removed(const JobKey& key, TimeMs wall);
  void answered_gone(const JobKey& key);
  void uploaded(const Digest& digest, int64_t monotonic_ms);
  struct BlobRemoval {
    TimeMs put_before = 0;  // found by its age; kNever: a record that named it went
    const std::vector<Write>* batch = nullptr;  // in flight
    bool landed = false;                        // put, and the core has not heard of it
    DurationMs grace_ms = 0;
    int64_t monotonic_ms = 0;
  };
  void blob_removed(const Digest& digest, const BlobRemoval& how) const;

  // After a sweep of everything that is kept no longer, and another of what nobody names.
  void expired(TimeMs wall) const;
  void unnamed_gone() const;

  // A record that came into the store by other ways than our writes.
  void allow(const std::string& write_id) { applied_.insert(write_id); }

  // A node counts on a record from now on, of its own writing or adopted.
  void settled(const JobRecord& record);
  bool is_settled(const JobKey& key, const Digest& digest) const {
    return settled_.contains({key, digest});
  }

 private:
  void check_change(const JobRecord& before, const JobRecord& after) const;
  void check_end(const JobRecord& record);
  void check_blame(const JobRecord& record) const;
  void check_alone(const StartStep& start) const;

  struct Carried {
    JobId job;
    std::string bytes;
    int starts = 0;
    bool succeeded = false;
  };
  const bool shared_;
  std::set<std::pair<JobKey, Digest>> settled_;
  std::map<std::string, Carried> ledger_;  // by effect key
  std::map<JobKey, Salt> acknowledged_;
  std::set<std::string> applied_;  // write ids
  std::map<JobKey, std::pair<Salt, uint64_t>> last_shown_;
  struct StepLife {
    uint32_t counted = 0;  // outcomes that count as attempts
    uint32_t blame = 0;    // the most deaths of the server that it may be charged with
    uint32_t inside = 0;   // deaths over it since it last was no suspect
  };
  std::map<std::pair<JobId, int>, StepLife> lives_;
  std::set<JobId> removed_;
  std::map<JobKey, Tombstone> buried_;    // what must answer 410
  std::map<Digest, int64_t> uploads_;     // told in this boot, by the monotonic clock
  int64_t jumped_at_ms_ = INT64_MIN / 2;  // the last jump that sweeping must wait out
};

}  // namespace millrace::sim
