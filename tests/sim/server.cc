// Moves of time and of the server itself: clocks, restarts, drains, shared workers.
#include <algorithm>

#include "engine/base/cover.h"
#include "tests/sim/world.h"

namespace millrace::sim {

// ---- time

void World::advance(DurationMs by_ms) {
  now_ += by_ms;
  monotonic_ += by_ms;
}

void World::advance_to(TimeMs due) {
  advance(std::max<DurationMs>(due - now_, 0));
}

bool World::pass_time() {
  const TimeMs due = machine_.core().next_deadline();
  if (due != kNever && random_.chance(70)) {
    advance_to(std::min(due, now_ + 100'000));
  } else {
    advance(static_cast<DurationMs>(random_.below(5'000)));
  }
  apply(fmt::format("tick {}", now_));
  return true;
}

// Hours go by in which nobody does anything but time.
bool World::long_pause() {
  const TimeMs end = now_ + static_cast<DurationMs>(random_.below(3 * Sweeper::kClockJumpMs));
  for (int i = 0; i < 30 && now_ < end; i++) {
    advance_to(std::min(end, std::max(machine_.core().next_deadline(), now_ + 1)));
    apply(fmt::format("tick {}", now_));
  }
  return true;
}

// The host looks at both clocks in every turn, so it sees each jump for itself.
bool World::jump() {
  const auto by_ms = static_cast<DurationMs>(random_.below(14'400'000)) - 7'200'000;
  now_ += by_ms;
  checkers_.clock_jumped(by_ms, monotonic_);
  sweeper_->may_sweep(now_, monotonic_);
  return true;
}

// ---- workers

bool World::change_capacity() {
  const int lane = static_cast<int>(random_.below(kLanes));
  slots_[lane] = static_cast<uint32_t>(random_.below(4));
  apply(fmt::format("capacity {} {} {}", now_, lane, slots_[lane]));
  return true;
}

// One step brings the worker down that all effects share. Perhaps nobody knows which.
bool World::io_worker_dies() {
  if (thread_isolation_) return false;
  std::vector<Running> dead;
  for (const auto& [ticket, running] : running_) {
    const StepNode& node = running.start.graph->steps[static_cast<size_t>(running.start.step)];
    if (node.decl->lane == Lane::kIo) dead.push_back(running);
  }
  if (dead.empty()) return false;
  const uint64_t culprit = random_.below(dead.size() + 1);
  for (size_t i = 0; i < dead.size(); i++) {
    const StartStep& start = dead[i].start;
    running_.erase(start.ticket);
    const bool once =
        start.graph->steps[static_cast<size_t>(start.step)].decl->effect == Effect::kOnce;
    using Kind = StepOutcome::Kind;
    const Kind kind = i == culprit || once ? Kind::kWorkerDied : Kind::kRequeued;
    end_step(dead[i], kind, fmt::format("{} 0 0 worker_died 10", static_cast<int>(kind)));
  }
  return true;
}

bool World::poisonous(const StartStep& start) const {
  if (poison_ < 0) return false;
  const int steps = static_cast<int>(start.graph->steps.size());
  return start.step == poison_ % steps && start.job.salt[0] % 3 == 0;
}

// ---- room

// While older jobs wait in the store, a new one may run at once only when memory is half empty. A
// job that was refused takes none, though a step of it may not have come to its end.
void World::check_overtaking(const StartStep& start) {
  if (start.job.key != submitting_) return;
  std::set<JobKey> running;
  for (const auto& [ticket, other] : running_) {
    const JobKey& key = other.start.job.key;
    if (machine_.core().resident(key)) running.insert(key);
  }
  if (static_cast<int64_t>(running.size()) < resident_max_ / 2) return;
  for (const auto& [key, job] : checkers_.store.jobs()) {
    if (is_final(job.record->state) || job.stolen || job.record->owner != NodeId{}) continue;
    if (!machine_.core().resident(key)) violated("a new job runs before one that waits for room");
  }
}

// ---- ends

bool World::restart() {
  crash(false, false);
  return true;
}

bool World::drain() {
  if (draining_) return false;
  draining_ = true;
  apply(fmt::format("drain {}", now_));
  return true;
}

// What runs may end and what is known is written; then nothing is left to do, nobody who asked for
// something is without an answer, and the next server comes.
bool World::finish_drain() {
  if (!draining_ || full_disk_) return false;
  for (int round = 0; !machine_.core().idle() && draining_; round++) {
    if (round == 5'000) violated("I8: a drain does not come to its end");
    advance(1);
    if (put_told() || put_done(true) || work(true) || write() || collect()) continue;
    const TimeMs due = machine_.core().next_deadline();
    if (due != kNever) advance_to(due);
    apply(fmt::format("tick {}", now_));
  }
  if (!draining_) return true;  // a step killed the server before
  for (const auto& [waiter, question] : questions_) {
    if (question.what != Asked::kWait) violated("a drain leaves somebody without an answer");
  }
  if (!running_.empty()) violated("a drain ended while a step was running");
  COVER("sim_drained");
  crash(false, true);
  return true;
}

}  // namespace millrace::sim
