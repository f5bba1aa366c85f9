// This node among the others of a shared store: its lease, its looks at them, the jobs it claims,
// the verbs it applies and leaves.
#include "engine/runtime/cluster.h"

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/runtime/local_runtime.h"

namespace millrace {
namespace {

constexpr int64_t kClaimedRetryMs = 100;  // between looks whether a claim has brought its jobs
// Between looks for verbs, while jobs are here; and where a stream tells of them.
constexpr int64_t kVerbsEveryMs = 1'000, kVerbsHeardEveryMs = 5'000;
constexpr int64_t kDepartRetryMs = 1'000;

Verb core_verb(const PendingVerb& pending) {
  return Verb{VerbId{pending.id}, pending.job, VerbKind::kCancel};
}

PendingVerb new_cancel(const JobId& job) {
  PendingVerb verb;
  verb.created_at = wall_clock_ms();
  std::array<uint8_t, 10> random{};
  random_bytes(random.data(), random.size());
  verb.id = uuid_v7(verb.created_at, random).bytes;
  verb.job = job;
  verb.verb = "cancel";
  return verb;
}

ClusterLook take_look(SharedStore* store) {
  ClusterLook look;
  look.began_us = boot_clock_us();
  auto owners = store->owners();
  auto leases = owners.ok() ? store->leases() : owners.status();
  look.status = leases.ok() ? Status() : leases.status();
  if (leases.ok()) {
    look.owners = std::move(*owners);
    look.leases = std::move(*leases);
  }
  look.ended_us = boot_clock_us();
  return look;
}

}  // namespace

// ---- joining and leaving

// Before the first job: nobody may own a job without a lease that the others can watch.
Status LocalRuntime::join_cluster() {
  cluster_.keeper =
      std::make_unique<LeaseKeeper>(shared_, node_, options_.lease_ms, options_.node_name);
  cluster_.peers.configure(node_, options_.lease_ms);
  // On the writer thread. A node that has departed has nothing to send.
  shared_->set_may_send([this] {
    const int64_t now_us = boot_clock_us();
    return now_us < cluster_.keeper->held_until_us() &&
           now_us < cluster_.batch_good_until_us.load(std::memory_order_acquire);
  });
  RETURN_IF_ERROR(cluster_.keeper->begin());
  log_event(
      LogLevel::kInfo, "node.joined",
      {{"node", node_.text()}, {"name", options_.node_name}, {"lease_ms", options_.lease_ms}});
  look_at_lease(wall_clock_ms());
  look_at_nodes();
  look_at_verbs();
  return {};
}

// Tells the core of each renewal, and at the front of a turn when the lease is over.
void LocalRuntime::look_at_lease(TimeMs now) {
  if (cluster_.keeper == nullptr) return;
  if (const auto given_up = cluster_.keeper->given_up()) end_on_failed_store(*given_up);
  const int64_t until_us = cluster_.keeper->held_until_us();
  const int64_t left_ms = (until_us - boot_clock_us()) / 1000;
  if (left_ms <= 0) {
    if (cluster_.told_until_us != 0) {
      log_event(LogLevel::kWarning, "lease.over", {{"node", node_.text()}});
      events_.insert(events_.begin(), Lease{now, now});
    }
    cluster_.told_until_us = 0;
    return;
  }
  if (until_us == cluster_.told_until_us) return;
  cluster_.told_until_us = until_us;
  events_.insert(events_.begin(), Lease{now, now + left_ms});
}

// Everything is written and nothing runs: the others may take what this node gave back.
void LocalRuntime::depart_when_idle() {
  if (cluster_.keeper == nullptr || cluster_.departing || cluster_.departed) return;
  if (!events_.empty() || !in_flight_.empty() || arrivals_.claiming() || !core_->idle()) return;
  if (!shared_sweep_->idle()) return;  // removals that have begun come to their end
  if (arrivals_.reading()) return;     // what was claimed may be on its way to the core
  cluster_.departing = true;
  on_reader([this] {
    const Status status = cluster_.keeper->depart();
    return [this, status] {
      cluster_.departing = false;
      cluster_.departed = status.ok() || status.code() == Code::kConflict;
      if (cluster_.departed) {
        log_event(LogLevel::kInfo, "node.departed", {{"node", node_.text()}});
        return;
      }
      log_event(LogLevel::kWarning, "node.depart_failed", {{"error", status.message()}});
      cluster_.departing = true;  // until it is tried again
      after(kDepartRetryMs, [this] { cluster_.departing = false; });
    };
  });
}

// ---- the others

void LocalRuntime::look_at_nodes() {
  if (draining_) return;
  look_at_nodes_now();
  // Not all at the same moment: a tenth more or less, from the name of this boot.
  const int64_t every = options_.lease_ms / 3;
  after(every - every / 10 + every * node_.bytes[0] / 1280, [this] { look_at_nodes(); });
}

void LocalRuntime::look_at_nodes_now() {
  if (cluster_.looking) return;
  cluster_.looking = true;
  const CoreStats& stats = core_->stats();
  int64_t waiting = 0, free = 0;
  for (const Lane lane : {Lane::kCpu, Lane::kIo}) {
    const int i = static_cast<int>(lane);
    waiting += stats.ready[i];
    free += std::max<int64_t>(0, int64_t{slots_[i]} - stats.running[i]);
  }
  cluster_.keeper->set_load(waiting, free);
  on_reader([this] {
    auto look = std::make_shared<ClusterLook>(take_look(shared_));
    return [this, look] {
      cluster_.looking = false;
      on_look(*look);
    };
  });
}

void LocalRuntime::on_look(const ClusterLook& look) {
  Peers& peers = cluster_.peers;
  // A store that is away silences everybody: when it is back, each must have time to renew.
  const bool held = cluster_.keeper->held_until_us() > look.ended_us;
  if (!look.status.ok() || !held) peers.note_doubt();
  if (!look.status.ok()) {
    log_event(LogLevel::kWarning, "node.look_failed", {{"error", look.status.message()}});
    return;
  }
  peers.note(look);
  for (const SilentNode& silent : peers.silent()) {
    // Told to the store before its jobs are claimed, with the next look: see give_node_up.
    on_reader([this, silent] {
      const auto gone = shared_->give_node_up(silent.node, silent.counter);
      return [this, silent, gone] {
        if (!gone.ok() || !*gone) return;
        log_event(LogLevel::kWarning, "node.given_up", {{"node", silent.node.text()}});
        look_at_nodes_now();
      };
    });
  }
  forget_gone();
  const TimeMs now = wall_clock_ms();
  // How many there are does not matter: the claims end when nothing comes any more.
  note(Unclaimed{now, peers.any_claimable() ? kAdoptBatch : 0});
  if (peers.idle_slots() > 0) note(Shed{now, peers.idle_slots()});
  note(Tick{now});
}

void LocalRuntime::forget_gone() {
  for (const NodeId& node : cluster_.peers.forgettable()) {
    on_reader([this, node] {
      const auto gone = shared_->forget_node(node);
      return [node, gone] {
        if (gone.ok() && *gone)
          log_event(LogLevel::kDebug, "node.forgotten", {{"node", node.text()}});
      };
    });
  }
}

// ---- claims

void LocalRuntime::claim_from_gone(int64_t room) {
  if (arrivals_.claiming() || room <= 0 || draining_) return;
  arrivals_.claim_begins();
  arrivals_.read_begins();
  cluster_.verb_reads++;
  const int batch = static_cast<int>(std::min<int64_t>(room, kAdoptBatch));
  on_writer([this, room, batch, gone = cluster_.peers.gone()] {
    auto page =
        std::make_shared<Result<ClaimPage>>(shared_->claim_from(node_, gone, std::nullopt, batch));
    return [this, page, room] {
      arrivals_.claim_ends();
      int64_t claimed = 0;
      if (page->ok()) {
        for (const DamagedJob& job : (*page)->unreadable) {
          log_event(LogLevel::kError, "job.damaged",
                    {{"job", job.key.text()}, {"error", job.status.message()}});
        }
        for (ClaimedJob& job : (*page)->jobs) {
          claimed++;
          std::vector<Verb> verbs;
          for (const PendingVerb& verb : job.verbs) verbs.push_back(core_verb(verb));
          const JobKey key = job.record.key;
          arrivals_.claim_brings(key);
          adopt(
              std::make_shared<const JobRecord>(std::move(job.record)),
              [this, key] { arrivals_.has_arrived(key); }, std::move(verbs), true);
        }
      } else {
        log_event(LogLevel::kError, "store.claim_failed", {{"error", page->status().message()}});
      }
      if (claimed > 0) {
        log_event(LogLevel::kInfo, "jobs.claimed", {{"jobs", claimed}});
      }
      end_verb_read();
      arrivals_.read_ends();
      if (claimed > 0) watch_foreign();  // somebody here may have waited for them
      const bool more = page->ok() && (*page)->next.has_value();
      if (more && room > claimed) {
        claim_from_gone(room - claimed);
      } else if (page->ok()) {
        note(Unclaimed{wall_clock_ms(), more ? kAdoptBatch : 0});
      }
    };
  });
}

// ---- verbs

void LocalRuntime::look_at_verbs() {
  if (cluster_.departed) return;
  listen_for_verbs();
  const bool heard = trusts_stream() && hears_verbs();
  after(heard ? kVerbsHeardEveryMs : kVerbsEveryMs, [this] { look_at_verbs(); });
  look_for_verbs(false);
}

void LocalRuntime::look_for_verbs(bool hinted) {
  if (cluster_.departed || core_->stats().accepted == 0) return;
  if (cluster_.verb_reads > 0) {
    cluster_.verbs_hinted = cluster_.verbs_hinted || hinted;  // what is read may be older
    return;
  }
  cluster_.verb_reads++;
  const bool covered = hears_verbs();
  on_reader([this, hinted, covered] {
    auto verbs = std::make_shared<Result<std::vector<PendingVerb>>>(
        shared_->pending_verbs(node_, kVerbsPageMax));
    return [this, verbs, hinted, covered] {
      if (verbs->ok()) {
        count_verbs(**verbs, hinted, covered);
        for (const PendingVerb& verb : **verbs) on_verb(verb);
      }
      end_verb_read();
    };
  });
}

void LocalRuntime::on_verb(const PendingVerb& verb) {
  if (core_->resident(verb.job.key)) {
    note(ApplyVerb{wall_clock_ms(), core_verb(verb)});
  } else {
    adopt_own(verb.job, [](const Status&) {});  // with its verbs
  }
}

void LocalRuntime::end_verb_read() {
  CHECK(cluster_.verb_reads > 0);
  if (--cluster_.verb_reads > 0) return;
  for (const VerbDone& done : cluster_.gone_verbs) {
    note(VerbGone{wall_clock_ms(), done.key, done.verb});
  }
  cluster_.gone_verbs.clear();
  if (std::exchange(cluster_.verbs_hinted, false)) look_for_verbs(true);
}

// What it asked for is durable: its document may go.
void LocalRuntime::verb_done(const VerbDone& done) {
  CHECK(shared_ != nullptr);
  on_reader([this, done] {
    const Status status = shared_->remove_verbs({done.verb.bytes});
    return [this, done, status] {
      if (!status.ok()) return;  // it comes with the next look, and is done again
      cluster_.verb_reads++;
      cluster_.gone_verbs.push_back(done);
      end_verb_read();
    };
  });
}

// Makes a job resident that is ours and was set aside, with the verbs that wait for it.
void LocalRuntime::adopt_own(const JobId& job, std::function<void(Status)> then) {
  arrivals_.read_begins();
  cluster_.verb_reads++;
  on_reader([this, job, then = std::move(then)]() mutable {
    auto stored = std::make_shared<StoredResult>(shared_->read(job.key));
    auto verbs = std::make_shared<Result<std::vector<PendingVerb>>>(
        shared_->pending_verbs(node_, kVerbsPageMax));
    return [this, job, stored, verbs, then = std::move(then)] {
      if (arrivals_.claim_may_bring(job.key)) {
        // The claim that made it ours brings it, and must find nobody who was faster: the job could
        // have ended by then, and would begin anew.
        after(kClaimedRetryMs, [this, job, then] { adopt_own(job, then); });
        end_verb_read();
        arrivals_.read_ends();
        return;
      }
      const bool found = stored->ok() && stored->value().has_value() && !(**stored)->tombstone;
      if (found && verbs->ok() && (**stored)->record.owner == node_) {
        std::vector<Verb> mine;
        for (const PendingVerb& verb : **verbs) {
          if (verb.job == job) mine.push_back(core_verb(verb));
        }
        adopt(
            std::make_shared<const JobRecord>((**stored)->record), [then] { then({}); },
            std::move(mine));
      } else {
        then(Status::unavailable(errors::kStoreFailed, "the job changed hands; try again"));
      }
      end_verb_read();
      arrivals_.read_ends();
    };
  });
}

// Leaves a verb for the node that owns the job; 202 once it is durable.
void LocalRuntime::put_verb(WaiterId waiter, const JobId& job, JobReply reply) {
  auto shown = std::make_shared<JobReply>(std::move(reply));
  on_reader([this, waiter, shown, verb = new_cancel(job)] {
    const Status status = shared_->put_verb(verb);
    return [this, waiter, shown, status] {
      if (!status.ok()) shown->status = status;
      reply_to(waiter, std::move(*shown));
    };
  });
}

}  // namespace millrace
