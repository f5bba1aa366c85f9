// Deaths of the server: who may have caused one, and what follows.
//
// Under process isolation a step cannot bring the server down, nobody is ever accused, and a death
// costs nobody anything. Steps that run inside the server are suspects when it dies over them; each
// then has the server to itself, so that the next death has one possible cause. The first that a
// step has to itself explains the one before, over it and others, as well. The count is a fact of
// the job: it is durable before the step starts again.
#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {

// Of a job that has just come from the store: what the slot says about this step.
void Core::State::accuse(Job& job, int step) {
  const auto found = suspects.find({job.draft.id(), step});
  if (found == suspects.end()) return;
  const Suspect& suspect = found->second;
  LiveStep& s = job.live(step);
  s.suspect = true;
  if (is_final(s.now.state) || s.now.state == StepState::kWaiting) return acquit(job, step);
  COVER("suspect");
  if (!suspect.alone || s.now.deaths > suspect.deaths) return;
  COVER("blamed");
  s.now.deaths = suspect.deaths + (suspect.deaths == 0 && suspect.beside ? 2 : 1);
  job.fresh |= bit(step);
}

void Core::State::acquit(Job& job, int step) {
  CHECK(job.live(step).suspect);
  job.live(step).suspect = false;
  suspects.erase({job.draft.id(), step});
  emit(ClearSuspect{job.draft.id(), step});
}

// Who will not start again is struck off only when that is durable: a server that two such steps
// bring down in turn, each before the other's fate is written, would never come up.
void Core::State::acquit_settled(Job& job) {
  if (suspects.empty()) return;
  for_each_step(job.set(Phase::kParked) | job.set(Phase::kEnded), [&](int step) {
    const StepState state = job.durable->steps[static_cast<size_t>(step)].state;
    if (!job.live(step).suspect) return;
    if (is_final(state) || state == StepState::kWaiting) acquit(job, step);
  });
}

bool Core::State::blame_pending(const Job& job, int step) const {
  const uint32_t deaths = job.live(step).now.deaths;
  return deaths != 0 && deaths != job.durable->steps[static_cast<size_t>(step)].deaths;
}

// Whether steps that nobody suspects may start: no suspect runs, and for none the server rests.
bool Core::State::start_suspects() {
  if (alone) return false;
  if (suspects_ready.empty()) {
    quiet = Quiet();
    return true;
  }
  const auto has_worker = [this](const ReadyQueue::Entry& entry) {
    return slots[static_cast<size_t>(entry.job->node(entry.step).decl->lane)] > 0;
  };
  if (running[0] + running[1] > 0) {
    COVER("suspect_waits_for_others");
    return !keep_quiet();
  }
  quiet = Quiet();
  const ReadyQueue::Entry entry = suspects_ready.pop_if(has_worker);
  if (entry.job == nullptr) return true;
  start(*entry.job, entry.step);
  return false;
}

// Whether nothing else may start now. A step that runs for long must not hold everybody up for
// that long, nor may steps that overlap keep a suspect from its turn for ever: a rest that was in
// vain is followed by a pause of its length, and then by one of twice that.
bool Core::State::keep_quiet() {
  const TimeMs now = clock.now();
  if (now >= quiet.until) {
    quiet.next = now + quiet.length;
    quiet.length *= 2;
    quiet.until = kNever;
  }
  if (quiet.until == kNever && now >= quiet.next) quiet.until = now + quiet.length;
  return quiet.until != kNever;
}

ReadyQueue& Core::State::queue_of(const Job& job, int step) {
  return job.live(step).suspect ? suspects_ready
                                : ready[static_cast<size_t>(job.node(step).decl->lane)];
}

}  // namespace millrace
