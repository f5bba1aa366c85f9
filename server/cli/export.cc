// millrace export: a copy of the store and its blobs, also while a server uses them.
//
// The records first, of the embedded store as of one moment; then every blob that this copy names:
// each was durable before the record that names it. What a server would find in the copy is what it
// would find after a crash at that moment. The copy is a data directory, also of a shared store.
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/blob/file_blob_store.h"
#include "engine/store/mongo_store.h"
#include "engine/store/sqlite_copy.h"
#include "server/cli/blob_copy.h"
#include "server/cli/cli.h"
#include "server/runtime_setup.h"

namespace millrace {
namespace {

constexpr int kJobsPerPage = 500;
// The database has this name until its blobs are there too: a copy that was broken off is none.
constexpr char kUnfinished[] = ".export";

Status prepare_target(const std::string& path) {
  RETURN_IF_ERROR(prepare_directory("DIR", path));
  std::error_code error;
  if (std::filesystem::is_empty(path, error) && !error) return {};
  return Status::invalid(errors::kUsageWrong,
                         fmt::format("'{}' is not empty; name a directory that is new", path));
}

// What was copied, and what could not be.
struct Exported {
  BlobsCopied blobs;
  uint64_t damaged = 0;
};

Status copy_all_blobs(SqliteStore* copy, const BlobPlace& place, const std::string& to_directory,
                      Exported* done) {
  RuntimeOptions options;
  options.s3 = s3_credentials();
  auto from = open_blobs(place, options, /*keep_copies=*/false);
  if (!from.ok()) return from.status();
  auto to = FileBlobStore::open(to_directory);
  if (!to.ok()) return to.status();
  BlobCopy blobs;
  blobs.names = copy;
  blobs.from = from->get();
  blobs.from_shown = place.shown();
  blobs.from_bucket = place.s3.has_value();
  blobs.to = to->get();
  return copy_blobs(blobs, &done->blobs);
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

Result<std::unique_ptr<SqliteStore>> open_copy(const std::string& path) {
  SqliteOptions options;
  options.path = path;
  options.reserve_bytes = 0;
  return open_sqlite_store(options);
}

// As of one moment.
Status copy_embedded(const Config& config, const std::string& path, Exported* done) {
  const auto store = store_path(config.store, config.data);
  if (!store.ok()) return store.status();
  if (access(store->c_str(), R_OK) != 0) {
    return Status::unavailable(errors::kStoreOpen,
                               fmt::format("there is no store at {}; `data` or `store` of the "
                                           "configuration names another place",
                                           *store));
  }
  RETURN_IF_ERROR(prepare_target(directory_of(path)));
  RETURN_IF_ERROR(copy_sqlite_store(*store, path));
  auto copy = open_copy(path);
  return copy.ok() ? name_damaged_jobs(copy->get(), done) : copy.status();
}

// Job by job, while replicas work: each is as of some moment since the call.
Status copy_shared(const Config& config, const std::string& path, Exported* done) {
  MongoOptions options;
  options.uri = config.store;
  options.must_exist = true;
  auto store = open_mongo_store(options);
  if (!store.ok()) return store.status();
  RETURN_IF_ERROR(prepare_target(directory_of(path)));
  auto copy = open_copy(path);
  if (!copy.ok()) return copy.status();
  Progress progress("jobs copied", 0);
  const auto moved = transfer_store(store->get(), copy->get(), copy->get(),
                                    [&](const Transferred& so_far) { progress.at(so_far.jobs); });
  if (!moved.ok()) return moved.status();
  for (const DamagedJob& job : moved->damaged) print_error(job.status);
  done->damaged = moved->damaged_count;
  return {};
}

Result<Exported> export_all(const Config& config, const std::string& target) {
  const auto blobs = blob_place(config.blobs, config.data);
  if (!blobs.ok()) return blobs.status();
  const std::string path = *store_path("sqlite:", target), unfinished = path + kUnfinished;
  Exported done;
  RETURN_IF_ERROR(config.store.starts_with("mongodb") ? copy_shared(config, unfinished, &done)
                                                      : copy_embedded(config, unfinished, &done));
  {
    auto copy = open_copy(unfinished);
    if (!copy.ok()) return copy.status();
    RETURN_IF_ERROR(
        copy_all_blobs(copy->get(), *blobs, blob_place("file:", target)->directory, &done));
  }
  RETURN_IF_ERROR(rename_store(unfinished, path));
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
  print(fmt::format(
      "{}: the store and {} blobs, {:.1f} MiB; `millrace serve --set data={}` goes on "
      "from it\n",
      target, done->blobs.blobs, static_cast<double>(done->blobs.bytes) / (1 << 20), target));
  if (done->damaged > 0) {
    print_error(
        config.store.starts_with("mongodb")
            ? fmt::format("{} damaged jobs are not in it", done->damaged)
            : fmt::format("{} jobs are damaged in it, as they are in the store", done->damaged));
  }
  if (done->blobs.broken > 0) {
    print_error(fmt::format(
        "{} blobs are missing in it; who deleted their jobs meanwhile needs them no more",
        done->blobs.broken));
  }
  return done->blobs.broken == 0 && done->damaged == 0 ? kExitDone : kExitFailed;
}

}  // namespace millrace
