// millrace export: a copy of the store and its blobs, also while a server uses them.
//
// The database first, as of one moment; then every blob that this copy names: each was durable
// before the record that names it. What a server would find in the copy is what it would find
// after a crash at that moment. The copy is a data directory.
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/blob/file_blob_store.h"
#include "engine/store/sqlite_copy.h"
#include "engine/store/sqlite_store.h"
#include "server/cli/broken_blob.h"
#include "server/cli/cli.h"
#include "server/runtime_setup.h"

namespace millrace {
namespace {

constexpr int kBlobsPerPage = 1024;
constexpr int kJobsPerPage = 500;

Status prepare_target(const std::string& path) {
  RETURN_IF_ERROR(prepare_directory("DIR", path));
  std::error_code error;
  if (std::filesystem::is_empty(path, error) && !error) return {};
  return Status::invalid(errors::kUsageWrong,
                         fmt::format("'{}' is not empty; name a directory that is new", path));
}

// What was copied, and what could not be.
struct Exported {
  uint64_t blobs = 0, bytes = 0, broken = 0, damaged = 0;
};

// Stops at the first blob that cannot be written: the next ones could not either.
Status copy_blobs(SqliteStore* copy, const std::string& from_directory,
                  const std::string& to_directory, Exported* done) {
  auto from = FileBlobStore::open(from_directory);
  if (!from.ok()) return from.status();
  auto to = FileBlobStore::open(to_directory);
  if (!to.ok()) return to.status();
  const bool terminal = isatty(STDERR_FILENO) == 1;
  Digest last;
  for (;;) {
    const auto page = copy->blobs_after(last, kBlobsPerPage);
    if (!page.ok()) return page.status();
    if (page->empty()) break;
    for (const Digest& digest : *page) {
      const auto bytes = (*from)->read(digest, /*verify=*/true);
      if (!bytes.ok()) {
        done->broken++;
        print_error("error " + broken_blob_text(copy, from_directory, digest, bytes.status()));
        continue;
      }
      const auto put = (*to)->put(*bytes);
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

// They are copied as they are, with every blob that they name; what they say is lost here and
// there.
Status name_damaged_jobs(SqliteStore* copy, Exported* done) {
  std::string cursor;
  do {
    const auto page = copy->list({}, cursor, kJobsPerPage);
    if (!page.ok()) return page.status();
    for (const DamagedJob& job : page->damaged) print_error(job.status);
    done->damaged += page->damaged.size();
    cursor = page->next;
  } while (!cursor.empty());
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
  Exported done;
  RETURN_IF_ERROR(name_damaged_jobs(copy->get(), &done));
  RETURN_IF_ERROR(copy_blobs(copy->get(), *blobs, *blobs_path("file:", target), &done));
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
  if (done->damaged > 0) {
    print_error(fmt::format("{} jobs are damaged in it, as they are in the store", done->damaged));
  }
  if (done->broken > 0) {
    print_error(fmt::format(
        "{} blobs are missing in it; who deleted their jobs meanwhile needs them no more",
        done->broken));
  }
  return done->broken == 0 && done->damaged == 0 ? kExitDone : kExitFailed;
}

}  // namespace millrace
