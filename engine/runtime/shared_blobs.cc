// Blobs of a store that other nodes use too: how they are put, when a batch that names them may be
// sent, how they are removed. The rules are BlobGuard's and SharedSweep's; here they meet the core.
#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/runtime/local_runtime.h"

namespace millrace {
namespace {

constexpr int64_t kSweepEveryMsMin = 1'000;

}  // namespace

void LocalRuntime::begin_shared_blobs() {
  // A removal that got no answer must be over before another node ends it.
  const DurationMs dying_ms =
      std::max(kDyingLeases * options_.lease_ms, 2 * blobs_->removal_ms_max());
  BlobGuard::Means putting;
  putting.blobs = blobs_.get();
  putting.threads = blob_threads_.get();
  putting.want_blobs = [this](const auto& digests) { return shared_->want_blobs(digests); };
  putting.on_reader = [this](BlobGuard::Work work) { on_reader(std::move(work)); };
  putting.after = [this](int64_t delay_ms, std::function<void()> work) {
    after(delay_ms, std::move(work));
  };
  putting.now_us = boot_clock_us;
  guard_ = std::make_unique<BlobGuard>(putting, dying_ms);

  SharedSweep::Means removing;
  removing.store = shared_;
  removing.blobs = blobs_.get();
  removing.threads = blob_threads_.get();
  removing.self = node_;
  removing.dying_ms = dying_ms;
  removing.after = putting.after;
  removing.lease_holds = [this] { return boot_clock_us() < cluster_.keeper->held_until_us(); };
  removing.drop_wanted = [this](std::vector<Digest>* digests) {
    sweeper_->drop_wanted(digests, *core_, monotonic_us() / 1000);
  };
  removing.kept_since = [this] { return sweeper_->garbage_before(wall_clock_ms()); };
  shared_sweep_ = std::make_unique<SharedSweep>(removing);
}

void LocalRuntime::put_bytes(const PutBytes& put) {
  CHECK(put.content->bytes.present());
  const auto on_put = [this, ticket = put.ticket](const Result<Digest>& digest) {
    BytesDurable event{wall_clock_ms(), ticket, {}, digest.ok() ? Status() : digest.status()};
    if (digest.ok()) event.digest = *digest;
    if (!digest.ok()) {
      log_event(LogLevel::kWarning, "blob.put_failed", {{"error", digest.status().message()}});
      if (digest.status().number() == errors::kNoSpace) watch_space();
      if (digest.status().number() == errors::kBlobWrite) watch_blobs();
    }
    note(std::move(event));
  };
  if (guard_ != nullptr) {
    guard_->put(put.content, on_put);
  } else {
    blob_threads_->put(put.content->bytes, on_put);
  }
}

// ---- batches

BlobGuard::Look LocalRuntime::look_at_blobs(const std::vector<Write>& batch) const {
  return guard_->look_at(batch, [this](const JobKey& key) {
    const auto view = core_->view(key);
    return view ? view->record : nullptr;
  });
}

// The batch in flight goes to the writer, once its blobs are sure to be there for long enough.
void LocalRuntime::send_batch() {
  if (guard_ != nullptr) {
    const BlobGuard::Look look = look_at_blobs(in_flight_);
    if (!look.stale.empty()) {
      guard_->secure(look.stale, [this] { send_batch(); });
      return;
    }
    cluster_.batch_good_until_us.store(look.good_until_us, std::memory_order_release);
  }
  cluster_.batch_sent = batches_;
  writer_->submit(in_flight_, [this](const CommitReport& report) { on_committed(report); });
}

// The writer sends a batch in doubt again and again: its blobs are looked after meanwhile.
void LocalRuntime::secure_batch() {
  if (in_flight_.empty() || cluster_.securing || cluster_.batch_sent != batches_) return;
  const int64_t good_until_us = cluster_.batch_good_until_us.load(std::memory_order_relaxed);
  if (boot_clock_us() <= good_until_us) return;
  const BlobGuard::Look look = look_at_blobs(in_flight_);
  if (look.stale.empty()) {
    cluster_.batch_good_until_us.store(look.good_until_us, std::memory_order_release);
    return;
  }
  cluster_.securing = true;
  guard_->secure(look.stale, [this] {
    cluster_.securing = false;
    secure_batch();
  });
}

// When the loop must look at the batch again; monotonic.
int64_t LocalRuntime::batch_deadline_us() const {
  const int64_t good_until_us = cluster_.batch_good_until_us.load(std::memory_order_relaxed);
  if (in_flight_.empty() || cluster_.securing || good_until_us == INT64_MAX) return INT64_MAX;
  return monotonic_us() + std::max<int64_t>(good_until_us - boot_clock_us() + 1'000, 0);
}

// Before anybody counts on these records, their blobs are there to stay.
void LocalRuntime::settle_batch(std::shared_ptr<const CommitReport> report,
                                std::vector<Write> batch) {
  std::vector<Write> applied;
  for (size_t i = 0; i < batch.size(); i++) {
    if (report->results[i] == WriteResult::kApplied) applied.push_back(batch[i]);
  }
  const BlobGuard::Look look = look_at_blobs(applied);
  if (look.stale.empty()) return report_batch(*report, batch);
  guard_->secure(look.stale, [this, report = std::move(report), batch = std::move(batch)] {
    report_batch(*report, batch);
  });
}

// ---- removals

// Old records and files, and what others have left, are one node's to look for; of deleted jobs
// each looks after its own. The marks make it safe that two do.
SharedSweep::Round LocalRuntime::next_round(TimeMs now) {
  SharedSweep::Round round;
  round.wall = now;
  const bool first = cluster_.peers.first();
  round.records = first;
  const int64_t now_us = monotonic_us();
  const int64_t marks_every_us = kDyingLeases * options_.lease_ms * 1000;
  const bool marks_due =
      cluster_.marks_looked_us == 0 || now_us - cluster_.marks_looked_us > marks_every_us;
  if ((first && marks_due) || shared_sweep_->has_lost_marks()) {
    round.marks = true;
    cluster_.marks_looked_us = now_us;
  }
  const TimeMs before = sweeper_->garbage_before(now);
  if (now_us - swept_us_ > (now - before) * 1000) blobs_dirty_ = true;
  if (first && blobs_dirty_) round.files_before = before;
  return round;
}

void LocalRuntime::sweep_shared(TimeMs now, int64_t every) {
  const bool may = sweeper_->may_sweep(now, monotonic_us() / 1000) && !draining_ &&
                   cluster_.told_until_us != 0 && !shared_sweep_->collecting();
  if (!may) {
    after(every, [this] { sweep(); });
    return;
  }
  shared_sweep_->begin(next_round(now), [this, every](const SharedSweep::Outcome& outcome) {
    if (outcome.all_files) {
      blobs_dirty_ = false;
      swept_us_ = monotonic_us();
    }
    const bool more = outcome.more_records || (blobs_dirty_ && cluster_.peers.first());
    after(more ? kSweepEveryMsMin : every, [this] { sweep(); });
  });
}

void LocalRuntime::sweep_suspects() {
  cluster_.suspects_waiting = false;
  if (draining_ || !shared_sweep_->has_suspects()) return;
  if (shared_sweep_->collecting() || cluster_.told_until_us == 0) {
    cluster_.suspects_waiting = true;
    after(kSweepEveryMsMin, [this] { sweep_suspects(); });
    return;
  }
  SharedSweep::Round round;
  round.wall = wall_clock_ms();
  shared_sweep_->begin(round, [](const SharedSweep::Outcome&) {});
}

}  // namespace millrace
