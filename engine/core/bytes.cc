// Bytes on their way to disk.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "engine/core/state.h"

namespace millrace {

DurationMs engine_backoff(uint32_t failures) {
  CHECK(failures > 0);
  return std::min(kEngineBackoffMs << std::min<uint32_t>(failures - 1, 10), kEngineBackoffMsMax);
}

// Of an upload's bytes: whoever sent them is better told than kept waiting. What was damaged on its
// way will not get better, and a disk that refuses again and again may not either.
static bool is_hopeless(const Status& status, uint32_t failures_before) {
  if (status.number() == errors::kNoSpace || status.code() == Code::kCorrupt) return true;
  return status.number() == errors::kBlobWrite && failures_before >= kPutFailuresOfUploadMax;
}

void Core::State::add_blobs(Job& job, int step, const Value& value) {
  if (!has_blob(value)) return;
  for_each_blob(value, [&](const BlobRef& blob) { add_blob(job, step, blob.content); });
}

// By the job's durable record.
bool Core::State::is_named(const Job& job, const LiveBlob& blob) {
  if (!job.accepted() || blob.step >= kStepsMax) return false;
  return blob.step < 0 || (job.durable_steps & bit(blob.step)) != 0;
}

// Each content is put once, however many values share it.
void Core::State::add_blob(Job& job, int step, const std::shared_ptr<BlobContent>& content) {
  CHECK(content != nullptr);
  for (const LiveBlob& known : job.blobs) {
    if (known.content == content) return;
  }
  LiveBlob& blob = job.blobs.emplace_back();
  blob.content = content;
  blob.step = step;
  count_digest(blob);
  if (!content->durable) put(job, blob);
}

void Core::State::put(Job& job, LiveBlob& blob) {
  CHECK(blob.ticket == 0 && blob.content->bytes.present());
  TicketUse use;
  use.kind = TicketUse::Kind::kJobBlob;
  use.job = &job;
  use.content = blob.content.get();
  blob.ticket = tickets.open(use);
  blob.retry_due = kNever;
  puts_open++;
  emit(PutBytes{blob.ticket, blob.content});
}

void Core::State::count_digest(LiveBlob& blob) {
  if (blob.counted || !blob.content->digest) return;
  blob.counted = true;
  held_digests[*blob.content->digest]++;
}

void Core::State::uncount_digests(Job& job) {
  for (LiveBlob& blob : job.blobs) {
    if (!blob.counted) continue;
    blob.counted = false;
    const auto found = held_digests.find(*blob.content->digest);
    CHECK(found != held_digests.end() && found->second > 0);
    if (--found->second == 0) held_digests.erase(found);
  }
}

void Core::State::on(const BytesDurable& event) {
  TicketUse* use = tickets.find(event.ticket);
  if (use == nullptr || use->kind == TicketUse::Kind::kStep) return;
  const TicketUse what = *use;
  tickets.close(event.ticket);
  puts_open--;
  if (what.kind == TicketUse::Kind::kReplayBlob) {
    const auto found = replays.find(what.replay);
    if (found == replays.end()) return;
    if (!event.status.ok()) {
      replay_failed(what.replay, event.status);
      return;
    }
    for (const Value& input : found->second.inputs) {
      for_each_blob(input, [&](const BlobRef& blob) {
        if (blob.content.get() != what.content) return;
        blob.content->digest = event.digest;
        blob.content->durable = true;
      });
    }
    if (--found->second.puts == 0) replay_known(what.replay);
    return;
  }
  Job& job = *what.job;
  const auto blob = std::find_if(job.blobs.begin(), job.blobs.end(),
                                 [&](const LiveBlob& b) { return b.ticket == event.ticket; });
  CHECK(blob != job.blobs.end());
  blob->ticket = 0;
  if (event.status.ok()) {
    CHECK(!blob->content->digest || *blob->content->digest == event.digest);
    blob->content->digest = event.digest;
    blob->content->durable = true;
    count_digest(*blob);
  } else if (!job.inputs_known && is_hopeless(event.status, blob->failures)) {
    // Only while its record cannot be on its way: what may be accepted any moment is not refused.
    refuse_job(job, event.status);
    return;
  } else {
    COVER("put_failed");
    blob->retry_due = clock.now() + engine_backoff(++blob->failures);
  }
  settle(job);
}

}  // namespace millrace
