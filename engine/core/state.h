// Core::State: all that the core remembers between two events, and the functions that change it.
//
// Every event ends in settle() of the jobs it touched, which brings a job to rest: steps are
// decided, facts enter the draft, what may start goes into the queue, an end is noticed. Afterwards
// apply() fills free slots and asks for more jobs. Nothing here depends on the order of a hash
// table. Internal to the folder; one file per noun implements it.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/base/limits.h"
#include "engine/core/clock.h"
#include "engine/core/core.h"
#include "engine/core/gate.h"
#include "engine/core/job.h"
#include "engine/core/ready_queue.h"
#include "engine/core/tickets.h"

namespace millrace {

// A result of a pure step that no effect waits for is written at the latest after this long; nearly
// always the job's next fact or its end carries it before.
constexpr DurationMs kLazyWriteMs = 20;
// Between two tries at something that the engine itself could not do.
constexpr uint32_t kPutFailuresOfUploadMax = 2;  // waited out before a submission is refused
constexpr DurationMs kEngineBackoffMs = 1000, kEngineBackoffMsMax = 30'000;
constexpr DurationMs kAdoptRetryMs = 1000;
// How long nothing else starts for a suspect's sake, the first time; each time it was in vain the
// next one is twice as long, and as long as it was the others go on.
constexpr DurationMs kQuietMs = 10'000;
// A node that gave jobs away claims none for so long, if they are not taken before.
constexpr DurationMs kShedHoldMs = 10'000;
constexpr int64_t kSlotsToldMax = 1'000'000;  // of other nodes: more are not believed
// A step further back in its queue gives its durable bytes up: they are read again when it starts.
constexpr size_t kReadyKeepBytes = 64;
// Of the record, for the job's outputs and error.
constexpr size_t kRecordReserveBytes = kInlineJsonBytesMax + 4096;
constexpr size_t kEndedKept = 4 * kCommitRecordsMax;

DurationMs engine_backoff(uint32_t failures);
// At most `bytes` of a text, cut between two characters.
std::string clip(std::string_view text, size_t bytes);

struct Core::State {
  explicit State(const CoreOptions& core_options) : options(core_options) {
    stats.accepted = options.accepted_in_store;
    in_doubt = options.shared;
    CHECK(!options.shared || options.accepted_in_store == 0);
    for (const Suspect& suspect : options.suspects) {
      suspects[{suspect.job, suspect.step}] = suspect;
    }
  }

  // ---- events (core.cc, submit.cc, adopt.cc, step.cc, write.cc, verb.cc)
  void apply(const Event& event, std::vector<Action>* out);
  void on(const Submit& event);
  void on(const Adopt& event);
  void on(const StepDone& event);
  void on(const BytesDurable& event);
  void on(const WriteDone& event);
  void on(const Cancel& event);
  void on(const Wait& event);
  void on(const Unwait& event);
  void on(const Capacity& event);
  void on(const Unreadable& event);
  void on(const Tick& event);
  void on(const Drain& event);
  void on(const Lease& event);
  void on(const ApplyVerb& event);
  void on(const VerbGone& event);
  void on(const Unclaimed& event);
  void on(const Shed& event);

  // ---- jobs (core.cc)
  Job* find(const JobKey& key);
  Job& add_job(const JobKey& key);
  void remove_job(Job& job, bool unfinished);
  void bury();
  bool has_room(const Job* asking) const;
  int64_t runnable_jobs() const { return static_cast<int64_t>(jobs.size()) - no_room_jobs; }
  int64_t waiting_in_store() const {
    if (options.shared) return unclaimed;
    return stats.accepted - static_cast<int64_t>(jobs.size() + set_aside.size());
  }
  void note_rest(Job& job);
  void make_room();
  void set_no_room(Job& job, bool no_room);
  void adopt_more();
  void take_in(const Adopt& event);
  void meet(Job& job, const Adopt& event);
  void adopt_steps(Job& job);

