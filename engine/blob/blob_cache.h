// BlobCache: copies of blobs on the local disk, so that what was used lately need not be fetched.
//
// It knows nothing of where blobs come from and promises nothing: a copy may be gone at any time.
// Files are those of FileBlobStore, but never synced: whatever a power loss leaves is found by its
// hash, which is asked once in each process, and dropped. Above the limit the copies that were not
// used for longest go; what is in somebody's hands stays readable. Several processes may share a
// directory; each counts its own part.
//
// Thread-safe.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "engine/blob/file_blob_store.h"

namespace millrace {

class BlobCache {
 public:
  // Makes the directory when it is absent and drops what is above the limit. 0: nothing is kept,
  // but sink() works. E126 with path and reason. [main]
  static Result<std::unique_ptr<BlobCache>> open(const std::string& directory, uint64_t bytes_max);

  // For bytes on their way; what it wrote is kept without a copy by add(). [any]
  std::unique_ptr<BlobSink> sink() { return files_->sink(); }
  // Keeps a copy unless the bytes are larger than the limit or the disk refuses. [blob]
  void add(const Bytes& bytes, const Digest& digest);
  // The bytes, if they are here and those of their name. [any]
  std::optional<Bytes> find(const Digest& digest);
  void drop(const Digest& digest);  // [any]
  uint64_t used_bytes();            // [any]

 private:
  struct Entry {
    Digest digest;
    uint64_t size = 0;
  };
  using Order = std::list<Entry>;

  BlobCache(std::unique_ptr<FileBlobStore> files, uint64_t bytes_max)
      : files_(std::move(files)), bytes_max_(bytes_max) {}
  void adopt_files(const std::string& directory);
  void note_use(const Digest& digest, uint64_t size);
  void make_room();

  const std::unique_ptr<FileBlobStore> files_;
  const uint64_t bytes_max_;
  std::mutex mutex_;  // of all below
  Order order_;       // used last: first
  std::unordered_map<Digest, Order::iterator, DigestHash> known_;
  uint64_t used_bytes_ = 0;
};

}  // namespace millrace
