// OutputArea: where a worker's steps write what is too large for a frame: ranges of the slab's
// output area, given free again when the server has copied them.
//
// The server counts the replies that it has read (SlabHeader::consumed); replies are read in the
// order in which they were sent, so no message is needed to free a range. Thread-safe; the bytes
// themselves are written outside its lock.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "engine/plugin/call.h"
#include "engine/worker/slab.h"

namespace millrace {

class OutputArea final : public PieceSink {
 public:
  explicit OutputArea(Slab* slab) : slab_(slab), free_(kSlabOutputAt, kSlabOutputBytes) {}

  // False when the area is full and stays so although the server was given a while to read.
  bool append(Piece* piece, const void* data, uint64_t size) override;

  // The call ended: gives back what the last extents have too much, or everything when it failed.
  void finish(CallEnd* end);
  // Reply number `reply` (counted from 1 in the order of sending) carries the extents of `end`.
  void sent(uint64_t reply, const CallEnd& end);
  // Frees what the server has read; then, when no range is in use, gives the pages beyond the first
  // `keep_bytes` back to the system. False when some are.
  bool tidy(uint64_t keep_bytes);

 private:
  bool add_extent(Piece* piece, uint64_t size);
  void reclaim();

  Slab* slab_;
  std::mutex mutex_;
  RegionAllocator free_;
  struct Sent {
    uint64_t reply;
    std::vector<Extent> extents;
  };
  std::deque<Sent> sent_;
};

}  // namespace millrace
