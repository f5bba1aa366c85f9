#include "engine/runtime/shared_sweep.h"

#include <algorithm>
#include <set>

#include "engine/base/errors.h"
#include "engine/base/limits_shared.h"
#include "engine/base/log.h"

namespace millrace {
namespace {

constexpr int kSweptRecordsMax = 500;  // by one round

void warn(const char* event, const Status& status) {
  log_event(LogLevel::kWarning, event, {{"error", status.message()}});
}

}  // namespace

void SharedSweep::suspect(const std::vector<Digest>& digests) {
  // Beyond, they are found by their age.
  const size_t room = kOrphansMax - std::min(kOrphansMax, suspects_.size());
  suspects_.insert(suspects_.end(), digests.begin(),
                   digests.begin() + static_cast<ptrdiff_t>(std::min(room, digests.size())));
}

// What cannot be handed over now is handed over later.
void SharedSweep::on_thread(std::function<std::function<void()>()> work) {
  if (means_.threads->run(work)) return;
  means_.after(kRetryLoadMs, [this, work = std::move(work)] { on_thread(work); });
}

// ---- what is garbage

void SharedSweep::begin(const Round& round, std::function<void(Outcome)> done) {
  CHECK(!collecting_ && !draining_);
  collecting_ = true;
  lost_marks_ = lost_marks_ && !round.marks;
  std::vector<Digest> suspects;
  suspects.swap(suspects_);
  on_thread([this, round, suspects = std::move(suspects), done = std::move(done)] {
    auto found = std::make_shared<Found>(collect(round, suspects));
    return [this, found, done] { on_found(std::move(*found), done); };
  });
}

SharedSweep::Found SharedSweep::collect(const Round& round, std::vector<Digest> suspects) const {
  Found found;
  if (round.records) {
    const auto removed = means_.store->sweep(round.wall, kSweptRecordsMax, &found.garbage);
    if (!removed.ok()) warn("store.sweep_failed", removed.status());
    if (removed.ok()) found.removed = *removed;
  }
  if (round.marks) find_left(&found);
  if (round.files_before) find_files(*round.files_before, &suspects, &found);
  for (const Digest& digest : suspects) {
    const auto named = means_.store->seems_named(digest);
    if (!named.ok()) {
      warn("blob.sweep_failed", named.status());
      found.all_files = false;
      break;
    }
    if (!*named) found.garbage.push_back(digest);
  }
  return found;
}

// Marks that nobody looks after: our own of no wave, and those of nodes that are gone.
void SharedSweep::find_left(Found* found) const {
  std::vector<DyingMark> marks;
  for (Digest after; marks.size() < kDyingMax; after = marks.back().digest) {
    const auto page = means_.store->dying_after(after, kMarksPageMax);
    if (!page.ok()) return warn("blob.sweep_failed", page.status());
    marks.insert(marks.end(), page->begin(), page->end());
    if (page->size() < static_cast<size_t>(kMarksPageMax)) break;
  }
  if (marks.empty()) return;
  // After the marks: a node that has set one was there before.
  const auto leases = means_.store->leases();
  if (!leases.ok()) return warn("blob.sweep_failed", leases.status());
  std::set<NodeId> living = {means_.self};
  for (const NodeLease& lease : *leases) {
    if (!lease.departed) living.insert(lease.node);
  }
  std::vector<DyingMark> gone;
  for (const DyingMark& mark : marks) {
    if (mark.by == means_.self) found->marked.push_back(mark.digest);
    if (!living.contains(mark.by)) gone.push_back(mark);
  }
  for (size_t from = 0; from < gone.size(); from += kMarksPageMax) {
    const size_t to = std::min(from + kMarksPageMax, gone.size());
    const auto ours = means_.store->take_over_dying(
        means_.self,
        {gone.begin() + static_cast<ptrdiff_t>(from), gone.begin() + static_cast<ptrdiff_t>(to)});
    if (!ours.ok()) return warn("blob.sweep_failed", ours.status());
    found->marked.insert(found->marked.end(), ours->begin(), ours->end());
  }
}

void SharedSweep::find_files(TimeMs before, std::vector<Digest>* suspects, Found* found) const {
  const uint64_t rounds = means_.blobs->sweep_rounds();
  const auto note = [suspects](const Digest& digest) -> Result<bool> {
    suspects->push_back(digest);
    return true;
  };
  const auto swept = means_.blobs->sweep(before, kMarksPageMax, note);
  if (!swept.ok()) return warn("blob.sweep_failed", swept.status());
  found->all_files = means_.blobs->sweep_rounds() != rounds;
}

// ---- marking

void SharedSweep::on_found(Found found, const std::function<void(Outcome)>& done) {
  const Outcome outcome{found.removed >= kSweptRecordsMax, found.all_files};
  if (found.removed > 0) {
    log_event(LogLevel::kDebug, "store.swept", {{"records", found.removed}});
  }
  std::erase_if(found.marked, [this](const Digest& d) { return under_way_.contains(d); });
  start_wave(std::move(found.marked));
  auto& garbage = found.garbage;
  std::sort(garbage.begin(), garbage.end());
  garbage.erase(std::unique(garbage.begin(), garbage.end()), garbage.end());
  std::erase_if(garbage, [this](const Digest& d) { return under_way_.contains(d); });
  means_.drop_wanted(&garbage);
  const size_t room = kDyingMax - std::min(kDyingMax, under_way_.size());
  if (garbage.size() > room) garbage.resize(room);  // the rest is found by its age
  mark(std::move(garbage), [this, done, outcome] {
    collecting_ = false;
    done(outcome);
  });
}

void SharedSweep::mark(std::vector<Digest> garbage, const std::function<void()>& done) {
  if (garbage.empty() || draining_ || !means_.lease_holds()) return done();
  on_thread([this, garbage = std::move(garbage), done] {
    auto mine = std::make_shared<std::vector<Digest>>();
    bool lost = false;
    for (size_t from = 0; from < garbage.size(); from += kMarksPageMax) {
      const size_t to = std::min(from + kMarksPageMax, garbage.size());
      const auto marked =
          means_.store->mark_dying(means_.self, {garbage.begin() + static_cast<ptrdiff_t>(from),
                                                 garbage.begin() + static_cast<ptrdiff_t>(to)});
      if (!marked.ok()) warn("blob.sweep_failed", marked.status());
      if (marked.ok()) mine->insert(mine->end(), marked->begin(), marked->end());
      lost |= !marked.ok();
    }
    return [this, mine, lost, done] {
      lost_marks_ |= lost;
      start_wave(std::move(*mine));
      done();
    };
  });
}

// ---- a wave

void SharedSweep::start_wave(std::vector<Digest> digests) {
  if (digests.empty()) return;
  log_event(LogLevel::kDebug, "blobs.dying", {{"blobs", digests.size()}});
  under_way_.insert(digests.begin(), digests.end());
  const auto wave = waves_.insert(waves_.end(), Wave{std::move(digests)});
  if (draining_) {
    wave->waiting = false;
    unmark(wave);
    return;
  }
  means_.after(means_.dying_ms, [this, wave, alive = std::weak_ptr(wave->alive)] {
    if (!alive.expired() && wave->waiting) remove(wave);
  });
}

void SharedSweep::drain() {
  draining_ = true;
  suspects_.clear();
  for (auto wave = waves_.begin(); wave != waves_.end(); ++wave) {
    if (!std::exchange(wave->waiting, false)) continue;
    unmark(wave);
  }
}

void SharedSweep::remove(Waves::iterator wave) {
  wave->waiting = false;
  on_thread([this, wave, digests = wave->digests, kept_since = means_.kept_since()] {
    auto over =
        std::make_shared<std::optional<std::vector<Digest>>>(remove_all(digests, kept_since));
    return [this, wave, over] {
      if (over->has_value()) {
        // What is left marked is found again, and waits once more.
        lost_marks_ |= (*over)->size() < wave->digests.size();
        for (const Digest& digest : wave->digests) under_way_.erase(digest);
        wave->digests = std::move(**over);
        under_way_.insert(wave->digests.begin(), wave->digests.end());
        unmark(wave);
      } else if (draining_) {
        unmark(wave);  // nothing was removed
      } else {
        means_.after(kRetryLoadMs, [this, wave] { remove(wave); });
      }
    };
  });
}

// Those whose marks may go; nothing: nobody knows whether the removal has begun, and nothing was
// removed.
std::optional<std::vector<Digest>> SharedSweep::remove_all(const std::vector<Digest>& digests,
                                                           TimeMs kept_since) const {
  std::vector<Digest> over;
  for (size_t from = 0; from < digests.size(); from += kMarksPageMax) {
    const auto begin = digests.begin() + static_cast<ptrdiff_t>(from);
    const auto end =
        digests.begin() + static_cast<ptrdiff_t>(std::min(from + kMarksPageMax, digests.size()));
    auto going = means_.store->begin_removal(means_.self, {begin, end});
    if (!going.ok()) {
      warn("blob.sweep_failed", going.status());
      if (from == 0) return std::nullopt;
      break;
    }
    std::sort(going->begin(), going->end());
    for (auto digest = begin; digest != end; ++digest) {
      const bool ours = std::binary_search(going->begin(), going->end(), *digest);
      if (!ours || remove_one(*digest, kept_since)) over.push_back(*digest);
    }
  }
  return over;
}

// False: it may still go, when a request that got no answer arrives.
bool SharedSweep::remove_one(const Digest& digest, TimeMs kept_since) const {
  bool in_doubt = false;  // about the records, or our lease: then nothing is removed
  const auto named = [&](const Digest& d) -> Result<bool> {
    auto answer = means_.store->names_blob(d);
    if (answer.ok() && !means_.lease_holds()) {
      answer = Status::unavailable(errors::kStoreFailed, "the lease of this node is over");
    }
    in_doubt = !answer.ok();
    return answer;
  };
  if (!means_.lease_holds()) return true;
  const Status status = means_.blobs->remove_shared(digest, named, kept_since);
  if (status.ok()) return true;
  warn("blob.remove_failed", status);
  return in_doubt;
}

// Sent until it is known: who wants one of them waits for it.
void SharedSweep::unmark(Waves::iterator wave) {
  on_thread([this, wave, digests = wave->digests] {
    Status status;
    for (size_t from = 0; from < digests.size() && status.ok(); from += kMarksPageMax) {
      const size_t to = std::min(from + kMarksPageMax, digests.size());
      status =
          means_.store->unmark_dying(means_.self, {digests.begin() + static_cast<ptrdiff_t>(from),
                                                   digests.begin() + static_cast<ptrdiff_t>(to)});
    }
    return [this, wave, status] {
      if (!status.ok()) {
        warn("blob.unmark_failed", status);
        means_.after(kRetryLoadMs, [this, wave] { unmark(wave); });
        return;
      }
      log_event(LogLevel::kDebug, "blobs.swept", {{"blobs", wave->digests.size()}});
      for (const Digest& digest : wave->digests) under_way_.erase(digest);
      waves_.erase(wave);
    };
  });
}

}  // namespace millrace
