// S3BlobStore: immutable blobs as objects named by the SHA-256 of their bytes, in a bucket.
//
// It knows nothing of jobs. PREFIX/ab34… (64 digits) is a blob; nothing else below the prefix is
// looked at. Its metadata carry `keep` when it was put to be kept. Its age is its LastModified: a
// put of what is there renews it by a copy onto itself, unless it is younger than renew_after_ms,
// by which much a blob may be older than its last put; the least grace of a sweep is ten times
// that.
//
// A put is over when S3 has answered that it has the bytes, which it compares with their hash. What
// is read is hashed here; wrong bytes are fetched once more before they are called corrupt, and a
// put of such a blob then replaces it. A removal that got no answer may still come: its blob is not
// put for kDoubtMs, so that the delayed request cannot take what was put behind it.
//
// Errors: whatever S3 refuses or fails at is Unavailable E126, with what it said; the store goes
// on. Requests are repeated within the bounds of s3::Policy.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "engine/blob/blob_cache.h"
#include "engine/blob/blob_store.h"
#include "engine/blob/put_book.h"
#include "s3/client.h"

namespace millrace {

struct S3BlobOptions {
  s3::Location location;
  s3::Credentials credentials;
  s3::Policy policy;
  std::string directory;  // of copies and of uploads on their way; empty: no sink(), no copies
  uint64_t cache_bytes_max = 0;
  int64_t renew_after_ms = 60'000;
};

class S3BlobStore final : public BlobStore {
 public:
  // Speaks to nobody yet. E126: the directory cannot be made. [main]
  static Result<std::unique_ptr<S3BlobStore>> open(S3BlobOptions options);

  std::unique_ptr<BlobSink> sink() override;
  Result<Digest> put(const Bytes& bytes, bool keep = false) override;
  // From the local copies, if they have it; with `verify` always from S3.
  Result<Bytes> read(const Digest& digest, bool verify = false) override;
  Result<uint64_t> size(const Digest& digest) override;
  Result<bool> still_there(const Digest& digest) override;
  std::string path(const Digest& /*digest*/) const override { return {}; }
  bool verified(const Digest& /*digest*/) override { return false; }
  bool remote() const override { return true; }
  DurationMs removal_ms_max() const override;
  // Puts a small object beside the blobs.
  Status probe() override;
  void stop() override { stopping_ = true; }
  // Goes over all objects at most, and ends after kSweepObjectsMax; the next sweep goes on there.
  Result<int> sweep(TimeMs before, int max,
                    const std::function<Result<bool>(const Digest&)>& named) override;
  uint64_t sweep_rounds() const override { return sweep_rounds_; }
  Status remove(const Digest& digest, const std::function<Result<bool>(const Digest&)>& named,
                int64_t put_before_us = INT64_MAX, TimeMs kept_since = kNever) override;

  // Whether there is no blob at all. E126. [any]
  Result<bool> empty();
  // Whether the keys may do all that is needed here: put, look, read, list, remove. E126 with the
  // first refusal. [any]
  Status check_access();
  bool refused() const override { return refused_; }

 private:
  using Named = std::function<Result<bool>(const Digest&)>;

  explicit S3BlobStore(S3BlobOptions options);
  Status unavailable(const char* what, const s3::Error& error);
  s3::Put put_of(const Digest& digest, std::string_view bytes, bool keep) const;
  Status check_doubt(const Digest& digest);

  // All with the digest held.
  Status put_held(const Digest& digest, const Bytes& bytes, bool keep);
  Status renew(const Digest& digest, const Bytes& bytes, const s3::Object& object, bool keep,
               bool* there);
  Result<bool> remove_held(const Digest& digest, const Named& named);

  Result<Bytes> fetch(const Digest& digest, bool* wrong);
  bool suspect(const Digest& digest);
  void set_suspect(const Digest& digest, bool is);

  const S3BlobOptions options_;
  s3::Client client_;
  std::unique_ptr<BlobCache> cache_;  // null: no directory
  std::atomic<bool> stopping_{false}, refused_{false};
  std::atomic<bool> conditions_{true};  // until the server says that it knows none
  PutBook book_;

  std::mutex mutex_;  // of all below but the sweep's; never held across a request
  std::unordered_map<Digest, int64_t, DigestHash> doubtful_;  // until when, monotonic us
  std::unordered_set<Digest, DigestHash> suspects_;           // wrong bytes were read

  std::string sweep_after_;  // the key to go on behind
  std::atomic<uint64_t> sweep_rounds_{0};
};

}  // namespace millrace
