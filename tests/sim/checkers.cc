#include "tests/sim/checkers.h"

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace::sim {
namespace {

StepSet ancestors_of(const Graph& graph, int step) {
  StepSet all = graph.steps[static_cast<size_t>(step)].after;
  for (bool again = true; again;) {
    again = false;
    for (size_t i = 0; i < graph.steps.size(); i++) {
      if ((all >> i & 1) == 0 || (graph.steps[i].after & ~all) == 0) continue;
      all |= graph.steps[i].after;
      again = true;
    }
  }
  return all;
}

}  // namespace

std::string content_hash(const BlobContent& content) {
  return content.bytes.present() ? sha256(content.bytes.view()).hex() : content.digest->hex();
}

std::string given_text(const std::vector<Value>& with) {
  std::string text;
  for (const Value& value : with) {
    text += json_text(
        value,
        [](const BlobRef& blob, const void*, std::string* out) {
          *out += '"' + content_hash(*blob.content) + '"';
        },
        nullptr);
    text += '\n';
  }
  return text;
}

void Checkers::boot() {
  last_shown_.clear();
  uploads_.clear();
  jumped_at_ms_ = INT64_MIN / 2;  // who was not there cannot know
  store.rivals_end();
}

void Checkers::write_collected(const Write& write) {
  const JobRecord& record = *write.record;
  for (const Digest& digest : named_blobs(record)) {
    if (!shared_ && !disk.contains(digest)) {
      violated("I6: a record names a blob that is not durable");
    }
  }
  check_blame(record);
  if (record_bytes(record) > kRecordBytesMax) violated("a record is too large");
  for (const StepRecord& step : record.steps) {
    if (step.state == StepState::kRunning) violated("a record stores a running step");
  }
}

WriteResult Checkers::apply_write(const Write& write) {
  const JobRecord& record = *write.record;
  if (record.rev != write.expected_rev + 1) violated("I5: rev does not grow by one");
  const SimStore::Job* found = store.find(record.key);
  const auto before = found == nullptr ? nullptr : found->record;
  const bool stolen = found != nullptr && found->stolen;
  const WriteResult result = store.commit({write}).at(0);
  if (result == WriteResult::kExists) return result;
  if (write.expected_rev == 0) {
    if (buried_.contains(record.key)) violated("a key was used again before its tombstone expired");
    if (removed_.contains(record.id())) violated("a removed job came back");
  } else {
    if (before == nullptr) violated("I1: a write to a job that the store never had");
    if (result == WriteResult::kLost) {
      if (!stolen) violated("I5: a write was fenced and there is no rival");
      return result;
    }
    check_change(*before, record);
  }
  for (const Digest& digest : named_blobs(record)) {
    if (!shared_ && !disk.contains(digest)) {
      violated("I6: a stored record names a blob that is not there");
    }
  }
  applied_.insert(Machine::write_id_text(record));
  if (is_final(record.state)) check_end(record);
  return result;
}

void Checkers::check_change(const JobRecord& before, const JobRecord& after) const {
  if (is_final(before.state)) violated("I2: a terminal record was overwritten");
  if (before.salt != after.salt || before.inputs != after.inputs) {
    violated("I1: a job turned into another one");
  }
  for (size_t i = 0; i < after.steps.size(); i++) {
    if (is_final(before.steps[i].state) && !(before.steps[i] == after.steps[i])) {
      violated("I2: a step's end changed");
    }
  }
  if (before.cancel_requested && !after.cancel_requested) violated("a cancellation was forgotten");
}

// A job says it succeeded only when each of its effects truly did.
void Checkers::check_end(const JobRecord& record) {
  for (const StepRecord& step : record.steps) {
    if (!is_final(step.state)) violated("a terminal record has an unfinished step");
  }
  if (record.finished_at == 0 || record.expire_at < record.finished_at) {
    violated("a terminal record has no end");
  }
  if (record.state == JobState::kSucceeded) {
    for (const StepRecord& step : record.steps) {
      if (step.state == StepState::kFailed || step.state == StepState::kCancelled) {
        violated("a job succeeded and one of its steps did not");
      }
    }
    if (record.error) violated("a job succeeded with an error");
  } else if (!record.error) {
    violated("a job failed and does not say why");
  }
}

void Checkers::step_started(const StartStep& start, const CoreStats& stats, const uint32_t* slots,
                            bool owned) {
  const auto graph = start.graph;
  const StepNode& node = graph->steps[static_cast<size_t>(start.step)];
  const auto lane = static_cast<size_t>(node.decl->lane);
  if (stats.running[lane] > static_cast<int64_t>(slots[lane])) {
    violated("I7: more steps run than there are slots");
  }
  check_alone(start);
  for (const Value& value : start.with) {
    for_each_blob(value, [&](const BlobRef& blob) {
      if (blob.content->bytes.present() || !owned) return;
      if (!disk.contains(*blob.content->digest))
        violated("a step is given a blob that was removed");
    });
  }
  if (node.decl->effect == Effect::kPure) return;
  const SimStore::Job* stored = store.find(start.job.key);
  if (stored == nullptr || stored->record->id() != start.job) {
    violated("I3: effect '" + node.id + "' starts before its job is durable");
  }
  const JobRecord& record = *stored->record;
  const StepSet ancestors = ancestors_of(*graph, start.step);
  for (size_t i = 0; i < graph->steps.size(); i++) {
    if ((ancestors >> i & 1) != 0 && !is_final(record.steps[i].state)) {
      violated("I3: effect '" + node.id + "' starts before the end of '" + graph->steps[i].id +
               "' is durable");
    }
  }
  for (const Value& value : start.with) {
    for_each_blob(value, [&](const BlobRef& blob) {
      if (!blob.content->digest || !disk.contains(*blob.content->digest)) {
        violated("I3: effect '" + node.id + "' is given bytes that are not durable");
      }
    });
  }
  Carried& carried = ledger_[start.effect_key];
  const std::string given = given_text(start.with);
  if (carried.starts > 0 && carried.bytes != given) {
    violated("I4: effect '" + node.id + "' carries other bytes under the same key");
  }
  if (carried.starts > 0 && carried.job != start.job) {
    violated("an effect key is used by another job");
  }
  if (removed_.contains(start.job)) violated("an effect of a removed job starts");
  carried.job = start.job;
  carried.bytes = given;
  carried.starts++;
  if (node.decl->effect == Effect::kOnce) {
    if (carried.starts > 1) violated("a `once` step was repeated");
    if (!record.steps[static_cast<size_t>(start.step)].intent) {
      violated("a `once` step starts before its intent is durable");
    }
  }
}

void Checkers::step_succeeded(const StartStep& start) {
  if (!start.effect_key.empty()) ledger_[start.effect_key].succeeded = true;
}

void Checkers::step_ended(const StartStep& start, StepOutcome::Kind kind) {
  using Kind = StepOutcome::Kind;
  if (kind == Kind::kRequeued || kind == Kind::kStopped) return;
  lives_[{start.job, start.step}].counted++;
}

void Checkers::shown(const Answer& answer) {
  using Kind = Answer::Kind;
  if (answer.view.record == nullptr) {
    if (answer.kind == Kind::kAccepted || answer.kind == Kind::kEnded ||
        answer.kind == Kind::kReplayed || answer.kind == Kind::kVerbDone) {
      violated("an answer shows no record");
    }
    return;
  }
  const JobRecord& record = *answer.view.record;
  if (!applied_.contains(Machine::write_id_text(record))) {
    violated("an answer shows what is not durable");
  }
  auto& [salt, rev] = last_shown_[record.key];
  if (!shared_ && salt == record.salt && record.rev < rev) {
    violated("an answer goes back in time");
  }
  salt = record.salt;
  rev = record.rev;
  if (answer.kind == Kind::kEnded && !is_final(record.state)) violated("an end that is none");
  if (answer.kind == Kind::kVerbDone && !record.cancel_requested) {
    violated("a cancellation is confirmed that is not durable");
  }
  if (answer.kind == Kind::kVerbForbidden && !is_final(record.state)) {
    violated("a cancellation of a live job is refused");
  }
  for (const RunningStep& running : answer.view.running) {
    if (is_final(record.steps[static_cast<size_t>(running.step)].state)) {
      violated("a step is shown running after its end");
    }
  }
}

void Checkers::settled(const JobRecord& record) {
  if (removed_.contains(record.id())) {  // by somebody else, before its writer heard of its end
    COVER("sim_settled_after_removal");
    return;
  }
  for (const Digest& digest : named_blobs(record)) {
    if (!disk.contains(digest)) {
      violated(
          fmt::format("I6: rev {} of {}, which a node counts on, names blob {}, which is not there",
                      record.rev, key_text(record.key), digest.hex()));
    }
    settled_.insert({record.key, digest});
  }
}

void Checkers::resident(int64_t jobs, int64_t bound) {
  if (jobs > bound)
    violated(fmt::format("I7: {} jobs are resident, at most {} may be", jobs, bound));
}

void Checkers::at_rest() {
  for (const auto& [key, salt] : acknowledged_) {
    const SimStore::Job* stored = store.find(key);
    if (stored == nullptr || stored->record->salt != salt) {
      violated("I1: acknowledged job " + key_text(key) + " is lost");
    }
  }
  for (const auto& [key, job] : store.jobs()) {
    const JobRecord& record = *job.record;
    if (is_final(record.state)) continue;
    if (record.state != JobState::kWaiting) {
      violated(fmt::format("I8: job {} rests in state {}:\n{}", key_text(key),
                           state_name(record.state), record_text(record)));
    }
    bool reason = false;
    for (const StepRecord& step : record.steps) {
      reason |= step.state == StepState::kWaiting && step.error && !step.error->message.empty();
    }
    if (!reason) violated("I8: job " + key_text(key) + " waits for a person and does not say why");
  }
}

}  // namespace millrace::sim
