// settle(): brings a job to rest after something about it has changed.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {

void Core::State::settle(Job& job) {
  if (job.gone) return;
  if (!job.finished) {
    learn_inputs(job);
    // Each round ends steps or brings facts into the draft; a job has finitely many of either.
    for (bool again = true; again;) {
      again = false;
      if (job.stop != Stop::kNone) {
        again |= cancel_rest(job);
      } else if (job.graph != nullptr) {
        again |= decide(job);
        again |= resolve_held(job);
      }
      again |= include(job);
    }
    if (job.stop == Stop::kNone && job.graph != nullptr) {
      launch_intended(job);
      enqueue_steps(job);
    }
    StepSet in_phases = 0;
    for (const StepSet steps : job.in) {
      CHECK_MSG((in_phases & steps) == 0, "a step is in one phase");
      in_phases |= steps;
    }
    CHECK(in_phases == job.all && (job.included & ~job.ended()) == 0);
    if (job.included == job.all && (job.graph != nullptr || job.stop != Stop::kNone)) {
      finish(job);
    } else {
      update_state(job);
    }
  }
  if (draining && options.shared && may_give(job)) {
    COVER("handed_over");
    give(job);
  }
  release_bytes(job);
  note_rest(job);
  arm(job);
}

// Ends the steps that will not run, and holds ready those that will.
bool Core::State::decide(Job& job) {
  bool any_ended = false;
  for_each_step(job.set(Phase::kUndecided), [&](int step) {
    const StepNode& node = job.node(step);
    if ((node.after & ~job.ended()) != 0) return;
    if ((node.require & ~job.succeeded) != 0) {
      COVER("skipped_by_require");
      end_step(job, step, StepState::kSkipped);
      any_ended = true;
      return;
    }
    if (node.condition) {
      const Result<bool> holds = resolve_condition(*job.graph, step, JobScope(job));
      if (!holds.ok()) {
        COVER("condition_failed");
        fail(job, step,
             {errors::kExpressionFailed, "expression_failed", holds.status().message(), "", 0});
        any_ended = true;
        return;
      }
      if (!*holds) {
        COVER("skipped_by_condition");
        end_step(job, step, StepState::kSkipped);
        any_ended = true;
        return;
      }
    }
    job.move_to(step, Phase::kHeld);
  });
  return any_ended;
}

// Works out what held steps will be given. An effect's inputs are frozen the moment everything they
// depend on is in the draft, so that the record which makes its ancestors durable freezes it too.
bool Core::State::resolve_held(Job& job) {
  const StepSet ended_before = job.ended(), parked_before = job.set(Phase::kParked);
  for_each_step(job.set(Phase::kHeld), [&](int step) {
    if (job.live(step).resolved) return;
    const StepNode& node = job.node(step);
    const bool safe = (node.after & ~job.included) == 0 && job.inputs_known;
    if (node.decl->effect == Effect::kPure || safe || options.broken_gate_for_test) {
      resolve_step(job, step);
    }
  });
  return ended_before != job.ended() || parked_before != job.set(Phase::kParked);
}

void Core::State::resolve_step(Job& job, int step) {
  LiveStep& s = job.live(step);
  const StepNode& node = job.node(step);
  Result<std::vector<Value>> with = resolve_with(*job.graph, step, JobScope(job));
  if (!with.ok()) {
    COVER("with_failed");
    fail(job, step,
         {errors::kExpressionFailed, "expression_failed", with.status().message(), "", 0});
    return;
  }
  s.with = *std::move(with);
  s.resolved = true;
  if (node.decl->effect == Effect::kPure) return;
  if (options.broken_gate_for_test && !blobs_durable(s.with)) return;
  const Digest digest = frozen_digest(*node.decl, s.with);
  if (s.now.frozen && *s.now.frozen != digest) {
    COVER("frozen_inputs_changed");
    park(job, step, errors::kFrozenInputsChanged, "frozen_inputs_changed",
         "what this step would be given is not what it was first scheduled with, so it was not "
         "sent; cancel the job and submit it again");
    return;
  }
  s.now.frozen = digest;
  job.draft.steps[static_cast<size_t>(step)].frozen = digest;
}

bool Core::State::slot_free(Lane lane) const {
  const auto l = static_cast<size_t>(lane);
  return running[l] < static_cast<int64_t>(slots[l]);
}

