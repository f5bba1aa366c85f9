// Waiting for a job, and acting on it.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {

void Core::State::on(const Wait& event) {
  Job* job = find(event.key);
  const TimeMs due = clock.from_wall(event.until);
  if (job == nullptr && ended_lately.contains(event.key)) {
    COVER("wait_after_end");
    answer_bare(event.waiter, Answer::Kind::kUnknown, event.key);
    return;
  }
  if (due <= clock.now() || (job != nullptr && job->waits.size() >= size_t{kWaitersPerJobMax})) {
    if (job != nullptr) {
      answer(event.waiter, Answer::Kind::kTimeUp, *job);
    } else {
      answer_bare(event.waiter, Answer::Kind::kTimeUp, event.key);
    }
    return;
  }
  CHECK(waiter_jobs.emplace(event.waiter, event.key).second);
  if (job != nullptr) {
    job->waits.push_back({event.waiter, due});
    arm(*job);
  } else {
    COVER("wait_for_absent_job");
    absent_waits[event.key].push_back({event.waiter, due});
    absent_timers.insert({due, event.waiter});
  }
}

void Core::State::on(const Unwait& event) {
  const auto found = waiter_jobs.find(event.waiter);
  if (found == waiter_jobs.end()) return;
  const auto is_it = [&](const Waiting& wait) { return wait.waiter == event.waiter; };
  // A submission under the key of a job that waits in the store is resident and has none of its
  // waits.
  Job* job = find(found->second);
  if (job == nullptr || std::erase_if(job->waits, is_it) == 0) {
    COVER("unwait_absent");
    auto& waits = absent_waits.at(found->second);
    const auto wait = std::find_if(waits.begin(), waits.end(), is_it);
    CHECK(wait != waits.end());
    absent_timers.erase({wait->due, wait->waiter});
    waits.erase(wait);
    if (waits.empty()) absent_waits.erase(found->second);
  }
  waiter_jobs.erase(found);
}

void Core::State::on(const Cancel& event) {
  Job* job = find(event.key);
  if (job == nullptr) {
    answer_bare(event.waiter, Answer::Kind::kUnknown, event.key);
    return;
  }
  if (job->accepted() && job->durable->cancel_requested) {
    COVER("cancelled_twice");
    answer(event.waiter, Answer::Kind::kVerbDone, *job);
    return;
  }
  // Answered when the request is durable, or when its end is and it came too late.
  job->cancels.push_back(event.waiter);
  const bool over = job->finished || (job->all != 0 && job->ended() == job->all);
  if (over) COVER("cancel_too_late");
  if (over || job->stop == Stop::kCancel) return;
  if (job->stop == Stop::kTimeout) {
    COVER("cancel_after_timeout");
    return;
  }
  COVER("cancel");
  stop_job(*job, Stop::kCancel);
  settle(*job);
}

}  // namespace millrace
