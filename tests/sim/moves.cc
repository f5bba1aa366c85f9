// The moves of the world.
#include <algorithm>
#include <cstring>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "tests/core/work_catalogue.h"
#include "tests/sim/pipelines.h"
#include "tests/sim/world.h"

namespace millrace::sim {
namespace {

template <typename Map>
typename Map::iterator nth(Map& map, uint64_t n) {
  return std::next(map.begin(), static_cast<ptrdiff_t>(n));
}

}  // namespace

// What may happen, and in how many of a hundred cases when it is its turn.
bool World::move(int which) {
  struct Move {
    bool (World::*make)();
    uint32_t percent;
  };
  static constexpr Move kAll[] = {
      {&World::submit_new, 100},     {&World::submit_new, 100},
      {&World::submit_again, 100},   {&World::cancel, 100},
      {&World::wait, 100},           {&World::unwait, 100},
      {&World::work_badly, 100},     {&World::work_badly, 100},
      {&World::put_badly, 100},      {&World::collect, 100},
      {&World::write, 100},          {&World::pass_time, 100},
      {&World::pass_time, 100},      {&World::jump, 10},
      {&World::change_capacity, 30}, {&World::restart, 15},
      {&World::drain, 10},           {&World::steal, 10},
      {&World::tamper, 10},          {&World::toggle_full_disk, 20},
      {&World::upload, 30},          {&World::delete_job, 60},
      {&World::sweep_records, 40},   {&World::sweep_garbage, 40},
      {&World::put_lands, 100},      {&World::long_pause, 10},
      {&World::finish_drain, 100},   {&World::io_worker_dies, 20},
  };
  static_assert(std::size(kAll) == kMoves);
  const Move& move = kAll[which];
  return random_.chance(move.percent) && (this->*move.make)();
}

// ---- clients

bool World::submit_new() {
  if (clients_.size() >= 24) return submit_again();
  Client client;
  client.pipeline = random_.below(heavy_ ? pipelines().size() : kLightPipelines);
  client.variant = static_cast<int>(random_.below(4));
  if (random_.chance(60)) client.key = fmt::format("key{}", random_.below(6));
  clients_.push_back(client);
  submit(clients_.size() - 1);
  return true;
}

// A duplicate, a retry after a lost or refused answer.
bool World::submit_again() {
  if (clients_.empty()) return false;
  const size_t client = random_.below(clients_.size());
  Client& c = clients_[client];
  if (c.submit != 0) {
    if (c.key.empty() || random_.chance(70)) return false;
    // A second connection sends the same while the first still waits.
    if (clients_.size() >= 40) return false;
    clients_.push_back({c.pipeline, c.key, c.variant, {}, {}, 0, false, false});
    submit(clients_.size() - 1);
    return true;
  }
  if (c.key.empty() && (c.acknowledged || c.given_up)) return false;
  submit(client);
  return true;
}

void World::submit(size_t index) {
  Client& client = clients_[index];
  const Graph& graph = *pipelines()[client.pipeline];
  client.submit = ++waiters_;
  client.given_up = false;
  questions_[client.submit] = {Asked::kSubmit, index, {}};
  made_ids_++;
  client.salt = {};
  std::memcpy(client.salt.data(), &made_ids_, sizeof made_ids_);
  client.salt[15] = 0x5a;
  if (client.key.empty()) {
    client.job = {};
    client.job.bytes[0] = 0x77;
    std::memcpy(client.job.bytes.data() + 8, &made_ids_, sizeof made_ids_);
  } else {
    client.job = idempotent_job_key(graph.name, client.key);
  }
  const std::string salt = hex({reinterpret_cast<const char*>(client.salt.data()), 16});
  variants_[salt] = client.variant;
  // 1: keyed, 2: waits for the end
  const int flags = (client.key.empty() ? 0 : 1) | (random_.chance(50) ? 2 : 0);
  std::string line = fmt::format("submit {} {} {} {} {} {} v{}", now_, client.submit,
                                 client.pipeline, key_text(client.job), flags, salt,
                                 graph.inputs.empty() ? client.variant : client.variant / 2);
  const std::string bytes = upload_bytes(graph, client.variant);
  for (const InputDecl& input : graph.inputs) {
    if (input.type.is_blob()) {
      if (input.type.optional && client.variant == 0) {
        line += " -";
      } else {
        line += " " + blob_word(bytes);
      }
    } else if (input.type.kind == Type::Kind::kBool) {
      line += " " + json_word(client.variant % 2 == 0);
    } else {
      // A list of 0 to 3 elements: expressions fail on the long ones.
      line += " " + json_word(Value(Value::List(static_cast<size_t>(client.variant), Value(1))));
    }
  }
  submitting_ = client.job;
  apply(line);
  submitting_ = {};
}

std::string World::upload_bytes(const Graph& graph, int variant) {
  return fmt::format("upload of {} {}", graph.name, variant);
}

bool World::cancel() {
  std::vector<size_t> known;
  for (size_t i = 0; i < clients_.size(); i++) {
    if (clients_[i].acknowledged || machine_.core().resident(clients_[i].job)) known.push_back(i);
  }
  if (known.empty()) return false;
  const size_t client = known[random_.below(known.size())];
  cancel_job(clients_[client].job, client);
  return true;
}

// A job that waits in the store is made resident first, as the runtime does it.
void World::cancel_job(const JobKey& key, size_t client) {
  if (!machine_.core().resident(key)) {
    const SimStore::Job* stored = checkers_.store.find(key);
    if (stored == nullptr || stored->stolen || is_final(stored->record->state)) return;
    forced_++;
    adopt_record(stored->record);
  }
  forced_++;  // a job without room stays until its cancellation has ended it
  questions_[++waiters_] = {Asked::kCancel, client, key};
  apply(fmt::format("cancel {} {} {}", now_, waiters_, key_text(key)));
}

bool World::wait() {
  if (clients_.empty()) return false;
  const size_t index = random_.below(clients_.size());
  const Client& client = clients_[index];
  if (!client.acknowledged) return false;
  const SimStore::Job* stored = checkers_.store.find(client.job);
  if (stored == nullptr) return false;  // deleted, or expired
  const bool resident = machine_.core().resident(client.job);
  // Who looked at the job a moment ago may ask just after its end.
  const bool gone = is_final(stored->record->state) || stored->stolen;
  if (!resident && gone && (stored->stolen || stored->record->owner != node_)) return false;
  questions_[++waiters_] = {Asked::kWait, index, client.job};
  apply(fmt::format("wait {} {} {} {}", now_, waiters_, key_text(client.job),
                    now_ + static_cast<TimeMs>(random_.below(60'000))));
  return true;
}

bool World::unwait() {
  std::vector<WaiterId> waiting;
  for (const auto& [waiter, question] : questions_) {
    if (question.what == Asked::kWait) waiting.push_back(waiter);
  }
  if (waiting.empty()) return false;
  const WaiterId waiter = waiting[random_.below(waiting.size())];
  questions_.erase(waiter);
  apply(fmt::format("unwait {} {}", now_, waiter));
  return true;
}

// ---- workers

bool World::work(bool well) {
  if (running_.empty()) return false;
  const auto found = scripted_ ? running_.begin() : nth(running_, random_.below(running_.size()));
  const Running running = found->second;
  if (poisonous(running.start)) {
    COVER("sim_poison");
    crash(false, false);
    return true;
  }
  running_.erase(found);
  StepOutcome::Kind kind = StepOutcome::Kind::kSucceeded;
  const std::string words = outcome_words(running, well, &kind);
  end_step(running, kind, words);
  return true;
}

void World::end_step(const Running& running, StepOutcome::Kind kind, const std::string& words) {
  const StartStep& start = running.start;
  checkers_.step_ended(start, kind);
  const auto note = checkers_.slot.find({start.job, start.step});
  if (note != checkers_.slot.end()) {
    note->second.running = false;
    if (!note->second.suspect) checkers_.slot.erase(note);
  }
  apply(fmt::format("done {} {} {}", now_, start.ticket, words));
}

// Kind, transient, retry after, reason, length of the message, outputs.
std::string World::outcome_words(const Running& running, bool well, StepOutcome::Kind* chosen) {
  using Kind = StepOutcome::Kind;
  Kind& kind = *chosen;
  const std::string& id = running.start.graph->steps[static_cast<size_t>(running.start.step)].id;
  if (running.stopped && random_.chance(70)) {
    kind = Kind::kStopped;
  } else if (!well) {
    uint64_t total = 0;
    for (const uint32_t weight : outcome_weights_) total += weight;
    uint64_t pick = random_.below(total);
    int which = 0;
    while (pick >= outcome_weights_[which]) pick -= outcome_weights_[which++];
    kind = static_cast<Kind>(which);
  }
  if (kind == Kind::kSucceeded && id.starts_with("wordy") && random_.chance(80))
    kind = Kind::kFailed;
  if (kind == Kind::kSucceeded) {
    checkers_.step_succeeded(running.start);
    return "0 0 0 -" + std::string(" 0") + output_words(running);
  }
  const bool transient = id.starts_with("wordy") || random_.chance(70);
  const int64_t retry_after = random_.chance(10) ? static_cast<int64_t>(random_.below(20'000)) : 0;
  const char* reason = random_.chance(80) ? "broken" : "busy";
  if (full_disk_ && kind == Kind::kFailed) reason = "no_space";  // met by the step as well
  return fmt::format("{} {} {} {} {}", static_cast<int>(kind), transient ? 1 : 0, retry_after,
                     reason, id.starts_with("wordy") ? 3000 : 10);
}

// What a step makes depends only on the step and on what it was given, as a good step's should.
std::string World::output_words(const Running& running) {
  const StepNode& node = running.start.graph->steps[static_cast<size_t>(running.start.step)];
  const std::string given = given_text(running.start.with);
  const std::string made = sha256(node.id + given).hex();
  std::string data = " -";
  if (running.start.with[0].kind() == Value::Kind::kBlob) {
    data = made[0] < '6' ? " f0" : " " + blob_word(node.id + made);
  }
  size_t bytes = 0;
  if (node.id.starts_with("big")) bytes = 20'000;
  if (node.id.starts_with("huge")) bytes = kInlineJsonBytesMax + 100;
  if (node.id.starts_with("fat")) bytes = 15'900;
  if (node.id == "some") bytes = 10'000;  // fills what is left almost
  return data + " " + (bytes > 0 ? long_word(bytes, made[1]) : json_word(made));
}

// ---- disks

bool World::put_done(bool well) {
  if (puts_.empty()) return false;
  const auto found = scripted_ ? puts_.begin() : nth(puts_, random_.below(puts_.size()));
  const Ticket ticket = found->first;
  const auto content = found->second;
  puts_.erase(found);
  if (faults_ && (!well || full_disk_) && (full_disk_ || random_.chance(put_fails_percent_))) {
    const bool no_space = full_disk_ || random_.chance(30);
    apply(fmt::format("bytes {} {} - {}", now_, ticket,
                      static_cast<int>(no_space ? errors::kNoSpace : errors::kBlobWrite)));
    return true;
  }
  // A content that is put twice is durable once; its bytes may be gone by the second time.
  const Digest digest = content->bytes.present() ? sha256(content->bytes.view()) : *content->digest;
  land(digest);
  apply(fmt::format("bytes {} {} {} 0", now_, ticket, digest.hex()));
  return true;
}

void World::land(const Digest& digest) {
  checkers_.disk[digest] = {now_, ++puts_landed_};
}

// The first half of put_done(): a blob that is there already only becomes young again.
bool World::put_lands() {
  if (puts_.empty() || full_disk_) return false;
  const auto found = nth(puts_, random_.below(puts_.size()));
  const BlobContent& content = *found->second;
  const Digest digest = content.digest ? *content.digest : sha256(content.bytes.view());
  land(digest);
  landed_[found->first] = {digest, puts_landed_};
  puts_.erase(found);
  return true;
}

bool World::put_told() {
  if (landed_.empty()) return false;
  const auto found = nth(landed_, random_.below(landed_.size()));
  const Ticket ticket = found->first;
  const Digest digest = found->second.digest;
  landed_.erase(found);
  apply(fmt::format("bytes {} {} {} 0", now_, ticket, digest.hex()));
  return true;
}

bool World::collect() {
  if (!batch_.empty()) return false;
  batch_ = machine_.collect();
  if (!batch_.empty()) batches_collected_++;
  for (const Write& write : batch_) checkers_.write_collected(write);
  return !batch_.empty();
}

// The batch comes back: all of it refused, or each record as the store finds it.
bool World::write() {
  if (batch_.empty()) return false;
  while (remove_blobs()) {  // what the writer was asked for before
  }
  const std::vector<Write> batch = std::move(batch_);
  batch_.clear();
  const bool full = full_disk_ && faults_;
  for (const Write& write : batch) {
    const WriteResult result = full ? WriteResult::kNoSpace : commit(write);
    apply(fmt::format("written {} {} {} {}", now_, key_text(write.record->key), write.record->rev,
                      static_cast<int>(result)));
  }
  return true;
}

bool World::toggle_full_disk() {
  full_disk_ = !full_disk_;
  return true;
}

// ---- other nodes, other versions

bool World::steal() {
  std::vector<JobKey> live;
  for (const auto& [key, job] : checkers_.store.jobs()) {
    if (!is_final(job.record->state) && !job.stolen && machine_.core().resident(key))
      live.push_back(key);
  }
  if (live.empty()) return false;
  const JobKey key = live[random_.below(live.size())];
  const std::string id = fmt::format("{:016x}", 0xe000000000000000 + ++made_ids_);
  machine_.execute(
      fmt::format("steal {} {}", Machine::write_id_text(*checkers_.store.find(key)->record), id));
  checkers_.store.steal(key, machine_.image(id));
  checkers_.allow(id);
  return true;
}

// A record's frozen digests no longer fit, as if a step had changed under it.
bool World::tamper() {
  for (const auto& [key, job] : checkers_.store.jobs()) {
    if (is_final(job.record->state) || machine_.core().resident(key) || job.stolen) continue;
    const std::string id = fmt::format("{:016x}", 0xf000000000000000 + ++made_ids_);
    machine_.execute(fmt::format("tamper {} {}", Machine::write_id_text(*job.record), id));
    checkers_.store.replace(key, machine_.image(id));
    checkers_.allow(id);
    return true;
  }
  return false;
}

// ---- the server

// The oldest job of another boot, or one that was parked for lack of room.
bool World::adopt() {
  if (adopt_room_ <= 0 || draining_) return false;
  const SimStore::Job* oldest = checkers_.store.first_unclaimed(node_, nullptr);
  while (oldest != nullptr && machine_.core().resident(oldest->record->key)) {
    oldest = checkers_.store.first_unclaimed(node_, oldest->record.get());
  }
  if (oldest == nullptr) {
    adopt_room_ = 0;
    return false;
  }
  adopt_room_--;
  adopt_record(oldest->record);
  return true;
}

void World::adopt_record(const std::shared_ptr<const JobRecord>& record) {
  apply(fmt::format("adopt {} {} {}", now_, Machine::write_id_text(*record), unusable_ ? 0 : 1));
}

}  // namespace millrace::sim
