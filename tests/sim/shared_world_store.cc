#include "tests/sim/shared_world_store.h"

#include <algorithm>

#include "engine/base/cover.h"

namespace millrace::sim {

// ---- nodes

bool SharedWorldStore::renew(const NodeId& node, const LeaseDoc& says) {
  LeaseDoc& lease = leases[node];
  if (lease.departed) return false;
  lease.counter = std::max(lease.counter, says.counter);
  lease.free_slots = says.free_slots;
  lease.waiting_steps = says.waiting_steps;
  return true;
}

bool SharedWorldStore::give_up(const NodeId& node, uint64_t counter) {
  const auto found = leases.find(node);
  if (found == leases.end()) return false;
  if (found->second.departed) return true;
  if (found->second.counter != counter) {
    COVER("sim_not_given_up");
    return false;
  }
  COVER("sim_given_up");
  found->second.departed = true;
  return true;
}

bool SharedWorldStore::claimable(const NodeId& owner) const {
  if (owner == NodeId{}) return true;
  const auto lease = leases.find(owner);
  return lease == leases.end() || lease->second.departed;
}

// ---- records

std::vector<std::shared_ptr<const JobRecord>> SharedWorldStore::candidates(
    const std::set<NodeId>& also, size_t max) const {
  std::vector<std::shared_ptr<const JobRecord>> found;
  for (const auto& [key, job] : checkers.store.jobs()) {
    const JobRecord& record = *job.record;
    if (is_final(record.state)) continue;
    if (claimable(record.owner) || also.contains(record.owner)) found.push_back(job.record);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a->created_at < b->created_at; });
  if (found.size() > max) found.resize(max);
  return found;
}

int64_t SharedWorldStore::unclaimed() const {
  return static_cast<int64_t>(candidates({}, SIZE_MAX).size());
}

std::vector<JobKey> SharedWorldStore::going_on_at(const NodeId& owner) const {
  std::vector<JobKey> found;
  for (const auto& [key, job] : checkers.store.jobs()) {
    const JobRecord& record = *job.record;
    if (record.owner != owner || is_final(record.state)) continue;
    if (record.state != JobState::kWaiting) found.push_back(key);
  }
  return found;
}

std::shared_ptr<const JobRecord> SharedWorldStore::read(const JobKey& key) const {
  const SimStore::Job* job = checkers.store.find(key);
  return job == nullptr ? nullptr : job->record;
}

WriteResult SharedWorldStore::commit(const Write& write, const NodeId& by, bool coin) {
  const JobRecord& record = *write.record;
  const std::shared_ptr<const JobRecord> stored = read(record.key);
  if (stored != nullptr && stored->write_id == record.write_id) {
    COVER("sim_image_again");
    return WriteResult::kApplied;
  }
  if (write.expected_rev == 0) {
    const auto tombstone = checkers.store.tombstones().find(record.key);
    const bool buried = tombstone != checkers.store.tombstones().end();
    if (stored != nullptr || buried) {
      const Salt& salt = stored != nullptr ? stored->salt : tombstone->second->salt;
      if (salt != record.salt) return WriteResult::kExists;
      COVER("sim_claimed_before_its_answer");
      return coin ? WriteResult::kApplied : WriteResult::kLost;
    }
    if (const auto trace = traces_.find(record.key); trace != traces_.end()) {
      COVER("sim_removed_and_sent_again");
      if (trace->second.salt != record.salt) return WriteResult::kExists;
      return coin ? WriteResult::kApplied : WriteResult::kLost;
    }
    return note_end(record, checkers.apply_write(write));
  }
  if (stored == nullptr) return WriteResult::kLost;
  const bool fits = stored->rev == write.expected_rev && stored->owner == write.expected_owner;
  if (!fits && broken_ != BrokenRule::kFence) {
    COVER("sim_fenced");
    return WriteResult::kLost;
  }
  judge(*stored, write, by);
  return note_end(record, checkers.apply_write(write));
}

WriteResult SharedWorldStore::note_end(const JobRecord& record, WriteResult result) {
  if (result == WriteResult::kApplied && is_final(record.state)) ended_at_[record.key] = now;
  return result;
}

void SharedWorldStore::sweep(TimeMs wall) {
  std::vector<JobKey> expired;
  for (const auto& [key, job] : checkers.store.jobs()) {
    const JobRecord& record = *job.record;
    if (is_final(record.state) && record.expire_at <= wall) expired.push_back(key);
  }
  for (const JobKey& key : expired) {
    const auto record = read(key);
    checkers.store.erase(key);
    forget(*record, false, wall);
  }
  std::vector<JobKey> stones;
  for (const auto& [key, record] : checkers.store.tombstones()) {
    if (record->expire_at <= wall) stones.push_back(key);
  }
  for (const JobKey& key : stones) {
    checkers.store.lose_tombstone(key);
    checkers.tombstone_removed(key, wall);
  }
  std::erase_if(traces_, [this](const auto& trace) { return trace.second.until <= now; });
}

void SharedWorldStore::remove(const JobKey& key) {
  const auto record = read(key);
  if (record == nullptr || !is_final(record->state)) return;
  CHECK(checkers.store.remove(key).ok());
  forget(*record, true, 0);
}

