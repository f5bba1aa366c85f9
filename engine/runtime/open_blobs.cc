#include "engine/runtime/open_blobs.h"

#include <filesystem>

#include "engine/base/errors.h"
#include "engine/blob/file_blob_store.h"
#include "engine/runtime/runtime.h"

namespace millrace {
namespace {

// "sqlite:PATH" -> PATH, or data/name when no path is given.
Result<std::string> local_path(const std::string& url, std::string_view scheme,
                               const std::string& data, std::string_view name) {
  if (!url.starts_with(scheme)) {
    return Status::invalid(
        errors::kStoreOpen,
        fmt::format("this works with '{}' or '{}PATH' alone, and the configuration names something "
                    "else",
                    scheme, scheme));
  }
  const std::string path = url.substr(scheme.size());
  return path.empty() ? fmt::format("{}/{}", data, name) : path;
}

bool has_files(const std::string& directory) {
  std::error_code error;
  for (const auto& folder : std::filesystem::directory_iterator(directory, error)) {
    // `tmp` holds none, and is there before the first one.
    if (folder.path().filename() == "tmp" || !folder.is_directory(error)) continue;
    const auto first = std::filesystem::directory_iterator(folder, error);
    if (!error && first != std::filesystem::directory_iterator()) return true;
  }
  return false;
}

S3BlobOptions s3_options(const BlobPlace& place, const RuntimeOptions& options) {
  S3BlobOptions out;
  out.location = *place.s3;
  out.credentials = options.s3;
  return out;
}

}  // namespace

Result<std::string> store_path(const std::string& store, const std::string& data) {
  return local_path(store, "sqlite:", data, "millrace.db");
}

Result<BlobPlace> blob_place(const std::string& blobs, const std::string& data) {
  BlobPlace place;
  if (!blobs.starts_with("s3:")) {
    auto path = local_path(blobs, "file:", data, "blobs");
    if (!path.ok()) return path.status();
    place.directory = std::move(*path);
    return place;
  }
  place.s3.emplace();
  const std::string problem = s3::parse_location(blobs, &*place.s3);
  if (problem.empty()) return place;
  return Status::invalid(errors::kStoreOpen, fmt::format("blobs: {}", problem));
}

Result<std::unique_ptr<BlobStore>> open_blobs(const BlobPlace& place, const RuntimeOptions& options,
                                              bool keep_copies) {
  if (!place.s3) {
    auto opened = FileBlobStore::open(place.directory);
    if (!opened.ok()) return opened.status();
    return std::unique_ptr<BlobStore>(std::move(*opened));
  }
  S3BlobOptions s3 = s3_options(place, options);
  if (keep_copies) {
    s3.directory = options.data + "/cache";
    s3.cache_bytes_max = options.blob_cache_bytes_max;
  }
  auto opened = S3BlobStore::open(std::move(s3));
  if (!opened.ok()) return opened.status();
  return std::unique_ptr<BlobStore>(std::move(*opened));
}

Status check_not_lost(const std::string& database, const BlobPlace& place,
                      const RuntimeOptions& options) {
  std::error_code error;
  if (std::filesystem::file_size(database, error) > 0 && !error) return {};
  bool blobs = false;
  if (place.s3) {
    const auto opened = S3BlobStore::open(s3_options(place, options));
    if (!opened.ok()) return opened.status();
    const auto empty = (*opened)->empty();
    if (!empty.ok()) return empty.status();
    blobs = !*empty;
  } else {
    blobs = has_files(place.directory);
  }
  if (!blobs) return {};
  return Status::corrupt(
      errors::kStoreCorrupt,
      fmt::format("the store {} is empty or absent, but {} has blobs: its jobs were lost, and the "
                  "blobs would be removed next; restore it from a backup, or move the blobs away "
                  "to begin anew",
                  database, place.shown()));
}

}  // namespace millrace
