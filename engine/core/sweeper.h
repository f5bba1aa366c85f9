// Sweeper: when stored things may be removed, and which blobs of those that no record names.
//
// A blob is wanted when a record names it, when the core holds it (it may be in a record that is on
// its way, or will be), when somebody has just put it and the core has not heard of it, or when a
// client was told its digest and may still use it. The first is the store's to say, at the moment
// of removal; the second and the last are asked here, on the loop; between the two the blob store
// leaves what was put since. So every removal goes the same way:
//
//   loop    may_sweep(), then over to the writer
//   writer  Store::sweep or Store::remove, or a look for files older than garbage_before()
//   loop    drop_wanted() of what the writer found, and the time up to which puts are settled
//   writer  BlobStore::remove of the rest, which asks Store::names_blob with the blob held
//
// Nobody may hand the core a blob as durable that it has only read: whoever names a stored blob
// puts its bytes again, and that renews its age.
//
// Thread: the loop.
#pragma once

#include <deque>
#include <unordered_map>
#include <vector>

#include "engine/core/core.h"

namespace millrace {

class Sweeper {
 public:
  // After a jump of the wall clock by more than this nothing is swept for as long: a wrong clock
  // must not expire everything.
  static constexpr DurationMs kClockJumpMs = 3'600'000;
  static constexpr size_t kUploadsKept = 1 << 16;

  // Times are the wall clock's; `monotonic_ms` those of a clock that never jumps.
  Sweeper(DurationMs grace_ms, TimeMs wall, int64_t monotonic_ms)
      : grace_ms_(grace_ms), offset_ms_(wall - monotonic_ms) {}

  // Asked before each sweep. False: the clock has jumped lately.
  bool may_sweep(TimeMs wall, int64_t monotonic_ms);

  // A file last put before this, and named by nobody, is garbage.
  TimeMs garbage_before(TimeMs wall) const { return wall - grace_ms_; }

  // A client is being told this digest, and that the blob is stored. It may name it in a job until
  // the grace is over, also when a job that held the same bytes goes before. (A restart forgets
  // this; the age of the file still counts.)
  void uploaded(const Digest& digest, int64_t monotonic_ms);

  // Leaves those that nobody wants.
  void drop_wanted(std::vector<Digest>* digests, const Core& core, int64_t monotonic_ms);

 private:
  void forget_old(int64_t monotonic_ms);

  const DurationMs grace_ms_;
  int64_t offset_ms_;  // wall clock minus monotonic clock, when last asked
  int64_t not_before_ms_ = INT64_MIN;
  std::unordered_map<Digest, int64_t, DigestHash> uploads_;  // when last told
  std::deque<std::pair<int64_t, Digest>> upload_order_;
};

}  // namespace millrace
