// The moves of the world.
#include <algorithm>
#include <cstring>

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

bool World::move(int which) {
  switch (which) {
    case 0:
    case 1:
      return submit_new();
    case 2:
      return submit_again();
    case 3:
      return cancel();
    case 4:
      return wait();
    case 5:
      return unwait();
    case 6:
    case 7:
      return work(false);
    case 8:
      return put_done(false);
    case 9:
      return collect();
    case 10:
      return write();
    case 11:
    case 12:
      return pass_time();
    case 13:
      return random_.chance(10) && jump();
    case 14:
      return random_.chance(30) && change_capacity();
    case 15:
      return random_.chance(15) && restart();
    case 16:
      return random_.chance(10) && drain();
    case 17:
      return random_.chance(10) && steal();
    case 18:
      return random_.chance(10) && tamper();
    case 19:
      return random_.chance(20) && toggle_full_disk();
    default:
      return false;
  }
}

// ---- clients

bool World::submit_new() {
  if (clients_.size() >= 24) return submit_again();
  Client client;
  client.pipeline = random_.below(pipelines().size());
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
  const std::string bytes = fmt::format("upload of {} {}", graph.name, client.variant);
  const auto digest = sha256(bytes);
  for (const InputDecl& input : graph.inputs) {
    if (input.type.is_blob()) {
      if (input.type.optional && client.variant == 0) {
        line += " -";
      } else if (checkers_.disk.contains(digest) && client.variant == 1) {
        line += fmt::format(" d{}:{}", digest.hex(), bytes.size());  // uploaded before
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
  apply(line);
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
    const auto stored = checkers_.store.find(key);
    if (stored == checkers_.store.end() || stored->second.stolen) return;
    if (is_final(stored->second.record->state)) return;
    forced_++;
    adopt_record(stored->second.record);
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
  const StoredJob& stored = checkers_.store.at(client.job);
  const bool resident = machine_.core().resident(client.job);
  // Who looked at the job a moment ago may ask just after its end.
  const bool gone = is_final(stored.record->state) || stored.stolen;
  if (!resident && gone && (stored.stolen || stored.record->owner != node_)) return false;
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
  running_.erase(found);
  apply(fmt::format("done {} {} {}", now_, running.start.ticket, outcome_words(running, well)));
  return true;
}

// Kind, transient, retry after, reason, length of the message, outputs.
std::string World::outcome_words(const Running& running, bool well) {
  using Kind = StepOutcome::Kind;
  const std::string& id = running.start.graph->steps[static_cast<size_t>(running.start.step)].id;
  Kind kind = Kind::kSucceeded;
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
  Value text = made;
  if (node.id.starts_with("big")) text = std::string(20'000, made[1]);
  if (node.id.starts_with("huge")) text = std::string(kInlineJsonBytesMax + 100, made[1]);
  if (node.id.starts_with("fat")) text = std::string(15'900, made[1]);
  if (node.id == "some") text = std::string(10'000, made[1]);  // fills what is left almost
  return data + " " + json_word(text);
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
  checkers_.disk.insert(digest);
  apply(fmt::format("bytes {} {} {} 0", now_, ticket, digest.hex()));
  return true;
}

bool World::collect() {
  if (!batch_.empty()) return false;
  batch_ = machine_.collect();
  for (const Write& write : batch_) checkers_.write_collected(write);
  return !batch_.empty();
}

// The batch comes back: all of it refused, or each record as the store finds it.
bool World::write() {
  if (batch_.empty()) return false;
  const std::vector<Write> batch = std::move(batch_);
  batch_.clear();
  const bool full = full_disk_ && faults_;
  for (const Write& write : batch) {
    const WriteResult result = full ? WriteResult::kNoSpace : checkers_.apply_write(write);
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
  for (const auto& [key, job] : checkers_.store) {
    if (!is_final(job.record->state) && !job.stolen && machine_.core().resident(key))
      live.push_back(key);
  }
  if (live.empty()) return false;
  StoredJob& job = checkers_.store.at(live[random_.below(live.size())]);
  const std::string id = fmt::format("{:016x}", 0xe000000000000000 + ++made_ids_);
  machine_.execute(fmt::format("steal {} {}", Machine::write_id_text(*job.record), id));
  job = {machine_.image(id), true};
  checkers_.allow(id);
  return true;
}

// A record's frozen digests no longer fit, as if a step had changed under it.
bool World::tamper() {
  for (auto& [key, job] : checkers_.store) {
    if (is_final(job.record->state) || machine_.core().resident(key) || job.stolen) continue;
    const std::string id = fmt::format("{:016x}", 0xf000000000000000 + ++made_ids_);
    machine_.execute(fmt::format("tamper {} {}", Machine::write_id_text(*job.record), id));
    job.record = machine_.image(id);
    checkers_.allow(id);
    return true;
  }
  return false;
}

// ---- the server

// The oldest job of another boot, or one that was parked for lack of room.
bool World::adopt() {
  if (adopt_room_ <= 0 || draining_) return false;
  const StoredJob* oldest = nullptr;
  for (const auto& [key, job] : checkers_.store) {
    if (is_final(job.record->state) || job.record->owner == node_ || job.stolen) continue;
    if (machine_.core().resident(key)) continue;
    if (oldest == nullptr || job.record->created_at < oldest->record->created_at) oldest = &job;
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

bool World::pass_time() {
  const TimeMs due = machine_.core().next_deadline();
  if (due != kNever && random_.chance(70)) {
    now_ = std::max(now_, std::min(due, now_ + 100'000));
  } else {
    now_ += static_cast<TimeMs>(random_.below(5'000));
  }
  apply(fmt::format("tick {}", now_));
  return true;
}

bool World::jump() {
  now_ += static_cast<TimeMs>(random_.below(14'400'000)) - 7'200'000;
  return true;
}

bool World::change_capacity() {
  const int lane = static_cast<int>(random_.below(kLanes));
  slots_[lane] = static_cast<uint32_t>(random_.below(4));
  apply(fmt::format("capacity {} {} {}", now_, lane, slots_[lane]));
  return true;
}

bool World::restart() {
  crash(false, false);
  return true;
}

// After a drain everything that could be finished is; then the next server comes.
bool World::drain() {
  if (draining_) return false;
  draining_ = true;
  apply(fmt::format("drain {}", now_));
  return true;
}

}  // namespace millrace::sim
