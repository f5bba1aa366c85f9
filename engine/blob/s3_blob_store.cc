#include "engine/blob/s3_blob_store.h"

#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/time.h"
#include "engine/blob/spooled_file.h"

namespace millrace {
namespace {

using s3::Failure;

constexpr char kKeep[] = "keep";  // in the metadata of a blob that was put to be kept
constexpr char kProbeKey[] = "millrace-probe";
constexpr int kRoundsMax = 3;            // of a put that others come between
constexpr int64_t kDoubtMs = 60'000;     // no request is delayed for longer
constexpr size_t kRememberedMax = 4096;  // doubts and suspects
constexpr int kSweepObjectsMax = 4096;   // looked at by one sweep()

Status unknown_blob(const Digest& digest) {
  return Status::not_found(errors::kBlobUnknown, fmt::format("no blob {}", digest.text()));
}

bool is_kept(const s3::Object& object) {
  return object.metadata.contains(kKeep);
}

// The bytes of a blob as they arrive: in memory while they are few, else in a file.
class Arriving {
 public:
  explicit Arriving(BlobCache* cache) : cache_(cache) {}

  bool take(std::string_view piece) {
    size_ += piece.size();
    if (size_ > static_cast<uint64_t>(kBlobBytesMax)) return false;
    if (sink_ == nullptr && cache_ != nullptr && text_.size() + piece.size() > kSpoolBytes) {
      sink_ = cache_->sink();
      status_ = sink_->append(text_);
      text_.clear();
    }
    if (sink_ == nullptr) {
      text_ += piece;
    } else if (status_.ok()) {
      status_ = sink_->append(piece);
    }
    return status_.ok();
  }
  const Status& status() const { return status_; }  // of the disk
  bool too_large() const { return size_ > static_cast<uint64_t>(kBlobBytesMax); }
  Result<WrittenBlob> finish() {
    if (sink_ != nullptr) return sink_->finish();
    const Digest digest = sha256(text_);
    return WrittenBlob{digest, Bytes::of(std::move(text_))};
  }

 private:
  BlobCache* const cache_;
  std::string text_;
  std::unique_ptr<BlobSink> sink_;
  uint64_t size_ = 0;
  Status status_;
};

}  // namespace

Result<std::unique_ptr<S3BlobStore>> S3BlobStore::open(S3BlobOptions options) {
  std::unique_ptr<BlobCache> cache;
  if (!options.directory.empty()) {
    auto opened = BlobCache::open(options.directory, options.cache_bytes_max);
    if (!opened.ok()) return opened.status();
    cache = std::move(*opened);
  }
  options.policy.fail_fast = true;  // whoever uploads is to hear of it
  std::unique_ptr<S3BlobStore> store(new S3BlobStore(std::move(options)));
  store->cache_ = std::move(cache);
  return store;
}

S3BlobStore::S3BlobStore(S3BlobOptions options)
    : options_(std::move(options)),
      client_(options_.location, options_.credentials, options_.policy) {
  client_.set_go_on([this] { return !stopping_; });
}

Status S3BlobStore::unavailable(const char* what, const s3::Error& error) {
  refused_ = error.failure == Failure::kRefused;
  return Status::unavailable(
      errors::kBlobWrite,
      fmt::format("cannot {} in {}: {}", what, options_.location.shown(), error.message));
}

s3::Put S3BlobStore::put_of(const Digest& digest, std::string_view bytes, bool keep) const {
  s3::Put put;
  put.key = digest.hex();
  put.bytes = bytes;
  put.sha256 = put.key;
  if (keep) put.metadata[kKeep] = "1";
  return put;
}

bool S3BlobStore::suspect(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return suspects_.contains(digest);
}

void S3BlobStore::set_suspect(const Digest& digest, bool is) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!is) {
    suspects_.erase(digest);
    return;
  }
  if (suspects_.size() >= kRememberedMax) suspects_.erase(suspects_.begin());
  suspects_.insert(digest);
}

Status S3BlobStore::check_doubt(const Digest& digest) {
  const int64_t now = monotonic_us();
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = doubtful_.find(digest);
  if (found == doubtful_.end()) return {};
  if (found->second > now) {
    return Status::unavailable(
        errors::kBlobWrite,
        fmt::format("the blob {} is being removed from {}, and S3 has not said whether it is; it "
                    "is put again in {} s",
                    digest.text(), options_.location.shown(),
                    (found->second - now) / 1'000'000 + 1));
  }
  doubtful_.erase(found);
  return {};
}

// ---- putting

std::unique_ptr<BlobSink> S3BlobStore::sink() {
  CHECK(cache_ != nullptr);
  return cache_->sink();
}

