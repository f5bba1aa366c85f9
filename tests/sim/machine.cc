#include "tests/sim/machine.h"

#include <charconv>
#include <cstring>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "tests/sim/pipelines.h"

namespace millrace::sim {
namespace {

uint64_t short_hash(std::string_view text) {  // FNV-1a in steps of eight bytes, mixed at the end
  uint64_t hash = 0xcbf29ce484222325 ^ text.size();
  while (!text.empty()) {
    uint64_t word = 0;
    const size_t size = std::min(text.size(), sizeof word);
    std::memcpy(&word, text.data(), size);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
    text.remove_prefix(size);
  }
  return hash ^ hash >> 32;
}

template <size_t kSize>
std::string array_hex(const std::array<uint8_t, kSize>& bytes) {
  return hex({reinterpret_cast<const char*>(bytes.data()), kSize});
}

template <size_t kSize>
std::array<uint8_t, kSize> array_of(std::string_view word) {
  const auto bytes = from_hex(word);
  CHECK(bytes && bytes->size() == kSize);
  std::array<uint8_t, kSize> array{};
  std::copy(bytes->begin(), bytes->end(), array.begin());
  return array;
}

void append_error(const std::optional<JobError>& error, std::string* text) {
  if (!error) return;
  *text += fmt::format(" error={}/{}/{}/{}/{}", error->number, error->reason, error->message,
                       error->step, error->attempt);
}

}  // namespace

void violated(const std::string& what) {
  throw Violation{what};
}

std::string hex(std::string_view bytes) {
  return to_hex(bytes);
}

std::string key_text(const JobKey& key) {
  return array_hex(key.bytes);
}

std::string json_word(const Value& value) {
  return "j" + hex(canonical_json(value));
}

std::string long_word(size_t bytes, char letter) {
  return fmt::format("x{}{}", letter, bytes);
}

std::string blob_word(std::string_view bytes) {
  return "n" + hex(bytes);
}

std::string Machine::write_id_text(const JobRecord& record) {
  return array_hex(record.write_id);
}

std::string record_text(const JobRecord& r) {
  std::string text =
      fmt::format("{} {} {} {} {} {} in={} out={} c={} t={},{},{},{},{} k={}", key_text(r.key),
                  r.rev, array_hex(r.write_id), r.owner.text(), r.definition.hex(),
                  state_name(r.state), r.inputs, r.outputs, r.cancel_requested, r.created_at,
                  r.started_at, r.finished_at, r.expire_at, r.active_ms, r.request.hex());
  for (const VerbId& verb : r.applied_verbs) text += " verb=" + array_hex(verb.bytes);
  if (r.outputs_spilled) text += " spilled=" + r.outputs_spilled->hex();
  append_error(r.error, &text);
  for (const StepRecord& s : r.steps) {
    text +=
        fmt::format("\n {} {} {} {} {} {},{},{} {}", state_name(s.state), s.attempts, s.generation,
                    s.deaths, s.intent, s.started_at, s.finished_at, s.retry_at, s.outputs);
    if (s.frozen) text += " frozen=" + s.frozen->hex();
    if (s.spilled) text += " spilled=" + s.spilled->hex();
    append_error(s.error, &text);
    for (const Try& t : s.tries) {
      text += fmt::format(" try={},{},{},{}", t.attempt, t.started_at, t.finished_at, t.reason);
    }
  }
  return text;
}

class Machine::Words {
 public:
  explicit Words(std::string_view line) : rest_(line) {}
  std::string_view word() {
    CHECK_MSG(!rest_.empty(), "a trace line is too short");
    const size_t end = std::min(rest_.find(' '), rest_.size());
    const std::string_view text = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    return text;
  }
  int64_t number() {
    const std::string_view text = word();
    int64_t value = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
    CHECK(end.ec == std::errc());
    return value;
  }
  uint64_t id() { return static_cast<uint64_t>(number()); }
  JobKey key() { return JobKey{array_of<16>(word())}; }
  Verb verb() {
    Verb verb;
    verb.id.bytes = array_of<16>(word());
    verb.job = *JobId::parse(word());
    return verb;
  }
  bool more() const { return !rest_.empty(); }

