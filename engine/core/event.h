// Events and actions: all that goes into the core and all that comes out.
//
// Every event carries `now` (the wall clock as its sender read it); the core has no other clock.
// Every random bit (ids, salts, write ids) comes in with an event. Blobs are passed by BlobContent:
// the core sets digest and durable on them, and nobody else does.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/base/status.h"
#include "engine/core/record.h"
#include "engine/pipeline/graph.h"

namespace millrace {

using Ticket = uint64_t;    // names one StartStep or PutBytes; never reused within a boot
using WaiterId = uint64_t;  // names one party waiting for an answer; chosen by the server, never
                            // reused within a boot

// ---- events

struct Submit {
  TimeMs now = 0;
  WaiterId waiter = 0;                 // answered once: kAccepted, kReplayed, kExists or a refusal
  std::shared_ptr<const Graph> graph;  // its definition is durable already
  JobKey key;                          // chosen (UUIDv7) or computed from the idempotency key
  bool keyed = false;
  // The party waits for the job's end and not for its acceptance: rev 1 may wait for the job's next
  // fact, at most kLazyWriteMs, unless an effect needs it. A quick job is then one write.
  bool until_end = false;
  Salt salt{};
  std::vector<Value>
      inputs;  // bound: in the order of graph->inputs; uploaded blobs have bytes and no digest
  std::map<std::string, std::string> labels;
};

// What somebody wants done to a job that another node owns: a document in the shared store, durable
// before whoever asked is answered.
enum class VerbKind : uint8_t { kCancel };
struct Verb {
  VerbId id;
  JobId job;
  VerbKind kind = VerbKind::kCancel;
};

// A record found in the store at start, or claimed from a node that is gone. Everything in it is
// durable. Of a shared store: claimed, hence rewritten to this node before.
struct Adopt {
  TimeMs now = 0;
  std::shared_ptr<const JobRecord>
      record;  // outputs that were spilled have been read back into `spilled`
  std::shared_ptr<const Graph>
      graph;  // null: it cannot be used any more, `why` says why; the job waits
  std::string why;
  std::vector<std::pair<int, std::string>>
      spilled;  // step index (-1: the job's outputs) and the text of its blob
  // Of a shared store: all verbs for this job that were there when it had been claimed. They are
  // read after the claim, so that none which was durable before it is passed over.
  std::vector<Verb> verbs;
};

struct StepOutcome {
  enum class Kind : uint8_t {
    kSucceeded,
    kFailed,      // the plugin said so
    kTimeout,     // killed at its attempt's timeout
    kWorkerDied,  // its worker crashed or was killed by a limit
    kRequeued,    // lost through no fault of its own (another step killed the shared worker): does
                  // not count
    kStopped,     // ended because of StopStep
  };
  Kind kind = Kind::kFailed;
  std::vector<Value>
      outputs;  // kSucceeded: in the order of StepDecl's output ports. New blobs have bytes and no
                // digest; a forwarded input is the same BlobContent
  int number = 0;  // else: the error
  std::string reason;
  std::string message;
  bool transient = false;
  DurationMs retry_after_ms = 0;
  std::string note;
};

struct StepDone {
  TimeMs now = 0;
  Ticket ticket = 0;
  StepOutcome outcome;
};

// The bytes of a PutBytes are on disk under `digest`, or the blob store could not do it (tried
// again later, or the unaccepted job is refused when there is no space).
struct BytesDurable {
  TimeMs now = 0;
  Ticket ticket = 0;
  Digest digest;
  Status status;
};

enum class WriteResult : uint8_t {
  kApplied,
  kExists,   // rev 1: the primary key is taken
  kLost,     // the record belongs to another node now. Of rev 1: it was stored, and claimed before
             // we heard of it (the stored salt is ours)
  kNoSpace,  // nothing of it was written; try again later
};

struct WriteDone {
  TimeMs now = 0;
  JobKey key;
  uint64_t rev = 0;
  WriteResult result = WriteResult::kApplied;
};

struct Cancel {
  TimeMs now = 0;
  WaiterId waiter = 0;  // answered kVerbDone once durable, or kVerbForbidden
  JobKey key;
};

struct Wait {
  TimeMs now = 0;
  WaiterId waiter =
      0;       // answered kEnded once the end is durable, or kTimeUp with the state at `until`
  JobKey key;  // resident, or accepted and waiting in the store
  TimeMs until = 0;
};

struct Unwait {  // the party went away; no answer
  TimeMs now = 0;
  WaiterId waiter = 0;
};

struct Capacity {  // how many steps of a lane may be with the workers at once, from now on
  TimeMs now = 0;
  Lane lane = Lane::kCpu;
  uint32_t slots = 0;
};

// An accepted job that is not resident cannot be adopted, because its record is damaged: it stays
// where it is, and nobody waits for it. `removed`: it is deleted, unfinished as it was.
struct Unreadable {
  TimeMs now = 0;
  JobKey key;
  bool removed = false;
};

struct Tick {
  TimeMs now = 0;
};  // time has passed: timers up to `now` fire
// Accept no job, start no step; what runs may finish. Of a shared store: jobs of which nothing runs
// are given back (see Forget).
struct Drain {
  TimeMs now = 0;
};

// ---- events of a shared store (CoreOptions::shared)

// This node owns its jobs for certain until `until`, on the clock of `now`: the lease less a
// margin, counted from the sending of the last renewal that was acknowledged. From then on, and
// before the first Lease, no effect starts. The sender judges by a clock that never stops nor
// jumps, and says `until` = `now` when that says so; time that events carry forward is counted by
// the core itself.
struct Lease {
  TimeMs now = 0;
  TimeMs until = 0;
};

// Somebody left this verb for a job that may be here. Delivering it again does no harm. Nothing
// happens when the job is not resident, or knows too many verbs already: deliver it again later.
struct ApplyVerb {
  TimeMs now = 0;
  Verb verb;
};

// The document of a verb that VerbDone named is gone, and so is every read that might still bring
// it: its id may be forgotten when others need the room.
struct VerbGone {
  TimeMs now = 0;
  JobKey key;
  VerbId verb;
};

// So many unfinished jobs in the store belong to nobody who lives: of the nodes that are gone, and
// those that were given back. Replaces what was said before.
struct Unclaimed {
  TimeMs now = 0;
  int64_t jobs = 0;
};

// Other nodes have nothing to do and could take up to so many jobs that wait for a worker here.
struct Shed {
  TimeMs now = 0;
  int64_t jobs = 0;
};

using Event =
    std::variant<Submit, Adopt, StepDone, BytesDurable, WriteDone, Cancel, Wait, Unwait, Capacity,
                 Unreadable, Tick, Drain, Lease, ApplyVerb, VerbGone, Unclaimed, Shed>;

// A step that may have brought the server down. Only steps that run inside the server can
// (workers.isolation: thread), and only they are noted: in a slot that survives the process, by the
// host. For each StartStep it notes job, step and `deaths` before any thread gets the step, and
// strikes the note off when it hands over the StepDone. What it finds running in the slot at start
// are suspects, `alone` iff there was exactly one, `beside` iff at this death or an earlier one
// since ClearSuspect there were more. A suspect of an earlier boot stays as it was until it is
// started again or ClearSuspect comes. Not an event: CoreOptions::suspects.
struct Suspect {
  JobId job;
  int step = 0;
  uint32_t deaths = 0;  // as StartStep said; makes counting twice harmless
  bool alone = false, beside = false;
};

// ---- actions

struct StartStep {
  Ticket ticket = 0;
  JobId job;
  int step = 0;
  std::shared_ptr<const Graph> graph;
  uint32_t attempt = 1;
  std::string effect_key;     // empty for pure steps
  uint32_t deaths = 0;        // of the server, blamed on this step so far (see Suspect)
  std::vector<Value> with;    // resolved, in the order of StepDecl's with ports
  DurationMs timeout_ms = 0;  // of this attempt
  // From now on, begun or not, until the step's deadline or the pipeline's timeout; kNever:
  // neither.
  DurationMs left_ms = kNever;
};

struct StopStep {  // answered by a StepDone of any kind
  Ticket ticket = 0;
};

struct PutBytes {  // answered by a BytesDurable
  Ticket ticket = 0;
  std::shared_ptr<BlobContent> content;
};

// A running step as an answer shows it over the durable record; it promises nothing.
struct RunningStep {
  int step = 0;
  uint32_t attempt = 1;
  TimeMs started_at = 0;
};

struct Explanation {  // why a step (or, with step -1, the job) has not started or does not go on
  int step = -1;
  std::string reason;  // not_durable, no_worker, after, retry, no_room, lease …
  std::string message;
};

struct JobView {
  std::shared_ptr<const JobRecord> record;  // the last durable one
  std::shared_ptr<const Graph> graph;       // may be null (definition unusable)
  std::vector<RunningStep> running;
  std::vector<Explanation> waiting_for;
};

struct Answer {
  enum class Kind : uint8_t {
    kAccepted,   // rev 1 is durable
    kReplayed,   // the same request under the same key: the job of the first
    kKeyReused,  // E013: the key was used for another request
    kExists,     // the primary key is in the store but not here: read it and compare `request`
    kRefused,    // `status` says why (too many jobs, no space, draining); nothing was kept
    kEnded,
    kTimeUp,  // of Wait
    kVerbDone,
    kVerbForbidden,
    // Of Cancel and Wait: not resident, or not any more. Read the store: the job has ended, waits
    // for room, or belongs to another node (then wait by reading, and leave verbs for its owner).
    kUnknown
  };
  WaiterId waiter = 0;
  Kind kind = Kind::kAccepted;
  JobKey key;
  JobView view;    // where a job is shown; of kTimeUp without a record when the job is not
                   // resident or not durable (read it from the store)
  Digest request;  // kExists: of the new request
  Status status;   // kRefused, kVerbForbidden
};

// The job is no longer resident: ended and durable, refused, or `unfinished`: parked in the store
// for lack of room, given back to the nodes of a shared store (its owner is zero), or lost to one.
struct Forget {
  JobKey key;
  bool unfinished = false;
};

// There is room for up to `room` accepted jobs that wait in the store: adopt the oldest. Of a
// shared store: claim them.
struct AdoptMore {
  int64_t room = 0;
};

// The step is a suspect no longer: it came to an outcome and the server lives, or it is durable
// that it will not start again. The host strikes it off its slot.
struct ClearSuspect {
  JobId job;
  int step = 0;
};

// Of a shared store: what the verb asks for is durable, or came too late. Its document may go;
// answered by VerbGone while the job is resident.
struct VerbDone {
  JobKey key;
  VerbId verb;
};

using Action =
    std::variant<StartStep, StopStep, PutBytes, Answer, Forget, AdoptMore, ClearSuspect, VerbDone>;

}  // namespace millrace
