// What people are shown: the last durable record, what runs over it, and why the rest does not.
#include <algorithm>

#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {

JobView Core::State::view_of(const Job& job) const {
  CHECK(job.accepted());
  JobView view;
  view.record = job.durable;
  view.graph = job.graph;
  if (is_final(job.durable->state)) return view;
  for_each_step(job.set(Phase::kRunning), [&](int step) {
    const LiveStep& s = job.live(step);
    view.running.push_back({step, s.now.attempts + 1, s.attempt_started_at});
  });
  explain(job, &view);
  return view;
}

// One explanation for each step that has not ended and does not run, as far as the durable record
// goes; and one for the job when nothing of it runs.
void Core::State::explain(const Job& job, JobView* view) const {
  if (job.graph == nullptr) {
    view->waiting_for.push_back({-1, "needs_decision", job.why});
    return;
  }
  std::optional<Explanation> first;
  for_each_step(job.all & ~job.durable_steps & ~job.set(Phase::kRunning), [&](int step) {
    Explanation explanation = explain_step(job, step);
    // The job waits for what its foremost step waits for.
    if (!first && explanation.reason != "after") first = explanation;
    view->waiting_for.push_back(std::move(explanation));
  });
  if (!first || job.set(Phase::kRunning) != 0) return;
  first->step = -1;
  view->waiting_for.push_back(*std::move(first));
}

Explanation Core::State::explain_step(const Job& job, int step) const {
  const StepNode& node = job.node(step);
  const LiveStep& s = job.live(step);
  if (s.phase == Phase::kEnded) return {step, "not_durable", "its end is being made durable"};
  if (s.phase == Phase::kIntent) {
    return {step, "not_durable", "the intent to start it is being made durable"};
  }
  if (s.phase == Phase::kReady && s.suspect) {
    return {step, "alone", "it ran when the server died; it starts when no other step runs"};
  }
  if (s.phase == Phase::kReady && (alone || (!suspects_ready.empty() && quiet.until != kNever))) {
    return {step, "alone", "a step that ran when the server died is to run alone first"};
  }
  const bool slot = slot_free(node.decl->lane);
  switch (ask_gate(facts_of(job, step, slot))) {
    case Verdict::kStopping:
      return {step, "stopping",
              job.stop == Stop::kCancel ? "the job is being cancelled" : "the job ran out of time"};
    case Verdict::kNeedsDecision:
      return {step, "needs_decision", s.now.error ? s.now.error->message : "a person must decide"};
    case Verdict::kNoRoom:
      return {step, "no_room", "it starts when an earlier job has ended"};
    case Verdict::kAfter: {
      std::string message = "after";
      for_each_step(node.after & ~job.ended(), [&](int other) {
        message += message.size() > 5 ? ", " : " ";
        message += job.node(other).id;
      });
      return {step, "after", std::move(message)};
    }
    case Verdict::kRetry:
      if (s.now.error && s.now.error->number == errors::kNoSpace) {
        return {step, "no_space",
                s.now.error->message + "; tried again at " + format_time(s.now.retry_at) +
                    ", which does not count as an attempt"};
      }
      return {step, "retry",
              "attempt " + std::to_string(s.now.attempts) + " of " +
                  std::to_string(node.retry.max) + " failed (" +
                  (s.now.error ? s.now.error->reason : std::string("failed")) + "), the next at " +
                  format_time(s.now.retry_at)};
    case Verdict::kDraining:
      return {step, "draining", "this server is being stopped; the next one goes on"};
    case Verdict::kNotAccepted:
      return {step, "not_durable", "the job is being made durable"};
    case Verdict::kNotDurable:
      return {step, "not_durable", "what it builds on is being made durable"};
    case Verdict::kNoWorker:
      return {step, "no_worker",
              std::string("no free worker in the lane ") + lane_name(node.decl->lane)};
    case Verdict::kStart:
    case Verdict::kWriteIntent:
      break;
  }
  return {step, "no_worker", "about to start"};
}

void Core::State::answer(WaiterId waiter, Answer::Kind kind, const Job& job) {
  Answer reply;
  reply.waiter = waiter;
  reply.kind = kind;
  reply.key = job.key;
  if (job.accepted()) reply.view = view_of(job);
  if (kind == Answer::Kind::kVerbForbidden) {
    reply.status =
        Status::conflict(errors::kVerbForbidden, std::string("the job has ended (") +
                                                     state_name(job.durable->state) +
                                                     "); only an unfinished job can be cancelled");
  } else if (kind == Answer::Kind::kKeyReused) {
    reply.status = Status::conflict(errors::kIdempotencyKeyReused,
                                    "the Idempotency-Key was used for another request");
  }
  emit(std::move(reply));
}

void Core::State::answer_bare(WaiterId waiter, Answer::Kind kind, const JobKey& key,
                              Status status) {
  Answer reply;
  reply.waiter = waiter;
  reply.kind = kind;
  reply.key = key;
  reply.status = std::move(status);
  emit(std::move(reply));
}

}  // namespace millrace
