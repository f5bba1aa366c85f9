// millrace export: a copy of the store and its blobs, also while a server uses them.
//
// The database first, as of one moment; then every blob that this copy names: each was durable
// before the record that names it. What a server would find in the copy is what it would find
// after a crash at that moment. The copy is a data directory.
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/blob/file_blob_store.h"
#include "engine/store/sqlite_copy.h"
#include "engine/store/sqlite_store.h"
#include "server/cli/cli.h"
#include "server/runtime_setup.h"

namespace millrace {
namespace {

constexpr int kBlobsPerPage = 1024;
constexpr int kJobsNamed = 5;  // per blob

Status prepare_target(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error || access(path.c_str(), W_OK | X_OK) != 0) {
    if (!error) error.assign(errno, std::system_category());
    return Status::unavailable(errors::kOutputUnwritable,
                               fmt::format("cannot write into '{}': {}", path, error.message()));
  }
  const bool empty = std::filesystem::is_empty(path, error);
  if (empty && !error) return {};
  return Status::invalid(errors::kUsageWrong,
                         fmt::format("'{}' is not empty; name a directory that is new", path));
}

// What was copied, and what could not be.
struct Exported {
  uint64_t blobs = 0, bytes = 0, broken = 0;
};

void report_broken(SqliteStore* copy, const Digest& digest, const Status& why, Exported* done) {
  done->broken++;
  const bool gone = why.number() == errors::kBlobUnknown;
  const auto jobs = copy->jobs_naming(digest, kJobsNamed);
  std::string names;
  for (size_t i = 0; jobs.ok() && i < jobs->size(); i++) names += " " + (*jobs)[i].text();
  print_error(fmt::format(
      "error {}: {}; named by{}", error_code(gone ? errors::kBlobMissing : why.number()),
      gone ? fmt::format("the blob {} is missing, unless its job was deleted meanwhile",
                         digest.text())
           : why.message(),
      names));
}

// Stops at the first blob that cannot be written: the next ones could not either.
Status copy_blobs(SqliteStore* copy, FileBlobStore* from, FileBlobStore* to, Exported* done) {
  const bool terminal = isatty(STDERR_FILENO) == 1;
  Digest last;
  for (;;) {
    const auto page = copy->blobs_after(last, kBlobsPerPage);
    if (!page.ok()) return page.status();
    if (page->empty()) break;
    for (const Digest& digest : *page) {
      const auto bytes = from->read(digest, /*verify=*/true);
      if (!bytes.ok()) {
        report_broken(copy, digest, bytes.status(), done);
        continue;
      }
      const auto put = to->put(*bytes);
      if (!put.ok()) return put.status();
      done->blobs++;
      done->bytes += bytes->size();
      if (terminal) fmt::print(stderr, "\r\x1b[K{} blobs", done->blobs);
    }
    last = page->back();
  }
  if (terminal) fmt::print(stderr, "\r\x1b[K");
  return {};
}

Result<Exported> export_all(const Config& config, const std::string& target) {
  const auto store = store_path(config.store, config.data);
  if (!store.ok()) return store.status();
  const auto blobs = blobs_path(config.blobs, config.data);
  if (!blobs.ok()) return blobs.status();
  if (access(store->c_str(), R_OK) != 0) {
    return Status::unavailable(errors::kStoreOpen,
                               fmt::format("there is no store at {}; `data` or `store` of the "
                                           "configuration names another place",
                                           *store));
  }
  RETURN_IF_ERROR(prepare_target(target));
  SqliteOptions options;
  options.path = *store_path("sqlite:", target);
  options.reserve_bytes = 0;
  RETURN_IF_ERROR(copy_sqlite_store(*store, options.path));
  auto copy = open_sqlite_store(options);
  if (!copy.ok()) return copy.status();
  auto from = FileBlobStore::open(*blobs);
  if (!from.ok()) return from.status();
  auto to = FileBlobStore::open(*blobs_path("file:", target));
  if (!to.ok()) return to.status();
  Exported done;
  RETURN_IF_ERROR(copy_blobs(copy->get(), from->get(), to->get(), &done));
  return done;
}

}  // namespace

int run_export(const ConfigArguments& arguments, const std::string& target) {
  Config config;
  if (!load_for_verb(arguments, &config)) return kExitConfig;
  set_log(LogLevel::kError, config.log_format);
  const auto done = export_all(config, target);
  if (!done.ok()) {
    print_error(done.status());
    if (done.status().number() == errors::kUsageWrong) return kExitUsage;
    return done.status().number() == errors::kOutputUnwritable ? kExitFailed
                                                               : exit_code_of(done.status());
  }
  print(
      fmt::format("{}: the store and {} blobs, {:.1f} MiB; `millrace serve --set data={}` goes on "
                  "from it\n",
                  target, done->blobs, static_cast<double>(done->bytes) / (1 << 20), target));
  if (done->broken == 0) return kExitDone;
  print_error(fmt::format("{} blobs are missing in it", done->broken));
  return kExitFailed;
}

}  // namespace millrace
