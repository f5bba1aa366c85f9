// millrace import: the jobs and blobs of a data directory into the configured store and blobs.
//
// Blobs first, each compared with its digest; then the records, as they are. So what a record names
// is there before it, and a server finds what it would find after a crash at the moment when the
// old one ended. It may be broken off and repeated at any point: until it has finished, no server
// opens the new store.
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <thread>

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/base/time.h"
#include "engine/blob/file_blob_store.h"
#include "engine/store/mongo_store.h"
#include "engine/store/sqlite_copy.h"
#include "server/cli/blob_copy.h"
#include "server/cli/cli.h"
#include "server/runtime_setup.h"

namespace millrace {
namespace {

// The new database has this name until all of it is there.
constexpr char kUnfinished[] = ".import";
constexpr DurationMs kLeaseMarginMs = 500;

struct Imported {
  BlobsCopied blobs;
  Transferred records;
};

std::string absolute(const std::string& path) {
  std::error_code error;
  const auto canonical = std::filesystem::weakly_canonical(path, error);
  return error ? path : canonical.string();
}

bool same_place(const BlobPlace& a, const BlobPlace& b) {
  if (a.s3 || b.s3) return a.s3 && b.s3 && a.shown() == b.shown();
  return absolute(a.directory) == absolute(b.directory);
}

// What is moved, and where it goes.
struct Move {
  Config config;
  std::string source_path;  // of the database
  std::unique_ptr<SqliteStore> source;
  SqliteSummary summary;
  BlobPlace from, to;
};

// Takes the lock of the source: while a server is at work on it, what is moved would be old.
Status open_source(const ImportArguments& arguments, Move* move) {
  const std::string data = arguments.directory;
  move->source_path = *store_path("sqlite:", data);
  if (access(move->source_path.c_str(), R_OK) != 0) {
    return Status::unavailable(
        errors::kStoreOpen,
        fmt::format("there is no store at {}; name the data directory of an embedded store, or "
                    "what `millrace export` has made",
                    move->source_path));
  }
  auto from = blob_place(arguments.blobs.empty() ? "file:" : arguments.blobs, data);
  if (!from.ok()) return from.status();
  auto to = blob_place(move->config.blobs, move->config.data);
  if (!to.ok()) return to.status();
  move->from = *std::move(from);
  move->to = *std::move(to);
  SqliteOptions options;
  options.path = move->source_path;
  options.reserve_bytes = 0;
  options.upgrade = false;
  auto source = open_sqlite_store(options);
  if (!source.ok()) return source.status();
  move->source = *std::move(source);
  auto summary = move->source->summary();
  if (!summary.ok()) return summary.status();
  move->summary = *std::move(summary);
  return {};
}

Status move_blobs(const Move& move, BlobsCopied* done) {
  RuntimeOptions options;
  options.s3 = s3_credentials();
  auto from = open_blobs(move.from, options, /*keep_copies=*/false);
  if (!from.ok()) return from.status();
  const bool there = same_place(move.from, move.to);
  std::unique_ptr<BlobStore> to;
  if (!there) {
    auto opened = open_blobs(move.to, options, /*keep_copies=*/false);
    if (!opened.ok()) return opened.status();
    to = *std::move(opened);
    RETURN_IF_ERROR(to->probe());
  }
  BlobCopy blobs;
  blobs.names = move.source.get();
  blobs.from = from->get();
  blobs.from_shown = move.from.shown();
  blobs.from_bucket = move.from.s3.has_value();
  blobs.to = to.get();
  RETURN_IF_ERROR(copy_blobs(blobs, done));
  fmt::print(stderr, "{} blobs are in {}; now the jobs\n", done->blobs, move.to.shown());
  return {};
}

// ---- into a database that replicas share

Result<std::map<NodeId, NodeLease>> present_nodes(MongoStore* store) {
  const auto leases = store->leases();
  if (!leases.ok()) return leases.status();
  std::map<NodeId, NodeLease> present;
  for (const NodeLease& lease : *leases) {
    if (!lease.departed) present.emplace(lease.node, lease);
  }
  return present;
}

// One that was killed leaves its lease behind: whether it lives, its counter says.
Status refuse_living_nodes(MongoStore* store) {
  const auto before = present_nodes(store);
  if (!before.ok()) return before.status();
  if (before->empty()) return {};
  DurationMs longest = 0;
  for (const auto& [node, lease] : *before) longest = std::max(longest, lease.lease_ms);
  fmt::print(stderr, "{} replicas have left a lease; looking for {:.0f} s whether one lives\n",
             before->size(), static_cast<double>(longest) / 1000);
  std::this_thread::sleep_for(std::chrono::milliseconds(longest + kLeaseMarginMs));
  const auto now = present_nodes(store);
  if (!now.ok()) return now.status();
  for (const auto& [node, lease] : *now) {
    const auto then = before->find(node);
    if (then != before->end() && then->second.counter == lease.counter) continue;
    return Status::conflict(
        errors::kImportRefused,
        fmt::format("a replica ({}) is at work on {}; stop all of them, then repeat the import",
                    lease.name.empty() ? node.text() : lease.name, store->name()));
  }
  return {};
}

Status import_shared(const Move& move, Imported* done) {
  MongoOptions options;
  options.uri = move.config.store;
  options.importing = true;
  auto store = open_mongo_store(options);
  if (!store.ok()) return store.status();
  RETURN_IF_ERROR(refuse_living_nodes(store->get()));
  RETURN_IF_ERROR((*store)->begin_import(move.summary.state));
  RETURN_IF_ERROR(move_blobs(move, &done->blobs));
  Progress progress("jobs moved", move.summary.jobs);
  auto moved = transfer_store(move.source.get(), store->get(), store->get(),
                              [&](const Transferred& so_far) { progress.at(so_far.jobs); });
  if (!moved.ok()) return moved.status();
  done->records = *std::move(moved);
  // One that had looked for the mark before it was there, and has begun since.
  RETURN_IF_ERROR(refuse_living_nodes(store->get()));
  return (*store)->finish_import(move.summary.state, wall_clock_ms());
}

// ---- into another data directory

Status import_embedded(const Move& move, Imported* done) {
  const auto path = store_path(move.config.store, move.config.data);
  if (!path.ok()) return path.status();
  std::error_code error;
  if (std::filesystem::exists(*path, error)) {
    return Status::conflict(errors::kImportRefused,
                            fmt::format("there is a store at {} already; an import goes into a new "
                                        "data directory",
                                        *path));
  }
  const std::string unfinished = *path + kUnfinished;
  std::filesystem::create_directories(directory_of(*path), error);
  for (const char* part : {"", "-wal", "-shm", "-journal"}) {
    std::filesystem::remove(unfinished + part, error);
  }
  StoreLock lock;  // two imports at once
  RETURN_IF_ERROR(lock.acquire(*path + ".lock"));
  RETURN_IF_ERROR(move_blobs(move, &done->blobs));
  RETURN_IF_ERROR(copy_sqlite_store(move.source_path, unfinished));
  done->records.jobs = move.summary.jobs;
  done->records.tombstones = move.summary.tombstones;
  const auto unfinished_jobs = move.source->count_unfinished();
  done->records.unfinished = static_cast<uint64_t>(unfinished_jobs.ok() ? *unfinished_jobs : 0);
  return rename_store(unfinished, *path);
}

void print_summary(const Move& move, const Imported& done) {
  const BlobsCopied& blobs = done.blobs;
  print(fmt::format(
      "{} jobs ({} unfinished), {} kept idempotency keys of deleted ones, {} blobs ({:.1f} MiB) of "
      "{} are in the store and in {}\n",
      done.records.jobs, done.records.unfinished, done.records.tombstones, blobs.blobs,
      static_cast<double>(blobs.bytes) / (1 << 20), move.source_path, move.to.shown()));
  for (const DamagedJob& job : done.records.damaged) print_error(job.status);
  if (done.records.damaged_count > 0) {
    print_error(fmt::format("{} damaged jobs were left out", done.records.damaged_count));
  }
  if (blobs.broken > 0) {
    print_error(fmt::format("{} blobs are missing; the jobs that need them will say so (E127)",
                            blobs.broken));
  }
}

}  // namespace

int run_import(const ImportArguments& arguments) {
  Move move;
  if (!load_for_verb(arguments.config, &move.config)) return kExitConfig;
  set_log(LogLevel::kError, move.config.log_format);
  Imported done;
  Status status = open_source(arguments, &move);
  if (status.ok()) {
    status = move.config.store.starts_with("mongodb") ? import_shared(move, &done)
                                                      : import_embedded(move, &done);
  }
  if (!status.ok()) {
    print_error(status);
    return exit_code_of(status);
  }
  print_summary(move, done);
  return done.records.damaged_count == 0 && done.blobs.broken == 0 ? kExitDone : kExitFailed;
}

}  // namespace millrace