GateFacts Core::State::facts_of(const Job& job, int step, bool slot) const {
  const StepNode& node = job.node(step);
  const LiveStep& s = job.live(step);
  GateFacts facts;
  facts.effect = node.decl->effect;
  facts.stopping = job.stop != Stop::kNone;
  facts.parked = s.phase == Phase::kParked;
  facts.room = !job.no_room && !job.giving;
  facts.known = s.phase != Phase::kUndecided;
  facts.backing_off = s.phase == Phase::kBackoff;
  facts.draining = draining;
  facts.accepted = is_ours(job) || options.broken_gate_for_test;
  facts.ancestors_durable = (node.after & ~job.durable_steps) == 0 || options.broken_gate_for_test;
  facts.slot = slot;
  facts.intent_durable = s.now.intent && intent_durable(job, step);
  facts.blame_pending = blame_pending(job, step);
  facts.inside = options.steps_inside;
  facts.doubt = in_doubt && !options.broken_lease_for_test;
  return facts;
}

// Accepted, and no other node may take it.
bool Core::State::is_ours(const Job& job) const {
  return job.accepted() && (!options.shared || job.durable->owner == options.node);
}

// And stays so: no image is on its way that takes it back.
bool Core::State::intent_durable(const Job& job, int step) {
  const auto i = static_cast<size_t>(step);
  return job.accepted() && job.durable->steps[i].intent &&
         (job.writing == nullptr || job.writing->steps[i].intent);
}

void Core::State::enqueue_steps(Job& job) {
  for_each_step(job.set(Phase::kHeld), [&](int step) {
    const Verdict verdict = ask_gate(facts_of(job, step, true));
    if (verdict == Verdict::kNotAccepted && job.dirty == Dirty::kLazy) {
      COVER("effect_hastens_acceptance");
      mark(job, Dirty::kUrgent);
    }
    if (verdict != Verdict::kStart && verdict != Verdict::kWriteIntent) return;
    CHECK(job.live(step).resolved);
    job.move_to(step, Phase::kReady);
    queue_of(job, step).push(&job, step);
  });
}

// `waiting` means: nothing can go on until a person does something.
void Core::State::update_state(Job& job) {
  const StepSet going = job.set(Phase::kHeld) | job.set(Phase::kBackoff) | job.set(Phase::kReady) |
                        job.set(Phase::kIntent) | job.set(Phase::kRunning);
  const bool stuck = job.set(Phase::kParked) != 0 && going == 0 && job.ended() == job.included &&
                     job.stop == Stop::kNone;
  JobState state = job.draft.started_at != 0 ? JobState::kRunning : JobState::kQueued;
  if (stuck || (job.graph == nullptr && job.stop == Stop::kNone)) state = JobState::kWaiting;
  if (state == JobState::kWaiting && job.active_since != kNever) {
    job.draft.active_ms += clock.now() - job.active_since;  // a person's time does not count
    job.active_since = kNever;
  } else if (state == JobState::kRunning && job.active_since == kNever) {
    job.active_since = clock.now();
  }
  if (state == job.draft.state) return;
  const bool tell = state == JobState::kWaiting || job.draft.state == JobState::kWaiting;
  job.draft.state = state;
  if (tell) mark(job, Dirty::kUrgent);
}

// Durable bytes that no started step holds, and none that is about to start, are given up: whoever
// needs them later reads them from disk.
void Core::State::release_bytes(Job& job) {
  StepSet readers = job.set(Phase::kRunning) | job.set(Phase::kIntent);
  if (!job.no_room && !job.giving) readers |= job.set(Phase::kHeld) | job.set(Phase::kReady);
  for (LiveBlob& blob : job.blobs) {
    BlobContent& content = *blob.content;
    if (!content.durable || !content.bytes.present()) continue;
    // Until a record names it another node may remove it; then it has to be put again.
    if (options.shared && !is_named(job, blob)) continue;
    bool needed = false;
    for_each_step(readers, [&](int step) {
      const LiveStep& s = job.live(step);
      if (needed || !s.resolved) return;
      if (s.phase == Phase::kReady && queue_of(job, step).size() > kReadyKeepBytes) return;
      for (const Value& value : s.with) {
        if (!has_blob(value)) continue;
        for_each_blob(value, [&](const BlobRef& b) { needed |= b.content == blob.content; });
      }
    });
    if (!needed) content.bytes = Bytes();
  }
}

}  // namespace millrace
