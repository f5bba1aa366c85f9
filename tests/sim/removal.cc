// Moves that remove: clients delete, time expires, garbage is swept. The host's half of the
// protocol in engine/core/sweeper.h, with the writer as the one place where anything goes.
#include <algorithm>

#include "engine/base/cover.h"
#include "tests/sim/pipelines.h"
#include "tests/sim/words.h"
#include "tests/sim/world.h"

namespace millrace::sim {
namespace {

constexpr int kSweptRecordsMax = 1000;  // more than a world has

}  // namespace

// ---- clients

// Bytes that jobs will use as well, put on their own.
bool World::upload() {
  const Graph& graph = *pipelines()[random_.below(kLightPipelines)];
  const std::string bytes = upload_bytes(graph, static_cast<int>(random_.below(4)));
  const Digest digest = sha256(bytes);
  if (full_disk_ || uploads_.size() >= 8) return false;
  land(digest);
  uploads_.push_back({digest, puts_landed_});
  return true;
}

bool World::upload_told() {
  if (uploads_.empty()) return false;
  const Digest digest = uploads_.front().digest;
  uploads_.erase(uploads_.begin());
  sweeper_->uploaded(digest, monotonic_);
  checkers_.uploaded(digest, monotonic_);
  return true;
}

bool World::delete_job() {
  std::vector<JobKey> ended;
  for (const auto& [key, job] : checkers_.store.jobs()) {
    if (is_final(job.record->state) && !machine_.core().resident(key)) ended.push_back(key);
  }
  if (ended.empty()) return false;
  const JobKey key = ended[random_.below(ended.size())];
  const SimStore::Job job = *checkers_.store.find(key);
  if (!checkers_.store.remove(key).ok()) violated("an ended job cannot be deleted");
  checkers_.job_removed(*job.record, true, now_);
  if (options_.broken == Broken::kTombstone) checkers_.store.lose_tombstone(key);
  std::vector<Digest> orphans;
  for (const Digest& digest : job.blobs) {
    if (!names_blob(digest)) orphans.push_back(digest);
  }
  drop_orphans(std::move(orphans), kNever);
  return true;
}

// ---- the sweeper

bool World::sweep_records() {
  if (!sweeper_->may_sweep(now_, monotonic_)) return false;
  checkers_.sweep_begins(monotonic_);
  SimStore& store = checkers_.store;
  std::vector<std::shared_ptr<const JobRecord>> jobs;
  std::vector<JobKey> tombstones;
  for (const auto& [key, job] : store.jobs()) jobs.push_back(job.record);
  for (const auto& [key, rest] : store.tombstones()) tombstones.push_back(key);
  std::vector<Digest> orphans;
  const int swept = *store.sweep(now_, kSweptRecordsMax, &orphans);
  int gone = 0;
  for (const auto& record : jobs) {
    if (store.find(record->key) != nullptr) continue;
    checkers_.job_removed(*record, false, now_);
    gone++;
  }
  for (const JobKey& key : tombstones) {
    if (store.tombstones().contains(key)) continue;
    checkers_.tombstone_removed(key, now_);
    gone++;
  }
  if (swept != gone) violated("a sweep counts other records than those that went");
  drop_orphans(std::move(orphans), kNever);
  return swept > 0;
}

bool World::sweep_garbage() {
  if (!sweeper_->may_sweep(now_, monotonic_)) return false;
  checkers_.sweep_begins(monotonic_);
  const TimeMs before = sweeper_->garbage_before(now_);
  std::vector<Digest> garbage;
  for (const auto& [digest, blob] : checkers_.disk) {
    if (blob.put_at < before && !names_blob(digest)) garbage.push_back(digest);
  }
  drop_orphans(std::move(garbage), now_ - grace_ms_);
  return true;
}

// The loop looks; the writer, which may have a batch before it, removes later.
void World::drop_orphans(std::vector<Digest> digests, TimeMs put_before) {
  sweeper_->drop_wanted(&digests, machine_.core(), monotonic_);
  if (digests.empty()) return;
  removals_.push_back({std::move(digests), settled(), put_before, batches_collected_});
}

// The writer comes to a removal, unless a batch is before it.
bool World::remove_blobs() {
  if (removals_.empty()) return false;
  if (!batch_.empty() && removals_.front().after_batch == batches_collected_) return false;
  const Removal removal = std::move(removals_.front());
  removals_.pop_front();
  for (const Digest& digest : removal.digests) {
    const auto blob = checkers_.disk.find(digest);
    if (blob == checkers_.disk.end()) continue;
    if (names_blob(digest)) continue;
    if (blob->second.order > removal.settled && options_.broken != Broken::kRace) {
      COVER("sim_put_meets_its_removal");
      continue;
    }
    const auto is_it = [&](const Landed& landed) { return landed.digest == digest; };
    bool landed = std::any_of(uploads_.begin(), uploads_.end(), is_it);
    for (const auto& [ticket, put] : landed_) landed |= is_it(put);
    checkers_.blob_removed(digest, {removal.put_before, &batch_, landed, grace_ms_, monotonic_});
    COVER("sim_blob_removed");
    checkers_.disk.erase(blob);
  }
  return true;
}

// At rest, time goes on: one sweep takes every job that ended, and another whatever only those
// named. A core that still held a blob, or a sweeper that never ended its pause, would show here.
void World::outlive_retention() {
  sweep_records();  // the sweeper notices a clock that was set
  TimeMs last = now_ + Sweeper::kClockJumpMs;
  for (const auto& [key, job] : checkers_.store.jobs()) {
    last = std::max(last, job.record->expire_at);
  }
  for (const auto& [key, rest] : checkers_.store.tombstones()) {
    last = std::max(last, rest->expire_at);
  }
  // Of a file, too, that is younger than the time is now: a clock was set back.
  for (const auto& [digest, blob] : checkers_.disk) last = std::max(last, blob.put_at);
  advance_to(last);
  sweep_records();
  checkers_.expired(now_);
  advance(grace_ms_ + 1);
  sweep_garbage();
  while (remove_blobs()) continue;
  checkers_.unnamed_gone();
}

// Puts up to here are known to whoever asked for them.
uint64_t World::settled() const {
  uint64_t settled = puts_landed_;
  for (const auto& [ticket, put] : landed_) settled = std::min(settled, put.order - 1);
  for (const Landed& upload : uploads_) settled = std::min(settled, upload.order - 1);
  return settled;
}

}  // namespace millrace::sim
