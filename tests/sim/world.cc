#include "tests/sim/world.h"

#include <algorithm>

#include "engine/base/errors.h"
#include "tests/sim/pipelines.h"

namespace millrace::sim {

World::World(const WorldOptions& options) : options_(options), random_(options.seed) {
  // Swarm: each seed favours some moves and switches others off.
  for (uint32_t& weight : weights_) weight = random_.chance(20) ? 0 : 1 + random_.below(20);
  for (uint32_t& weight : outcome_weights_) weight = random_.chance(40) ? 0 : random_.below(10);
  outcome_weights_[0] = 5 + random_.below(40);
  put_fails_percent_ = random_.chance(50) ? 0 : random_.below(40);
  if (random_.chance(30)) resident_max_ = 1 + static_cast<int64_t>(random_.below(6));
  if (random_.chance(20)) accepted_max_ = 1 + static_cast<int64_t>(random_.below(8));
  constexpr DurationMs kRetentions[] = {60'000, 600'000, 7'200'000, 7 * 86'400'000LL};
  retention_ms_ = kRetentions[random_.below(4)];
  heavy_ = random_.chance(5);
  thread_isolation_ = random_.chance(25);
  if (thread_isolation_ && random_.chance(60)) poison_ = static_cast<int>(random_.below(8));
}

// ---- life of the server

void World::boot() {
  boots_++;
  node_ = {};
  node_.bytes[0] = 1;
  node_.bytes[1] = static_cast<uint8_t>(boots_);
  node_.bytes[2] = static_cast<uint8_t>(boots_ >> 8);
  checkers_.boot();
  draining_ = false;
  unusable_ = faults_ && !scripted_ && random_.chance(5);
  adopt_room_ = std::min(resident_max_, unfinished());
  forced_ = 0;
  grace_ms_ = std::max<DurationMs>(retention_ms_, 600'000);
  sweeper_.emplace(options_.broken == Broken::kGrace ? 0 : grace_ms_, now_, monotonic_);
  std::string suspects;
  for (const auto& [key, note] : checkers_.slot) {
    suspects += fmt::format(" {} {} {} {}", key.first.text(), key.second, note.deaths,
                            (note.alone ? 1 : 0) + (note.beside ? 2 : 0));
  }
  const int broken = options_.broken == Broken::kGate       ? 1
                     : options_.broken == Broken::kEviction ? 2
                                                            : 0;
  const int flags = broken | (thread_isolation_ ? 4 : 0);
  machine_.execute(fmt::format("boot {} {} {} {} {} {} {}{}",
                               hex({reinterpret_cast<const char*>(node_.bytes.data()), 16}),
                               resident_max_, accepted_max_, unfinished(),
                               options_.seed * 1000 + boots_, flags, retention_ms_, suspects));
  slots_[0] = slots_[1] = allowed_[0] = allowed_[1] = 0;
  for (int lane = 0; lane < kLanes; lane++) {
    slots_[lane] = scripted_ ? 8 : 1 + static_cast<uint32_t>(random_.below(4));
    apply(fmt::format("capacity {} {} {}", now_, lane, slots_[lane]));
  }
}

// All volatile state goes; of what was in flight some has happened and some has not.
void World::crash(bool all, bool nothing) {
  const auto happens = [&] { return all || (!nothing && random_.chance(50)); };
  for (const Write& write : batch_) {
    if (happens() && !full_disk_) commit(write);
  }
  for (const auto& [ticket, content] : puts_) {
    if (happens()) land(content->digest ? *content->digest : sha256(content->bytes.view()));
  }
  note_deaths();
  batch_.clear();
  puts_.clear();
  landed_.clear();
  uploads_.clear();
  removals_.clear();
  running_.clear();
  questions_.clear();
  boot();
  resume_lost_clients();
}

WriteResult World::commit(const Write& write) {
  const WriteResult result = checkers_.apply_write(write);
  if (result == WriteResult::kApplied && is_final(write.record->state)) lives_++;
  return result;
}

// What the slot that survives the server says of steps that ran inside it.
void World::note_deaths() {
  if (!thread_isolation_) return;
  std::vector<StartStep> inside;
  for (const auto& [ticket, running] : running_) inside.push_back(running.start);
  checkers_.died(inside);
  for (auto& [key, note] : checkers_.slot) {
    if (!note.running) continue;
    const bool alone = inside.size() == 1;
    note = {note.deaths, false, alone, note.beside || !alone, true};
  }
}

// Who got no answer asks again, under the same key if there is one.
void World::resume_lost_clients() {
  for (Client& client : clients_) {
    if (client.submit == 0) continue;
    client.submit = 0;
    client.given_up = client.key.empty() && random_.chance(50);
  }
}

void World::apply(const std::string& line) {
  events_++;
  // Slots that were taken when there were more of them stay taken.
  for (int lane = 0; lane < kLanes; lane++) allowed_[lane] = std::max(allowed_[lane], slots_[lane]);
  const std::vector<Action> actions = machine_.execute(line);
  for (const Action& action : actions) carry_out(action);
  for (int lane = 0; lane < kLanes; lane++) {
    const auto runs = static_cast<uint32_t>(machine_.core().stats().running[lane]);
    allowed_[lane] = std::max(slots_[lane], std::min(allowed_[lane], runs));
  }
  int64_t pending = forced_;
  for (const auto& [waiter, question] : questions_) pending += question.what == Asked::kSubmit;
  checkers_.resident(machine_.core().stats().resident, resident_max_ + pending);
}

void World::carry_out(const Action& action) {
  if (const auto* start = std::get_if<StartStep>(&action)) {
    if (draining_) violated("a step starts after the drain has begun");
    checkers_.step_started(*start, machine_.core().stats(), allowed_);
    check_overtaking(*start);
    running_[start->ticket] = {*start, false};
    if (thread_isolation_) {
      if (checkers_.store.find(start->job.key) == nullptr) {
        violated("a step starts that could bring the server down with nobody to blame");
      }
      SlotNote& note = checkers_.slot[{start->job, start->step}];
      note = {start->deaths, true, false, note.beside, note.suspect};
    }
  } else if (const auto* stop = std::get_if<StopStep>(&action)) {
    const auto found = running_.find(stop->ticket);
    if (found == running_.end()) violated("a step is stopped that does not run");
    if (found->second.stopped) violated("a step is stopped twice");
    found->second.stopped = true;
  } else if (const auto* put = std::get_if<PutBytes>(&action)) {
    if (!put->content->bytes.present()) violated("bytes are put that are not there");
    puts_[put->ticket] = put->content;
  } else if (const auto* answer = std::get_if<Answer>(&action)) {
    answered(*answer);
  } else if (const auto* more = std::get_if<AdoptMore>(&action)) {
    adopt_room_ = more->room;
  } else if (const auto* clear = std::get_if<ClearSuspect>(&action)) {
    checkers_.cleared(*clear);
  }
}

void World::answered(const Answer& answer) {
  const auto found = questions_.find(answer.waiter);
  if (found == questions_.end()) violated("an answer that nobody waits for");
  const Question question = found->second;
  questions_.erase(found);
  checkers_.shown(answer);
  using Kind = Answer::Kind;
  switch (question.what) {
    case Asked::kSubmit:
      answer_submit(answer, question);
      return;
    case Asked::kCancel:
      if (answer.kind != Kind::kVerbDone && answer.kind != Kind::kVerbForbidden &&
          answer.kind != Kind::kUnknown) {
        violated("a cancellation got another kind of answer");
      }
      return;
    case Asked::kWait:
      if (answer.kind != Kind::kEnded && answer.kind != Kind::kTimeUp &&
          answer.kind != Kind::kUnknown) {
        violated("a wait got another kind of answer");
      }
      if (answer.kind == Kind::kUnknown) {
        // Right while a second submission under its key tried its luck; wrong for a job in memory.
        const bool known = machine_.core().view(question.job).has_value();
        if (known) violated("a wait for a live job is turned away");
      }
      return;
  }
}

void World::answer_submit(const Answer& answer, const Question& question) {
  using Kind = Answer::Kind;
  Client& client = clients_[question.client];
  if (client.submit != answer.waiter) return;  // it asked again since
  client.submit = 0;
  std::shared_ptr<const JobRecord> record = answer.view.record;
  if (answer.kind == Kind::kExists) {
    const SimStore::Job* stored = checkers_.store.find(client.job);
    if (checkers_.store.tombstones().contains(client.job)) {
      checkers_.answered_gone(client.job);  // 410
      client.acknowledged = false;
      client.given_up = true;
      return;
    }
    if (stored == nullptr) {
      submit(question.client);  // refused, or expired, since: the key is free again
      return;
    }
    record = stored->record;
  }
  const auto variant_of = [&](const Salt& salt) {
    return variants_.at(hex({reinterpret_cast<const char*>(salt.data()), salt.size()}));
  };
  switch (answer.kind) {
    case Kind::kAccepted:
      if (record->salt != client.salt) violated("a submission was given somebody else's job");
      client.acknowledged = true;
      checkers_.acknowledged(client.job, record->salt);
      return;
    case Kind::kReplayed:
    case Kind::kKeyReused:
    case Kind::kExists: {
      const bool same = variant_of(record->salt) == client.variant;
      if (answer.kind == Kind::kReplayed && !same) violated("another request was called the same");
      if (answer.kind == Kind::kKeyReused && same) violated("the same request was called another");
      if (answer.kind == Kind::kExists && (record->request == answer.request) != same) {
        violated("the digest of a request says something else than the request");
      }
      client.acknowledged = same;
      client.given_up = !same;
      if (same) checkers_.acknowledged(client.job, record->salt);
      return;
    }
    case Kind::kRefused: {
      const SimStore::Job* stored = checkers_.store.find(client.job);
      if (stored != nullptr && stored->record->salt == client.salt) {
        violated("a refused submission was kept");
      }
      client.given_up = client.key.empty() || random_.chance(50);
      return;
    }
    default:
      violated("a submission got another kind of answer");
  }
}

// ---- the whole run

void World::run() {
  boot();
  const uint64_t moves = 30 + random_.below(random_.chance(20) ? 600 : 200);
  uint64_t total = 0;
  for (const uint32_t weight : weights_) total += weight;
  for (uint64_t i = 0; i < moves; i++) {
    advance(static_cast<DurationMs>(random_.below(30)));
    uint64_t pick = random_.below(total + 40);
    if (pick >= total) {
      // The usual course of things goes on under all faults.
      const uint64_t usual = random_.below(5);
      usual == 0           ? collect()
      : usual == 1         ? write()
      : usual == 2         ? put_done(true)
      : usual == 3         ? work(!random_.chance(30))
      : random_.chance(80) ? adopt()
      : random_.chance(50) ? put_told() || upload_told()
                           : remove_blobs();
      continue;
    }
    int which = 0;
    while (pick >= weights_[which]) pick -= weights_[which++];
    move(which);
  }
  live();
  check_rest();
  outlive_retention();
  if (random_.chance(20)) replay();  // it costs as much as the run itself
}

// Faults are off: everything must come to rest within bounded time.
void World::live() {
  faults_ = false;
  full_disk_ = false;
  if (draining_ || unusable_ || random_.chance(30)) crash(false, false);
  for (const auto& [key, job] : checkers_.store.jobs()) {
    if (job.stolen) {
      crash(false, false);
      break;
    }
  }
  for (int lane = 0; lane < kLanes; lane++) {
    slots_[lane] = std::max(slots_[lane], 2u);
    apply(fmt::format("capacity {} {} {}", now_, lane, slots_[lane]));
  }
  for (int round = 0; round < 20'000; round++) {
    advance(1);
    if (adopt() || put_told() || put_done(true) || upload_told() || work(true) || remove_blobs() ||
        write() || collect()) {
      continue;
    }
    const TimeMs due = machine_.core().next_deadline();
    if (due == kNever) return;
    advance_to(due);
    apply(fmt::format("tick {}", now_));
  }
  violated("I8: the core does not come to rest");
}

void World::check_rest() {
  checkers_.at_rest();
  const CoreStats& stats = machine_.core().stats();
  if (!questions_.empty()) violated("I8: somebody still waits for an answer");
  if (!machine_.core().idle()) violated("I8: at rest, and not idle");
  if (stats.accepted != unfinished()) {
    violated(fmt::format("the core counts {} unfinished jobs, the store has {}", stats.accepted,
                         unfinished()));
  }
  if (stats.ready[0] + stats.ready[1] + stats.running[0] + stats.running[1] != 0) {
    violated("I8: steps are ready or running at rest");
  }
}

// The same events on a new core give the same actions and records.
void World::replay() {
  Machine again;
  const std::string& trace = machine_.trace();
  for (size_t at = 0; at < trace.size();) {
    const size_t end = trace.find('\n', at);
    if (trace[at] == '>') again.execute(trace.substr(at + 2, end - at - 2));
    at = end + 1;
  }
  if (again.trace() != trace) violated("I9: the same events gave other actions");
}

int World::run_scripted(const std::vector<int>& crash_after, bool disk_first,
                        bool apply_in_flight) {
  scripted_ = true;
  faults_ = false;
  resident_max_ = accepted_max_ = 100;
  retention_ms_ = 7 * 86'400'000LL;
  thread_isolation_ = false;
  boot();
  clients_.push_back({});
  clients_[0].key = "key";
  submit(0);
  size_t crashes = 0;
  for (int round = 0; round < 20'000; round++) {
    if (crashes < crash_after.size() && static_cast<int>(events_) >= crash_after[crashes]) {
      crashes++;
      crash(apply_in_flight, !apply_in_flight);
      if (!clients_[0].acknowledged) clients_[0].given_up = false;
      continue;
    }
    advance(1);
    if (clients_[0].submit == 0 && !clients_[0].acknowledged) {
      submit(0);
      continue;
    }
    const bool moved = disk_first ? adopt() || write() || put_done(true) || collect() || work(true)
                                  : adopt() || work(true) || put_done(true) || write() || collect();
    if (moved) continue;
    const TimeMs due = machine_.core().next_deadline();
    if (due == kNever) break;
    advance_to(due);
    apply(fmt::format("tick {}", now_));
  }
  check_rest();
  for (const auto& [key, job] : checkers_.store.jobs()) {
    if (job.record->state != JobState::kSucceeded) violated("the canonical job did not succeed");
  }
  if (checkers_.store.jobs().size() != 1) violated("there is not exactly one job");
  replay();
  return static_cast<int>(events_);
}

}  // namespace millrace::sim