void SharedWorldStore::forget(const JobRecord& record, bool by_client, TimeMs wall) {
  removed_.insert(record.id());
  checkers.job_removed(record, by_client, wall);
  if (broken_ == BrokenRule::kTrace) return;
  const int64_t until = ended_at_.at(record.key) + kTraceMs;
  if (until > now) traces_[record.key] = {record.salt, until};
}

void SharedWorldStore::judge(const JobRecord& stored, const Write& write, const NodeId& by) {
  const JobRecord& record = *write.record;
  if (record.rev != stored.rev + 1) violated("I5: rev does not grow by one");
  if (record.owner != by && record.owner != NodeId{})
    violated("I5: a job is given to another node");
  if (stored.owner != by) {
    // Without that rule the harm itself is waited for.
    const bool told = broken_ != BrokenRule::kGiveUp;
    if (told && !claimable(stored.owner)) violated("I5: a job is taken from a node that may live");
    claimed_[record.key] = ++order_;
  }
  std::set<VerbId> seen;
  for (const VerbId& verb : record.applied_verbs) {
    if (!seen.insert(verb).second) violated("a verb is applied twice");
    const auto& before = stored.applied_verbs;
    if (std::find(before.begin(), before.end(), verb) != before.end()) continue;
    if (!applied_verbs_.insert(verb).second) violated("a verb is applied twice");
  }
}

// ---- verbs

bool SharedWorldStore::put_verb(const Verb& verb) {
  const auto stored = read(verb.job.key);
  if (stored == nullptr || stored->id() != verb.job || is_final(stored->state)) return false;
  verbs.emplace(verb.id, VerbDoc{verb, ++order_});
  return true;
}

std::vector<Verb> SharedWorldStore::verbs_of(const NodeId& owner) {
  std::vector<Verb> found;
  for (auto at = verbs.begin(); at != verbs.end();) {
    const Verb& verb = at->second.verb;
    const auto stored = read(verb.job.key);
    if (stored == nullptr || stored->id() != verb.job || is_final(stored->state)) {
      at = verbs.erase(at);
      continue;
    }
    if (stored->owner == owner) found.push_back(verb);
    ++at;
  }
  return found;
}

std::vector<Verb> SharedWorldStore::verbs_on(const JobKey& key) const {
  std::vector<Verb> found;
  for (const auto& [id, doc] : verbs) {
    if (doc.verb.job.key == key) found.push_back(doc.verb);
  }
  return found;
}

void SharedWorldStore::check_verbs(const JobId& job, const NodeId& at) const {
  const auto claimed = claimed_.find(job.key);
  const auto stored = read(job.key);
  if (claimed == claimed_.end() || stored == nullptr || stored->owner != at) return;
  for (const auto& [id, doc] : verbs) {
    if (doc.verb.job != job || doc.order > claimed->second) continue;
    violated("a step starts although a cancellation was there before its job was claimed");
  }
}

// ---- blobs

bool SharedWorldStore::mark(const NodeId& by, const Digest& digest) {
  Mark& mark = marks.try_emplace(digest, Mark{by}).first->second;
  if (mark.by != by && claimable(mark.by) && broken_ != BrokenRule::kOrphan) {
    COVER("sim_mark_taken_over");
    if (mark.removing) COVER("sim_removal_taken_over");
    mark.by = by;
  }
  return mark.by == by;
}

bool SharedWorldStore::want(const Digest& digest) {
  const auto found = marks.find(digest);
  if (found == marks.end()) return false;
  if (found->second.removing) return true;
  COVER("sim_dying_blob_is_wanted");
  if (broken_ != BrokenRule::kWant) found->second.wanted = true;
  return false;
}

bool SharedWorldStore::begin_removal(const NodeId& by, const Digest& digest) {
  const auto found = marks.find(digest);
  if (found == marks.end() || found->second.by != by || found->second.wanted) return false;
  found->second.removing = true;
  return true;
}

void SharedWorldStore::unmark(const NodeId& by, const Digest& digest) {
  const auto found = marks.find(digest);
  if (found != marks.end() && found->second.by == by) marks.erase(found);
}

bool SharedWorldStore::names(const Digest& digest) const {
  const auto& jobs = checkers.store.jobs();
  return std::any_of(jobs.begin(), jobs.end(), [&](const auto& job) {
    return std::binary_search(job.second.blobs.begin(), job.second.blobs.end(), digest);
  });
}

std::vector<Digest> SharedWorldStore::begin_removals(const NodeId& by, int64_t put_before,
                                                     bool with_marks) {
  std::vector<Digest> found;
  for (const auto& [digest, mark] : marks) {
    if (mark.by == by || claimable(mark.by)) found.push_back(digest);
  }
  for (const auto& [digest, blob] : checkers.disk) {
    if (blob.put_at < put_before && !marks.contains(digest) && !names(digest)) {
      found.push_back(digest);
    }
  }
  if (with_marks) {
    std::erase_if(found, [&](const Digest& digest) { return !mark(by, digest); });
  }
  return found;
}

void SharedWorldStore::remove_blob(const Digest& digest) {
  for (const auto& [key, job] : checkers.store.jobs()) {
    if (!std::binary_search(job.blobs.begin(), job.blobs.end(), digest)) continue;
    if (checkers.is_settled(key, digest)) violated("I11: a blob is removed that a record names");
    COVER("sim_named_while_removed");  // by a record that nobody counts on yet
  }
  COVER("sim_shared_blob_removed");
  checkers.disk.erase(digest);
}

}  // namespace millrace::sim
