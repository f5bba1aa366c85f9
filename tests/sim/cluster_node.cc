// One node of the cluster: what a host does between its core and the shared store.
#include <algorithm>
#include <cstring>

#include "engine/base/cover.h"
#include "tests/sim/cluster.h"
#include "tests/sim/words.h"

namespace millrace::sim {

// ---- the core

void Cluster::apply(size_t node, const std::string& line) {
  Node& n = nodes_[node];
  for (int lane = 0; lane < kLanes; lane++)
    n.allowed[lane] = std::max(n.allowed[lane], n.slots[lane]);
  const size_t before = n.machine->trace().size();
  const std::vector<Action> actions = n.machine->execute(line);
  if (options_.keep_log) {
    log_ += fmt::format("-- {} node {} boot {}\n", time_, node, n.boot);
    log_ += n.machine->trace().substr(before);
  }
  for (const Action& action : actions) carry_out(node, action);
  for (int lane = 0; lane < kLanes; lane++) {
    const auto runs = static_cast<uint32_t>(n.core().stats().running[lane]);
    n.allowed[lane] = std::max(n.slots[lane], std::min(n.allowed[lane], runs));
  }
  collect_soon(node);
  arm(node);
}

void Cluster::carry_out(size_t node, const Action& action) {
  Node& n = nodes_[node];
  if (const auto* start = std::get_if<StartStep>(&action)) {
    start_step(node, *start);
  } else if (const auto* stop = std::get_if<StopStep>(&action)) {
    const auto found = n.running.find(stop->ticket);
    if (found == n.running.end()) violated("a step is stopped that does not run");
    if (found->second.stopped) violated("a step is stopped twice");
    found->second.stopped = true;
  } else if (const auto* bytes = std::get_if<PutBytes>(&action)) {
    put(node, *bytes);
  } else if (const auto* answer = std::get_if<Answer>(&action)) {
    answered(node, *answer);
  } else if (const auto* forget = std::get_if<Forget>(&action)) {
    n.forgotten[forget->key] = time_;
  } else if (const auto* more = std::get_if<AdoptMore>(&action)) {
    later(node, 0, [this, node, room = more->room] { claim(node, room); });
  } else if (const auto* done = std::get_if<VerbDone>(&action)) {
    verb_done(node, done->key, done->verb);
  }
}

void Cluster::start_step(size_t node, const StartStep& start) {
  Node& n = nodes_[node];
  if (n.draining) violated("a step starts after the drain has begun");
  const StepDecl& decl = *start.graph->steps[static_cast<size_t>(start.step)].decl;
  const auto stored = store_.read(start.job.key);
  const bool owned = stored == nullptr ? !store_.was_removed(start.job)
                                       : stored->id() == start.job && stored->owner == n.id;
  if (decl.effect != Effect::kPure) {
    if (time_ >= n.lease_until) violated("an effect starts in doubt");
    if (!owned) violated("an effect starts beside its owner");
  }
  store_.checkers.step_started(start, n.core().stats(), n.allowed, owned);
  store_.check_verbs(start.job, n.id);
  n.running[start.ticket] = {start, false};
  const bool slow = faults_ && random_.chance(15);
  later(node, 1 + static_cast<int64_t>(random_.below(slow ? 12'000 : 400)),
        [this, node, ticket = start.ticket] { end_step(node, ticket); });
}

void Cluster::end_step(size_t node, Ticket ticket) {
  Node& n = nodes_[node];
  const Running running = n.running.extract(ticket).mapped();
  using Kind = StepOutcome::Kind;
  Kind kind = Kind::kSucceeded;
  if (running.stopped && random_.chance(70)) {
    kind = Kind::kStopped;
  } else if (faults_ && random_.chance(fails_percent_)) {
    constexpr Kind kKinds[] = {Kind::kFailed, Kind::kFailed, Kind::kTimeout, Kind::kWorkerDied,
                               Kind::kRequeued};
    kind = kKinds[random_.below(5)];
  }
  store_.checkers.step_ended(running.start, kind);
  std::string words = fmt::format("{} {} 0 ", static_cast<int>(kind), random_.chance(80) ? 1 : 0);
  if (kind == Kind::kSucceeded) {
    store_.checkers.step_succeeded(running.start);
    words += "- 0" + output_words(running.start);
  } else {
    words += "busy 10";
  }
  apply(node, fmt::format("done {} {} {}", wall(n), ticket, words));
}

void Cluster::arm(size_t node) {
  Node& n = nodes_[node];
  const TimeMs due = n.core().next_deadline();
  if (due == kNever) return;
  const int64_t when = time_ + std::max<int64_t>(due - wall(n), 0);
  if (n.tick_at <= when) return;
  n.tick_at = when;
  later(node, when - time_, [this, node, when] {
    Node& ticked = nodes_[node];
    if (ticked.tick_at != when) return;  // an earlier one has taken its place
    ticked.tick_at = kNever;
    if (ticked.core().next_deadline() <= wall(ticked)) {
      apply(node, fmt::format("tick {}", wall(ticked)));
    } else {
      arm(node);
    }
  });
}

// ---- records

void Cluster::collect_soon(size_t node) {
  Node& n = nodes_[node];
  if (n.collecting || n.batch_busy || !n.registered) return;
  n.collecting = true;
  later(node, static_cast<int64_t>(random_.below(4)), [this, node] { collect(node); });
}

void Cluster::collect(size_t node) {
  Node& n = nodes_[node];
  n.collecting = false;
  if (n.batch_busy) return;
  n.batch = n.machine->collect();
  if (n.batch.empty()) return;
  for (const Write& write : n.batch) store_.checkers.write_collected(write);
  n.batch_busy = true;
  send_batch(node);
}

// Each image goes to the store until its outcome is known. Nothing is sent in doubt: of a node that
// was given up no message may come late, least of all a rev 1 of a job that has long been removed.
void Cluster::send_batch(size_t node) {
  Node& n = nodes_[node];
  if (time_ >= n.lease_until && !n.fragile) {
    COVER("sim_write_waits_for_lease");
    return later(node, 100, [this, node] { send_batch(node); });
  }
  std::vector<Digest> digests = stale(node, n.batch);
  if (!digests.empty() && options_.broken != BrokenRule::kLate) {
    COVER("sim_put_again_before_the_record");
    return secure_all(node, std::move(digests), [this, node] { send_batch(node); });
  }
  if (faults_ && random_.chance(2)) {
    COVER("sim_pause_before_sending");
    n.fragile = true;
    fall_asleep(node, static_cast<int64_t>(random_.below(kPauseMsMax)));
    return later(node, 0, [this, node] { transmit(node); });
  }
  transmit(node);
}

void Cluster::transmit(size_t node) {
  const Node& n = nodes_[node];
  call<std::vector<WriteResult>>(
      node, [this, batch = n.batch, by = n.id] { return commit(batch, by); },
      [this, node](const std::optional<std::vector<WriteResult>>& results) {
        Node& sender = nodes_[node];
        if (results) {
          settle_batch(node, *results);
        } else if (options_.broken == BrokenRule::kResend) {
          report(node, sender.batch,
                 std::vector<WriteResult>(sender.batch.size(), WriteResult::kNoSpace));
        } else {
          COVER("sim_resent");
          later(node, static_cast<int64_t>(random_.below(1'000)),
                [this, node] { send_batch(node); });
        }
      });
}

// The records are independent, in any order; perhaps not all of them are carried out.
std::optional<std::vector<WriteResult>> Cluster::commit(const std::vector<Write>& batch,
                                                        const NodeId& by) {
  std::vector<WriteResult> results(batch.size(), WriteResult::kLost);
  std::vector<size_t> order(batch.size());
  for (size_t i = 0; i < order.size(); i++) std::swap(order[i] = i, order[random_.below(i + 1)]);
  const bool whole = !faults_ || random_.chance(90);
  for (const size_t i : order) {
    if (!whole && random_.chance(50)) continue;
    // A copy of the same message may find room.
    const bool full = faults_ && batch[i].expected_rev == 0 && random_.chance(2) &&
                      store_.read(batch[i].record->key) == nullptr;
    results[i] = full ? WriteResult::kNoSpace : store_.commit(batch[i], by, random_.chance(50));
    if (full) refused_.insert(batch[i].record->id());
    const JobRecord& record = *batch[i].record;
    note([&] {
      return fmt::format("store: {} rev {} image {} owner {} by {}: {}", key_text(record.key),
                         record.rev, Machine::write_id_text(record),
                         record.owner.text().substr(0, 6), by.text().substr(0, 6),
                         static_cast<int>(results[i]));
    });
  }
  if (!whole) return std::nullopt;
  return results;
}

// Before anybody counts on these records, their blobs are there to stay.
void Cluster::settle_batch(size_t node, const std::vector<WriteResult>& results) {
  Node& n = nodes_[node];
  std::vector<Write> applied;
  for (size_t i = 0; i < results.size(); i++) {
    if (results[i] == WriteResult::kApplied) applied.push_back(n.batch[i]);
  }
  std::vector<Digest> digests = stale(node, applied);
  if (!digests.empty() && options_.broken != BrokenRule::kVerify) {
    COVER("sim_put_again_after_the_record");
    return secure_all(node, std::move(digests),
                      [this, node, results] { report(node, nodes_[node].batch, results); });
  }
  report(node, n.batch, results);
}

void Cluster::report(size_t node, const std::vector<Write>& writes,
                     const std::vector<WriteResult>& results) {
  Node& n = nodes_[node];
  const std::vector<Write> batch = writes;
  n.batch_busy = n.fragile = false;
  n.batch.clear();
  for (size_t i = 0; i < batch.size(); i++) {
    const JobRecord& record = *batch[i].record;
    if (results[i] == WriteResult::kApplied) {
      store_.checkers.settled(record);
      for (const Digest& digest : named_blobs(record)) n.settled.insert({record.id(), digest});
    }
    apply(node, fmt::format("written {} {} {} {}", wall(n), key_text(record.key), record.rev,
                            static_cast<int>(results[i])));
  }
  drop_fresh(node);
  collect_soon(node);
}

// ---- the lease

void Cluster::beat(size_t node) {
  Node& n = nodes_[node];
  LeaseDoc says;
  says.counter = ++n.counter;
  const CoreStats& stats = n.core().stats();
  for (int lane = 0; lane < kLanes; lane++) {
    says.waiting_steps += stats.ready[lane];
    says.free_slots += std::max<int64_t>(n.slots[lane] - stats.running[lane], 0);
  }
  n.verb_reads++;
  call<Beat>(
      node,
      [this, id = n.id, says]() -> std::optional<Beat> {
        Beat beat;
        beat.renewed = store_.renew(id, says);
        beat.leases = store_.leases;
        beat.unclaimed = store_.unclaimed();
        beat.verbs = store_.verbs_of(id);
        beat.own = store_.going_on_at(id);
        return beat;
      },
      [this, node, sent = time_](const std::optional<Beat>& beat) {
        nodes_[node].verb_reads--;
        if (beat) on_beat(node, sent, *beat);
      });
  later(node, kBeatMs, [this, node] { beat(node); });
}

void Cluster::on_beat(size_t node, int64_t sent, const Beat& beat) {
  Node& n = nodes_[node];
  if (!beat.renewed) {
    COVER("sim_given_up_and_alive");
    if (n.fragile) return;  // what it sent late is still to be looked at
    die(node);
    return;
  }
  const bool was_registered = std::exchange(n.registered, true);
  const int64_t until = sent + kLeaseMs - kLeaseMarginMs;
  if (until > n.lease_until && until > time_) {
    n.lease_until = until;
    apply(node, fmt::format("lease {} {}", wall(n), wall(n) + until - time_));
  }
  if (!was_registered) collect_soon(node);
  watch(node, beat);
  if (!n.draining) apply(node, fmt::format("unclaimed {} {}", wall(n), beat.unclaimed));
  for (const Verb& verb : beat.verbs) {
    if (n.core().resident(verb.job.key)) {
      apply(node, fmt::format("verb {} {} {}", wall(n),
                              hex({reinterpret_cast<const char*>(verb.id.bytes.data()), 16}),
                              verb.job.text()));
    } else {
      adopt_stored(node, verb.job.key);
    }
  }
  look_after_own(node, beat.own);
  tell_verbs_gone(node);
}

// Who has been silent for too long, and who has nothing to do.
void Cluster::watch(size_t node, const Beat& beat) {
  Node& n = nodes_[node];
  int64_t others_free = 0;
  for (const auto& [id, lease] : beat.leases) {
    if (id == n.id || lease.departed) continue;
    if (lease.waiting_steps == 0) others_free += lease.free_slots;
    Seen& seen = n.seen[id];
    if (seen.since == 0 || seen.counter != lease.counter) {
      seen = {lease.counter, time_};
    } else if (time_ - seen.since >= kLeaseMs && options_.broken == BrokenRule::kGiveUp) {
      n.given_up.insert(id);
    } else if (time_ - seen.since >= kLeaseMs) {
      call<bool>(
          node,
          [this, gone = id, counter = lease.counter]() -> std::optional<bool> {
            return store_.give_up(gone, counter);
          },
          [](std::optional<bool>) {});
    }
  }
  const CoreStats& stats = n.core().stats();
  if (others_free > 0 && stats.ready[0] + stats.ready[1] > 0) {
    apply(node, fmt::format("shed {} {}", wall(n), others_free));
  }
}

// ---- claims

void Cluster::claim(size_t node, int64_t room) {
  Node& n = nodes_[node];
  if (n.claiming || n.draining || !n.registered) return;
  n.claiming = true;
  using Found = std::vector<std::shared_ptr<const JobRecord>>;
  call<Found>(
      node,
      [this, also = n.given_up, max = static_cast<size_t>(std::min<int64_t>(room, 8))] {
        return std::optional<Found>(store_.candidates(also, max));
      },
      [this, node](const std::optional<Found>& found) {
        Node& claimer = nodes_[node];
        claimer.claiming = found && !found->empty();
        if (!claimer.claiming) return;
        claimer.claims.clear();
        for (const auto& before : *found) {
          auto record = std::make_shared<JobRecord>(*before);
          record->owner = claimer.id;
          record->rev++;
          made_ids_++;
          std::memcpy(record->write_id.data(), &made_ids_, sizeof made_ids_);
          record->write_id[7] = 0xcc;
          writings_->images[Machine::write_id_text(*record)] = record;
          claimer.claims.push_back({record, before->rev, before->owner});
        }
        send_claims(node);
      });
}

// As any other write: sent until the outcome is known.
void Cluster::send_claims(size_t node) {
  Node& n = nodes_[node];
  if (time_ >= n.lease_until) return later(node, 100, [this, node] { send_claims(node); });
  call<std::vector<WriteResult>>(
      node, [this, batch = n.claims, by = n.id] { return commit(batch, by); },
      [this, node](const std::optional<std::vector<WriteResult>>& results) {
        Node& claimer = nodes_[node];
        if (!results) {
          later(node, static_cast<int64_t>(random_.below(500)),
                [this, node] { send_claims(node); });
          return;
        }
        const std::vector<Write> claims = std::move(claimer.claims);
        claimer.claims.clear();
        claimer.claiming = false;
        for (size_t i = 0; i < claims.size(); i++) {
          if ((*results)[i] != WriteResult::kApplied) continue;
          claimer.arriving.insert(claims[i].record->key);
          read_verbs(node, claims[i].record, kNever);
        }
      });
}

// `read_at`: when the record was asked for, if it was read and not claimed.
void Cluster::read_verbs(size_t node, std::shared_ptr<const JobRecord> record, int64_t read_at) {
  if (options_.broken == BrokenRule::kPending) return adopt(node, *record, {}, read_at);
  nodes_[node].verb_reads++;
  insist<std::vector<Verb>>(
      node, [this, key = record->key] { return store_.verbs_on(key); },
      [this, node, record, read_at](const std::vector<Verb>& verbs) {
        nodes_[node].verb_reads--;
        adopt(node, *record, verbs, read_at);
      });
}

void Cluster::adopt(size_t node, const JobRecord& record, const std::vector<Verb>& verbs,
                    int64_t read_at) {
  Node& n = nodes_[node];
  if (options_.broken == BrokenRule::kMeeting && n.core().resident(record.key)) return;
  if (read_at != kNever && is_stale(n, record.key, read_at)) {
    COVER("sim_read_before_it_went");
    return;
  }
  if (is_looked_after(record)) {
    COVER("sim_claimed_before_it_was_looked_after");
    return later(node, 200,
                 [this, node, record, verbs, read_at] { adopt(node, record, verbs, read_at); });
  }
  if (read_at == kNever) n.arriving.erase(record.key);
  std::string line = fmt::format("adopt {} {} 1", wall(n), Machine::write_id_text(record));
  for (const Verb& verb : verbs) {
    line += fmt::format(" {} {}", hex({reinterpret_cast<const char*>(verb.id.bytes.data()), 16}),
                        verb.job.text());
  }
  store_.checkers.settled(record);
  for (const Digest& digest : named_blobs(record)) n.settled.insert({record.id(), digest});
  apply(node, line);
}

// Its writer paused before it sent this, and has still to see to its blobs.
bool Cluster::is_looked_after(const JobRecord& record) const {
  const auto writes_it = [&](const Node& n) {
    return n.up && n.fragile &&
           std::any_of(n.batch.begin(), n.batch.end(),
                       [&](const Write& write) { return write.record->key == record.key; });
  };
  return std::any_of(nodes_.begin(), nodes_.end(), writes_it);
}

// Whether a record that was asked for then may not be handed to the core: somebody was faster, a
// claim of the job is under way and brings it, or the core let go of it since, perhaps at its end.
bool Cluster::is_stale(const Node& n, const JobKey& key, int64_t read_at) {
  const auto has_it = [&](const Write& write) { return write.record->key == key; };
  if (n.core().resident(key) || n.arriving.contains(key)) return true;
  if (std::any_of(n.claims.begin(), n.claims.end(), has_it)) return true;
  const auto left = n.forgotten.find(key);
  return left != n.forgotten.end() && left->second >= read_at;
}

// What is ours in the store and unknown here: a message that came after its sender had heard of its
// end, or a claim. Parked jobs were set aside.
void Cluster::look_after_own(size_t node, const std::vector<JobKey>& own) {
  if (options_.broken == BrokenRule::kMeeting) return;  // it would mend that
  Node& n = nodes_[node];
  std::set<JobKey> unknown;
  for (const JobKey& key : own) {
    if (is_stale(n, key, kNever)) continue;
    unknown.insert(key);
    if (!n.unknown.contains(key)) continue;  // on its way, perhaps
    COVER("sim_own_job_found");
    adopt_stored(node, key);
  }
  n.unknown = std::move(unknown);
}

// One of this node's that is not in memory: it was set aside.
void Cluster::adopt_stored(size_t node, const JobKey& key) {
  insist<std::shared_ptr<const JobRecord>>(
      node, [this, key] { return store_.read(key); },
      [this, node, key, asked = time_](const std::shared_ptr<const JobRecord>& record) {
        const Node& n = nodes_[node];
        if (record == nullptr || is_final(record->state) || record->owner != n.id) return;
        if (n.core().resident(key)) return;
        COVER("sim_set_aside_is_wanted");
        read_verbs(node, record, asked);
      });
}

// ---- verbs

void Cluster::verb_done(size_t node, const JobKey& job, const VerbId& verb) {
  insist<bool>(
      node,
      [this, verb] {
        store_.remove_verb(verb);
        return true;
      },
      [this, node, job, verb](bool) {
        nodes_[node].verbs_gone.emplace_back(job, verb);
        tell_verbs_gone(node);
      });
}

// Once no read is under way that may have seen their documents.
void Cluster::tell_verbs_gone(size_t node) {
  Node& n = nodes_[node];
  if (n.verb_reads > 0) return;
  const auto gone = std::move(n.verbs_gone);
  n.verbs_gone.clear();
  for (const auto& [job, verb] : gone) {
    apply(node, fmt::format("verb_gone {} {} {}", wall(n), key_text(job),
                            hex({reinterpret_cast<const char*>(verb.bytes.data()), 16})));
  }
}

}  // namespace millrace::sim
