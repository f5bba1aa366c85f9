// Copying every blob that a store names from one place to another: for export and import.
#pragma once

#include <cstdint>
#include <string>

#include "engine/blob/blob_store.h"
#include "engine/store/sqlite_store.h"

namespace millrace {

struct BlobCopy {
  SqliteStore* names = nullptr;  // whose blobs
  BlobStore* from = nullptr;
  std::string from_shown;    // where that is, for people
  bool from_bucket = false;  // it may be away for a while: then copying ends
  BlobStore* to = nullptr;   // null: they are there already, and are only looked at
};

struct BlobsCopied {
  uint64_t blobs = 0, bytes = 0;
  uint64_t broken = 0;  // missing or altered at `from`; each is named on stderr with its jobs
};

// Each is read, compared with its digest, and durable at `to` on return. Several at a time. Ends
// with the first that cannot be written, since the next ones could not be either. Progress on
// stderr.
Status copy_blobs(const BlobCopy& copy, BlobsCopied* done);

// Shows on stderr how far something is: on a terminal in place, else a line now and then.
class Progress {
 public:
  // `total` may be 0: not known.
  Progress(std::string what, uint64_t total);
  ~Progress();
  void at(uint64_t count);

 private:
  const std::string what_;
  const uint64_t total_;
  const bool terminal_;
  bool shown_ = false;
  int64_t next_us_ = 0;
};

}  // namespace millrace
