// Moves that remove: clients delete, time expires, garbage is swept. The host's half of the
// protocol in engine/core/sweeper.h, with the writer as the one place where anything goes.
#include <algorithm>

#include "engine/base/cover.h"
#include "tests/sim/pipelines.h"
#include "tests/sim/world.h"

namespace millrace::sim {

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
  for (const auto& [key, job] : checkers_.store) {
    if (is_final(job.record->state) && !machine_.core().resident(key)) ended.push_back(key);
  }
  if (ended.empty()) return false;
  std::vector<Digest> orphans;
  remove_record(ended[random_.below(ended.size())], true, &orphans);
  drop_orphans(std::move(orphans), kNever);
  return true;
}

// ---- the sweeper

bool World::sweep_records() {
  if (!sweeper_->may_sweep(now_, monotonic_)) return false;
  checkers_.sweep_begins(monotonic_);
  std::vector<JobKey> expired;
  for (const auto& [key, job] : checkers_.store) {
    if (is_final(job.record->state) && job.record->expire_at <= now_) expired.push_back(key);
  }
  std::vector<Digest> orphans;
  for (const JobKey& key : expired) remove_record(key, false, &orphans);
  drop_orphans(std::move(orphans), kNever);
  return std::erase_if(checkers_.tombstones,
                       [this](const auto& tombstone) {
                         if (tombstone.second.expire_at > now_) return false;
                         checkers_.tombstone_removed(tombstone.first, now_);
                         return true;
                       }) > 0 ||
         !expired.empty();
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

void World::remove_record(const JobKey& key, bool by_client, std::vector<Digest>* orphans) {
  const std::shared_ptr<const JobRecord> record = checkers_.store.at(key).record;
  checkers_.job_removed(key, by_client, now_);
  checkers_.store.erase(key);
  if (by_client && record->keyed && options_.broken != Broken::kTombstone) {
    checkers_.tombstones[key] = {record->salt, record->expire_at};
  }
  for (const Digest& digest : named_blobs(*record)) {
    if (!names_blob(digest)) orphans->push_back(digest);
  }
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

bool World::names_blob(const Digest& digest) const {
  for (const auto& [key, job] : checkers_.store) {
    const auto named = named_blobs(*job.record);
    if (std::binary_search(named.begin(), named.end(), digest)) return true;
  }
  return false;
}

// Puts up to here are known to whoever asked for them.
uint64_t World::settled() const {
  uint64_t settled = puts_landed_;
  for (const auto& [ticket, put] : landed_) settled = std::min(settled, put.order - 1);
  for (const Landed& upload : uploads_) settled = std::min(settled, upload.order - 1);
  return settled;
}

}  // namespace millrace::sim
