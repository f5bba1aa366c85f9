#include "engine/core/sweeper.h"

#include <cstdlib>

#include "engine/base/cover.h"

namespace millrace {

bool Sweeper::may_sweep(TimeMs wall, int64_t monotonic_ms) {
  const int64_t offset = wall - monotonic_ms;
  if (std::abs(offset - offset_ms_) > kClockJumpMs) {
    COVER("clock_jumped");
    not_before_ms_ = monotonic_ms + kClockJumpMs;
  }
  offset_ms_ = offset;
  return monotonic_ms >= not_before_ms_;
}

void Sweeper::uploaded(const Digest& digest, int64_t monotonic_ms) {
  forget_old(monotonic_ms);
  uploads_[digest] = monotonic_ms;
  upload_order_.emplace_back(monotonic_ms, digest);
  if (upload_order_.size() <= kUploadsKept) return;
  // The oldest is forgotten here; the mark on its file keeps it all the same.
  const auto [told, oldest] = upload_order_.front();
  upload_order_.pop_front();
  const auto found = uploads_.find(oldest);
  if (found != uploads_.end() && found->second == told) uploads_.erase(found);
}

void Sweeper::forget_old(int64_t monotonic_ms) {
  while (!upload_order_.empty() && upload_order_.front().first + grace_ms_ <= monotonic_ms) {
    const auto [told, digest] = upload_order_.front();
    upload_order_.pop_front();
    const auto found = uploads_.find(digest);
    if (found != uploads_.end() && found->second == told) uploads_.erase(found);
  }
}

void Sweeper::drop_wanted(std::vector<Digest>* digests, const Core& core, int64_t monotonic_ms) {
  forget_old(monotonic_ms);
  std::erase_if(*digests, [&](const Digest& digest) {
    if (uploads_.contains(digest)) {
      COVER("upload_kept");
      return true;
    }
    if (!core.holds_blob(digest)) return false;
    COVER("held_blob_kept");
    return true;
  });
}

}  // namespace millrace
