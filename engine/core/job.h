// Job: one resident job as the core knows it in memory, ahead of its durable record.
//
// A job has three faces. `steps` is all that is known, the newest. `draft` is the record as it
// would be written now: of what is known, a consistent cut whose bytes are durable (a fact enters
// it only after all facts it depends on). `durable` is the last record that the store applied; it
// alone is shown to people, and effects rely on nothing else.
//
// It knows neither queues nor timers nor other jobs; those are state.h's business. Internal to the
// folder.
#pragma once

#include <array>
#include <bit>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/event.h"
#include "engine/core/intrusive_list.h"

namespace millrace {

// Where a step stands. Every step is in exactly one phase; Job::in holds them as sets.
enum class Phase : uint8_t {
  kUndecided,  // something that it comes after has not ended
  kHeld,       // it is to run; the gate has not let it into the queue yet
  kBackoff,    // between two attempts
  kReady,      // in the queue of its lane
  kIntent,     // has its slot; its intent is on the way to disk
  kRunning,    // with the workers
  kParked,     // waits for a person
  kEnded,
};
constexpr size_t kPhases = 8;

// Why no further step of a job starts.
enum class Stop : uint8_t { kNone, kCancel, kTimeout };

struct LiveStep {
  Phase phase = Phase::kUndecided;
  StepRecord now;              // what is known; moved into the draft when the step's end enters it
  std::vector<Value> with;     // resolved; empty once the step has ended
  bool resolved = false;       // `with` holds its inputs
  std::vector<Value> outputs;  // after success, by output port
  std::string text;            // of a success that waits for its bytes: `now.outputs` to be
  std::shared_ptr<BlobContent> spill;  // the bytes of text that is too long for the record
  Ticket ticket = 0;                   // while running
  TimeMs attempt_started_at = 0;
  TimeMs retry_due = kNever;     // by the core's clock
  TimeMs deadline_due = kNever;  // by the core's clock
  TimeMs give_up_due = kNever;   // by the core's clock; of its retries
  bool stop_sent = false;
  bool suspect = false;  // runs with no other step beside it
};

// The bytes of an input or output on their way to disk.
struct LiveBlob {
  std::shared_ptr<BlobContent> content;
  int step = -1;      // whose output it is; -1: an input's; kStepsMax: of the job's outputs
  Ticket ticket = 0;  // of the put under way; 0: none
  uint32_t failures = 0;
  TimeMs retry_due = kNever;
  bool counted = false;  // its digest is in the index of held digests
};

// Somebody who submitted this request and has no answer yet.
struct Submitter {
  WaiterId waiter = 0;
  bool first = false;
  Digest request;  // of a keyed job
};

struct Waiting {
  WaiterId waiter = 0;
  TimeMs due = 0;  // by the core's clock
};

enum class Dirty : uint8_t { kClean, kLazy, kUrgent };

struct Job {
  JobKey key;
  uint64_t serial = 0;                 // order of acceptance or adoption in this boot
  std::shared_ptr<const Graph> graph;  // null: unusable
  std::string why;                     // it is
  std::vector<Value> inputs;           // in the graph's order
  std::vector<LiveStep> steps;
  std::vector<LiveBlob> blobs;

  StepSet all = 0;
  std::array<StepSet, kPhases> in{};
  StepSet succeeded = 0;
  StepSet fresh = 0;          // `now` says more than the draft
  StepSet included = 0;       // whose end is in the draft
  StepSet written = 0;        // … in the image being written
  StepSet durable_steps = 0;  // … in the durable record

  JobRecord draft;
  size_t draft_bytes = 0;     // of the draft, as record_bytes() counts
  bool inputs_known = false;  // every input blob is durable: a record may be made
  std::shared_ptr<const JobRecord> durable;
  std::shared_ptr<const JobRecord> writing;
  Dirty dirty = Dirty::kClean;
  TimeMs lazy_since = 0;
  uint32_t write_failures = 0;
  TimeMs write_due = kNever;  // after a full disk: not before

  Stop stop = Stop::kNone;
  bool until_end = false;  // nobody waits for the acceptance alone
  bool no_room = false;    // accepted, but to wait in the store
  bool finished = false;   // the draft is terminal
  bool gone = false;       // destroyed at the end of this event
  bool giving = false;     // to be written with no owner, and left to other nodes
  std::shared_ptr<BlobContent> outputs_spill;
  std::optional<JobError> outputs_error;  // an output could not be worked out
  TimeMs active_since = kNever;  // by the core's clock; kNever: the pipeline's timeout stands still

  std::vector<Submitter> submitters;
  std::vector<Waiting> waits;
  std::vector<WaiterId> cancels;   // answered when the request is durable
  std::vector<VerbId> late_verbs;  // came when the end was already being written
  std::vector<VerbId> gone_verbs;  // of the draft's: whose documents are gone
  // The store's job under this key, claimed while a submission tries its luck: taken in when that
  // is over.
  std::shared_ptr<const Adopt> claimed;
  TimeMs armed_at = kNever;
  ListLink<Job> dirty_link, all_link, resting_link;
  mutable std::array<std::optional<Value>, 4> fields;  // of JobField, made when asked for

  StepSet set(Phase phase) const { return in[static_cast<size_t>(phase)]; }
  StepSet ended() const { return set(Phase::kEnded); }
  bool accepted() const { return durable != nullptr; }
  const StepNode& node(int step) const { return graph->steps[static_cast<size_t>(step)]; }
  LiveStep& live(int step) { return steps[static_cast<size_t>(step)]; }
  const LiveStep& live(int step) const { return steps[static_cast<size_t>(step)]; }
  void move_to(int step, Phase phase);
  // The step's record as known: the draft's once its end is there.
  const StepRecord& record_of(int step) const;
};

constexpr StepSet bit(int step) {
  return StepSet{1} << step;
}

// Calls visit(step) for each step of a set, ascending.
template <typename Visit>
void for_each_step(StepSet steps, Visit visit) {
  for (; steps != 0; steps &= steps - 1) visit(std::countr_zero(steps));
}

// What expressions of a job may look at: its inputs, the outputs of steps that succeeded, itself.
class JobScope final : public Scope {
 public:
  explicit JobScope(const Job& job) : job_(job) {}
  const Value* input(int index) const override;
  const Value* step_output(int step, int port) const override;
  const Value* job(JobField field) const override;

 private:
  const Job& job_;
};

// Canonical text of named values, null ones left out. A blob whose digest is not known yet is
// written with zeros, which has the right length. `blobs_only` leaves out values without blobs.
using NamedValue = std::pair<std::string_view, const Value*>;
std::string object_text(std::vector<NamedValue> members, bool blobs_only = false);
std::vector<NamedValue> named_inputs(const Graph& graph, const std::vector<Value>& inputs);
std::vector<NamedValue> named_outputs(const StepDecl& decl, const std::vector<Value>& outputs);
bool has_blob(const Value& value);
// Whether every blob inside is durable.
bool blobs_durable(const std::vector<Value>& values);

// SHA-256 of canonical inputs and labels: what "the same request" means.
Digest request_digest(const std::string& inputs_text,
                      const std::map<std::string, std::string>& labels);
// SHA-256 of what an effect is about to be given.
Digest frozen_digest(const StepDecl& decl, const std::vector<Value>& with);

}  // namespace millrace
