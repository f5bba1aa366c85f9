#include "engine/worker/output_area.h"

#include <time.h>

#include <algorithm>
#include <cstring>

#include "engine/base/limits.h"

namespace millrace {
namespace {

constexpr uint64_t kGrowthBytesMax = 16 << 20;
constexpr int kRoomTries = 2000;  // times 1 ms, while the server has replies to read

template <typename Visit>
void for_each_piece(CallEnd* end, const Visit& visit) {
  for (CallOutput& output : end->outputs) visit(&output.piece);
  for (CallResult& result : end->results) visit(&result.piece);
}

}  // namespace

void OutputArea::reclaim() {
  const uint64_t consumed = slab_->header().consumed.load(std::memory_order_acquire);
  while (!sent_.empty() && sent_.front().reply <= consumed) {
    for (const Extent& extent : sent_.front().extents) free_.release(extent.offset, extent.size);
    sent_.pop_front();
  }
}

// Makes room for at least one byte behind the piece: lengthens its last extent, or begins another.
bool OutputArea::add_extent(Piece* piece, uint64_t size) {
  const std::lock_guard<std::mutex> lock(mutex_);
  reclaim();
  if (!piece->extents.empty()) {
    Extent& last = piece->extents.back();
    const uint64_t held = RegionAllocator::rounded(last.size);
    if (free_.extend(last.offset, held, last.size + size)) {
      piece->room = RegionAllocator::rounded(last.size + size) - last.size;
      return true;
    }
  }
  // Outputs that are written by turns would else end as thousands of pages.
  const uint64_t wish = std::max(size, std::min(piece->size, kGrowthBytesMax));
  for (const uint64_t bytes : {wish, size}) {
    const uint64_t offset = free_.allocate(bytes);
    if (offset == 0) continue;
    piece->extents.push_back({offset, 0});
    piece->room = RegionAllocator::rounded(bytes);
    return true;
  }
  return false;
}

bool OutputArea::append(Piece* piece, const void* data, uint64_t size) {
  if (piece->extents.empty() && piece->size + size <= kInlineBlobBytesMax) {
    piece->bytes.append(static_cast<const char*>(data), size);
    piece->size += size;
    return true;
  }
  if (piece->extents.empty() && !piece->bytes.empty()) {
    const std::string first = std::move(piece->bytes);
    piece->bytes.clear();
    piece->size = 0;
    piece->bytes.shrink_to_fit();
    if (!add_extent(piece, first.size() + size)) return false;
    memcpy(slab_->at(piece->extents.back().offset), first.data(), first.size());
    piece->extents.back().size = first.size();
    piece->room -= first.size();
    piece->size = first.size();
  }
  const auto* from = static_cast<const uint8_t*>(data);
  for (int tries = 0; size > 0;) {
    if (piece->room == 0 && !add_extent(piece, size)) {
      bool waiting;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        waiting = !sent_.empty();
      }
      if (!waiting || ++tries > kRoomTries) return false;
      const timespec moment{0, 1'000'000};
      nanosleep(&moment, nullptr);
      continue;
    }
    Extent& last = piece->extents.back();
    const uint64_t part = std::min(size, piece->room);
    memcpy(slab_->at(last.offset + last.size), from, part);
    last.size += part;
    piece->room -= part;
    piece->size += part;
    from += part;
    size -= part;
  }
  return true;
}

void OutputArea::finish(CallEnd* end) {
  const bool keep = end->status == MR_OK;
  for_each_piece(end, [&](Piece* piece) {
    if (piece->extents.empty()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    const Extent last = piece->extents.back();
    const uint64_t used = RegionAllocator::rounded(last.size);
    const uint64_t held = last.size + piece->room;
    if (held > used) free_.release(last.offset + used, held - used);
    piece->room = 0;
    if (keep) return;
    for (const Extent& extent : piece->extents) free_.release(extent.offset, extent.size);
    piece->extents.clear();
    piece->size = 0;
  });
}

void OutputArea::sent(uint64_t reply, const CallEnd& end) {
  std::vector<Extent> extents;
  const auto add = [&](const Piece& piece) {
    extents.insert(extents.end(), piece.extents.begin(), piece.extents.end());
  };
  for (const CallOutput& output : end.outputs) add(output.piece);
  for (const CallResult& result : end.results) add(result.piece);
  if (extents.empty()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  sent_.push_back({reply, std::move(extents)});
}

bool OutputArea::tidy(uint64_t keep_bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  reclaim();
  if (!free_.all_free()) return false;
  const uint64_t keep = kSlabOutputAt + keep_bytes;
  if (free_.high() > keep) {
    slab_->forget(keep, free_.high() - keep);
    free_.reset_high(keep);
  }
  return true;
}

}  // namespace millrace
