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

// ---- verbs that other nodes left in a shared store

void Core::State::on(const ApplyVerb& event) {
  Job* job = find(event.verb.job.key);
  if (job == nullptr || !job->accepted()) return;
  apply_verb(*job, event.verb);
  settle(*job);
}

void Core::State::apply_verb(Job& job, const Verb& verb) {
  const auto knows = [&](const std::vector<VerbId>& verbs) {
    return std::find(verbs.begin(), verbs.end(), verb.id) != verbs.end();
  };
  if (job.durable->id() != verb.job) return;  // meant for another job under the same key
  if (!options.broken_verbs_for_test) {
    if (knows(job.durable->applied_verbs)) {
      COVER("verb_again");
      emit(VerbDone{job.key, verb.id});
      return;
    }
    // Its document is told to go when that is durable.
    const bool on_its_way = job.writing != nullptr && knows(job.writing->applied_verbs);
    if (on_its_way || knows(job.draft.applied_verbs) || knows(job.late_verbs)) return;
  }
  const bool over = job.finished || job.ended() == job.all;
  std::vector<VerbId>& verbs = over ? job.late_verbs : job.draft.applied_verbs;
  if (!over && verbs.size() >= size_t{kAppliedVerbsMax}) forget_verb(job);
  if (verbs.size() >= size_t{kAppliedVerbsMax}) return;
  verbs.push_back(verb.id);
  if (over) {
    COVER("verb_too_late");
    return;
  }
  COVER("verb");
  CHECK(verb.kind == VerbKind::kCancel);
  job.draft_bytes += sizeof(VerbId);
  if (job.stop == Stop::kNone) stop_job(job, Stop::kCancel);
  mark(job, Dirty::kUrgent);
}

// Those that this image makes durable.
void Core::State::tell_verbs(const Job& job, const JobRecord* image) {
  for (const VerbId& verb : image->applied_verbs) {
    if (job.durable != nullptr) {
      const std::vector<VerbId>& known = job.durable->applied_verbs;
      if (std::find(known.begin(), known.end(), verb) != known.end()) continue;
    }
    emit(VerbDone{job.key, verb});
  }
}

// Remembered on as long as there is room: who inserted it may not know, and insert it again.
void Core::State::on(const VerbGone& event) {
  Job* job = find(event.key);
  if (job == nullptr) return;
  const std::vector<VerbId>& known = job->draft.applied_verbs;
  if (std::find(known.begin(), known.end(), event.verb) == known.end()) return;
  std::vector<VerbId>& gone = job->gone_verbs;
  if (std::find(gone.begin(), gone.end(), event.verb) == gone.end()) gone.push_back(event.verb);
}

// Makes room for one more, if one is remembered whose document is gone.
void Core::State::forget_verb(Job& job) {
  if (job.gone_verbs.empty()) return;
  std::erase(job.draft.applied_verbs, job.gone_verbs.front());
  job.gone_verbs.erase(job.gone_verbs.begin());
  job.draft_bytes -= sizeof(VerbId);
}

}  // namespace millrace
