// Doubt: whether this node may still take itself for the owner of its jobs (shared stores).
//
// A lease that has run out proves nothing: another node may have claimed jobs of this one, or not.
// So time decides only what is tried: no effect starts in doubt. Whose a job is, the comparison of
// owner and revision decides with each write. What was started before may end.
#include "engine/base/cover.h"
#include "engine/core/state.h"

namespace millrace {

void Core::State::on(const Lease& event) {
  CHECK_MSG(options.shared, "a store of one's own needs no lease");
  const DurationMs left = event.until - event.now;
  lease_due = clock.hurried() + left;
  if (left <= 0) {
    if (!in_doubt) begin_doubt();
  } else if (in_doubt) {
    end_doubt();
  }
}

// What has not started goes back to where the gate is asked again.
void Core::State::begin_doubt() {
  COVER("doubt");
  in_doubt = true;
  if (options.broken_lease_for_test) return;
  for (Job* job = all.front(); job != nullptr; job = all.next(job)) {
    bool held_back = false;
    for_each_step(job->set(Phase::kReady), [&](int step) {
      if (job->node(step).decl->effect == Effect::kPure) return;
      queue_of(*job, step).remove(job, step);
      job->move_to(step, Phase::kHeld);
      held_back = true;
    });
    for_each_step(job->set(Phase::kIntent), [&](int step) {
      COVER("intent_in_doubt");
      withdraw_intent(*job, step);
      held_back = true;
    });
    if (held_back) settle(*job);
  }
}

void Core::State::end_doubt() {
  in_doubt = false;
  for (Job* job = all.front(); job != nullptr; job = all.next(job)) {
    if (job->set(Phase::kHeld) != 0) settle(*job);
  }
}

}  // namespace millrace
