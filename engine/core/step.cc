// One attempt after another: starting steps and making sense of their outcomes.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

constexpr size_t kReasonBytesMax = 64, kNoteBytesMax = 256;
constexpr DurationMs kRetryAfterMsMax = 86'400'000;
constexpr DurationMs kCutOffMs = 10;  // behind the pipeline's timeout

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

uint64_t mix(uint64_t x) {  // splitmix64's finaliser
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

// Doubles from `from` to `to`; full jitter spreads it over [0, delay], by a hash, so that the same
// events give the same delays.
DurationMs backoff_ms(const Retry& retry, const Job& job, int step, uint32_t attempt) {
  const uint32_t doublings = std::min<uint32_t>(attempt - 1, 30);
  const DurationMs from = std::max<DurationMs>(retry.backoff_from_ms, 0);
  DurationMs delay =
      from > (retry.backoff_to_ms >> doublings) ? retry.backoff_to_ms : from << doublings;
  delay = std::min(delay, retry.backoff_to_ms);
  if (retry.jitter == Jitter::kNone || delay <= 0) return std::max<DurationMs>(delay, 0);
  uint64_t hash = 0;
  for (const uint8_t byte : job.draft.salt) hash = mix(hash ^ byte);
  hash = mix(hash ^ static_cast<uint64_t>(step) << 32 ^ attempt);
  return static_cast<DurationMs>(hash % static_cast<uint64_t>(delay + 1));
}

JobError error_of(const StepOutcome& outcome) {
  JobError error;
  error.number = outcome.number;
  error.reason = clip(outcome.reason, kReasonBytesMax);
  error.message = clip(outcome.message, kErrorMessageBytesMax);
  const char* reason = "failed";
  int number = errors::kStepFailed;
  if (outcome.kind == StepOutcome::Kind::kTimeout) {
    number = errors::kStepTimeout;
    reason = "timeout";
  } else if (outcome.kind == StepOutcome::Kind::kWorkerDied) {
    number = errors::kWorkerDied;
    reason = "worker_died";
  }
  if (error.number == 0) error.number = number;
  if (error.reason.empty()) error.reason = reason;
  return error;
}

void remember_try(StepRecord* record, Try attempt) {
  // A first attempt that succeeded and has nothing to say is told by the step's own times.
  if (attempt.attempt == 1 && attempt.reason.empty() && attempt.note.empty()) return;
  if (record->tries.size() == size_t{kTriesKept}) record->tries.erase(record->tries.begin());
  record->tries.push_back(std::move(attempt));
}

}  // namespace

std::string clip(std::string_view text, size_t bytes) {
  return std::string(text.substr(0, utf8_floor(text, bytes)));
}

// ---- starting

void Core::State::dispatch() {
  if (!start_suspects()) return;
  for (int lane = 0; lane < kLanes; lane++) {
    while (!ready[lane].empty() && slot_free(static_cast<Lane>(lane))) {
      const ReadyQueue::Entry entry = ready[lane].pop();
      start(*entry.job, entry.step);
    }
  }
}

void Core::State::start(Job& job, int step) {
  const Lane lane = job.node(step).decl->lane;
  const Verdict verdict = ask_gate(facts_of(job, step, slot_free(lane)));
  running[static_cast<size_t>(lane)]++;
  if (job.live(step).suspect) alone = true;
  if (verdict == Verdict::kWriteIntent) {
    COVER("intent");
    job.live(step).now.intent = true;
    job.move_to(step, Phase::kIntent);
    job.fresh |= bit(step);
    include(job);
    return;
  }
  CHECK_MSG(verdict == Verdict::kStart, "the queue holds only what the gate lets through");
  launch(job, step);
}

void Core::State::launch_intended(Job& job) {
  for_each_step(job.set(Phase::kIntent), [&](int step) {
    if (intent_durable(job, step)) launch(job, step);
  });
}