  // ---- other nodes (lease.cc, give.cc, verb.cc)
  void begin_doubt();
  void end_doubt();
  bool may_give(const Job& job) const;
  bool may_shed(const Job& job) const;
  int64_t share_of(int64_t others_slots) const;
  void give(Job& job);
  void part_with(Job& job);
  void apply_verb(Job& job, const Verb& verb);
  static void forget_verb(Job& job);
  void tell_verbs(const Job& job, const JobRecord* image);

  // ---- time (timer.cc)
  static TimeMs timeout_due(const Job& job);
  TimeMs earliest_due() const;
  TimeMs due_of(const Job& job) const;
  void arm(Job& job);
  void fire(Job& job);
  void fire_deadlines(Job& job);
  void fire_lazy();
  void fire_absent_waits();

  // ---- bringing a job to rest (settle.cc)
  void settle(Job& job);
  bool decide(Job& job);
  bool resolve_held(Job& job);
  void resolve_step(Job& job, int step);
  void enqueue_steps(Job& job);
  void update_state(Job& job);
  void release_bytes(Job& job);
  GateFacts facts_of(const Job& job, int step, bool slot) const;
  bool slot_free(Lane lane) const;
  bool is_ours(const Job& job) const;
  static bool intent_durable(const Job& job, int step);

  // ---- steps (step.cc)
  void dispatch();
  void start(Job& job, int step);
  void launch(Job& job, int step);
  void launch_intended(Job& job);
  void withdraw_intent(Job& job, int step);
  void conclude(Job& job, int step, const StepOutcome& outcome);
  void succeed(Job& job, int step, const StepOutcome& outcome);
  void attempt_failed(Job& job, int step, const StepOutcome& outcome);
  bool wait_for_space(Job& job, int step, const StepOutcome& outcome);
  bool schedule_retry(Job& job, int step, const StepOutcome& outcome, JobError* error);
  void fail(Job& job, int step, JobError error);
  void park(Job& job, int step, int number, std::string reason, std::string message);
  void end_step(Job& job, int step, StepState state);

  // ---- deaths of the server (blame.cc)
  void accuse(Job& job, int step);
  void acquit(Job& job, int step);
  void acquit_settled(Job& job);
  bool blame_pending(const Job& job, int step) const;
  bool cut_off_by_pipeline(const Job& job, int step) const;
  bool start_suspects();
  bool keep_quiet();
  ReadyQueue& queue_of(const Job& job, int step);

  // ---- bytes (bytes.cc)
  void add_blob(Job& job, int step, const std::shared_ptr<BlobContent>& content);
  void add_blobs(Job& job, int step, const Value& value);
  static bool is_named(const Job& job, const LiveBlob& blob);
  void put(Job& job, LiveBlob& blob);
  void count_digest(LiveBlob& blob);
  void uncount_digests(Job& job);

  // ---- records (write.cc)
  void learn_inputs(Job& job);
  bool include(Job& job);
  bool include_end(Job& job, int step);
  bool finish_text(Job& job, int step);
  Dirty urgency(const Job& job, int step) const;
  void mark(Job& job, Dirty dirty);
  void set_dirty(Job& job, Dirty dirty);
  void enqueue_write(Job& job);
  Write make_write(Job& job);
  void applied(Job& job);
  void remember_end(const JobKey& key);
  void not_written(Job& job);
  std::array<uint8_t, 8> next_write_id();

  // ---- ends (finish.cc)
  void stop_job(Job& job, Stop stop);
  bool cancel_rest(Job& job);
  void finish(Job& job);
  bool outputs_ready(Job& job);
  std::optional<JobError> verdict(const Job& job, JobState* state) const;

