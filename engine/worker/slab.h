// Slab: memory that the server shares with one worker: a page of state, an area for inputs (the
// server allocates), an area for outputs (the worker allocates).
//
// It is a sparse memfd, far larger than what is ever touched; pages cost nothing until written, and
// are given back by madvise(MADV_REMOVE). The file is sealed against shrinking, so that a worker
// cannot make the server fault. Whatever a worker writes there, the server treats as a hint (state)
// or as opaque bytes (outputs, copied out before use).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>

#include "engine/base/status.h"

namespace millrace {

constexpr uint64_t kSlabHeaderBytes = 64 * 1024;
constexpr uint64_t kSlabInputBytes = uint64_t{1} << 30;
constexpr uint64_t kSlabOutputBytes = uint64_t{2} << 30;
constexpr uint64_t kSlabBytes = kSlabHeaderBytes + kSlabInputBytes + kSlabOutputBytes;
constexpr uint64_t kSlabOutputAt = kSlabHeaderBytes + kSlabInputBytes;
constexpr uint32_t kSlabSlots = 2048;  // calls that one worker may hold
// Of each area, for the next call, in a pause; nothing when there was none for kSlabRestMs.
constexpr uint64_t kSlabKeptBytes = 2 << 20;
constexpr int kSlabRestMs = 1000;

// The life of one call, by a sequence number that is new for each: the server queues it or takes it
// back, the worker begins it, each by one compare-and-swap.
enum class SlotPhase : uint32_t { kQueued = 0, kBegun = 1, kRevoked = 2 };
constexpr uint32_t slot_state(uint32_t sequence, SlotPhase phase) {
  return sequence << 2 | static_cast<uint32_t>(phase);
}

struct SlabSlot {
  std::atomic<uint32_t> state;
  std::atomic<uint32_t> cancel;   // not zero: the step should stop
  std::atomic<int64_t> begun_us;  // monotonic; meaningful once begun
};

struct SlabHeader {
  std::atomic<uint64_t> consumed;        // replies whose outputs the server has copied
  std::atomic<uint32_t> culprit;         // 1 + the slot whose thread died; 0: unknown (io lane)
  std::atomic<uint32_t> refused_call;    // 1 + the system call last refused to the call that runs
  std::atomic<uint32_t> forbidden_call;  // 1 + the system call that the process died of
  std::atomic<uint32_t> memory_full;     // it died when no memory was left
  SlabSlot slots[kSlabSlots];
};
static_assert(sizeof(SlabHeader) <= kSlabHeaderBytes);
static_assert(std::atomic<uint32_t>::is_always_lock_free);

class Slab {
 public:
  // Makes the memfd. Unavailable: no memory or descriptors. [loop]
  static Result<std::unique_ptr<Slab>> create();
  // Maps the one that was received; keeps the descriptor open. [worker]
  static Result<std::unique_ptr<Slab>> map(int descriptor);
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  int descriptor() const { return descriptor_; }
  void close_descriptor();
  SlabHeader& header() { return *reinterpret_cast<SlabHeader*>(data_); }
  uint8_t* at(uint64_t offset) { return data_ + offset; }
  // Gives the pages of a range back to the system; reading it afterwards gives zeros.
  void forget(uint64_t offset, uint64_t size);

 private:
  Slab(int descriptor, uint8_t* data) : descriptor_(descriptor), data_(data) {}
  int descriptor_;
  uint8_t* data_;
};

// Hands out ranges of an area, first fit, in whole pages. One thread at a time.
class RegionAllocator {
 public:
  RegionAllocator(uint64_t begin, uint64_t size) : begin_(begin), size_(size) {
    free_[begin] = size;
  }
  static uint64_t rounded(uint64_t size) { return (size + 4095) & ~uint64_t{4095}; }
  // The offset, or 0 when there is no room. `size` is rounded up to pages; 0 counts as 1.
  uint64_t allocate(uint64_t size);
  void release(uint64_t offset, uint64_t size);
  // Lengthens an allocated range in place if what follows is free.
  bool extend(uint64_t offset, uint64_t size, uint64_t new_size);
  bool all_free() const { return free_.size() == 1 && free_.begin()->second == size_; }
  // The end of what was ever allocated, or, if that is more, what reset_high() was told since.
  uint64_t high() const { return high_; }
  void reset_high(uint64_t high) { high_ = high; }

 private:
  uint64_t begin_;
  uint64_t size_;
  uint64_t high_ = 0;
  std::map<uint64_t, uint64_t> free_;  // offset -> size, never adjacent
};

}  // namespace millrace
