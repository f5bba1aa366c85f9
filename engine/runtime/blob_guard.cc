#include "engine/runtime/blob_guard.h"

#include <algorithm>
#include <set>

#include "engine/base/errors.h"
#include "engine/base/log.h"

namespace millrace {
namespace {

constexpr size_t kContentsBeforeCleaning = 8;

Status too_many() {
  return Status::busy(errors::kOutOfMemoryBudget,
                      "too many blobs wait for their place; try again later");
}

}  // namespace

void BlobGuard::put(std::shared_ptr<BlobContent> content, Done done) {
  CHECK(content != nullptr && content->bytes.present());
  auto put = std::make_shared<Putting>();
  put->bytes = content->bytes;
  put->content = std::move(content);
  put->done = std::move(done);
  begin(std::move(put));
}

void BlobGuard::put_kept(Bytes bytes, Done done) {
  auto put = std::make_shared<Putting>();
  put->bytes = std::move(bytes);
  put->keep = true;
  put->done = std::move(done);
  begin(std::move(put));
}

// ---- one put

void BlobGuard::begin(std::shared_ptr<Putting> put) {
  if (!put->bytes.present()) return ask(std::move(put));
  const auto on_put = [this, put](const Result<Digest>& digest) {
    if (!digest.ok()) return put->done(digest.status());
    put->digest = *digest;
    ask(put);
  };
  means_.threads->put(put->bytes, on_put, put->keep);
}

void BlobGuard::ask(std::shared_ptr<Putting> put) {
  waiting_.push_back(std::move(put));
  ask_soon();
}

void BlobGuard::ask_soon() {
  if (asking_ || waiting_.empty()) return;
  asking_ = true;
  std::set<Digest> digests;
  std::vector<std::shared_ptr<Putting>> asked;
  while (!waiting_.empty() && digests.size() < static_cast<size_t>(kMarksPageMax)) {
    digests.insert(waiting_.front()->digest);
    asked.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  // Before the call: the answer is true from some moment after it.
  means_.on_reader([this, asked = std::move(asked), asked_us = means_.now_us(),
                    of = std::vector<Digest>(digests.begin(), digests.end())] {
    auto removing = std::make_shared<Result<std::vector<Digest>>>(means_.want_blobs(of));
    return [this, asked, asked_us, removing] { on_answer(asked, asked_us, *removing); };
  });
}

void BlobGuard::on_answer(std::vector<std::shared_ptr<Putting>> asked, int64_t asked_us,
                          const Result<std::vector<Digest>>& removing) {
  asking_ = false;
  if (!removing.ok()) {  // waited out, as all our own troubles
    log_event(LogLevel::kWarning, "blob.want_failed", {{"error", removing.status().message()}});
    for (auto at = asked.rbegin(); at != asked.rend(); ++at) waiting_.push_front(std::move(*at));
    asking_ = true;
    means_.after(kRetryLoadMs, [this] {
      asking_ = false;
      ask_soon();
    });
    return;
  }
  for (auto& put : asked) {
    const bool goes = std::find(removing->begin(), removing->end(), put->digest) != removing->end();
    if (goes) {
      means_.after(kMarkPollMs, [this, put] { begin(put); });
    } else {
      look_for(put, asked_us);
    }
  }
  ask_soon();
}

void BlobGuard::look_for(const std::shared_ptr<Putting>& put, int64_t asked_us) {
  const bool taken = means_.threads->run([this, put, asked_us]() -> std::function<void()> {
    auto there = std::make_shared<Result<bool>>(means_.blobs->still_there(put->digest));
    return [this, put, asked_us, there] {
      if (!there->ok()) return put->done(there->status());
      if (!**there && put->bytes.present()) return begin(put);
      if (!**there) {
        log_event(LogLevel::kError, "blob.lost", {{"digest", put->digest.text()}});
      }
      if (put->content != nullptr) remember(*put, asked_us);
      put->done(put->digest);
    };
  });
  if (!taken) put->done(too_many());
}

// ---- what records may name

void BlobGuard::remember(const Putting& put, int64_t asked_us) {
  const auto [at, is_new] = fresh_.try_emplace(put.digest);
  if (is_new) order_.push_back(put.digest);
  Fresh& fresh = at->second;
  fresh.wanted_us = std::max(fresh.wanted_us, asked_us);
  const auto gone = [](const auto& content) { return content.expired(); };
  const auto same = [&put](const auto& content) { return content.lock() == put.content; };
  if (std::any_of(fresh.contents.begin(), fresh.contents.end(), same)) return;
  if (fresh.contents.size() >= kContentsBeforeCleaning) std::erase_if(fresh.contents, gone);
  fresh.contents.push_back(put.content);
  forget_some();
}

// Two looked at for each one more: those that nobody holds never get to be many.
void BlobGuard::forget_some() {
  for (int i = 0; i < 2 && !order_.empty(); i++) {
    const Digest digest = order_.front();
    order_.pop_front();
    const auto found = fresh_.find(digest);
    CHECK(found != fresh_.end());
    const auto& contents = found->second.contents;
    if (std::all_of(contents.begin(), contents.end(), [](const auto& c) { return c.expired(); })) {
      fresh_.erase(found);
    } else {
      order_.push_back(digest);
    }
  }
}

BlobGuard::Look BlobGuard::look_at(const std::vector<Write>& batch, const Durable& durable) const {
  Look look;
  const int64_t now = means_.now_us();
  for (const Write& write : batch) {
    std::vector<Digest> before;
    bool before_known = false;
    for (const Digest& digest : named_blobs(*write.record)) {
      const auto found = fresh_.find(digest);
      if (found == fresh_.end()) continue;
      if (!before_known) {
        const auto record = durable(write.record->key);
        if (record != nullptr) before = named_blobs(*record);
        before_known = true;
      }
      if (std::binary_search(before.begin(), before.end(), digest)) continue;
      const int64_t good_until = found->second.wanted_us + dying_ms_ * 1000 / 2;
      if (good_until < now) look.stale.push_back(digest);
      look.good_until_us = std::min(look.good_until_us, good_until);
    }
  }
  std::sort(look.stale.begin(), look.stale.end());
  look.stale.erase(std::unique(look.stale.begin(), look.stale.end()), look.stale.end());
  return look;
}

void BlobGuard::secure(const std::vector<Digest>& digests, std::function<void()> done) {
  CHECK(!digests.empty());
  auto missing = std::make_shared<size_t>(digests.size());
  for (const Digest& digest : digests) {
    insist(digest, [missing, done] {
      if (--*missing == 0) done();
    });
  }
}

void BlobGuard::insist(const Digest& digest, std::function<void()> done) {
  auto put = std::make_shared<Putting>();
  put->digest = digest;
  const auto found = fresh_.find(digest);
  if (found != fresh_.end()) {
    for (const auto& weak : found->second.contents) {
      const auto content = weak.lock();
      if (content == nullptr) continue;
      put->content = content;
      put->bytes = content->bytes;
      if (put->bytes.present()) break;
    }
  }
  put->done = [this, digest, done = std::move(done)](const Result<Digest>& secured) {
    if (secured.ok()) return done();
    log_event(LogLevel::kWarning, "blob.put_failed", {{"error", secured.status().message()}});
    means_.after(kRetryLoadMs, [this, digest, done] { insist(digest, done); });
  };
  begin(std::move(put));
}

}  // namespace millrace
