// From the addresses of the configuration to the database and the blob store behind them.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/blob/s3_blob_store.h"

namespace millrace {

struct RuntimeOptions;

// Where blobs are: in a directory, or in a bucket.
struct BlobPlace {
  std::string directory;           // of files; empty: in a bucket
  std::optional<s3::Location> s3;  // none: in a directory
  std::string shown() const { return s3 ? s3->shown() : directory; }
};

// The file of the embedded store, from "sqlite:" or "sqlite:PATH". E120: an address of another
// kind. [any]
Result<std::string> store_path(const std::string& store, const std::string& data);
// From "file:" (in data), "file:DIR" or "s3://…". E120 as above. [any]
Result<BlobPlace> blob_place(const std::string& blobs, const std::string& data);

// Files: opens the directory, making it when absent. S3: makes the directory of local copies when
// `keep_copies`, and speaks to nobody yet. E126. [main]
Result<std::unique_ptr<BlobStore>> open_blobs(const BlobPlace& place, const RuntimeOptions& options,
                                              bool keep_copies = true);

// E125: there are blobs, but the database that named them is gone. E126: whether there are could
// not be found out. [main]
Status check_not_lost(const std::string& database, const BlobPlace& place,
                      const RuntimeOptions& options);

}  // namespace millrace
