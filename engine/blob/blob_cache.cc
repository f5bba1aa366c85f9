#include "engine/blob/blob_cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

namespace millrace {
namespace {

// A copy that a power loss takes or damages is fetched again.
class UnsyncedOps final : public FileOps {
 public:
  int fsync(int /*fd*/) override { return 0; }
};

FileOps* unsynced_ops() {
  static UnsyncedOps ops;
  return &ops;
}

}  // namespace

Result<std::unique_ptr<BlobCache>> BlobCache::open(const std::string& directory,
                                                   uint64_t bytes_max) {
  auto files = FileBlobStore::open(directory, unsynced_ops());
  if (!files.ok()) return files.status();
  std::unique_ptr<BlobCache> cache(new BlobCache(std::move(*files), bytes_max));
  cache->adopt_files(directory);
  return cache;
}

// The times of the files say in which order they were used.
void BlobCache::adopt_files(const std::string& directory) {
  struct Found {
    Entry entry;
    int64_t used_ns = 0;
  };
  std::vector<Found> found;
  std::error_code error;
  for (const auto& folder : std::filesystem::directory_iterator(directory, error)) {
    for (const auto& file : std::filesystem::directory_iterator(folder.path(), error)) {
      const auto digest = Digest::parse("sha256:" + file.path().filename().string());
      struct stat info {};
      if (!digest || ::stat(file.path().c_str(), &info) != 0) continue;
      found.push_back({{*digest, static_cast<uint64_t>(info.st_size)},
                       int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec});
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.used_ns < b.used_ns; });
  for (const Found& one : found) note_use(one.entry.digest, one.entry.size);
}

void BlobCache::note_use(const Digest& digest, uint64_t size) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = known_.find(digest);
    if (known != known_.end()) {
      order_.splice(order_.begin(), order_, known->second);
      return;
    }
    order_.push_front({digest, size});
    known_.emplace(digest, order_.begin());
    used_bytes_ += size;
  }
  make_room();
}

void BlobCache::make_room() {
  for (;;) {
    Digest oldest;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (used_bytes_ <= bytes_max_) return;
      oldest = order_.back().digest;
    }
    drop(oldest);
  }
}

void BlobCache::drop(const Digest& digest) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = known_.find(digest);
    if (known != known_.end()) {
      used_bytes_ -= known->second->size;
      order_.erase(known->second);
      known_.erase(known);
    }
  }
  ::unlink(files_->path(digest).c_str());
}

void BlobCache::add(const Bytes& bytes, const Digest& digest) {
  if (bytes.size() > bytes_max_) return;
  if (files_->put(bytes).ok()) note_use(digest, bytes.size());
}

std::optional<Bytes> BlobCache::find(const Digest& digest) {
  if (bytes_max_ == 0) return std::nullopt;
  auto bytes = files_->read(digest);
  if (!bytes.ok()) {
    // Gone, or not what it was; of another process's copy nothing is known here.
    drop(digest);
    return std::nullopt;
  }
  note_use(digest, bytes->size());
  unsynced_ops()->touch(files_->path(digest).c_str());
  return *std::move(bytes);
}

uint64_t BlobCache::used_bytes() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return used_bytes_;
}

}  // namespace millrace
