#include "tests/sim/cluster.h"

#include <algorithm>

#include "engine/base/cover.h"
#include "tests/sim/pipelines.h"

namespace millrace::sim {

// Consecutive seeds must not give shifts of one stream.
static uint64_t mixed(uint64_t seed) {
  uint64_t x = seed ^ 0x6a09e667f3bcc908;
  for (int i = 0; i < 2; i++) {
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
    x = (x ^ x >> 29) * 0xa0761d6478bd642f;
  }
  return x ^ x >> 32;
}

Cluster::Cluster(const ClusterOptions& options)
    : options_(options), random_(mixed(options.seed)), store_(options.broken) {
  // Swarm: each seed favours some faults and switches others off.
  for (uint32_t& weight : fault_weights_) weight = random_.chance(40) ? 0 : 1 + random_.below(10);
  const auto perhaps = [&](uint32_t percent, uint32_t most) {
    return random_.chance(percent) ? static_cast<uint32_t>(random_.below(most)) : 0;
  };
  slow_percent_ = perhaps(60, 30);
  lost_percent_ = perhaps(60, 25);
  doubled_percent_ = perhaps(50, 30);
  fails_percent_ = perhaps(60, 30);
  heavy_ = random_.chance(3);
  constexpr DurationMs kRetentions[] = {60'000, 120'000, 7'200'000};
  retention_ms_ = kRetentions[random_.below(3)];
  resident_max_ = random_.chance(25) ? 1 + static_cast<int64_t>(random_.below(4)) : 100;
  nodes_.resize(2 + random_.below(2));
}

uint64_t Cluster::lives() const {
  const auto& jobs = store_.checkers.store.jobs();
  return static_cast<uint64_t>(std::count_if(jobs.begin(), jobs.end(), [](const auto& job) {
    return is_final(job.second.record->state);
  }));
}

// ---- time and messages

void Cluster::at(int64_t delay_ms, Work work) {
  CHECK(delay_ms >= 0);
  queue_.emplace(time_ + delay_ms, std::move(work));
}

void Cluster::later(size_t node, int64_t delay_ms, Work work) {
  at(delay_ms,
     [this, node, boot = nodes_[node].boot, work = std::move(work)] { run_on(node, boot, work); });
}

void Cluster::run_on(size_t node, uint32_t boot, const Work& work) {
  Node& n = nodes_[node];
  if (!n.up || n.boot != boot) return;
  if (n.asleep_until > time_) {
    n.backlog.push_back(work);
    return;
  }
  work();
}

int64_t Cluster::message_ms() {
  if (faults_ && random_.chance(slow_percent_)) {
    return static_cast<int64_t>(random_.below(kMessageMsMax));
  }
  return 1 + static_cast<int64_t>(random_.below(15));
}

// ---- life of nodes

void Cluster::boot(size_t node) {
  Node& n = nodes_[node];
  const DurationMs skew = n.skew_ms;
  n = Node();
  n.skew_ms = skew;
  n.boot = ++boots_;
  n.up = true;
  n.id.bytes[0] = 2;
  n.id.bytes[1] = static_cast<uint8_t>(n.boot);
  n.id.bytes[2] = static_cast<uint8_t>(n.boot >> 8);
  n.machine = std::make_unique<Machine>(writings_, size_t{1} << 14);
  const int flags = 8 | (options_.broken == BrokenRule::kLease ? 16 : 0) |
                    (options_.broken == BrokenRule::kVerbs ? 32 : 0);
  n.machine->execute(fmt::format(
      "boot {} {} {} 0 {} {} {}", hex({reinterpret_cast<const char*>(n.id.bytes.data()), 16}),
      resident_max_, 100, (mixed(options_.seed) >> 2) + n.boot, flags, retention_ms_));
  for (int lane = 0; lane < kLanes; lane++) {
    n.slots[lane] = n.allowed[lane] = 1 + static_cast<uint32_t>(random_.below(3));
    apply(node, fmt::format("capacity {} {} {}", wall(n), lane, n.slots[lane]));
  }
  beat(node);
  later(node, 1'000 + static_cast<int64_t>(random_.below(8'000)), [this, node] { sweep(node); });
}

