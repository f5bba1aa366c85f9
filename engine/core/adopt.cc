// Jobs that come from the store: left by an earlier boot, or parked there for lack of room.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {
namespace {

constexpr DurationMs kRetryAtMsMax = 86'400'000;

// Reads a canonical object into values in the order of `name_of(0..count)`. Absent members are
// null.
template <typename NameOf>
Status read_object(std::string_view text, size_t count, NameOf name_of, BlobTable* blobs,
                   std::vector<Value>* values) {
  Result<Value> object = parse_json(text, BlobsIn::kAllowed, blobs);
  if (!object.ok()) return object.status();
  if (object->kind() != Value::Kind::kMap) {
    return Status::corrupt(errors::kStoreCorrupt, "a stored text is not an object");
  }
  values->resize(count);
  for (size_t i = 0; i < count; i++) {
    const auto found = object->as_map().find(name_of(i));
    if (found != object->as_map().end()) (*values)[i] = std::move(found->second);
  }
  return {};
}

// The outputs of a step that succeeded, from the record or from its spilled text.
Status read_outputs(const Adopt& event, int step, Job* job, BlobTable* blobs) {
  const StepRecord& record = event.record->steps[static_cast<size_t>(step)];
  const StepDecl& decl = *event.graph->steps[static_cast<size_t>(step)].decl;
  std::string_view text = record.outputs;
  if (record.spilled) {
    const auto spilled = std::find_if(event.spilled.begin(), event.spilled.end(),
                                      [&](const auto& s) { return s.first == step; });
    if (spilled == event.spilled.end()) {
      return Status::corrupt(errors::kBlobMissing, "a spilled output was not read back");
    }
    text = spilled->second;
  }
  const auto name_of = [&](size_t i) -> const std::string& {
    return decl.output_at(static_cast<int>(i)).name;
  };
  return read_object(text, static_cast<size_t>(decl.output_count()), name_of, blobs,
                     &job->live(step).outputs);
}

Status read_values(const Adopt& event, Job* job) {
  const Graph& graph = *event.graph;
  const JobRecord& record = *event.record;
  if (record.steps.size() != graph.steps.size()) {
    return Status::corrupt(errors::kStoreCorrupt, "the record and its definition differ in steps");
  }
  BlobTable blobs;
  const auto name_of = [&](size_t i) -> const std::string& { return graph.inputs[i].name; };
  RETURN_IF_ERROR(read_object(record.inputs, graph.inputs.size(), name_of, &blobs, &job->inputs));
  for (size_t i = 0; i < record.steps.size(); i++) {
    if (record.steps[i].state != StepState::kSucceeded) continue;
    RETURN_IF_ERROR(read_outputs(event, static_cast<int>(i), job, &blobs));
  }
  return {};
}

}  // namespace

void Core::State::on(const Adopt& event) {
  CHECK(event.record != nullptr && event.record->rev > 0);
  if (adopting > 0 && --adopting == 0) adopt_due = kNever;
  if (options.shared) {
    CHECK_MSG(event.record->owner == options.node, "what is adopted has been claimed");
    if (unclaimed > 0) unclaimed--;
  }
  if (is_final(event.record->state)) return;
  if (Job* job = find(event.record->key)) {
    meet(*job, event);
  } else {
    take_in(event);
  }
}

// The job was claimed for this node while something under its key is here: a submission that will
// hear that the key is taken, or an older face of the job whose next write will be refused. The
// claim must not be lost over it: no other node will take a job that is ours.
void Core::State::meet(Job& job, const Adopt& event) {
  if (!options.shared) return;  // its record is as it was: it comes again with the next claim
  if (job.accepted() && event.record->rev <= job.durable->rev) return;
  COVER("claim_meets_resident");
  job.claimed = std::make_shared<const Adopt>(event);
  if (!job.accepted() || job.writing != nullptr) return;  // until the store has answered
  stats.accepted--;
  not_written(job);
}

