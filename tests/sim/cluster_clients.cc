// Clients of the cluster: each talks to one node at a time, and to another when that does not
// answer.
#include <algorithm>
#include <cstring>

#include "engine/base/cover.h"
#include "tests/sim/cluster.h"
#include "tests/sim/pipelines.h"
#include "tests/sim/words.h"

namespace millrace::sim {

void Cluster::client_move() {
  at(50 + static_cast<int64_t>(random_.below(1'200)), [this] { client_move(); });
  // Who got no answer asks again, perhaps somebody else.
  for (size_t i = 0; i < clients_.size(); i++) {
    const Client& client = clients_[i];
    if (client.submit != 0 || client.acknowledged || client.given_up) continue;
    if (!faults_ || random_.chance(30)) submit(i, some_node());
  }
  if (!faults_) return;
  const uint64_t pick = random_.below(100);
  if (pick < 45) return submit_new();
  if (pick < 60) return cancel();
  if (pick < 75) return wait();
  if (pick < 80) return delete_job();
}

size_t Cluster::some_node() {
  return random_.below(nodes_.size());
}

void Cluster::submit_new() {
  if (clients_.size() >= 20) return;
  Client client;
  client.pipeline = random_.below(heavy_ ? pipelines().size() : kLightPipelines);
  client.variant = static_cast<int>(random_.below(4));
  if (random_.chance(60)) client.key = fmt::format("key{}", random_.below(4));
  clients_.push_back(client);
  submit(clients_.size() - 1, some_node());
  if (client.key.empty() || !random_.chance(40)) return;
  clients_.push_back(client);  // the same, somewhere else, at the same time
  submit(clients_.size() - 1, some_node());
}

void Cluster::submit(size_t index, size_t node) {
  Client& client = clients_[index];
  Node& n = nodes_[node];
  if (!n.up) return;
  const Graph& graph = *pipelines()[client.pipeline];
  client.submit = ++waiters_;
  client.node = node;
  client.boot = n.boot;
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
  variants_[salt_words(client.salt)] = client.variant;
  const int flags = (client.key.empty() ? 0 : 1) | (random_.chance(50) ? 2 : 0);
  const std::string line = fmt::format("{} {} {} {} {} v{}{}", client.submit, client.pipeline,
                                       key_text(client.job), flags, salt_words(client.salt),
                                       graph.inputs.empty() ? client.variant : client.variant / 2,
                                       input_words(graph, client.variant));
  const Question question{Asked::kSubmit, index, client.job};
  later(node, 1, [this, node, waiter = client.submit, question, line] {
    nodes_[node].questions[waiter] = question;
    apply(node, fmt::format("submit {} {}", wall(nodes_[node]), line));
  });
}

// ---- acting on jobs

void Cluster::cancel() {
  std::vector<size_t> known;
  for (size_t i = 0; i < clients_.size(); i++) {
    if (clients_[i].acknowledged) known.push_back(i);
  }
  const size_t node = some_node();
  if (known.empty() || !nodes_[node].up) return;
  later(node, 1,
        [this, node, client = known[random_.below(known.size())]] { cancel_at(node, client); });
}

void Cluster::cancel_at(size_t node, size_t client) {
  Node& n = nodes_[node];
  const JobKey key = clients_[client].job;
  if (n.core().view(key)) {
    n.questions[++waiters_] = {Asked::kCancel, client, key};
    apply(node, fmt::format("cancel {} {} {}", wall(n), waiters_, key_text(key)));
    return;
  }
  insist<std::shared_ptr<const JobRecord>>(
      node, [this, key] { return store_.read(key); },
      [this, node, client](const std::shared_ptr<const JobRecord>& record) {
        if (record == nullptr || is_final(record->state)) return;  // 404, 409
        if (nodes_[node].core().view(record->key)) return cancel_at(node, client);
        COVER("sim_verb_for_another_node");
        Verb verb;
        made_ids_++;
        std::memcpy(verb.id.bytes.data(), &made_ids_, sizeof made_ids_);
        verb.id.bytes[15] = 0x33;
        verb.job = record->id();
        put_verb(node, verb);
      });
}

void Cluster::put_verb(size_t node, const Verb& verb) {
  insist<bool>(
      node, [this, verb] { return store_.put_verb(verb); },
      [this, verb](bool put) {
        if (put) promised_[verb.id] = verb.job;  // 202
      });
}

void Cluster::wait() {
  if (clients_.empty()) return;
  const Client& client = clients_[random_.below(clients_.size())];
  const size_t node = some_node();
  if (!client.acknowledged || !nodes_[node].up) return;
  later(node, 1, [this, node, key = client.job] {
    Node& n = nodes_[node];
    if (!n.core().view(key)) return;
    n.questions[++waiters_] = {Asked::kWait, 0, key};
    apply(node, fmt::format("wait {} {} {} {}", wall(n), waiters_, key_text(key),
                            wall(n) + static_cast<TimeMs>(random_.below(40'000))));
  });
}

void Cluster::delete_job() {
  std::vector<JobKey> ended;
  for (const Client& client : clients_) {
    const auto record = store_.read(client.job);
    if (client.acknowledged && record && is_final(record->state)) ended.push_back(client.job);
  }
  if (ended.empty()) return;
  const JobKey key = ended[random_.below(ended.size())];
  note([&] { return "client: deletes " + key_text(key); });
  store_.remove(key);
}

// ---- answers

void Cluster::answered(size_t node, const Answer& answer) {
  Node& n = nodes_[node];
  const auto found = n.questions.find(answer.waiter);
  if (found == n.questions.end()) violated("an answer that nobody waits for");
  const Question question = found->second;
  n.questions.erase(found);
  store_.checkers.shown(answer);
  using Kind = Answer::Kind;
  const Kind kind = answer.kind;
  switch (question.what) {
    case Asked::kSubmit:
      return answer_submit(answer, question.client);
    case Asked::kCancel:
      if (kind == Kind::kUnknown) {  // it went while we asked
        later(node, 10, [this, node, question] { cancel_at(node, question.client); });
      } else if (kind != Kind::kVerbDone && kind != Kind::kVerbForbidden) {
        violated("a cancellation got another kind of answer");
      }
      return;
    case Asked::kWait:
      if (kind != Kind::kEnded && kind != Kind::kTimeUp && kind != Kind::kUnknown) {
        violated("a wait got another kind of answer");
      }
      return;
  }
}

void Cluster::answer_submit(const Answer& answer, size_t index) {
  using Kind = Answer::Kind;
  Client& client = clients_[index];
  if (client.submit != answer.waiter) return;  // it asked again since
  client.submit = 0;
  std::shared_ptr<const JobRecord> record = answer.view.record;
  if (answer.kind == Kind::kExists) {
    client.given_up = store_.checkers.store.tombstones().contains(client.job);  // 410
    record = store_.read(client.job);
    if (client.given_up || record == nullptr) return;  // without a record: the key is free again
  }
  switch (answer.kind) {
    case Kind::kAccepted:
      if (record->salt != client.salt) violated("a submission was given somebody else's job");
      break;
    case Kind::kReplayed:
    case Kind::kKeyReused:
    case Kind::kExists: {
      const bool same = variants_.at(salt_words(record->salt)) == client.variant;
      if (answer.kind == Kind::kReplayed && !same) violated("another request was called the same");
      if (answer.kind == Kind::kKeyReused && same) violated("the same request was called another");
      if (answer.kind == Kind::kExists && (record->request == answer.request) != same) {
        violated("the digest of a request says something else than the request");
      }
      client.given_up = !same;
      if (!same) return;
      break;
    }
    case Kind::kRefused: {
      const auto stored = store_.read(client.job);
      const bool for_space = refused_.contains(job_id(client.job, client.salt));
      if (stored != nullptr && stored->salt == client.salt && !for_space)
        violated("a refused submission was kept");
      client.given_up = client.key.empty() || random_.chance(30);
      return;
    }
    default:
      violated("a submission got another kind of answer");
  }
  client.acknowledged = true;
  const auto stored = store_.read(client.job);
  // It may have ended, and been removed, before its answer.
  if (stored != nullptr && stored->salt == record->salt) {
    store_.checkers.acknowledged(client.job, record->salt);
  } else if (!store_.was_removed(record->id())) {
    violated("I1: a job is acknowledged that is not in the store");
  }
}

bool Cluster::anybody_waits() const {
  return std::any_of(clients_.begin(), clients_.end(), [](const Client& client) {
    return client.submit != 0 || (!client.acknowledged && !client.given_up);
  });
}

}  // namespace millrace::sim
