#include "tests/runtime/fake_shared_store.h"

namespace millrace {

void FakeSharedStore::answer_renewals(std::vector<Status> answers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  renewal_answers_ = std::move(answers);
}

std::vector<NodeLease> FakeSharedStore::renewals(size_t count) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return renewals_.size() >= count; });
  return renewals_;
}

void FakeSharedStore::name(const Digest& digest, bool is_named) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_named) named_.insert(digest);
  if (!is_named) named_.erase(digest);
}

void FakeSharedStore::add_garbage(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  garbage_.push_back(digest);
}

void FakeSharedStore::add_lease(const NodeLease& lease) {
  const std::lock_guard<std::mutex> lock(mutex_);
  leases_.push_back(lease);
}

std::map<Digest, DyingMark> FakeSharedStore::marks() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return marks_;
}

void FakeSharedStore::lose_answers(int count) {
  const std::lock_guard<std::mutex> lock(mutex_);
  lost_ = count;
}

// ---- SharedStore

Status FakeSharedStore::renew(const NodeLease& lease) {
  const std::lock_guard<std::mutex> lock(mutex_);
  renewals_.push_back(lease);
  changed_.notify_all();
  if (renewal_answers_.empty()) return {};
  const Status answer = renewal_answers_.front();
  renewal_answers_.erase(renewal_answers_.begin());
  return answer;
}

Result<std::vector<NodeLease>> FakeSharedStore::leases() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return leases_;
}

Result<int> FakeSharedStore::sweep(TimeMs /*now*/, int /*max*/, std::vector<Digest>* orphans) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int removed = static_cast<int>(garbage_.size());
  orphans->insert(orphans->end(), garbage_.begin(), garbage_.end());
  garbage_.clear();
  return removed;
}

Result<bool> FakeSharedStore::names_blob(const Digest& digest) {
  if (on_names_blob) on_names_blob();
  return seems_named(digest);
}

Result<bool> FakeSharedStore::seems_named(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return named_.contains(digest);
}

Result<std::vector<Digest>> FakeSharedStore::mark_dying(const NodeId& by,
                                                        const std::vector<Digest>& digests) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Digest> mine;
  for (const Digest& digest : digests) {
    const DyingMark& mark = marks_.try_emplace(digest, DyingMark{digest, by}).first->second;
    if (mark.by == by) mine.push_back(digest);
  }
  return answered(std::move(mine));
}

Result<std::vector<Digest>> FakeSharedStore::take_over_dying(const NodeId& by,
                                                             const std::vector<DyingMark>& marks) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Digest> mine;
  for (const DyingMark& mark : marks) {
    const auto found = marks_.find(mark.digest);
    if (found == marks_.end() || found->second.by != mark.by) continue;
    found->second.by = by;
    mine.push_back(mark.digest);
  }
  return answered(std::move(mine));
}

Result<std::vector<Digest>> FakeSharedStore::begin_removal(const NodeId& by,
                                                           const std::vector<Digest>& digests) {
  if (on_begin_removal) on_begin_removal();
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Digest> mine;
  for (const Digest& digest : digests) {
    const auto found = marks_.find(digest);
    if (found == marks_.end() || found->second.by != by || found->second.wanted) continue;
    found->second.removing = true;
    mine.push_back(digest);
  }
  return answered(std::move(mine));
}

Result<std::vector<Digest>> FakeSharedStore::want_blobs(const std::vector<Digest>& digests) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Digest> removing;
  for (const Digest& digest : digests) {
    const auto found = marks_.find(digest);
    if (found == marks_.end()) continue;
    found->second.wanted = !found->second.removing;
    if (found->second.removing) removing.push_back(digest);
  }
  return answered(std::move(removing));
}

Result<std::vector<DyingMark>> FakeSharedStore::dying_after(const Digest& after, int max) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<DyingMark> page;
  for (auto at = marks_.upper_bound(after); at != marks_.end(); ++at) {
    if (page.size() < static_cast<size_t>(max)) page.push_back(at->second);
  }
  return page;
}

Status FakeSharedStore::unmark_dying(const NodeId& by, const std::vector<Digest>& digests) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const Digest& digest : digests) {
    const auto found = marks_.find(digest);
    if (found != marks_.end() && found->second.by == by) marks_.erase(found);
  }
  return answered(0).status();
}

}  // namespace millrace