void Core::State::take_in(const Adopt& event) {
  const JobRecord& record = *event.record;
  const bool was_set_aside = set_aside.erase(record.key) > 0;
  if (options.shared && !was_set_aside) stats.accepted++;
  Job& job = add_job(record.key);
  job.durable = event.record;
  job.draft = record;
  job.draft_bytes = record_bytes(record);
  job.inputs_known = true;
  const size_t count = record.steps.size();
  CHECK(count > 0 && count <= size_t{kStepsMax});
  job.steps.resize(count);
  job.all = count == 64 ? ~StepSet{0} : bit(static_cast<int>(count)) - 1;
  job.in[static_cast<size_t>(Phase::kUndecided)] = job.all;
  job.graph = event.graph;
  job.why = event.why;
  if (job.graph != nullptr) {
    if (Status status = read_values(event, &job); !status.ok()) {
      job.graph = nullptr;
      job.why = status.message();
    }
  }
  if (job.graph == nullptr) {
    COVER("adopt_unusable");
    job.why = "the job cannot go on: " + job.why;
  }
  adopt_steps(job);
  if (record.cancel_requested) {
    COVER("adopt_cancelled");
    job.stop = Stop::kCancel;
  }
  const auto cancelled = [](const StepRecord& step) { return step.state == StepState::kCancelled; };
  if (!record.cancel_requested && job.graph != nullptr &&
      std::any_of(record.steps.begin(), record.steps.end(), cancelled)) {
    COVER("adopt_timed_out");  // nothing else cancels steps; only the end itself was not written
    job.stop = Stop::kTimeout;
  }
  if (const auto waits = absent_waits.find(record.key); waits != absent_waits.end()) {
    COVER("adopt_with_waiters");
    job.waits = std::move(waits->second);
    absent_waits.erase(waits);
    for (const Waiting& wait : job.waits) absent_timers.erase({wait.due, wait.waiter});
  }
  for (const VerbId& id : record.applied_verbs) {
    const bool there = std::any_of(event.verbs.begin(), event.verbs.end(),
                                   [&](const Verb& verb) { return verb.id == id; });
    if (!there) job.gone_verbs.push_back(id);
  }
  for (const Verb& verb : event.verbs) apply_verb(job, verb);
  if (job.stop == Stop::kNone && job.graph != nullptr) fire_deadlines(job);
  settle(job);
  // One that waits for a person is ours only once that is written: else it would be claimed again
  // as soon as it is set aside.
  if (!job.gone && job.draft.state == JobState::kWaiting && record.owner != options.node) {
    mark(job, Dirty::kUrgent);
  }
}

void Core::State::on(const Unreadable& event) {
  if (jobs.contains(event.key)) return;  // what is in memory is right, and the next write mends it
  if (event.removed) {
    set_aside.erase(event.key);
    stats.accepted--;
    return;
  }
  if (adopting > 0 && --adopting == 0) adopt_due = kNever;
  set_aside.insert(event.key);
}

void Core::State::adopt_steps(Job& job) {
  const TimeMs now = clock.now();
  if (job.draft.started_at != 0 && job.graph != nullptr) job.active_since = now;
  for (size_t i = 0; i < job.steps.size(); i++) {
    const int step = static_cast<int>(i);
    LiveStep& s = job.steps[i];
    s.now = job.draft.steps[i];
    accuse(job, step);
    CHECK_MSG(s.now.state != StepState::kRunning, "running is not storable");
    if (is_final(s.now.state)) {
      job.included |= bit(step);
      if (s.now.state == StepState::kSucceeded) job.succeeded |= bit(step);
      for (const Value& output : s.outputs) add_blobs(job, step, output);
      job.move_to(step, Phase::kEnded);
      continue;
    }
    if (job.graph == nullptr) {
      if (s.now.state == StepState::kWaiting) job.move_to(step, Phase::kParked);
      continue;
    }
    const auto due = [&](DurationMs after) {
      if (after <= 0 || s.now.started_at == 0) return kNever;
      return now + std::clamp<DurationMs>(s.now.started_at + after - clock.wall(), 0, after);
    };
    s.deadline_due = due(job.node(step).deadline_ms);
    s.give_up_due = due(job.node(step).retry.give_up_after_ms);
    if (s.now.state == StepState::kWaiting) {
      job.move_to(step, Phase::kParked);
    } else if (s.now.intent) {
      COVER("adopt_intent");
      park(
          job, step, errors::kStepFailed, "outcome_unknown",
          "the server stopped while this step may have been running; it is not repeated by itself");
    } else if (s.now.deaths >= kStepDeathsMax) {
      park(job, step, errors::kWorkerDied, "server_died",
           "the server died " + std::to_string(s.now.deaths) + " times while this step ran");
    } else if (s.now.retry_at > clock.wall()) {
      COVER("adopt_backoff");
      // A clock that was set back meanwhile does not make the wait longer than it was.
      const DurationMs whole =
          s.now.tries.empty() ? kRetryAtMsMax : s.now.retry_at - s.now.tries.back().finished_at;
      s.retry_due = now + std::min({s.now.retry_at - clock.wall(), whole, kRetryAtMsMax});
      job.move_to(step, Phase::kBackoff);
    }
  }
  job.durable_steps = job.included;
  for (const Value& input : job.inputs) add_blobs(job, -1, input);
}

}  // namespace millrace
