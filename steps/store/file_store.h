// FileStore: puts one object under a readable key into a directory, whole and durable, or not at
// all.
//
// It knows nothing of jobs and settings. Several threads, processes and machines may put into one
// directory. An object appears under its name only when all its bytes are on the disk; before that
// it has no name, so a crash leaves nothing behind. Only a replacement (and a file system without
// O_TMPFILE) needs a name for an instant; it lies in .millrace.tmp/ below the root, and what a
// crash leaves there is removed after a day.
//
// Replacing is a compare-and-swap: the new object and the one that was read are exchanged by one
// renameat2(RENAME_EXCHANGE) under a lock on the directory (flock; all millrace processes take it);
// when what comes out is not the version that was read, a foreign writer came between: the exchange
// is undone and everything starts again, a few times. Readers see the old bytes or the new ones, at
// every instant one of them. On a file system that cannot exchange, the version is compared just
// before a plain rename.
//
// Bytes that lie in a file of the same file system are not written again: the file is cloned where
// the file system can (FICLONE), else hard-linked. A linked object *is* the blob's file: read-only,
// kept by the file system until both names are gone. Whoever opens it for writing changes the blob
// too.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "steps/store/failure.h"

namespace millrace::store_step {

// What to put. `data` may be nullptr when `path` is given; `path` may be nullptr.
struct Source {
  const uint8_t* data = nullptr;
  uint64_t size = 0;
  const char* path = nullptr;  // a read-only file with exactly these bytes
  std::string digest;          // "sha256:…"
};

enum class How { kIdentical, kLinked, kCloned, kCopied };

struct PutResult {
  Failure failure;
  bool cancelled = false;
  bool replaced = false;
  How how = How::kCopied;
};

// Puts `source` under the acceptable `key` below the directory `root`. On success the object and
// the directories above it survive power loss. `go_on` is asked now and then; false cancels. [any]
// exists: other bytes, or no plain file, under the key (not for other bytes when `replace`).
// conflict: foreign writers changed the object during each of several replacements, or the lock
// could not be had in 5 s. no_space, io_error, invalid_key: as failure_of_errno.
[[nodiscard]] PutResult put_object(const std::string& root, std::string_view key,
                                   const Source& source, bool replace,
                                   const std::function<bool()>& go_on);

// SHA-256 of bytes in memory, as "sha256:…". [any]
[[nodiscard]] std::string digest_of(const void* data, uint64_t size);

}  // namespace millrace::store_step
