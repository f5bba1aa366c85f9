// BlobStore: immutable bytes under the SHA-256 of themselves.
//
// It knows nothing of jobs. Any thread may call anything; calls block, so they are made on blob
// threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/bytes.h"
#include "engine/base/digest.h"
#include "engine/base/status.h"
#include "engine/base/time.h"

namespace millrace {

// What a BlobSink has written. Not durable: put() of these bytes makes it so.
struct WrittenBlob {
  Digest digest;
  Bytes bytes;
};

// A blob that is written while its bytes still come, so that they need no memory. One thread at a
// time. Goes without a trace unless its bytes are put.
class BlobSink {
 public:
  virtual ~BlobSink() = default;
  // Hashes and writes them. After an error only destruction is left. [blob] Unavailable: E123,
  // E126.
  virtual Status append(std::string_view data) = 0;
  // All has come. The bytes can be read from now on; what holds them goes with the last Bytes or
  // with put(), which gives it a name instead of writing it again. Once. [blob] As append().
  virtual Result<WrittenBlob> finish() = 0;
};

class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Takes one blob; the store outlives it. Does not block. [any]
  virtual std::unique_ptr<BlobSink> sink() = 0;

  // Makes `bytes` durable: on return they can be read after power loss under their digest. Equal
  // digests in flight share one put. A hit on an existing blob renews its age, so that a sweep does
  // not take it. With `keep`, remove() leaves it for a while as well, also after a restart:
  // somebody put it who has no job yet. [blob] Unavailable: E123 no space, E126 any other failure;
  // nothing is left behind and the store goes on.
  virtual Result<Digest> put(const Bytes& bytes, bool keep = false) = 0;

  // The blob's bytes; they live as long as the Bytes. [any]
  // NotFound E026; Corrupt E127: other bytes than those of the digest. They are hashed once in each
  // process that has not written them itself, and always when `verify`.
  virtual Result<Bytes> read(const Digest& digest, bool verify = false) = 0;

  // Its length in bytes. NotFound E026. [any]
  virtual Result<uint64_t> size(const Digest& digest) = 0;

  // Whether it is there, as the place says itself and nothing remembered of it: another process may
  // have removed it since this one put it. [blob] Unavailable E126.
  virtual Result<bool> still_there(const Digest& digest) = 0;

  // A read-only file with exactly these bytes, or empty when there is none (S3). Only of a blob
  // known to be durable. [any]
  virtual std::string path(const Digest& digest) const = 0;
  // Whether this process has written the file under this digest, or read it and found the bytes of
  // its name. [any]
  virtual bool verified(const Digest& digest) = 0;

  // Whether blobs are beyond a network: sweep() and remove() then take their time, and are for blob
  // threads instead of the writer. [any]
  virtual bool remote() const { return false; }
  // For how long a removal that got no answer may still be carried out. [any]
  virtual DurationMs removal_ms_max() const { return 0; }
  // Whether a blob could be written now. [blob] Unavailable: E123, E126.
  virtual Status probe() = 0;
  // Whether the last failure was a refusal (keys, permissions, no such bucket), which only somebody
  // who mends something can change. [any]
  virtual bool refused() const { return false; }
  // Whoever waits for a network waits no longer, and gets Unavailable. For the end. [any]
  virtual void stop() {}

  // Removes blobs last put before `before` for which `named` is false, at most `max`; returns how
  // many. `named` is asked with the blob held, so that no put of the same digest can pass between.
  // One thread at a time. [writer; blob when remote() or of several processes]
  virtual Result<int> sweep(TimeMs before, int max,
                            const std::function<Result<bool>(const Digest&)>& named) = 0;

  // How often sweep() has come to the end of all blobs. [as sweep()]
  virtual uint64_t sweep_rounds() const = 0;

  // Removes one blob unless `named` says that a record names it, asked as above, or this process
  // put it at `put_before_us` (monotonic) or later: its putter may not have heard of it yet
  // (BlobThreads::settled_us). One that was put to be kept stays when its last put was at
  // `kept_since` or later. Ok when it is not there or stays. [as sweep()]
  virtual Status remove(const Digest& digest,
                        const std::function<Result<bool>(const Digest&)>& named,
                        int64_t put_before_us = INT64_MAX, TimeMs kept_since = kNever) = 0;

  // The same of a place that other processes use too. Where it can, it asks `named` once more when
  // nobody finds the blob any more and it can still be given back: who was stopped between question
  // and removal, for however long, takes nothing that was named meanwhile. [blob]
  virtual Status remove_shared(const Digest& digest,
                               const std::function<Result<bool>(const Digest&)>& named,
                               TimeMs kept_since) {
    return remove(digest, named, INT64_MAX, kept_since);
  }
};

}  // namespace millrace
