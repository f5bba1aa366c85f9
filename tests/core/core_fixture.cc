#include "tests/core/core_fixture.h"

#include <gtest/gtest.h>

#include "engine/base/limits.h"

namespace millrace::testing {
namespace {

const char* kind_name(Answer::Kind kind) {
  switch (kind) {
    case Answer::Kind::kAccepted:
      return "accepted";
    case Answer::Kind::kReplayed:
      return "replayed";
    case Answer::Kind::kKeyReused:
      return "key_reused";
    case Answer::Kind::kExists:
      return "exists";
    case Answer::Kind::kRefused:
      return "refused";
    case Answer::Kind::kEnded:
      return "ended";
    case Answer::Kind::kTimeUp:
      return "time_up";
    case Answer::Kind::kVerbDone:
      return "verb_done";
    case Answer::Kind::kVerbForbidden:
      return "verb_forbidden";
    case Answer::Kind::kUnknown:
      return "unknown";
  }
  return "?";
}

Value blob_value(const std::string& bytes) {
  BlobRef blob;
  blob.content = std::make_shared<BlobContent>();
  blob.content->bytes = Bytes::of(bytes);
  blob.content->size_bytes = bytes.size();
  blob.media_type = "image/png";
  return Value(std::move(blob));
}

}  // namespace

CoreOptions fixture_options() {
  CoreOptions options;
  options.node.bytes[0] = 1;
  options.write_id_seed = 7;
  return options;
}

CoreOptions shared_options() {
  CoreOptions options = fixture_options();
  options.shared = true;
  return options;
}

CoreFixture::CoreFixture(const std::string& pipeline, CoreOptions options, std::string_view extra)
    : graph_(graph_of(pipeline.find("steps:") == std::string::npos ? chain_yaml(pipeline, extra)
                                                                   : pipeline)),
      options_(options),
      core_(std::make_unique<Core>(options)) {
  capacity(Lane::kCpu, 100);
  capacity(Lane::kIo, 100);
}

void CoreFixture::apply(const Event& event) {
  std::vector<Action> actions;
  core_->apply(event, &actions);
  for (const Action& action : actions) note(action);
}

std::string CoreFixture::job_of(const JobKey& key) const {
  for (const auto& [name, job] : jobs_) {
    if (job.key == key) return name;
  }
  return "?";
}

std::string CoreFixture::step_name(const std::string& job, int step) const {
  const std::string& id = graph_->steps[static_cast<size_t>(step)].id;
  return jobs_.size() > 1 ? job + "/" + id : id;
}

void CoreFixture::note(const Action& action) {
  std::string text;
  if (const auto* start = std::get_if<StartStep>(&action)) {
    const std::string name = step_name(job_of(start->job.key), start->step);
    text = "start " + name;
    if (!start->effect_key.empty()) text += " key=" + start->effect_key;
    running_[name] = *start;
  } else if (const auto* stop = std::get_if<StopStep>(&action)) {
    for (const auto& [name, running] : running_) {
      if (running.ticket == stop->ticket) text = "stop " + name;
    }
  } else if (const auto* put = std::get_if<PutBytes>(&action)) {
    auto& name = content_names_[put->content.get()];
    if (name.empty()) name = "text";
    text = "put " + name;
    puts_[name] = *put;
  } else if (const auto* answer = std::get_if<Answer>(&action)) {
    text = "answer " + waiters_[answer->waiter] + " " + kind_name(answer->kind);
    answers_.push_back(*answer);
  } else if (const auto* forget = std::get_if<Forget>(&action)) {
    text = "forget " + job_of(forget->key) + (forget->unfinished ? " unfinished" : "");
  } else if (const auto* more = std::get_if<AdoptMore>(&action)) {
    text = "adopt " + std::to_string(more->room);
  } else if (const auto* clear = std::get_if<ClearSuspect>(&action)) {
    const std::string name = step_name(job_of(clear->job.key), clear->step);
    text = "clear " + name;
    suspects_.erase(name);
  } else if (const auto* done = std::get_if<VerbDone>(&action)) {
    text = "verb " + std::to_string(done->verb.bytes[0]) + " done";
  }
  actions_ += (actions_.empty() ? "" : ", ") + text;
}

std::string CoreFixture::actions() {
  return std::exchange(actions_, "");
}

void CoreFixture::submit(const std::string& job, const Request& request) {
  KnownJob& known = jobs_[job];
  Submit event;
  event.now = now_;
  event.waiter = ++waiter_ids_;
  waiters_[event.waiter] = job;
  event.graph = graph_;
  event.keyed = !request.key.empty();
  if (event.keyed) {
    event.key = idempotent_job_key(graph_->name, request.key);
  } else {
    event.key.bytes[0] = ++key_ids_;
  }
  known.key = event.key;
  event.salt[0] = static_cast<uint8_t>(++key_ids_);
  known.salt = event.salt;
  event.labels = request.labels;
  for (const InputDecl& input : graph_->inputs) {
    if (input.type.is_blob()) {
      event.inputs.push_back(blob_value(request.bytes));
      const BlobContent* content = event.inputs.back().as_blob().content.get();
      content_names_[content] = jobs_.size() > 1 ? job + "/" + input.name : input.name;
    } else {
      event.inputs.push_back(request.text);
    }
  }
  apply(event);
}

void CoreFixture::bytes_durable(const std::string& name, Status status) {
  const auto put = puts_.find(name);
  ASSERT_NE(put, puts_.end()) << "nobody puts " << name;
  BytesDurable event{now_, put->second.ticket, {}, std::move(status)};
  if (event.status.ok()) event.digest = sha256(put->second.content->bytes.view());
  puts_.erase(put);
  apply(event);
}

void CoreFixture::collect() {
  for (Write& write : core_->collect_writes(kCommitBytesMax)) {
    EXPECT_EQ(writes_.count(write.record->key), 0u) << "a job has one write under way";
    writes_[write.record->key] = std::move(write);
  }
}

bool CoreFixture::has_write(const std::string& job) {
  collect();
  return writes_.count(jobs_.at(job).key) != 0;
}

void CoreFixture::write_done(const std::string& job, WriteResult result) {
  ASSERT_TRUE(has_write(job)) << "nothing to write of " << job;
  KnownJob& known = jobs_.at(job);
  const Write write = writes_.extract(known.key).mapped();
  EXPECT_EQ(write.expected_rev, known.stored ? known.stored->rev : 0);
  EXPECT_EQ(write.expected_owner, known.stored ? known.stored->owner : NodeId{});
  EXPECT_EQ(write.record->rev, write.expected_rev + 1);
  if (result == WriteResult::kApplied) known.stored = write.record;
  apply(WriteDone{now_, known.key, write.record->rev, result});
}

StepOutcome CoreFixture::success(const std::string& step) {
  const StartStep& start = started(step);
  const StepDecl& decl = *start.graph->steps[static_cast<size_t>(start.step)].decl;
  StepOutcome outcome;
  outcome.kind = StepOutcome::Kind::kSucceeded;
  outcome.outputs.resize(static_cast<size_t>(decl.output_count()));
  if (decl.effect == Effect::kPure && start.with[0].kind() == Value::Kind::kBlob) {
    Value data = blob_value(step + "'s data");
    content_names_[data.as_blob().content.get()] = step;
    outcome.outputs[kDataPort] = std::move(data);
  }
  outcome.outputs[kTextPort] = "done";
  return outcome;
}

void CoreFixture::step_done(const std::string& step) {
  ASSERT_EQ(running_.count(step), 1u) << step << " does not run";
  step_done(step, success(step));
}

void CoreFixture::step_done(const std::string& step, StepOutcome outcome) {
  ASSERT_EQ(running_.count(step), 1u) << step << " does not run";
  const Ticket ticket = running_.extract(step).mapped().ticket;
  apply(StepDone{now_, ticket, std::move(outcome)});
}

void CoreFixture::step_failed(const std::string& step, const std::string& reason, bool transient) {
  StepOutcome outcome;
  outcome.kind = StepOutcome::Kind::kFailed;
  outcome.reason = reason;
  outcome.message = step + " failed";
  outcome.transient = transient;
  step_done(step, std::move(outcome));
}

void CoreFixture::cancel(const std::string& job) {
  waiters_[++waiter_ids_] = "cancel";
  apply(Cancel{now_, waiter_ids_, jobs_.at(job).key});
}

void CoreFixture::wait(const std::string& job, DurationMs duration_ms) {
  waiters_[++waiter_ids_] = "wait";
  apply(Wait{now_, waiter_ids_, jobs_.at(job).key, now_ + duration_ms});
}

void CoreFixture::unwait_last() {
  apply(Unwait{now_, waiter_ids_});
}

void CoreFixture::capacity(Lane lane, uint32_t slots) {
  apply(Capacity{now_, lane, slots});
}

void CoreFixture::pass(DurationMs duration_ms) {
  const TimeMs end = now_ + duration_ms;
  while (core_->next_deadline() <= end) {
    now_ = std::max(now_, core_->next_deadline());
    apply(Tick{now_});
  }
  now_ = end;
}

void CoreFixture::drain() {
  apply(Drain{now_});
}

void CoreFixture::adopt(const std::string& job) {
  Adopt event;
  event.now = now_;
  event.record = jobs_.at(job).stored;
  event.graph = graph_;
  apply(event);
}

void CoreFixture::lease(DurationMs for_ms) {
  apply(Lease{now_, now_ + for_ms});
}

Verb CoreFixture::verb_of(const std::string& job, uint8_t id) const {
  Verb verb;
  verb.id.bytes[0] = id;
  verb.job = job_id(jobs_.at(job).key, jobs_.at(job).salt);
  return verb;
}

void CoreFixture::verb(const std::string& job, uint8_t id) {
  apply(ApplyVerb{now_, verb_of(job, id)});
}

void CoreFixture::verb_gone(const std::string& job, uint8_t id) {
  apply(VerbGone{now_, jobs_.at(job).key, verb_of(job, id).id});
}

void CoreFixture::claim(const std::string& job, const std::vector<uint8_t>& verbs) {
  KnownJob& known = jobs_.at(job);
  auto record = std::make_shared<JobRecord>(*known.stored);
  record->rev++;
  record->owner = options_.node;
  known.stored = record;
  Adopt event;
  event.now = now_;
  event.record = record;
  event.graph = graph_;
  for (const uint8_t id : verbs) event.verbs.push_back(verb_of(job, id));
  apply(event);
}

void CoreFixture::other_node() {
  running_.clear();
  puts_.clear();
  writes_.clear();
  actions_.clear();
  options_.node.bytes[0]++;
  core_ = std::make_unique<Core>(options_);
  capacity(Lane::kCpu, 100);
  capacity(Lane::kIo, 100);
}

void CoreFixture::die_with_steps_inside() {
  for (const auto& [name, start] : running_) {
    const bool alone = running_.size() == 1;
    const bool beside = !alone || suspects_[name].beside;
    suspects_[name] = {start.job, start.step, start.deaths, alone, beside};
  }
  options_.suspects.clear();
  for (const auto& [name, suspect] : suspects_) options_.suspects.push_back(suspect);
  restart();
}

void CoreFixture::restart(DurationMs down_ms) {
  now_ += down_ms;
  running_.clear();
  puts_.clear();
  writes_.clear();
  actions_.clear();
  options_.node.bytes[0]++;
  options_.accepted_in_store = 0;
  for (const auto& [name, job] : jobs_) {
    if (job.stored && !is_final(job.stored->state)) options_.accepted_in_store++;
  }
  core_ = std::make_unique<Core>(options_);
  for (const auto& [name, job] : jobs_) {
    if (job.stored && !is_final(job.stored->state)) adopt(name);
  }
  actions_.clear();
  capacity(Lane::kCpu, 100);
  capacity(Lane::kIo, 100);
}

const JobRecord& CoreFixture::stored(const std::string& job) const {
  EXPECT_NE(jobs_.at(job).stored, nullptr);
  return *jobs_.at(job).stored;
}

const StepRecord& CoreFixture::stored_step(const std::string& job, const std::string& step) const {
  return stored(job).steps[static_cast<size_t>(graph_->step_index(step))];
}

std::string CoreFixture::waiting_for(const std::string& job, const std::string& step) {
  const auto view = core_->view(jobs_.at(job).key);
  if (!view) return "no view";
  const int index = step.empty() ? -1 : graph_->step_index(step);
  for (const Explanation& explanation : view->waiting_for) {
    if (explanation.step == index) return explanation.reason + ": " + explanation.message;
  }
  return "";
}

std::string CoreFixture::effect_key(const std::string& job, const std::string& step) const {
  return millrace::effect_key(jobs_.at(job).salt, step, "", 0);
}

const StartStep& CoreFixture::started(const std::string& step) const {
  return running_.at(step);
}

}  // namespace millrace::testing
