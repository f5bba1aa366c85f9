// What the runtime removes: expired records, and blobs that nobody names any more.
#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/runtime/local_runtime.h"

namespace millrace {
namespace {

constexpr int64_t kSweepBatch = 500;
constexpr int64_t kSweepEveryMsMax = 60'000;
constexpr int64_t kSweepEveryMsMin = 1'000;

}  // namespace

// Removes expired records, then the blobs that only they held, as core/sweeper.h says. Once in each
// grace it also looks for files that nobody names.
void LocalRuntime::sweep() {
  const TimeMs now = wall_clock_ms();
  const int64_t every = std::clamp(options_.retention_ms / 10, kSweepEveryMsMin, kSweepEveryMsMax);
  if (shared_ != nullptr) {
    sweep_shared(now, every);
    return;
  }
  if (!sweeper_->may_sweep(now, monotonic_us() / 1000) || no_space_) {
    after(every, [this] { sweep(); });
    return;
  }
  // What was too young for the last one, and what nobody ever named, is garbage by the next.
  const TimeMs before = sweeper_->garbage_before(now);
  if (monotonic_us() - swept_us_ > (now - before) * 1000) blobs_dirty_ = true;
  if (blobs_dirty_ && blobs_->remote()) {
    look_for_garbage(now, every, before);
  } else {
    sweep_store(now, every, blobs_dirty_ ? std::optional(before) : std::nullopt,
                std::make_shared<Suspicion>());
  }
}

// A bucket is looked through on a blob thread: the writer, for which all records wait, must not
// wait for a network.
void LocalRuntime::look_for_garbage(TimeMs now, int64_t every, TimeMs before) {
  const bool asked = blob_threads_->run([this, now, every, before]() -> std::function<void()> {
    auto suspicion = std::make_shared<Suspicion>();
    const uint64_t rounds = blobs_->sweep_rounds();
    const auto swept =
        blobs_->sweep(before, kSweepBatch, [&](const Digest& digest) -> Result<bool> {
          suspicion->digests.push_back(digest);
          return true;
        });
    if (!swept.ok()) {
      log_event(LogLevel::kError, "blob.sweep_failed", {{"error", swept.status().message()}});
    }
    suspicion->round = swept.ok() && blobs_->sweep_rounds() != rounds;
    return [this, now, every, suspicion] { sweep_store(now, every, std::nullopt, suspicion); };
  });
  if (!asked) after(every, [this] { sweep(); });
}

// Expired records go; of the blobs in `suspicion`, and of all files before `before`, those are
// found that no record names.
void LocalRuntime::sweep_store(TimeMs now, int64_t every, std::optional<TimeMs> before,
                               std::shared_ptr<Suspicion> suspicion) {
  on_writer([this, now, every, before, suspicion = std::move(suspicion)] {
    auto unnamed = std::make_shared<std::vector<Digest>>();
    const auto removed = store_->sweep(now, kSweepBatch, unnamed.get());
    size_t garbage = 0;
    bool round = suspicion->round;
    // Only looks: what the core holds is the loop's to say.
    const auto note = [&](const Digest& digest) -> Result<bool> {
      const auto named = store_->names_blob(digest);
      if (named.ok() && !*named && (!before || garbage < kSweepBatch)) {
        unnamed->push_back(digest);
        garbage++;
      }
      return true;
    };
    for (const Digest& digest : suspicion->digests) static_cast<void>(note(digest));
    if (before) {
      const uint64_t rounds = blobs_->sweep_rounds();
      const auto swept = blobs_->sweep(*before, kSweepBatch, note);
      if (!swept.ok()) {
        log_event(LogLevel::kError, "blob.sweep_failed", {{"error", swept.status().message()}});
      }
      round = swept.ok() && blobs_->sweep_rounds() != rounds && garbage < kSweepBatch;
    }
    return [this, removed, unnamed, every, round] {
      if (!removed.ok()) {
        log_event(LogLevel::kError, "store.sweep_failed", {{"error", removed.status().message()}});
      } else if (*removed > 0) {
        log_event(LogLevel::kDebug, "store.swept", {{"records", *removed}});
      }
      drop_orphans(*unnamed);
      if (round) {
        blobs_dirty_ = false;
        swept_us_ = monotonic_us();
      }
      const bool more = (removed.ok() && *removed >= kSweepBatch) || blobs_dirty_;
      after(more ? kSweepEveryMsMin : every, [this] { sweep(); });
    };
  });
}

// Removes those of the blobs that no record names any more and nobody wants.
void LocalRuntime::drop_orphans(std::vector<Digest> orphans) {
  if (shared_ != nullptr) {  // another node may be about to name them
    shared_sweep_->suspect(orphans);
    if (std::exchange(cluster_.suspects_waiting, true)) return;
    after(kSweepEveryMsMin, [this] { sweep_suspects(); });
    return;
  }
  sweeper_->drop_wanted(&orphans, *core_, monotonic_us() / 1000);
  if (orphans.empty()) return;
  // A put that the core has not heard of yet holds its blob as well: what was put since is left.
  on_writer([this, orphans = std::move(orphans), settled_us = blob_threads_->settled_us(),
             since = sweeper_->garbage_before(wall_clock_ms())]() mutable -> std::function<void()> {
    if (blobs_->remote()) {
      std::erase_if(orphans, [this](const Digest& digest) {
        const auto named = store_->names_blob(digest);
        return !named.ok() || *named;
      });
      return [this, orphans = std::move(orphans), settled_us, since] {
        remove_remote(orphans, settled_us, since);
      };
    }
    for (const Digest& digest : orphans) {
      const Status status = blobs_->remove(
          digest, [this](const Digest& d) { return store_->names_blob(d); }, settled_us, since);
      if (!status.ok()) {
        log_event(LogLevel::kWarning, "blob.remove_failed", {{"error", status.message()}});
      }
    }
    return [] {};
  });
}

// On a blob thread, for the writer must not wait for a network. That no record names them was the
// writer's to say, and stays true: who names a stored blob puts its bytes again (core/sweeper.h),
// which is since `settled_us`, or still under way.
void LocalRuntime::remove_remote(std::vector<Digest> orphans, int64_t settled_us, TimeMs since) {
  const auto unnamed = [](const Digest&) -> Result<bool> { return false; };
  const bool asked = blob_threads_->run(
      [this, orphans = std::move(orphans), settled_us, since, unnamed]() -> std::function<void()> {
        for (const Digest& digest : orphans) {
          const Status status = blobs_->remove(digest, unnamed, settled_us, since);
          if (status.ok()) continue;
          // The next ones would fail as well; a later sweep finds them.
          log_event(LogLevel::kWarning, "blob.remove_failed", {{"error", status.message()}});
          break;
        }
        return [] {};
      });
  if (!asked) log_event(LogLevel::kWarning, "blob.remove_put_off", {});
}

}  // namespace millrace
