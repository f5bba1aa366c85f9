#include "engine/worker/slab.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/base/errors.h"

namespace millrace {
namespace {

Status failed(const char* what) {
  return Status::unavailable(
      errors::kWorkersUnavailable,
      fmt::format("the memory shared with a worker: {}: {}", what, strerror(errno)));
}

}  // namespace

Result<std::unique_ptr<Slab>> Slab::create() {
  const int descriptor = memfd_create("millrace-slab", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return failed("memfd_create");
  if (ftruncate(descriptor, static_cast<off_t>(kSlabBytes)) != 0 ||
      fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const Status status = failed("sizing and sealing it");
    close(descriptor);
    return status;
  }
  auto slab = map(descriptor);
  if (!slab.ok()) close(descriptor);
  return slab;
}

Result<std::unique_ptr<Slab>> Slab::map(int descriptor) {
  void* data = mmap(nullptr, kSlabBytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (data == MAP_FAILED) return failed("mmap");
  return std::unique_ptr<Slab>(new Slab(descriptor, static_cast<uint8_t*>(data)));
}

Slab::~Slab() {
  munmap(data_, kSlabBytes);
  close_descriptor();
}

void Slab::close_descriptor() {
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = -1;
}

void Slab::forget(uint64_t offset, uint64_t size) {
  const uint64_t begin = RegionAllocator::rounded(offset);
  const uint64_t end = (offset + size) & ~uint64_t{4095};
  if (begin < end) madvise(data_ + begin, end - begin, MADV_REMOVE);
}

uint64_t RegionAllocator::allocate(uint64_t size) {
  const uint64_t bytes = rounded(std::max<uint64_t>(size, 1));
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < bytes) continue;
    const uint64_t offset = it->first;
    const uint64_t left = it->second - bytes;
    free_.erase(it);
    if (left > 0) free_[offset + bytes] = left;
    high_ = std::max(high_, offset + bytes);
    return offset;
  }
  return 0;
}

void RegionAllocator::release(uint64_t offset, uint64_t size) {
  const uint64_t bytes = rounded(std::max<uint64_t>(size, 1));
  auto next = free_.lower_bound(offset);
  CHECK(offset >= begin_ && (next == free_.end() || offset + bytes <= next->first));
  auto it = free_.emplace_hint(next, offset, bytes);
  if (next != free_.end() && it->first + it->second == next->first) {
    it->second += next->second;
    free_.erase(next);
  }
  if (it != free_.begin()) {
    auto previous = std::prev(it);
    CHECK(previous->first + previous->second <= offset);
    if (previous->first + previous->second == offset) {
      previous->second += it->second;
      free_.erase(it);
    }
  }
}

bool RegionAllocator::extend(uint64_t offset, uint64_t size, uint64_t new_size) {
  const uint64_t old_bytes = rounded(std::max<uint64_t>(size, 1));
  const uint64_t new_bytes = rounded(new_size);
  if (new_bytes <= old_bytes) return true;
  const auto it = free_.find(offset + old_bytes);
  const uint64_t more = new_bytes - old_bytes;
  if (it == free_.end() || it->second < more) return false;
  const uint64_t left = it->second - more;
  free_.erase(it);
  if (left > 0) free_[offset + new_bytes] = left;
  high_ = std::max(high_, offset + new_bytes);
  return true;
}

}  // namespace millrace
