// SpooledFile: a blob's bytes in a file that has no blob's name yet; FileBlobSink, which fills
// it.
//
// Written front to back and hashed on the way, then mapped. Whoever holds the mapping holds the
// file: when the last Bytes goes, a file that got no name goes with it.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "engine/blob/file_blob_store.h"

namespace millrace {

class SpooledFile {
 public:
  // Takes over `fd`, a file in `folder` open for reading and writing; `temporary` is its name,
  // empty when it has none.
  SpooledFile(FileOps* ops, int fd, std::string folder, std::string temporary);
  ~SpooledFile();
  SpooledFile(const SpooledFile&) = delete;
  SpooledFile& operator=(const SpooledFile&) = delete;

  Status append(std::string_view data);  // [blob]
  // Maps all of `file`, to which nothing is appended any more. [blob]
  static Result<WrittenBlob> seal(const std::shared_ptr<SpooledFile>& file);
  // The file that these bytes are the mapping of; null: of none. [any]
  static SpooledFile* of(const Bytes& bytes);

  const Digest& digest() const { return digest_; }  // once sealed
  // False after a failed sync: what a repeated one says of the bytes proves nothing. [any]
  bool trusted() const { return trusted_.load(std::memory_order_relaxed); }

  // Both with the digest held.
  Status sync(mode_t mode);
  int give_name(const std::string& name);  // 0, or why not as an errno; EEXIST: the name is taken

 private:
  FileOps* const ops_;
  const int fd_;
  const std::string folder_;
  std::string temporary_;
  Sha256 hash_;
  Digest digest_;
  uint64_t size_ = 0;
  const bool unnamed_;
  mode_t synced_mode_ = 0;  // 0: not synced
  std::atomic<bool> trusted_{true};
};

class FileBlobSink final : public BlobSink {
 public:
  explicit FileBlobSink(FileBlobStore* store) : store_(store) {}
  Status append(std::string_view data) override;
  Result<WrittenBlob> finish() override;

 private:
  Status open();

  FileBlobStore* const store_;
  std::shared_ptr<SpooledFile> file_;  // made by the first append()
};

}  // namespace millrace
