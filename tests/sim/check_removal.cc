// What may be removed, and what its removal must leave behind, judged from outside.
#include "engine/core/sweeper.h"
#include "tests/sim/checkers.h"

namespace millrace::sim {

void Checkers::clock_jumped(DurationMs by_ms, int64_t monotonic_ms) {
  if (std::abs(by_ms) > Sweeper::kClockJumpMs) jumped_at_ms_ = monotonic_ms;
}

void Checkers::sweep_begins(int64_t monotonic_ms) const {
  if (monotonic_ms - jumped_at_ms_ < Sweeper::kClockJumpMs) {
    violated("something expires although the clock has just jumped");
  }
}

void Checkers::job_removed(const JobRecord& record, bool by_client, TimeMs wall) {
  if (!is_final(record.state)) violated("I1: an unfinished job is removed");
  if (!by_client && record.expire_at > wall) violated("I1: a job is removed before its time");
  if (by_client && record.keyed) buried_[record.key] = {record.salt, record.expire_at};
  removed_.insert(record.id());
  std::erase_if(settled_, [&](const auto& settled) { return settled.first == record.key; });
  const auto told = acknowledged_.find(record.key);
  if (told != acknowledged_.end() && told->second == record.salt) acknowledged_.erase(told);
}

void Checkers::expired(TimeMs wall) const {
  for (const auto& [key, job] : store.jobs()) {
    const JobRecord& record = *job.record;
    if (is_final(record.state) && record.expire_at <= wall) {
      violated("job " + key_text(key) + " outlives its retention and a sweep");
    }
  }
  for (const auto& [key, rest] : store.tombstones()) {
    if (rest->expire_at <= wall) violated("a tombstone outlives its retention and a sweep");
  }
}

void Checkers::unnamed_gone() const {
  std::set<Digest> named;
  for (const auto& [key, job] : store.jobs()) {
    const auto names = named_blobs(*job.record);
    named.insert(names.begin(), names.end());
  }
  for (const auto& [digest, blob] : disk) {
    if (!named.contains(digest)) violated("I11: a blob that nobody names outlives its grace");
  }
}

void Checkers::tombstone_removed(const JobKey& key, TimeMs wall) {
  const auto found = buried_.find(key);
  if (found == buried_.end()) violated("a tombstone that nobody left");
  if (found->second.expire_at > wall) violated("a tombstone is removed before its time");
  buried_.erase(found);
}

void Checkers::answered_gone(const JobKey& key) {
  if (!buried_.contains(key)) violated("410 for a key under which nothing was deleted");
}

void Checkers::uploaded(const Digest& digest, int64_t monotonic_ms) {
  if (!disk.contains(digest)) violated("I11: a client is told of a blob that was removed");
  uploads_[digest] = monotonic_ms;
}

void Checkers::blob_removed(const Digest& digest, const BlobRemoval& how) const {
  const auto names = [&](const JobRecord& record) {
    const auto named = named_blobs(record);
    return std::binary_search(named.begin(), named.end(), digest);
  };
  for (const auto& [key, job] : store.jobs()) {
    if (names(*job.record)) violated("I11: a blob is removed that a record names");
  }
  for (const Write& write : *how.batch) {
    if (names(*write.record)) violated("I11: a blob is removed that a batch in flight names");
  }
  if (how.landed) violated("I11: a blob is removed that was just put");
  const auto told = uploads_.find(digest);
  if (told != uploads_.end() && how.monotonic_ms - told->second < how.grace_ms) {
    violated("I11: an upload is removed within its grace");
  }
  if (how.put_before == kNever) return;
  if (disk.at(digest).put_at >= how.put_before) violated("I11: a blob is removed within its grace");
}

}  // namespace millrace::sim
