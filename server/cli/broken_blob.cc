#include "server/cli/broken_blob.h"

#include <fmt/core.h>

#include "engine/base/errors.h"

namespace millrace {
namespace {

constexpr int kJobsNamed = 5;

std::string jobs_text(SqliteStore* store, const Digest& digest) {
  const auto jobs = store->jobs_naming(digest, kJobsNamed + 1);
  if (!jobs.ok()) return jobs.status().message();
  std::string out = jobs->size() == 1 ? "job" : "jobs";
  for (size_t i = 0; i < jobs->size() && i < kJobsNamed; i++) out += " " + (*jobs)[i].text();
  return jobs->size() > kJobsNamed ? out + " and more" : out;
}

}  // namespace

std::string broken_blob_text(SqliteStore* store, const std::string& directory, const Digest& digest,
                             const Status& why) {
  const bool gone = why.number() == errors::kBlobUnknown;
  return fmt::format("{}: {}; named by {}", error_code(gone ? errors::kBlobMissing : why.number()),
                     gone ? fmt::format("the blob {} is missing from {}", digest.text(), directory)
                          : why.message(),
                     jobs_text(store, digest));
}

}  // namespace millrace
