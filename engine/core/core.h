// Core: the deterministic heart. apply(event) -> actions; no I/O, clock, thread, randomness or
// logging inside.
//
// The same events in the same order give the same actions and the same records (I9). The core holds
// the resident jobs and the queue of steps that could start; the one rule it lives by is in gate.h:
// an effect may depend only on durable facts, a pure step may run ahead of them.
//
// Thread: everything here belongs to the loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/core/event.h"

namespace millrace {

struct CoreOptions {
  NodeId node;
  int64_t jobs_resident_max = 10'000;     // limits.jobs
  int64_t jobs_accepted_max = 1'000'000;  // limits.accepted
  int64_t accepted_in_store = 0;          // unfinished jobs found at start
  DurationMs retention_ms = 7 * 86'400'000LL;
  // What the slot of the last boot tells (see Suspect). Each runs with no other step beside it, and
  // is blamed when the server dies over it alone, then also for the death before that made it a
  // suspect; after kStepDeathsMax it waits for a person.
  std::vector<Suspect> suspects;
  bool steps_inside = false;   // steps run in this process, which may die over them
  uint64_t write_id_seed = 0;  // write ids are drawn from a sequence that starts here
  // The store is shared with other nodes: effects need a Lease, verbs come as documents, a drain
  // gives jobs back, and `accepted_in_store` is zero (see Unclaimed). False: none of that.
  bool shared = false;
  // For tests that prove the simulator's worth: the gate lets effects start on facts that are not
  // durable (I3 broken).
  bool broken_gate_for_test = false;
  // The same for making room: a job is set aside although it knows more than its record.
  bool broken_eviction_for_test = false;
  // And of a shared store: effects start in doubt, verbs are not remembered.
  bool broken_lease_for_test = false, broken_verbs_for_test = false;
};

// One record to be written: stored iff the stored owner and rev are the expected ones (rev 1: iff
// absent).
struct Write {
  std::shared_ptr<const JobRecord> record;
  uint64_t expected_rev = 0;  // record->rev - 1
  NodeId expected_owner;
};

struct CoreStats {
  int64_t resident = 0;
  int64_t accepted = 0;            // unfinished jobs in all; of a shared store: this node's
  int64_t ready[kLanes] = {0, 0};  // steps that could start but for a free slot
  int64_t running[kLanes] = {0, 0};
  uint64_t late_results = 0;  // outcomes of tickets nobody waits for any more
  uint64_t fenced_writes = 0;
  uint64_t taken_in = 0;  // jobs that became resident so far
  uint64_t oldest = 0;    // of those that are resident, which it was; beyond taken_in: none is
};

class Core {
 public:
  explicit Core(const CoreOptions& options);
  ~Core();

  // Applies one event and appends what must be done about it, in order. Events of unknown tickets,
  // waiters and jobs are late or lost ones and are harmless.
  void apply(const Event& event, std::vector<Action>* actions);

  // The newest image of each dirty job whose facts are durable and that has no write under way,
  // oldest change first, until bytes_max or kCommitRecordsMax is reached. Each is answered by one
  // WriteDone; until then its job is not collected again.
  std::vector<Write> collect_writes(size_t bytes_max);

  // The earliest time at which a Tick would do something; kNever without one.
  TimeMs next_deadline() const;

  // The last durable state of a resident job, with what runs right now over it. Nothing: not
  // resident, or not durable yet.
  std::optional<JobView> view(const JobKey& key) const;

  // Whether the job is resident, durable or not.
  bool resident(const JobKey& key) const;
  // Whether a resident job holds a blob with this (known) digest: it may be in no record yet and
  // must not be swept.
  bool holds_blob(const Digest& digest) const;

  const CoreStats& stats() const;
  // Unfinished resident jobs by pipeline and (durable) state, for millrace_jobs_live. Calls
  // visit(pipeline, state, count).
  void count_live(const std::function<void(const std::string&, JobState, int64_t)>& visit) const;
  // Nothing runs, nothing is dirty, nothing is on its way to disk or to be put again: a drain may
  // end.
  bool idle() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace millrace
