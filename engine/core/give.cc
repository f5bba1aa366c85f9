// Jobs that this node gives to the others of a shared store: all when it drains, some when others
// have nothing to do. A job is given by a record without an owner; until that is durable it is
// ours.
#include "engine/base/cover.h"
#include "engine/core/state.h"

namespace millrace {

// Nothing of it runs or is on its way, so that its record can say all that is known.
bool Core::State::may_give(const Job& job) const {
  if (job.gone || job.giving || job.finished || job.stop != Stop::kNone) return false;
  if (!job.inputs_known || job.fresh != 0 || job.ended() == job.all) return false;
  if ((job.set(Phase::kRunning) | job.set(Phase::kIntent)) != 0) return false;
  for (const LiveBlob& blob : job.blobs) {
    if (blob.ticket != 0 || blob.retry_due != kNever) return false;
  }
  return true;
}

void Core::State::give(Job& job) {
  CHECK(options.shared && may_give(job));
  job.giving = true;
  for_each_step(job.set(Phase::kReady), [&](int step) {
    queue_of(job, step).remove(&job, step);
    job.move_to(step, Phase::kHeld);
  });
  mark(job, Dirty::kUrgent);
}

// It is somebody else's from now on, or nobody's.
void Core::State::part_with(Job& job) {
  CHECK(job.cancels.empty() && job.submitters.empty());
  if (options.shared) {
    stats.accepted--;
    unclaimed++;
  }
  remove_job(job, true);
}

// Another node gains by a job only if it could start a step of it at once; of this one nothing is
// under way, nor between two attempts.
bool Core::State::may_shed(const Job& job) const {
  if (!may_give(job) || !job.accepted() || job.no_room || job.writing != nullptr) return false;
  if (job.set(Phase::kReady) == 0 || job.set(Phase::kBackoff) != 0 || !job.cancels.empty()) {
    return false;
  }
  bool suspect = false;
  for_each_step(job.all, [&](int step) { suspect |= job.live(step).suspect; });
  return !suspect;
}

// As many of what waits for each slot there as for each of ours. With more of it away we would be
// the idle ones, and have it given back.
int64_t Core::State::share_of(int64_t others_slots) const {
  int64_t waiting = 0, ours = 0;
  for (int lane = 0; lane < kLanes; lane++) {
    waiting += static_cast<int64_t>(ready[lane].size());
    ours += slots[lane];  // of all lanes, as the others' are told
  }
  others_slots = std::min<int64_t>(others_slots, kSlotsToldMax);
  const int64_t all_slots = ours + others_slots;
  return all_slots > 0 ? (waiting * others_slots + all_slots - 1) / all_slots : 0;
}

void Core::State::on(const Shed& event) {
  if (!options.shared || draining) return;
  int64_t left = std::min(event.jobs, share_of(event.jobs));
  bool any = false;
  for (Job* job = all.back(); job != nullptr && left > 0; job = all.previous(job)) {
    if (job->giving) {
      left--;  // as an earlier event wished
    } else if (may_shed(*job)) {
      COVER("shed");
      give(*job);
      settle(*job);
      left--;
      any = true;
    }
  }
  // Those who asked shall have them; we take jobs again only when nobody else did.
  if (any) hold_due = clock.now() + kShedHoldMs;
}

void Core::State::on(const Unclaimed& event) {
  CHECK(event.jobs >= 0);
  if (options.shared) unclaimed = event.jobs;
  if (event.jobs == 0) hold_due = kNever;  // what we gave away has been taken
}

}  // namespace millrace