// All it knew is gone; what it sent goes on its way. Another boot comes some time later.
void Cluster::die(size_t node) {
  Node& n = nodes_[node];
  n.up = false;
  n.backlog.clear();
  note([&] { return fmt::format("node {} boot {} dies", node, n.boot); });
  for (Client& client : clients_) {
    if (client.submit == 0 || client.boot != n.boot) continue;
    client.submit = 0;
    client.given_up = client.key.empty() && random_.chance(50);
  }
  at(200 + static_cast<int64_t>(random_.below(faults_ ? 9'000 : 300)), [this, node] {
    if (!nodes_[node].up) boot(node);
  });
}

void Cluster::fall_asleep(size_t node, int64_t for_ms) {
  Node& n = nodes_[node];
  note([&] { return fmt::format("node {} sleeps {} ms", node, for_ms); });
  n.asleep_until = std::max(n.asleep_until, time_ + for_ms);
  at(for_ms, [this, node, boot = n.boot] {
    if (nodes_[node].up && nodes_[node].boot == boot) wake(node);
  });
}

void Cluster::wake(size_t node) {
  Node& n = nodes_[node];
  const uint32_t boot = n.boot;
  if (n.asleep_until > time_) return;
  while (!n.backlog.empty() && n.up && n.boot == boot && n.asleep_until <= time_) {
    const Work work = std::move(n.backlog.front());
    n.backlog.pop_front();
    work();
  }
}

void Cluster::fault() {
  if (!faults_) return;
  at(200 + static_cast<int64_t>(random_.below(2'500)), [this] { fault(); });
  uint64_t total = 0;
  for (const uint32_t weight : fault_weights_) total += weight;
  if (total == 0) return;
  uint64_t pick = random_.below(total);
  int which = 0;
  while (pick >= fault_weights_[which]) pick -= fault_weights_[which++];
  const size_t node = random_.below(nodes_.size());
  Node& n = nodes_[node];
  const bool asleep = n.asleep_until > time_;
  if (!n.up || (asleep && which > 2)) return;
  if (n.fragile && which <= 1) return;  // it has its pause
  const auto length = static_cast<int64_t>(random_.below(random_.chance(40) ? 20'000 : 3'000));
  switch (which) {
    case 0:
      n.cut_until = std::max(n.cut_until, time_ + length);
      return;
    case 1:
      fall_asleep(node, length);
      return;
    case 2:
      if (random_.chance(40) && !n.fragile) die(node);
      return;
    case 3:
      if (random_.chance(30)) drain(node);
      return;
    case 4:
      jump(node);
      return;
    case 5: {
      const int lane = static_cast<int>(random_.below(kLanes));
      n.slots[lane] = static_cast<uint32_t>(random_.below(4));
      apply(node, fmt::format("capacity {} {} {}", wall(n), lane, n.slots[lane]));
      return;
    }
    default:
      return;
  }
}

// As the runtime does it: what truly passed is counted before the clock says something else.
void Cluster::jump(size_t node) {
  Node& n = nodes_[node];
  const auto by_ms = static_cast<DurationMs>(random_.below(1'200'000)) - 600'000;
  if (by_ms < 0) apply(node, fmt::format("tick {}", wall(n)));
  n.skew_ms += by_ms;
  apply(node, fmt::format("tick {}", wall(n)));
}

// ---- drains

void Cluster::drain(size_t node) {
  Node& n = nodes_[node];
  if (n.draining || !n.registered) return;
  n.draining = true;
  apply(node, fmt::format("drain {}", wall(n)));
  finish_drain(node, time_ + 25'000);
}

void Cluster::finish_drain(size_t node, int64_t give_up_at) {
  Node& n = nodes_[node];
  const bool done = n.core().idle() && !n.batch_busy && !n.claiming && !n.collecting && !n.sweeping;
  if (!done && time_ < give_up_at) {
    later(node, 100, [this, node, give_up_at] { finish_drain(node, give_up_at); });
    return;
  }
  if (!done) {
    if (n.fragile) return later(node, 100, [this, node] { finish_drain(node, 0); });
    COVER("sim_drain_cut_short");
    die(node);
    return;
  }
  for (const auto& [waiter, question] : n.questions) {
    if (question.what != Asked::kWait) violated("a drain leaves somebody without an answer");
  }
  for (const auto& [key, job] : store_.checkers.store.jobs()) {
    if (n.core().resident(key)) violated("a drain ends while the node still has a job");
  }
  COVER("sim_node_drained");
  insist<bool>(
      node,
      [this, id = n.id] {
        store_.depart(id);
        return true;
      },
      [this, node](bool) { die(node); });
}

// ---- the whole run

void Cluster::run() {
  for (size_t i = 0; i < nodes_.size(); i++) {
    nodes_[i].skew_ms = static_cast<DurationMs>(random_.below(600'000)) - 300'000;
    boot(i);
  }
  at(500, [this] { fault(); });
  at(10, [this] { client_move(); });
  const int64_t calm_at =
      15'000 + static_cast<int64_t>(random_.below(random_.chance(20) ? 120'000 : 30'000));
  at(calm_at, [this] { calm_down(); });
  constexpr int64_t kRestWithinMs = 3'600'000;
  int64_t look_at = calm_at + 1'000;
  while (true) {
    CHECK(!queue_.empty());
    const auto next = queue_.begin();
    time_ = store_.now = next->first;
    const Work work = std::move(next->second);
    queue_.erase(next);
    work();
    if (time_ < look_at) continue;
    const std::string going_on = what_goes_on();
    if (going_on.empty()) break;
    if (time_ > calm_at + kRestWithinMs) violated("I8: there is still " + going_on);
    look_at = time_ + 500;
  }
  check_rest();
  if (!random_.chance(10)) return;
  for (const Node& n : nodes_) {  // it costs as much as the run itself
    if (n.machine == nullptr) continue;
    Machine again(writings_, size_t{1} << 14);
    const std::string& trace = n.machine->trace();
    for (size_t from = 0; from < trace.size();) {
      const size_t end = trace.find('\n', from);
      if (trace[from] == '>') again.execute(trace.substr(from + 2, end - from - 2));
      from = end + 1;
    }
    if (again.trace() != trace) violated("I9: the same events gave other actions");
  }
}

// Faults are off: everything must come to rest within bounded time.
void Cluster::calm_down() {
  faults_ = false;
  for (size_t i = 0; i < nodes_.size(); i++) {
    Node& n = nodes_[i];
    n.cut_until = 0;
    n.asleep_until = std::min(n.asleep_until, time_);
    if (!n.up) continue;
    wake(i);
    if (!n.up) continue;
    for (int lane = 0; lane < kLanes; lane++) {
      n.slots[lane] = std::max(n.slots[lane], 2u);
      apply(i, fmt::format("capacity {} {} {}", wall(n), lane, n.slots[lane]));
    }
  }
}

// Empty: nothing.
std::string Cluster::what_goes_on() const {
  if (faults_) return "faults";
  if (anybody_waits()) return "a client without an answer";
  if (!store_.verbs.empty()) return "a verb that was not applied";
  for (const auto& [key, job] : store_.checkers.store.jobs()) {
    const JobRecord& record = *job.record;
    if (is_final(record.state)) continue;
    if (record.state != JobState::kWaiting || store_.claimable(record.owner)) {
      return "a job that does not go on:\n" + record_text(record);
    }
  }
  for (const Node& n : nodes_) {
    if (!n.up || n.draining) return "a node that is not up";
    if (!n.core().idle() || n.batch_busy || n.claiming) return "a node that is not idle";
  }
  return "";
}

void Cluster::check_rest() {
  store_.checkers.at_rest();
  for (const auto& [verb, job] : promised_) {
    const auto record = store_.read(job.key);
    if (record != nullptr && record->id() == job && !is_final(record->state)) {
      violated("a cancellation that was answered with 202 never came to its job");
    }
  }
}

}  // namespace millrace::sim
