// From facts to records: what enters the draft, when it is written, what its outcome means.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {
namespace {

// What a failed step keeps of itself in a record that is nearly full.
void trim(StepRecord* step) {
  step->tries.clear();
  if (step->error) step->error->message = clip(step->error->message, 128);
}

}  // namespace

// ---- into the draft

// Once every input's bytes are durable the record can name them.
void Core::State::learn_inputs(Job& job) {
  if (job.inputs_known || !blobs_durable(job.inputs)) return;
  job.inputs_known = true;
  job.draft.inputs = object_text(named_inputs(*job.graph, job.inputs));
  job.draft_bytes += job.draft.inputs.size();
  if (job.draft.keyed) job.draft.request = request_digest(job.draft.inputs, job.draft.labels);
  mark(job, job.until_end ? Dirty::kLazy : Dirty::kUrgent);
}

// Takes facts into the draft whose bytes are durable and whose ancestors are there, so that no
// record ever shows a step without what it was built on.
bool Core::State::include(Job& job) {
  const StepSet before = job.included;
  for (bool again = true; again;) {
    again = false;
    for_each_step(job.fresh, [&](int step) {
      if (job.graph != nullptr && (job.node(step).after & ~job.included) != 0) return;
      const LiveStep& s = job.live(step);
      if (is_final(s.now.state)) {
        again |= include_end(job, step);
        return;
      }
      StepRecord& drafted = job.draft.steps[static_cast<size_t>(step)];
      job.draft_bytes -= record_bytes(drafted);
      drafted.started_at = s.now.started_at;
      const bool begun_only = drafted == s.now;
      drafted = s.now;
      if (job.draft_bytes + record_bytes(drafted) > kRecordBytesMax - kRecordReserveBytes) {
        trim(&drafted);
      }
      job.draft_bytes += record_bytes(drafted);
      job.fresh &= ~bit(step);
      mark(job, begun_only ? Dirty::kLazy : Dirty::kUrgent);
    });
  }
  return before != job.included;
}

bool Core::State::include_end(Job& job, int step) {
  LiveStep& s = job.live(step);
  if (s.now.state == StepState::kSucceeded) {
    if (!blobs_durable(s.outputs) || !finish_text(job, step)) return false;
    job.draft_bytes -= s.now.outputs.size();  // counted when the step succeeded
  }
  StepRecord& drafted = job.draft.steps[static_cast<size_t>(step)];
  job.draft_bytes -= record_bytes(drafted);
  drafted = std::move(s.now);
  if (job.draft_bytes + record_bytes(drafted) > kRecordBytesMax - kRecordReserveBytes) {
    COVER("trimmed");
    trim(&drafted);
  }
  job.draft_bytes += record_bytes(drafted);
  job.included |= bit(step);
  job.fresh &= ~bit(step);
  mark(job, urgency(job, step));
  return true;
}

// The text of a step's outputs, in the record or, when it is long, in a blob of its own.
bool Core::State::finish_text(Job& job, int step) {
  LiveStep& s = job.live(step);
  const StepDecl& decl = *job.node(step).decl;
  if (s.spill == nullptr) {
    if (s.text.empty()) s.text = object_text(named_outputs(decl, s.outputs));
    if (s.text.size() <= kInlineJsonBytesMax) {
      s.now.outputs = std::move(s.text);
      return true;
    }
    s.spill = std::make_shared<BlobContent>();
    s.spill->size_bytes = s.text.size();
    s.spill->bytes = Bytes::of(std::move(s.text));
    s.text.clear();
    add_blob(job, step, s.spill);
  }
  if (!s.spill->durable) return false;
  s.now.spilled = *s.spill->digest;
  s.now.outputs = object_text(named_outputs(decl, s.outputs), true);
  return true;
}

// A pure step's result is only worth a write of its own when an effect waits for it.
Dirty Core::State::urgency(const Job& job, int step) const {
  if (job.graph == nullptr || job.stop != Stop::kNone) return Dirty::kUrgent;
  if (job.node(step).decl->effect != Effect::kPure) return Dirty::kUrgent;
  bool awaited = false;
  for_each_step(job.all & ~job.ended(), [&](int other) {
    const StepNode& node = job.node(other);
    awaited |= (node.after & bit(step)) != 0 && node.decl->effect != Effect::kPure;
  });
  return awaited ? Dirty::kUrgent : Dirty::kLazy;
}

// ---- when to write

void Core::State::set_dirty(Job& job, Dirty to) {
  dirty_jobs +=
      static_cast<int>(to != Dirty::kClean) - static_cast<int>(job.dirty != Dirty::kClean);
  job.dirty = to;
  if (to != Dirty::kLazy) job.lazy_since = 0;
  if (to != Dirty::kUrgent && dirty.contains(&job)) dirty.remove(&job);
}

void Core::State::mark(Job& job, Dirty how) {
  CHECK(how != Dirty::kClean && !job.gone);
  if (draining) how = Dirty::kUrgent;
  if (how > job.dirty) set_dirty(job, how);
  if (job.dirty == Dirty::kUrgent) {
    enqueue_write(job);
    return;
  }
  if (job.lazy_since != 0) return;
  job.lazy_since = clock.now();
  lazy.emplace_back(job.lazy_since + kLazyWriteMs, job.key);
}

void Core::State::enqueue_write(Job& job) {
  if (job.dirty != Dirty::kUrgent || job.writing != nullptr || !job.inputs_known) return;
  if (job.write_due != kNever || dirty.contains(&job)) return;
  dirty.push_back(&job);
}