// The slot is taken already.
void Core::State::launch(Job& job, int step) {
  const StepNode& node = job.node(step);
  LiveStep& s = job.live(step);
  const auto lane = static_cast<size_t>(node.decl->lane);
  CHECK_MSG(running[lane] <= static_cast<int64_t>(slots[lane]) || s.phase == Phase::kIntent, "I7");
  CHECK(s.resolved && job.stop == Stop::kNone && !draining);
  if (node.decl->effect != Effect::kPure && !options.broken_gate_for_test) {
    CHECK_MSG(is_ours(job) && (node.after & ~job.durable_steps) == 0, "I3");
    CHECK_MSG(s.now.frozen.has_value(), "I4: an effect's inputs are frozen");
    CHECK_MSG(!in_doubt || options.broken_lease_for_test, "no effect starts in doubt");
  }
  const TimeMs now = clock.now(), wall = clock.wall();
  job.move_to(step, Phase::kRunning);
  s.attempt_started_at = wall;
  if (s.now.started_at == 0) {
    s.now.started_at = wall;
    if (node.retry.give_up_after_ms > 0) s.give_up_due = now + node.retry.give_up_after_ms;
    if (node.deadline_ms > 0) {
      s.deadline_due = now + node.deadline_ms;
      job.fresh |= bit(step);  // by the wall, hence also over the server's death
      include(job);
    }
  }
  if (job.draft.started_at == 0) {
    job.draft.started_at = wall;
    job.active_since = now;
    if (job.draft.state == JobState::kQueued) job.draft.state = JobState::kRunning;
    if (job.graph->timeout_ms > 0) arm(job);
  }
  TicketUse use;
  use.kind = TicketUse::Kind::kStep;
  use.lane = node.decl->lane;
  use.job = &job;
  use.step = step;
  use.alone = s.suspect;
  s.ticket = tickets.open(use);
  s.stop_sent = false;
  StartStep action;
  action.ticket = s.ticket;
  action.job = job.draft.id();
  action.step = step;
  action.graph = job.graph;
  action.attempt = s.now.attempts + 1;
  if (node.decl->effect != Effect::kPure) {
    action.effect_key = effect_key(job.draft.salt, node.id, "", s.now.generation);
  }
  action.deaths = s.now.deaths;
  // A pure step without blobs is resolved again should it be tried again; an effect repeats what it
  // was given; who holds which bytes must stay known.
  if (node.decl->effect == Effect::kPure && job.blobs.empty()) {
    action.with = std::move(s.with);
    s.resolved = false;
  } else {
    action.with = s.with;
  }
  action.timeout_ms = node.timeout_ms;
  if (s.deadline_due != kNever) {
    action.timeout_ms = std::clamp<DurationMs>(s.deadline_due - now, 1, node.timeout_ms);
    action.left_ms = std::max<DurationMs>(s.deadline_due - now, 1);
  }
  // An effect that is under way when the pipeline's time is over is cut off just behind it: by then
  // the job knows why. One that must not be repeated may end, since nobody could say how it had.
  const TimeMs due = timeout_due(job);
  if (due != kNever && node.decl->effect != Effect::kOnce) {
    action.left_ms = std::min(action.left_ms, std::max<DurationMs>(due - now, 0) + kCutOffMs);
  }
  emit(std::move(action));
}

// Whether an attempt that ended by a timeout now ended by the pipeline's, not by its own.
bool Core::State::cut_off_by_pipeline(const Job& job, int step) const {
  const TimeMs due = timeout_due(job);
  if (due == kNever || clock.now() + kStopMarginMs < due) return false;
  return due <= clock.now() || due < job.live(step).now.started_at + job.node(step).timeout_ms;
}

// Nothing was sent: the intent is taken back and the slot given back.
void Core::State::withdraw_intent(Job& job, int step) {
  COVER("intent_withdrawn");
  CHECK(job.live(step).phase == Phase::kIntent);
  running[static_cast<size_t>(job.node(step).decl->lane)]--;
  if (job.live(step).suspect) alone = false;
  job.live(step).now.intent = false;
  job.fresh |= bit(step);
  job.move_to(step, Phase::kHeld);
}

// ---- outcomes

void Core::State::on(const StepDone& event) {
  TicketUse* use = tickets.find(event.ticket);
  if (use == nullptr || use->kind != TicketUse::Kind::kStep) {
    stats.late_results++;
    return;
  }
  const TicketUse what = *use;
  tickets.close(event.ticket);
  const auto lane = static_cast<size_t>(what.lane);
  CHECK(running[lane] > 0);
  running[lane]--;
  if (what.alone) alone = false;
  if (what.job == nullptr) {
    stats.late_results++;
    return;
  }
  LiveStep& s = what.job->live(what.step);
  CHECK(s.phase == Phase::kRunning && s.ticket == event.ticket);
  s.ticket = 0;
  using Kind = StepOutcome::Kind;
  const bool over = event.outcome.kind != Kind::kRequeued && event.outcome.kind != Kind::kStopped;
  if (s.suspect && over) acquit(*what.job, what.step);
  // The workers cut it off because the pipeline's time is over; the Tick that says so may come
  // later than that, and a step that listens heard of it before.
  if (event.outcome.kind == StepOutcome::Kind::kTimeout && what.job->stop == Stop::kNone &&
      cut_off_by_pipeline(*what.job, what.step)) {
    s.stop_sent = true;
    stop_job(*what.job, Stop::kTimeout);
  }
  conclude(*what.job, what.step, event.outcome);
  settle(*what.job);
}