  // ---- submissions (submit.cc)
  struct Replay {
    WaiterId waiter = 0;
    JobKey key;
    std::shared_ptr<const Graph> graph;
    std::vector<Value> inputs;
    std::map<std::string, std::string> labels;
    int puts = 0;
  };
  void replay(const Submit& event);
  void replay_known(uint64_t id);
  void replay_failed(uint64_t id, const Status& status);
  bool refuse_submit(const Submit& event);
  void answer_submitters(Job& job);
  void answer_existing(Job& job);
  void refuse_job(Job& job, const Status& status);

  // ---- answers (explain.cc)
  JobView view_of(const Job& job) const;
  void explain(const Job& job, JobView* view) const;
  Explanation explain_step(const Job& job, int step) const;
  void answer(WaiterId waiter, Answer::Kind kind, const Job& job);
  void answer_bare(WaiterId waiter, Answer::Kind kind, const JobKey& key, Status status = {});
  void drop_waiter(WaiterId waiter) { waiter_jobs.erase(waiter); }

  template <typename A>
  void emit(A action) {
    actions->emplace_back(std::move(action));
  }

  const CoreOptions options;
  CoreStats stats;
  CoreClock clock;
  std::vector<Action>* actions = nullptr;  // of the event being applied

  std::unordered_map<JobKey, std::unique_ptr<Job>, JobKeyHash> jobs;
  IntrusiveList<Job, &Job::all_link> all;      // in order of serial
  IntrusiveList<Job, &Job::dirty_link> dirty;  // may be collected, oldest change first
  // Jobs that wait for a person and are durable: they leave when others need the room, and come
  // back when somebody acts on them or with the next boot.
  IntrusiveList<Job, &Job::resting_link> resting;
  std::unordered_set<JobKey, JobKeyHash> set_aside;
  std::vector<std::unique_ptr<Job>> graveyard;
  uint64_t serials = 0;
  int64_t no_room_jobs = 0;
  int64_t unaccepted_jobs = 0;
  int64_t dirty_jobs = 0;
  int64_t writes_open = 0;
  int64_t puts_open = 0;

  ReadyQueue ready[kLanes];
  uint32_t slots[kLanes] = {0, 0};
  int64_t running[kLanes] = {0, 0};
  // Suspects wait in a queue of their own, and each has the server to itself: nothing else starts,
  // so that the server comes to rest. Where a long step runs, the others have half of the time.
  std::map<std::pair<JobId, int>, Suspect> suspects;
  ReadyQueue suspects_ready;
  bool alone = false;  // one has it now
  struct Quiet {
    DurationMs length = kQuietMs;
    TimeMs until = kNever;  // kNever: the others go on,
    TimeMs next = 0;        // until then
  };
  Quiet quiet;
  TicketTable tickets;
  std::unordered_map<uint64_t, Replay> replays;
  uint64_t replay_ids = 0;
  std::unordered_map<Digest, uint32_t, DigestHash> held_digests;

  std::set<std::tuple<TimeMs, uint64_t, Job*>> timers;
  std::deque<std::pair<TimeMs, JobKey>> lazy;
  std::unordered_map<WaiterId, JobKey> waiter_jobs;  // of waits
  std::unordered_map<JobKey, std::vector<Waiting>, JobKeyHash> absent_waits;
  std::set<std::pair<TimeMs, WaiterId>> absent_timers;
  // Jobs that ended lately: whoever looked at them a moment ago may still ask to wait.
  std::unordered_map<JobKey, uint32_t, JobKeyHash> ended_lately;
  std::deque<JobKey> ended_order;

  // Of a shared store: until when this node is sure of its jobs, by clock.hurried().
  TimeMs lease_due = kNever;
  bool in_doubt = false;
  int64_t unclaimed = 0;     // as last heard, less what we took since
  TimeMs hold_due = kNever;  // no more are claimed before; by the core's clock
  std::deque<std::shared_ptr<const Adopt>> claimed_next;  // their submissions are over

  bool draining = false;
  int64_t adopting = 0;  // how many jobs we asked for and have not got
  TimeMs adopt_due = kNever;
  uint64_t write_ids = 0;
};

}  // namespace millrace
