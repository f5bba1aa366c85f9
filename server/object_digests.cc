#include "server/object_digests.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "engine/base/time.h"

namespace millrace {
namespace {

constexpr size_t kKnownMax = 16'384;
constexpr uint64_t kPieceBytes = 8 << 20;  // hashed in one go: others want the disk as well
constexpr size_t kReadBytes = 256 * 1024;
// A change so shortly after another may leave the same time behind.
constexpr int64_t kSettledMs = 1000;

}  // namespace

FileState FileState::of(const struct stat& info) {
  FileState state;
  state.device = info.st_dev;
  state.inode = info.st_ino;
  state.size = static_cast<uint64_t>(info.st_size);
  state.changed_s = info.st_ctim.tv_sec;
  state.changed_ns = info.st_ctim.tv_nsec;
  return state;
}

struct ObjectDigests::Hashing {
  std::shared_ptr<const void> holder;
  int fd = -1;
  FileState state;
  Sha256 hash;
  uint64_t at = 0;
  bool over = false, unchanged = false;
  std::function<bool()> wanted;
  Done done;

  // Off the loop.
  void read_piece() {
    std::string buffer(kReadBytes, '\0');
    const uint64_t end = std::min(state.size, at + kPieceBytes);
    while (at < end) {
      const size_t size = std::min<uint64_t>(buffer.size(), end - at);
      const ssize_t count = ::pread(fd, buffer.data(), size, static_cast<off_t>(at));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        over = true;
        return;
      }
      hash.update({buffer.data(), static_cast<size_t>(count)});
      at += static_cast<uint64_t>(count);
    }
    over = at == state.size;
    struct stat info {};
    unchanged = ::fstat(fd, &info) == 0 && FileState::of(info) == state;
  }
};

void ObjectDigests::find(const std::shared_ptr<const void>& holder, int fd, const FileState& state,
                         std::function<bool()> wanted, Done done) {
  if (const auto known = known_.find(state); known != known_.end()) {
    done(known->second);
    return;
  }
  auto hashing = std::make_shared<Hashing>();
  hashing->holder = holder;
  hashing->fd = fd;
  hashing->state = state;
  hashing->wanted = std::move(wanted);
  hashing->done = std::move(done);
  go_on(hashing);
}

void ObjectDigests::go_on(const std::shared_ptr<Hashing>& hashing) {
  const bool taken = runtime_->off_loop([this, hashing] {
    hashing->read_piece();
    return [this, hashing] {
      if (!hashing->wanted()) return;
      if (!hashing->over) return go_on(hashing);
      const Digest digest = hashing->hash.finish();
      if (hashing->unchanged) remember(hashing->state, digest);
      hashing->done(digest);
    };
  });
  if (!taken) hashing->done(std::nullopt);
}

void ObjectDigests::remember(const FileState& state, const Digest& digest) {
  const int64_t age_ms = wall_clock_ms() - (state.changed_s * 1000 + state.changed_ns / 1'000'000);
  if (age_ms >= 0 && age_ms < kSettledMs) return;
  // States of files that changed since are found by nobody: at the bound all are let go at once.
  if (known_.size() >= kKnownMax) known_.clear();
  known_.emplace(state, digest);
}

}  // namespace millrace
