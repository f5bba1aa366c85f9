// FileBlobStore: immutable blobs as files named by the SHA-256 of their bytes.
//
// It knows nothing of jobs. A file that no record names is garbage after a grace period; sweep()
// removes it. Several processes may share a directory: it takes no lock on it, and temporary names
// carry an id of this store.
//
//   DIR/ab/ab34…   a blob (64 digits), read-only; sticky when it was put to be kept
//   DIR/tmp/ID-7   a blob being written, where the file system has no unnamed files; ID.alive is
//                  locked as long as their writer lives
//
// (A file in tmp may also be a blob on its way out: see remove_shared().)
//
// What a sink() wrote is such a file too, unnamed where possible, and a put of it starts at its
// sync.
//
// The order of a put: write, sync the file, give it its name, sync the directory. So a file under
// its name always has all its bytes, but the name may still be lost: a file that is found counts as
// durable only after this process has synced file and directory once itself (remembered for the
// newest kDurableBlobsKept), and its bytes count only after this process has hashed them once. A
// sync that failed proves nothing when it is repeated: that blob is written anew instead.
//
// A file that is mapped was hashed by read() before: a page that the disk does not give back is an
// error there, and SIGBUS in a map.
//
// Errors: a put that fails leaves no temporary file and no wrong bytes under any name; the store
// goes on.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "engine/blob/blob_store.h"
#include "engine/blob/file_ops.h"
#include "engine/blob/put_book.h"

namespace millrace {

constexpr int kSweepFilesMax = 4096;  // looked at by one sweep()
constexpr mode_t kBlobMode = 0444, kKeptBlobMode = 01444;

class FileBlobStore final : public BlobStore {
 public:
  // Opens `directory`, creating it if absent; removes temporary files whose owner is gone or that
  // are older than a day. E126 with path and reason. [main]
  static Result<std::unique_ptr<FileBlobStore>> open(const std::string& directory,
                                                     FileOps* ops = system_file_ops());
  ~FileBlobStore() override;

  std::unique_ptr<BlobSink> sink() override;
  Result<Digest> put(const Bytes& bytes, bool keep = false) override;
  Result<Bytes> read(const Digest& digest, bool verify = false) override;
  Result<uint64_t> size(const Digest& digest) override;
  std::string path(const Digest& digest) const override;
  Result<bool> still_there(const Digest& digest) override;
  bool verified(const Digest& digest) override;
  // Goes once around the directories at most, and ends after the one in which kSweepFilesMax files
  // were looked at; the next sweep goes on there.
  Result<int> sweep(TimeMs before, int max,
                    const std::function<Result<bool>(const Digest&)>& named) override;
  uint64_t sweep_rounds() const override { return sweep_rounds_; }
  Status probe() override;
  Status remove(const Digest& digest, const std::function<Result<bool>(const Digest&)>& named,
                int64_t put_before_us = INT64_MAX, TimeMs kept_since = kNever) override;
  // Moves the file aside before `named` is asked for the second time.
  Status remove_shared(const Digest& digest,
                       const std::function<Result<bool>(const Digest&)>& named,
                       TimeMs kept_since) override;

 private:
  friend class FileBlobSink;
  using Named = std::function<Result<bool>(const Digest&)>;

  FileBlobStore(std::string directory, FileOps* ops);
  Status prepare();
  void clean_temporary_files();
  Status own_temporary_names();
  Result<std::string> temporary_name();

  // All with the digest held.
  Status put_held(const Digest& digest, const Bytes& bytes, mode_t mode);
  Status mark_kept(const std::string& name);
  Status adopt_existing(const Digest& digest, bool* found);
  Status write_new(const Digest& digest, const Bytes& bytes, mode_t mode);
  Status name_spooled(const Digest& digest, const Bytes& bytes, mode_t mode, bool* written);
  Status write_unnamed(const Digest& digest, const Bytes& bytes, mode_t mode, bool* written);
  Status write_named(const Digest& digest, const Bytes& bytes, mode_t mode);
  Status write_all(int fd, const Bytes& bytes, const std::string& name);
  Result<bool> may_remove(const Digest& digest, TimeMs before, const Named& named);
  Result<bool> remove_held(const Digest& digest, TimeMs before, const Named& named);
  Status remove_aside(const Digest& digest, TimeMs before, const Named& named);
  TimeMs kept_until(const Digest& digest, TimeMs kept_since);

  Status read_at(int fd, const Digest& digest, size_t at, char* data, size_t size);
  Result<Digest> hash_file(int fd, const Digest& digest, size_t size);

  Status make_fan_out(const Digest& digest);
  Status sync_path(const std::string& path);
  // Visits the blobs of one fan-out directory in no order; false from `visit` ends it.
  void each_blob(int at, const std::function<bool(const Digest&)>& visit) const;

  bool suspect(const Digest& digest);
  void remember(const Digest& digest);
  void distrust(const Digest& digest);
  std::string fan_out(const Digest& digest) const;

  const std::string directory_;
  FileOps* const ops_;
  std::mutex setup_mutex_;  // of own_temporary_names() alone
  std::string id_;          // of this store, in temporary names; empty until one is needed
  int alive_fd_ = -1;       // locked
  std::atomic<uint64_t> next_temporary_{0};
  std::atomic<bool> unnamed_files_{true};  // until the file system says that it has none

  PutBook book_;  // of what this process has made durable itself

  std::mutex mutex_;  // of all below but the sweep's; never held across a system call
  std::unordered_set<Digest, DigestHash> suspects_;
  std::unordered_set<Digest, DigestHash> hashed_;  // by a read; those of book_ need not be here
  std::array<bool, 256> fan_out_durable_{};

  int sweep_at_ = 0;  // the fan-out directory to go on with
  uint64_t sweep_rounds_ = 0;
};

}  // namespace millrace