void Core::State::conclude(Job& job, int step, const StepOutcome& outcome) {
  const Effect effect = job.node(step).decl->effect;
  using Kind = StepOutcome::Kind;
  if (job.stop != Stop::kNone && effect == Effect::kPure) {
    end_step(job, step, StepState::kCancelled);
    return;
  }
  switch (outcome.kind) {
    case Kind::kSucceeded:
      succeed(job, step, outcome);
      return;
    case Kind::kFailed:
      if (outcome.number == errors::kNoSpace && wait_for_space(job, step, outcome)) return;
      attempt_failed(job, step, outcome);
      return;
    case Kind::kTimeout:
    case Kind::kWorkerDied:
    case Kind::kRequeued:
    case Kind::kStopped:
      break;
  }
  if (effect == Effect::kOnce) {
    COVER("once_outcome_unknown");
    park(job, step, errors::kStepFailed, "outcome_unknown",
         "it was started once and nobody knows whether it took effect; it is not repeated by "
         "itself");
  } else if (outcome.kind == Kind::kTimeout || outcome.kind == Kind::kWorkerDied) {
    attempt_failed(job, step, outcome);
  } else {
    COVER("requeued");
    job.move_to(step, Phase::kHeld);  // does not count
  }
}

void Core::State::succeed(Job& job, int step, const StepOutcome& outcome) {
  const StepDecl& decl = *job.node(step).decl;
  LiveStep& s = job.live(step);
  s.now.attempts++;
  remember_try(&s.now, {s.now.attempts, s.attempt_started_at, clock.wall(), "",
                        clip(outcome.note, kNoteBytesMax)});
  JobError error{errors::kOutputInvalid, "output_invalid", "", "", s.now.attempts};
  if (static_cast<int>(outcome.outputs.size()) != decl.output_count()) {
    error.message = "the step gave " + std::to_string(outcome.outputs.size()) +
                    " outputs and declares " + std::to_string(decl.output_count());
    fail(job, step, std::move(error));
    return;
  }
  std::string text = object_text(named_outputs(decl, outcome.outputs));
  size_t bytes = text.size();
  if (bytes > kInlineJsonBytesMax) {
    COVER("spilled");
    bytes = object_text(named_outputs(decl, outcome.outputs), true).size();
  }
  if (text.size() > kSpilledJsonBytesMax || bytes > kInlineJsonBytesMax) {
    error.message = "its outputs are " + std::to_string(text.size()) + " bytes as JSON, at most " +
                    std::to_string(kSpilledJsonBytesMax) +
                    " are allowed; return large data as a blob";
    fail(job, step, std::move(error));
    return;
  }
  if (job.draft_bytes + bytes > kRecordBytesMax - kRecordReserveBytes) {
    COVER("record_too_large");
    error.number = errors::kRecordTooLarge;
    error.reason = "record_too_large";
    error.message = "with these outputs (" + std::to_string(bytes) +
                    " bytes) the job's record would exceed " + std::to_string(kRecordBytesMax) +
                    " bytes; return large data as a blob";
    fail(job, step, std::move(error));
    return;
  }
  job.draft_bytes += bytes;
  s.outputs = outcome.outputs;
  bool blobs = false;
  for (const Value& output : s.outputs) {
    blobs = blobs || has_blob(output);
    add_blobs(job, step, output);
  }
  if (!blobs) s.text = std::move(text);  // else digests are missing in it
  s.now.error.reset();
  job.succeeded |= bit(step);
  end_step(job, step, StepState::kSucceeded);
}

