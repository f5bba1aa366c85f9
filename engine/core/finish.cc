// How jobs end.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {

// From here on no step of the job starts; pure steps are stopped, running effects end by
// themselves.
void Core::State::stop_job(Job& job, Stop why) {
  CHECK(job.stop == Stop::kNone && !job.finished && why != Stop::kNone);
  for_each_step(job.set(Phase::kReady), [&](int step) {
    queue_of(job, step).remove(&job, step);
    job.move_to(step, Phase::kHeld);
  });
  for_each_step(job.set(Phase::kIntent), [&](int step) { withdraw_intent(job, step); });
  for_each_step(job.set(Phase::kRunning), [&](int step) {
    if (job.node(step).decl->effect != Effect::kPure || job.live(step).stop_sent) return;
    job.live(step).stop_sent = true;
    emit(StopStep{job.live(step).ticket});
  });
  job.stop = why;
  if (why == Stop::kCancel) {
    job.draft.cancel_requested = true;
    mark(job, Dirty::kUrgent);
  }
}

bool Core::State::cancel_rest(Job& job) {
  if (job.set(Phase::kRunning) != 0) return false;
  const StepSet rest = job.all & ~job.ended();
  for_each_step(rest, [&](int step) {
    LiveStep& s = job.live(step);
    // What a person should know of a parked step stays in its error.
    if (s.phase != Phase::kParked && s.phase != Phase::kBackoff) s.now.error.reset();
    end_step(job, step, StepState::kCancelled);
  });
  return rest != 0;
}

// Everything has ended and is in the draft; the end follows as soon as the outputs are known.
void Core::State::finish(Job& job) {
  CHECK(job.included == job.all && job.fresh == 0);
  if (!job.inputs_known || !outputs_ready(job)) return;
  job.finished = true;
  JobRecord& draft = job.draft;
  draft.error = verdict(job, &draft.state);
  draft.finished_at = clock.wall();
  draft.expire_at = draft.finished_at + options.retention_ms;
  if (job.active_since != kNever) {
    draft.active_ms += clock.now() - job.active_since;
    job.active_since = kNever;
  }
  mark(job, Dirty::kUrgent);
}

// The state a job ends in, and the error that says why.
std::optional<JobError> Core::State::verdict(const Job& job, JobState* state) const {
  if (job.stop == Stop::kCancel) {
    *state = JobState::kCancelled;
    return JobError{errors::kJobCancelled, "cancelled", "the job was cancelled", "", 0};
  }
  *state = JobState::kSucceeded;
  if (job.stop == Stop::kTimeout) {
    *state = JobState::kFailed;
    return JobError{
        errors::kJobTimeout, "timeout",
        "the pipeline's timeout of " + format_duration(job.graph->timeout_ms) + " has passed", "",
        0};
  }
  const StepRecord* first = nullptr;
  for (const StepRecord& step : job.draft.steps) {
    if (step.state != StepState::kFailed) continue;
    if (first == nullptr || step.finished_at < first->finished_at) first = &step;
  }
  if (first == nullptr && !job.outputs_error) return std::nullopt;
  *state = JobState::kFailed;
  if (first == nullptr) return job.outputs_error;
  CHECK(first->error.has_value());
  return first->error;
}

// The job's outputs, inline or spilled. What a failed job still has stays readable.
bool Core::State::outputs_ready(Job& job) {
  if (job.outputs_spill != nullptr) {
    if (!job.outputs_spill->durable) return false;
    job.draft.outputs_spilled = *job.outputs_spill->digest;
    return true;
  }
  if (job.graph == nullptr) {
    job.draft.outputs = "{}";
    return true;
  }
  const Graph& graph = *job.graph;
  std::vector<Value> values(graph.outputs.size());
  std::vector<NamedValue> named;
  for (size_t i = 0; i < graph.outputs.size(); i++) {
    named.emplace_back(graph.outputs[i].name, &values[i]);
    auto value = resolve_output(graph, static_cast<int>(i), JobScope(job));
    if (value.ok()) {
      values[i] = *std::move(value);
    } else if ((graph.outputs[i].reads & ~job.succeeded) == 0 && !job.outputs_error) {
      COVER("output_failed");
      job.outputs_error = JobError{errors::kExpressionFailed, "expression_failed",
                                   clip(value.status().message(), kErrorMessageBytesMax), "", 0};
    }
  }
  // Null outputs are left out of the text; whoever shows the job knows their names from the graph.
  std::string text = object_text(named);
  const size_t room = kRecordBytesMax - 2048 - std::min(job.draft_bytes, kRecordBytesMax - 2048);
  if (text.size() <= std::min(kInlineJsonBytesMax, room)) {
    job.draft.outputs = std::move(text);
    return true;
  }
  COVER("outputs_spilled");
  std::string blobs = object_text(named, true);
  if (text.size() > kSpilledJsonBytesMax || blobs.size() > std::min(kInlineJsonBytesMax, room)) {
    job.outputs_error =
        JobError{errors::kRecordTooLarge, "record_too_large",
                 "the job's outputs are " + std::to_string(text.size()) + " bytes as JSON", "", 0};
    job.draft.outputs = "{}";
    return true;
  }
  job.draft.outputs = std::move(blobs);
  job.outputs_spill = std::make_shared<BlobContent>();
  job.outputs_spill->size_bytes = text.size();
  job.outputs_spill->bytes = Bytes::of(std::move(text));
  add_blob(job, kStepsMax, job.outputs_spill);
  return false;
}

}  // namespace millrace