std::array<uint8_t, 8> Core::State::next_write_id() {
  uint64_t x = options.write_id_seed + ++write_ids * 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  x ^= x >> 31;
  std::array<uint8_t, 8> id{};
  for (size_t i = 0; i < id.size(); i++) id[i] = static_cast<uint8_t>(x >> (8 * i));
  return id;
}

Write Core::State::make_write(Job& job) {
  CHECK(job.writing == nullptr && job.inputs_known && job.dirty == Dirty::kUrgent);
  set_dirty(job, Dirty::kClean);
  const bool terminal = job.finished;
  CHECK_MSG(job.durable == nullptr || !is_final(job.durable->state), "I2: an end is final");
  auto record = std::make_shared<JobRecord>(terminal ? std::move(job.draft) : job.draft);
  record->rev = job.accepted() ? job.durable->rev + 1 : 1;
  record->write_id = next_write_id();
  record->owner = job.no_room || job.giving ? NodeId{} : options.node;
  if (job.active_since != kNever) record->active_ms += clock.now() - job.active_since;
  CHECK(record_bytes(*record) <= kRecordBytesMax);
  Write write;
  write.expected_rev = record->rev - 1;
  if (job.accepted()) write.expected_owner = job.durable->owner;
  write.record = record;
  job.writing = std::move(record);
  job.written = job.included;
  writes_open++;
  return write;
}

// ---- what came of it

void Core::State::on(const WriteDone& event) {
  Job* job = find(event.key);
  if (job == nullptr || job->writing == nullptr || job->writing->rev != event.rev) return;
  writes_open--;
  const std::shared_ptr<const JobRecord> image = std::move(job->writing);
  job->writing = nullptr;
  const bool accepted = job->accepted();
  // The draft of an ended job had been moved out into its image.
  if (event.result != WriteResult::kApplied && is_final(image->state)) job->draft = *image;
  switch (event.result) {
    case WriteResult::kApplied:
      if (!accepted) unaccepted_jobs--;
      CHECK_MSG(!accepted || image->rev == job->durable->rev + 1, "I5");
      tell_verbs(*job, image.get());
      job->durable = image;
      job->durable_steps = job->written;
      job->write_failures = 0;
      applied(*job);
      return;
    case WriteResult::kNoSpace:
      if (!accepted) {
        refuse_job(*job, Status::unavailable(errors::kNoSpace,
                                             "the disk is full: the job could not be made durable "
                                             "and was not accepted"));
        return;
      }
      COVER("no_space_later");
      job->write_due = clock.now() + engine_backoff(++job->write_failures);
      mark(*job, Dirty::kUrgent);
      arm(*job);
      return;
    case WriteResult::kExists:
      if (!accepted) {
        answer_existing(*job);
        stats.accepted--;
        not_written(*job);
        return;
      }
      break;
    case WriteResult::kLost:
      if (accepted) break;
      // It was accepted, only not by this node any more.
      COVER("accepted_and_lost");
      unaccepted_jobs--;
      job->durable = image;
      answer_submitters(*job);
      break;
  }
  COVER("write_lost");
  stats.fenced_writes++;
  stats.accepted--;
  not_written(*job);
}

// The job is not ours, or never was: nobody here may answer for it any more.
void Core::State::not_written(Job& job) {
  for (const WaiterId waiter : job.cancels) answer_bare(waiter, Answer::Kind::kUnknown, job.key);
  for (const Waiting& wait : job.waits) {
    drop_waiter(wait.waiter);
    answer_bare(wait.waiter, Answer::Kind::kUnknown, job.key);
  }
  job.cancels.clear();
  job.waits.clear();
  remove_job(job, job.accepted());
}

void Core::State::remember_end(const JobKey& key) {
  if (ended_order.size() >= kEndedKept) {
    const auto oldest = ended_lately.find(ended_order.front());
    if (--oldest->second == 0) ended_lately.erase(oldest);
    ended_order.pop_front();
  }
  ended_lately[key]++;
  ended_order.push_back(key);
}

void Core::State::applied(Job& job) {
  answer_submitters(job);
  acquit_settled(job);
  const JobRecord& record = *job.durable;
  if (record.cancel_requested) {
    for (const WaiterId waiter : job.cancels) answer(waiter, Answer::Kind::kVerbDone, job);
    job.cancels.clear();
  }
  if (is_final(record.state)) {
    for (const WaiterId waiter : job.cancels) answer(waiter, Answer::Kind::kVerbForbidden, job);
    job.cancels.clear();
    for (const Waiting& wait : job.waits) {
      drop_waiter(wait.waiter);
      answer(wait.waiter, Answer::Kind::kEnded, job);
    }
    job.waits.clear();
    for (const VerbId& verb : job.late_verbs) emit(VerbDone{job.key, verb});
    stats.accepted--;
    remember_end(job.key);
    remove_job(job, false);
    return;
  }
  const bool goes_on = job.finished || job.stop != Stop::kNone;
  if (job.giving && !goes_on && record.owner == NodeId{}) {
    part_with(job);
    return;
  }
  // In a shared store it is everybody's now: to have it back is a claim, which reads its verbs.
  if (job.no_room && !job.giving && !goes_on && (options.shared || !has_room(&job))) {
    COVER("stored_for_lack_of_room");
    part_with(job);
    return;
  }
  set_no_room(job, false);
  if (goes_on) job.giving = false;
  // Written with no owner, and kept all the same: others may have claimed it meanwhile.
  if (!is_ours(job)) mark(job, Dirty::kUrgent);
  enqueue_write(job);
  settle(job);
}

}  // namespace millrace