Result<Digest> S3BlobStore::put(const Bytes& bytes, bool keep) {
  ON_THREAD(kBlob);
  CHECK(bytes.size() <= static_cast<uint64_t>(kBlobBytesMax));
  const SpooledFile* spooled = SpooledFile::of(bytes);
  const Digest digest = spooled != nullptr ? spooled->digest() : sha256(bytes.view());
  Status status;
  auto flight = book_.hold(digest, &status);
  while (keep && flight == nullptr && status.ok()) flight = book_.hold(digest, &status);
  if (flight != nullptr) {
    status = put_held(digest, bytes, keep);
    if (status.ok()) book_.remember(digest);
    book_.let_go(digest, flight, status);
  }
  if (!status.ok()) return status;
  if (cache_ != nullptr) cache_->add(bytes, digest);
  return digest;
}

// What is there is looked at first: most bytes that are put a second time need not travel.
Status S3BlobStore::put_held(const Digest& digest, const Bytes& bytes, bool keep) {
  RETURN_IF_ERROR(check_doubt(digest));
  for (int round = 0; round < kRoundsMax; round++) {
    s3::Object object;
    const s3::Error error = client_.head(digest.hex(), &object);
    if (error && error.failure != Failure::kNotFound) return unavailable("look for a blob", error);
    const bool same =
        !error && object.size == bytes.size() && object.sha256 == digest.hex() && !suspect(digest);
    bool there = false;
    if (same) {
      RETURN_IF_ERROR(renew(digest, bytes, object, keep, &there));
    } else {
      const s3::Put::If condition =
          error && conditions_ ? s3::Put::If::kAbsent : s3::Put::If::kAlways;
      s3::Put put = put_of(digest, bytes.view(), keep || (!error && is_kept(object)));
      put.condition = condition;
      const s3::Error failed = client_.put(put);
      there = !failed;
      if (failed.failure == Failure::kUnsupported && conditions_.exchange(false)) continue;
      if (failed && failed.failure != Failure::kPrecondition) {
        return unavailable("put a blob", failed);
      }
    }
    if (there) {
      set_suspect(digest, false);
      return {};
    }
    // Somebody came between, or an attempt whose answer was lost: it is looked at again.
  }
  return Status::unavailable(errors::kBlobWrite,
                             fmt::format("others keep changing the blob {} in {}", digest.text(),
                                         options_.location.shown()));
}

// Makes a blob that is there as young as if it were put now. Not `there`: it went meanwhile.
Status S3BlobStore::renew(const Digest& digest, const Bytes& bytes, const s3::Object& object,
                          bool keep, bool* there) {
  *there = true;
  const bool mark = keep && !is_kept(object);
  const bool young = wall_clock_ms() - object.modified_ms < options_.renew_after_ms;
  if (young && !mark) return {};
  const s3::Put put = put_of(digest, bytes.view(), keep || is_kept(object));
  int64_t modified_ms = 0;
  s3::Error error = client_.renew(put.key, object.etag, put, &modified_ms);
  if (error.failure == Failure::kNotFound || error.failure == Failure::kPrecondition) {
    *there = false;
    return {};
  }
  // A server that does not copy onto itself, or leaves the copy as old as it was, gets the bytes
  // once more.
  const bool renewed = !error && modified_ms > object.modified_ms;
  if ((!error && !renewed && !young) || error.failure == Failure::kUnsupported ||
      error.failure == Failure::kInvalid) {
    error = client_.put(put);
  }
  return error ? unavailable("renew a blob", error) : Status();
}

// ---- reading

Result<Bytes> S3BlobStore::read(const Digest& digest, bool verify) {
  if (!verify && cache_ != nullptr) {
    if (auto bytes = cache_->find(digest)) return *std::move(bytes);
  }
  bool wrong = false;
  auto bytes = fetch(digest, &wrong);
  if (wrong) bytes = fetch(digest, &wrong);  // perhaps on the way
  if (wrong) set_suspect(digest, true);
  if (bytes.ok() && cache_ != nullptr && !verify) cache_->add(*bytes, digest);
  return bytes;
}

Result<Bytes> S3BlobStore::fetch(const Digest& digest, bool* wrong) {
  *wrong = false;
  Arriving arriving(cache_.get());
  s3::Object object;
  const s3::Error error = client_.get(
      digest.hex(), [&](std::string_view piece) { return arriving.take(piece); }, &object);
  if (!arriving.status().ok()) return arriving.status();
  if (error.failure == Failure::kNotFound) return unknown_blob(digest);
  if (error && !arriving.too_large()) return unavailable("read a blob", error);
  if (!arriving.too_large()) {
    auto written = arriving.finish();
    if (!written.ok()) return written.status();
    if (written->digest == digest) return std::move(written->bytes);
  }
  *wrong = true;
  return Status::corrupt(
      errors::kBlobMissing,
      fmt::format("the blob {} in {} does not have the bytes of its name; restore the object from "
                  "a backup or an earlier version",
                  digest.text(), options_.location.shown()));
}