void Core::State::attempt_failed(Job& job, int step, const StepOutcome& outcome) {
  LiveStep& s = job.live(step);
  s.now.attempts++;
  JobError error = error_of(outcome);
  error.step = job.node(step).id;
  error.attempt = s.now.attempts;
  remember_try(&s.now, {s.now.attempts, s.attempt_started_at, clock.wall(), error.reason,
                        clip(outcome.note, kNoteBytesMax)});
  if (!schedule_retry(job, step, outcome, &error)) {
    fail(job, step, std::move(error));
    return;
  }
  COVER("retry");
  s.now.error = std::move(error);
  s.now.retry_at = clock.to_wall(s.retry_due);
  job.fresh |= bit(step);
  job.move_to(step, Phase::kBackoff);
}

// A full disk is no fault of the job: the step is tried again without counting, as our own writes
// are. False when it has no time left to wait, or must not be repeated.
bool Core::State::wait_for_space(Job& job, int step, const StepOutcome& outcome) {
  LiveStep& s = job.live(step);
  if (job.stop != Stop::kNone || job.node(step).decl->effect == Effect::kOnce) return false;
  // As long again as it has taken so far: the pauses double.
  const DurationMs delay = std::clamp<DurationMs>(clock.wall() - s.now.started_at, kEngineBackoffMs,
                                                  kEngineBackoffMsMax);
  if (clock.now() + delay >= s.deadline_due) return false;
  COVER("step_without_space");
  s.retry_due = clock.now() + delay;
  s.now.error = error_of(outcome);
  s.now.error->step = job.node(step).id;
  s.now.error->attempt = s.now.attempts + 1;
  s.now.retry_at = clock.to_wall(s.retry_due);
  job.fresh |= bit(step);
  job.move_to(step, Phase::kBackoff);
  return true;
}

// Whether the step is tried again, and when. May replace the error by the reason why not.
bool Core::State::schedule_retry(Job& job, int step, const StepOutcome& outcome, JobError* error) {
  const StepNode& node = job.node(step);
  LiveStep& s = job.live(step);
  const Retry& retry = node.retry;
  if (job.stop != Stop::kNone || node.decl->effect == Effect::kOnce) return false;
  if (s.now.attempts >= retry.max) return false;
  const bool passing = outcome.transient || outcome.kind != StepOutcome::Kind::kFailed;
  if (retry.on.empty() ? !passing : !contains(retry.on, error->reason)) return false;
  if (contains(retry.except, error->reason)) return false;
  const DurationMs delay =
      std::max(backoff_ms(retry, job, step, s.now.attempts),
               std::clamp<DurationMs>(outcome.retry_after_ms, 0, kRetryAfterMsMax));
  const TimeMs due = clock.now() + delay;
  if (due > s.give_up_due) {
    COVER("gave_up");
    return false;
  }
  if (due >= s.deadline_due) {
    COVER("deadline_before_retry");
    error->message =
        clip("the next attempt would begin after the step's deadline of " +
                 format_duration(node.deadline_ms) + "; the last one: " + error->message,
             kErrorMessageBytesMax);
    error->number = errors::kStepDeadline;
    error->reason = "deadline";
    return false;
  }
  s.retry_due = due;
  return true;
}

// ---- ends

void Core::State::fail(Job& job, int step, JobError error) {
  LiveStep& s = job.live(step);
  error.step = job.graph != nullptr ? job.node(step).id : "";
  error.message = clip(error.message, kErrorMessageBytesMax);
  s.now.error = std::move(error);
  end_step(job, step, StepState::kFailed);
}

// Waits for a person: going on by itself could do harm.
void Core::State::park(Job& job, int step, int number, std::string reason, std::string message) {
  LiveStep& s = job.live(step);
  s.now.state = StepState::kWaiting;
  s.now.error = JobError{number, std::move(reason), std::move(message),
                         job.graph != nullptr ? job.node(step).id : "", s.now.attempts};
  job.fresh |= bit(step);
  job.move_to(step, Phase::kParked);
}

void Core::State::end_step(Job& job, int step, StepState state) {
  CHECK(is_final(state));
  LiveStep& s = job.live(step);
  if (s.phase == Phase::kReady) {
    queue_of(job, step).remove(&job, step);
  } else if (s.phase == Phase::kIntent) {
    withdraw_intent(job, step);
  }
  CHECK_MSG(s.phase != Phase::kRunning || s.ticket == 0, "a running step has an outcome first");
  s.now.state = state;
  s.now.finished_at = clock.wall();
  s.now.retry_at = 0;
  s.with.clear();
  s.resolved = false;
  job.fresh |= bit(step);
  job.move_to(step, Phase::kEnded);
}

}  // namespace millrace
