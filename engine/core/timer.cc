// What the core waits for, and what happens when it has come.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {
namespace {

// A running attempt is given no more time than its deadline allows; a person may take any.
StepSet may_miss_deadline(const Job& job) {
  return job.all & ~job.ended() & ~job.set(Phase::kRunning) & ~job.set(Phase::kParked);
}

}  // namespace

// When the pipeline's timeout strikes; kNever while it stands still.
TimeMs Core::State::timeout_due(const Job& job) {
  if (job.active_since == kNever || job.graph->timeout_ms <= 0) return kNever;
  if (job.ended() == job.all) return kNever;
  return job.active_since + job.graph->timeout_ms - job.draft.active_ms;
}

TimeMs Core::State::earliest_due() const {
  TimeMs due = adopt_due;
  if (!timers.empty()) due = std::min(due, std::get<0>(*timers.begin()));
  if (!lazy.empty()) due = std::min(due, lazy.front().first);
  if (!absent_timers.empty()) due = std::min(due, absent_timers.begin()->first);
  if (!suspects_ready.empty()) due = std::min(due, quiet.until);
  return due;
}

TimeMs Core::State::due_of(const Job& job) const {
  TimeMs due = job.write_due;
  for (const Waiting& wait : job.waits) due = std::min(due, wait.due);
  for (const LiveBlob& blob : job.blobs) due = std::min(due, blob.retry_due);
  if (job.finished || job.graph == nullptr) return due;
  for_each_step(job.set(Phase::kBackoff),
                [&](int step) { due = std::min(due, job.live(step).retry_due); });
  if (job.stop != Stop::kNone) return due;
  for_each_step(may_miss_deadline(job),
                [&](int step) { due = std::min(due, job.live(step).deadline_due); });
  return std::min(due, timeout_due(job));
}

// A timer may stand earlier than needed; firing it then only sets it anew.
void Core::State::arm(Job& job) {
  if (job.gone) return;
  const TimeMs due = due_of(job);
  if (job.armed_at <= due && (due != kNever || job.armed_at == kNever)) return;
  if (job.armed_at != kNever) timers.erase({job.armed_at, job.serial, &job});
  job.armed_at = due;
  if (due != kNever) timers.insert({due, job.serial, &job});
}

void Core::State::fire(Job& job) {
  const TimeMs now = clock.now();
  for (size_t i = 0; i < job.waits.size();) {
    if (job.waits[i].due > now) {
      i++;
      continue;
    }
    COVER("wait_time_up");
    const WaiterId waiter = job.waits[i].waiter;
    job.waits.erase(job.waits.begin() + static_cast<ptrdiff_t>(i));
    drop_waiter(waiter);
    answer(waiter, Answer::Kind::kTimeUp, job);
  }
  for (LiveBlob& blob : job.blobs) {
    if (blob.retry_due <= now) put(job, blob);
  }
  if (job.write_due <= now) {
    job.write_due = kNever;
    enqueue_write(job);
  }
  if (!job.finished && job.graph != nullptr) {
    for_each_step(job.set(Phase::kBackoff), [&](int step) {
      if (job.live(step).retry_due > now) return;
      job.live(step).retry_due = kNever;
      job.move_to(step, Phase::kHeld);
    });
    if (job.stop == Stop::kNone) fire_deadlines(job);
    if (job.stop == Stop::kNone && timeout_due(job) <= now) {
      COVER("job_timeout");
      stop_job(job, Stop::kTimeout);
    }
  }
  settle(job);
}

void Core::State::fire_deadlines(Job& job) {
  for_each_step(may_miss_deadline(job), [&](int step) {
    if (job.live(step).deadline_due > clock.now()) return;
    COVER("step_deadline");
    fail(job, step,
         {errors::kStepDeadline, "deadline",
          "the deadline of " + format_duration(job.node(step).deadline_ms) +
              " over all attempts has passed",
          "", job.live(step).now.attempts});
  });
}

void Core::State::fire_lazy() {
  while (!lazy.empty() && lazy.front().first <= clock.now()) {
    const auto [due, key] = lazy.front();
    lazy.pop_front();
    Job* job = find(key);
    if (job == nullptr || job->dirty != Dirty::kLazy || job->lazy_since + kLazyWriteMs != due) {
      continue;
    }
    COVER("lazy_write");
    mark(*job, Dirty::kUrgent);
  }
}

void Core::State::fire_absent_waits() {
  while (!absent_timers.empty() && absent_timers.begin()->first <= clock.now()) {
    COVER("absent_wait_time_up");
    const WaiterId waiter = absent_timers.begin()->second;
    absent_timers.erase(absent_timers.begin());
    const JobKey key = waiter_jobs.at(waiter);
    drop_waiter(waiter);
    auto& waits = absent_waits.at(key);
    std::erase_if(waits, [&](const Waiting& wait) { return wait.waiter == waiter; });
    if (waits.empty()) absent_waits.erase(key);
    answer_bare(waiter, Answer::Kind::kTimeUp, key);
  }
}

}  // namespace millrace