Result<uint64_t> S3BlobStore::size(const Digest& digest) {
  s3::Object object;
  const s3::Error error = client_.head(digest.hex(), &object);
  if (error.failure == Failure::kNotFound) return unknown_blob(digest);
  if (error) return unavailable("look for a blob", error);
  return object.size;
}

Result<bool> S3BlobStore::still_there(const Digest& digest) {
  s3::Object object;
  const s3::Error error = client_.head(digest.hex(), &object);
  if (error.failure == Failure::kNotFound) return false;
  if (error) return unavailable("look for a blob", error);
  return true;
}

// ---- removing

DurationMs S3BlobStore::removal_ms_max() const {
  return kDoubtMs;
}

Result<int> S3BlobStore::sweep(TimeMs before, int max, const Named& named) {
  CHECK(max > 0);
  int removed = 0;
  for (int looked_at = 0; looked_at < kSweepObjectsMax;) {
    std::vector<s3::Listed> page;
    bool more = false;
    if (const s3::Error error = client_.list(sweep_after_, &page, &more)) {
      return unavailable("list blobs", error);
    }
    for (const s3::Listed& listed : page) {
      looked_at++;
      const auto digest = Digest::parse("sha256:" + listed.key);
      // S3 counts in whole seconds, downwards.
      if (digest && listed.modified_ms + 1000 < before) {
        if (removed >= max) return removed;  // the next sweep looks at this one again
        const auto flight = book_.try_hold(*digest);
        if (flight != nullptr) {
          const auto gone = remove_held(*digest, named);
          book_.let_go(*digest, flight, {});
          if (!gone.ok()) return gone.status();
          if (*gone) removed++;
        }
      }
      sweep_after_ = listed.key;
    }
    if (!more) {
      sweep_after_.clear();
      sweep_rounds_++;
      break;
    }
    if (page.empty()) break;  // a server that counts wrongly is not asked for ever
  }
  return removed;
}

Status S3BlobStore::remove(const Digest& digest, const Named& named, int64_t put_before_us,
                           TimeMs kept_since) {
  const auto flight = book_.try_hold(digest);
  if (flight == nullptr) return {};  // somebody is putting it: it is wanted again
  const auto done = [&]() -> Status {
    if (book_.put_us(digest) >= put_before_us) return {};
    s3::Object object;
    const s3::Error error = client_.head(digest.hex(), &object);
    if (error.failure == Failure::kNotFound) return {};
    if (error) return unavailable("look for a blob", error);
    const bool stays = kept_since != kNever && is_kept(object) &&
                       object.modified_ms + 1000 + options_.renew_after_ms >= kept_since;
    if (stays) return {};
    const auto gone = remove_held(digest, named);
    return gone.ok() ? Status() : gone.status();
  };
  Status status = done();
  book_.let_go(digest, flight, {});
  return status;
}

Result<bool> S3BlobStore::remove_held(const Digest& digest, const Named& named) {
  const auto wanted = named(digest);
  if (!wanted.ok()) return wanted.status();
  if (*wanted) return false;
  book_.forget(digest);
  if (cache_ != nullptr) cache_->drop(digest);
  const s3::Error error = client_.remove(digest.hex());
  if (error.unknown) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (doubtful_.size() >= kRememberedMax) doubtful_.erase(doubtful_.begin());
    doubtful_[digest] = monotonic_us() + kDoubtMs * 1000;
  }
  if (error) return unavailable("remove a blob", error);
  return true;
}

// ---- the bucket

Status S3BlobStore::probe() {
  s3::Put put;
  put.key = kProbeKey;
  put.bytes = "x";
  put.sha256 = s3::sha256_hex(put.bytes);
  const s3::Error error = client_.put(put);
  return error ? unavailable("put an object", error) : Status();
}

Result<bool> S3BlobStore::empty() {
  std::string after;
  for (;;) {
    std::vector<s3::Listed> page;
    bool more = false;
    if (const s3::Error error = client_.list(after, &page, &more)) {
      return unavailable("list blobs", error);
    }
    for (const s3::Listed& listed : page) {
      if (Digest::parse("sha256:" + listed.key)) return false;
      after = listed.key;
    }
    if (!more || page.empty()) return true;
  }
}

Status S3BlobStore::check_access() {
  RETURN_IF_ERROR(probe());
  s3::Object object;
  if (const s3::Error error = client_.head(kProbeKey, &object)) {
    return unavailable("look for an object", error);
  }
  const auto ignore = [](std::string_view) { return true; };
  if (const s3::Error error = client_.get(kProbeKey, ignore, &object)) {
    return unavailable("read an object", error);
  }
  std::vector<s3::Listed> page;
  bool more = false;
  if (const s3::Error error = client_.list("", &page, &more)) {
    return unavailable("list objects", error);
  }
  if (const s3::Error error = client_.remove(kProbeKey)) {
    return unavailable("remove an object", error);
  }
  return {};
}

}  // namespace millrace