 private:
  std::string_view rest_;
};

std::shared_ptr<const JobRecord> Machine::image(std::string_view write_id) const {
  const auto found = writings_->images.find(write_id);
  CHECK_MSG(found != writings_->images.end(), "the trace names a record that was never written");
  return found->second;
}

std::vector<Action> Machine::execute(const std::string& line) {
  trace_ += "> " + line + "\n";
  Words words(line);
  const std::string_view verb = words.word();
  std::vector<Action> actions;
  if (verb == "boot") {
    boot(words);
  } else if (verb == "steal" || verb == "tamper") {
    alter(verb, words);
  } else if (verb == "collect") {
    // Replay of collect(); the writes themselves are in writings_->images.
    trace_.resize(trace_.size() - line.size() - 3);
    collect();
  } else {
    const Event event = parse(verb, words);
    core_->apply(event, &actions);
    for (const Action& action : actions) note(action);
    trace_ += fmt::format("< due {}\n", core_->next_deadline());
  }
  return actions;
}

std::vector<Write> Machine::collect() {
  trace_ += "> collect\n";
  std::vector<Write> writes = core_->collect_writes(kCommitBytesMax);
  for (const Write& write : writes) {
    writings_->images[write_id_text(*write.record)] = write.record;
    trace_ +=
        fmt::format("< write {} {} {} {:016x}\n", key_text(write.record->key), write.record->rev,
                    write_id_text(*write.record), short_hash(record_text(*write.record)));
  }
  return writes;
}

void Machine::boot(Words& words) {
  CoreOptions options;
  options.node.bytes = array_of<16>(words.word());
  options.jobs_resident_max = words.number();
  options.jobs_accepted_max = words.number();
  options.accepted_in_store = words.number();
  options.write_id_seed = words.id();
  const int64_t flags = words.number();
  options.broken_gate_for_test = (flags & 1) != 0;
  options.broken_eviction_for_test = (flags & 2) != 0;
  options.steps_inside = (flags & 4) != 0;
  options.shared = (flags & 8) != 0;
  options.broken_lease_for_test = (flags & 16) != 0;
  options.broken_verbs_for_test = (flags & 32) != 0;
  options.retention_ms = words.number();
  while (words.more()) {
    Suspect suspect;
    suspect.job = *JobId::parse(words.word());
    suspect.step = static_cast<int>(words.number());
    suspect.deaths = static_cast<uint32_t>(words.number());
    const int64_t company = words.number();
    suspect.alone = (company & 1) != 0;
    suspect.beside = (company & 2) != 0;
    options.suspects.push_back(suspect);
  }
  core_ = std::make_unique<Core>(options);
  started_.clear();
}

// What other nodes and wrong plugins do to a stored record.
void Machine::alter(std::string_view verb, Words& words) {
  auto record = std::make_shared<JobRecord>(*image(words.word()));
  record->write_id = array_of<8>(words.word());
  if (verb == "steal") {
    record->rev++;
    record->owner.bytes.fill(0xee);
  } else {
    for (StepRecord& step : record->steps) {
      if (step.frozen) step.frozen->bytes[0] ^= 1;
    }
  }
  writings_->images[write_id_text(*record)] = record;
}

Event Machine::parse(std::string_view verb, Words& words) {
  if (verb == "submit") return parse_submit(words);
  if (verb == "adopt") return parse_adopt(words);
  if (verb == "done") return parse_done(words);
  const TimeMs now = words.number();
  if (verb == "tick") return Tick{now};
  if (verb == "drain") return Drain{now};
  if (verb == "unwait") return Unwait{now, words.id()};
  if (verb == "capacity") {
    const Lane lane = static_cast<Lane>(words.number());
    return Capacity{now, lane, static_cast<uint32_t>(words.number())};
  }
  if (verb == "bytes") {
    BytesDurable event{now, words.id(), {}, {}};
    const std::string_view digest = words.word();
    if (digest != "-") event.digest.bytes = array_of<32>(digest);
    const auto number = static_cast<int>(words.number());
    if (number != 0) event.status = Status::unavailable(number, "a simulated failure");
    return event;
  }
  if (verb == "written") {
    const JobKey key = words.key();
    const uint64_t rev = words.id();
    return WriteDone{now, key, rev, static_cast<WriteResult>(words.number())};
  }
  if (verb == "cancel") {
    const WaiterId waiter = words.id();
    return Cancel{now, waiter, words.key()};
  }
  if (auto event = parse_shared(verb, now, words)) return *std::move(event);
  CHECK_MSG(verb == "wait", "the trace has an unknown verb");
  const WaiterId waiter = words.id();
  const JobKey key = words.key();
  return Wait{now, waiter, key, words.number()};
}

// What only nodes of a shared store hear.
std::optional<Event> Machine::parse_shared(std::string_view verb, TimeMs now, Words& words) {
  if (verb == "lease") return Lease{now, words.number()};
  if (verb == "unclaimed") return Unclaimed{now, words.number()};
  if (verb == "shed") return Shed{now, words.number()};
  if (verb == "verb") return ApplyVerb{now, words.verb()};
  if (verb == "verb_gone") {
    const JobKey key = words.key();
    return VerbGone{now, key, VerbId{array_of<16>(words.word())}};
  }
  return std::nullopt;
}

Event Machine::parse_submit(Words& words) {
  Submit event;
  event.now = words.number();
  event.waiter = words.id();
  event.graph = pipelines()[words.id()];
  event.key = words.key();
  const int64_t flags = words.number();
  event.keyed = (flags & 1) != 0;
  event.until_end = (flags & 2) != 0;
  event.salt = array_of<16>(words.word());
  event.labels["run"] = words.word();
  while (words.more()) event.inputs.push_back(parse_value(words.word(), nullptr));
  return event;
}

Event Machine::parse_adopt(Words& words) {
  Adopt event;
  event.now = words.number();
  event.record = image(words.word());
  const bool usable = words.number() != 0;
  for (const auto& graph : pipelines()) {
    if (usable && graph->digest == event.record->definition) event.graph = graph;
  }
  if (!usable) event.why = "its definition is gone for now";
  for (size_t i = 0; i < event.record->steps.size(); i++) {
    const auto& spilled = event.record->steps[i].spilled;
    if (spilled) event.spilled.emplace_back(static_cast<int>(i), writings_->texts.at(*spilled));
  }
  while (words.more()) event.verbs.push_back(words.verb());
  return event;
}

Event Machine::parse_done(Words& words) {
  StepDone event;
  event.now = words.number();
  event.ticket = words.id();
  StepOutcome& outcome = event.outcome;
  outcome.kind = static_cast<StepOutcome::Kind>(words.number());
  outcome.transient = words.number() != 0;
  outcome.retry_after_ms = words.number();
  outcome.reason = words.word();
  if (outcome.reason == "no_space") outcome.number = errors::kNoSpace;
  outcome.message.assign(words.id(), 'm');
  outcome.note = "a note";
  const auto started = started_.find(event.ticket);
  while (words.more()) {
    CHECK(started != started_.end());
    outcome.outputs.push_back(parse_value(words.word(), &started->second));
  }
  if (started != started_.end()) started_.erase(started);
  return event;
}

Value Machine::parse_value(std::string_view word, const StartStep* start) {
  const std::string_view rest = word.substr(1);
  BlobRef blob;
  blob.media_type = "image/png";
  switch (word[0]) {
    case '-':
      return Value();
    case 'j':
      return *parse_json(*from_hex(rest));
    case 'f':
      return start->with[static_cast<size_t>(rest[0] - '0')];
    case 'x':
      return std::string(std::stoul(std::string(rest.substr(1))), rest[0]);
    default:
      break;
  }
  CHECK_MSG(word[0] == 'n', "the trace has an unknown value");
  std::string bytes = *from_hex(rest);
  blob.content = std::make_shared<BlobContent>();
  blob.content->size_bytes = bytes.size();
  blob.content->bytes = Bytes::of(std::move(bytes));
  return Value(std::move(blob));
}

std::string Machine::show_value(const Value& value) {
  return json_text(
      value,
      [](const BlobRef& blob, const void*, std::string* out) {
        *out += fmt::format("\"blob {} {}\"", blob.content->size_bytes, blob.content->durable);
      },
      nullptr);
}

void Machine::note(const Action& action) {
  if (const auto* start = std::get_if<StartStep>(&action)) {
    std::string with;
    for (const Value& value : start->with) with += show_value(value) + " ";
    trace_ += fmt::format("< start {} {} step={} attempt={} key={} timeout={} with={:016x}\n",
                          start->ticket, start->job.text(), start->step, start->attempt,
                          start->effect_key, start->timeout_ms, short_hash(with));
    started_[start->ticket] = *start;
  } else if (const auto* stop = std::get_if<StopStep>(&action)) {
    trace_ += fmt::format("< stop {}\n", stop->ticket);
  } else if (const auto* put = std::get_if<PutBytes>(&action)) {
    const std::string_view bytes = put->content->bytes.view();
    trace_ +=
        fmt::format("< put {} {} bytes {:016x}\n", put->ticket, bytes.size(), short_hash(bytes));
    if (bytes.size() > kInlineJsonBytesMax) writings_->texts[sha256(bytes)] = std::string(bytes);
  } else if (const auto* answer = std::get_if<Answer>(&action)) {
    trace_ +=
        fmt::format("< answer {} kind={} {} rev={} running={} waits={} E{}\n", answer->waiter,
                    static_cast<int>(answer->kind), key_text(answer->key),
                    answer->view.record ? answer->view.record->rev : 0, answer->view.running.size(),
                    answer->view.waiting_for.size(), answer->status.number());
    for (const Explanation& e : answer->view.waiting_for) {
      trace_ += fmt::format("<   {} {}: {}\n", e.step, e.reason, e.message);
    }
  } else if (const auto* forget = std::get_if<Forget>(&action)) {
    trace_ += fmt::format("< forget {} {}\n", key_text(forget->key), forget->unfinished);
  } else if (const auto* more = std::get_if<AdoptMore>(&action)) {
    trace_ += fmt::format("< adopt_more {}\n", more->room);
  } else if (const auto* clear = std::get_if<ClearSuspect>(&action)) {
    trace_ += fmt::format("< clear {} {}\n", clear->job.text(), clear->step);
  } else if (const auto* done = std::get_if<VerbDone>(&action)) {
    trace_ += fmt::format("< verb_done {} {}\n", key_text(done->key), array_hex(done->verb.bytes));
  }
}

}  // namespace millrace::sim
