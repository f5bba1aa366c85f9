// millrace doctor: looks at everything that a server would open, and says what to mend.
//
// It makes nothing: what is absent is what `serve` would make. A store that a server holds is left
// to it, and everything else is looked at all the same.
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/base/time.h"
#include "engine/blob/s3_blob_store.h"
#include "engine/store/mongo_store.h"
#include "engine/store/sqlite_store.h"
#include "engine/worker/sandbox_probe.h"
#include "server/cli/broken_blob.h"
#include "server/cli/cli.h"
#include "server/pipeline_files.h"
#include "server/runtime_setup.h"

namespace millrace {
namespace {

constexpr uint64_t kFreeBytesWanted = uint64_t{1} << 30;
constexpr uint64_t kDescriptorsWanted = 4096;
constexpr uint64_t kCatalogueBudgetBytes = 1 << 20;
constexpr int kBlobsPerPage = 1024;
constexpr int kJobsPerPage = 500;
constexpr TimeMs kClockEarliest = 1'735'689'600'000;  // 2025: this program is younger
constexpr DurationMs kClockSlack = 60'000;            // between a job's time and ours

class Report {
 public:
  void good(const std::string& text) { line("ok    ", text); }
  void note(const std::string& text) { line("note  ", text); }
  // `code`: what a server would end with for this; the highest is the verb's.
  void bad(const std::string& text, int code = kExitFailed) {
    line(red("mend  ", STDOUT_FILENO), text);
    code_ = std::max(code_, code);
  }
  void bad(const Status& status) {
    bad(fmt::format("{}: {}", error_code(status.number()), status.message()), exit_code_of(status));
  }
  // Shown on a terminal only, until the next line.
  void progress(const std::string& text) {
    if (!terminal_) return;
    fmt::print(stderr, "\r\x1b[K{}", text);
    std::fflush(stderr);
    shown_ = !text.empty();
  }
  int code() const { return code_; }

 private:
  void line(const std::string& mark, const std::string& text) {
    if (shown_) progress("");
    print(mark + text + "\n");
  }
  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  bool shown_ = false;
  int code_ = kExitDone;
};

std::string size_text(uint64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
}

bool exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// `path`, or the nearest directory above it that is there.
std::string existing_part(const std::string& path) {
  std::string at = path;
  while (!exists(at) && at != "/" && at != ".") at = directory_of(at);
  return at;
}

// A directory that is there must be writable; one that is not must be possible to make.
void check_directory(const std::string& what, const std::string& path, int number, Report* report) {
  const std::string there = existing_part(path);
  std::error_code error;
  const bool folder = std::filesystem::is_directory(there, error);
  if (!folder || access(there.c_str(), W_OK | X_OK) != 0) {
    const std::string why = folder ? std::generic_category().message(errno) : "not a directory";
    report->bad(Status::unavailable(
        number, there == path
                    ? fmt::format("{} {} cannot be written: {}", what, path, why)
                    : fmt::format("{} {} cannot be made: {}: {}", what, path, there, why)));
  } else if (there != path) {
    report->note(fmt::format("{} {} is absent; `millrace serve` makes it", what, path));
  } else {
    report->good(fmt::format("{} {}", what, path));
  }
}

void check_limits(const Config& config, Report* report) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < kDescriptorsWanted) {
    report->bad(fmt::format("{} file descriptors; allow at least {} (ulimit -n)", files.rlim_cur,
                            kDescriptorsWanted));
  } else {
    report->good(fmt::format("{} file descriptors", files.rlim_cur));
  }
  struct statvfs disk {};
  if (statvfs(existing_part(config.data).c_str(), &disk) == 0) {
    const uint64_t free_bytes = uint64_t{disk.f_bavail} * disk.f_frsize;
    const std::string text = fmt::format("{} free for {}", size_text(free_bytes), config.data);
    if (free_bytes < kFreeBytesWanted) {
      report->bad(text + "; make room");
    } else {
      report->good(text);
    }
  }
  report->good("limits.memory " + size_text(config.memory_bytes_max));
  report->good("workers.memory " + size_text(config.workers_memory_bytes));
}

void check_clock(Report* report) {
  const std::string now = format_time(wall_clock_ms());
  timex state{};
  if (wall_clock_ms() < kClockEarliest) {
    report->bad(fmt::format("the clock says {}; set it, jobs are ordered and removed by it", now));
  } else if (adjtimex(&state) == TIME_ERROR) {
    report->note(fmt::format("the clock says {}; nothing here synchronises it", now));
  } else {
    report->good("clock " + now);
  }
}

// Which layers of the workers' sandbox this machine has. Only the filter of system calls is needed.
void check_sandbox(const Config& config, Report* report) {
  if (config.thread_isolation) {
    report->note("workers.isolation is thread: steps run in the server, without a sandbox");
    return;
  }
  for (const Lane lane : {Lane::kCpu, Lane::kIo}) {
    const SandboxProbe probe = probe_sandbox(lane);
    const std::string text =
        fmt::format("sandbox of {} steps: {}", lane_name(lane), probe.layer_names());
    if (!probe.locked) {
      report->bad(fmt::format("{}; what it must refuse is not refused", text));
    } else if (!probe.missing_names().empty()) {
      report->note(fmt::format("{}; this machine lacks {}", text, probe.missing_names()));
    } else {
      report->good(text);
    }
  }
}

void check_secrets(const Config& config, Report* report) {
  std::vector<std::string> references = config.webhook_secrets;
  if (!config.auth_token.empty()) references.push_back(config.auth_token);
  for (const std::string& reference : references) {
    const auto secret = resolve_secret(reference);
    if (secret.ok()) {
      report->good("secret " + reference);
    } else {
      report->bad(secret.status());
    }
  }
}

void check_plugins(const Config& config, Report* report) {
  WorkerOptions options;
  // A secret that cannot be resolved was reported; the plugins are looked at without it.
  if (auto full = runtime_options(config); full.ok()) options = std::move(full->workers);
  options.steps_directory = config.steps;
  options.budget = std::make_shared<ByteBudget>(kCatalogueBudgetBytes);
  const auto workers =
      config.thread_isolation ? start_thread_workers(options) : start_process_workers(options);
  if (!workers.ok()) {
    report->bad(workers.status());
    return;
  }
  for (const PluginProblem& problem : (*workers)->problems()) {
    report->bad(fmt::format("{}: {}", error_code(problem.number), problem.message));
  }
  const auto catalogue = (*workers)->catalogue();
  report->good(fmt::format("{} steps from {}", catalogue->steps().size(), config.steps));
  const PipelineFiles::Loaded loaded = PipelineFiles(config.pipelines).load(catalogue);
  for (const std::string& error : loaded.errors) report->bad(error, kExitConfig);
  for (const std::string& warning : loaded.warnings) report->note(warning);
  if (loaded.errors.empty()) report->good(fmt::format("{} pipelines", loaded.graphs.size()));
}

// ---- the store and its blobs

// Each blob that a record names is read and hashed once, in the order of digests: what has been
// seen need not be remembered.
void check_blobs(SqliteStore* store, const BlobPlace& place, Report* report) {
  std::unique_ptr<BlobStore> blobs;
  if (place.s3 || exists(place.directory)) {  // opening would make it
    RuntimeOptions options;
    options.s3 = s3_credentials();
    auto opened = open_blobs(place, options, /*keep_copies=*/false);
    if (!opened.ok()) {
      report->bad(opened.status());
      return;
    }
    blobs = std::move(*opened);
  }
  uint64_t seen = 0, broken = 0;
  Digest last;
  for (;;) {
    const auto page = store->blobs_after(last, kBlobsPerPage);
    if (!page.ok()) {
      report->bad(page.status());
      return;
    }
    for (const Digest& digest : *page) {
      const Status status = blobs == nullptr ? Status::not_found(errors::kBlobUnknown, "")
                                             : blobs->read(digest, /*verify=*/true).status();
      seen++;
      if (place.s3 && status.code() == Code::kUnavailable) {  // of all the others it says nothing
        report->bad(status);
        return;
      }
      if (!status.ok()) {
        broken++;
        report->bad(broken_blob_text(store, place.shown(), digest, status));
      }
      report->progress(fmt::format("{} blobs", seen));
    }
    if (page->empty()) break;
    last = page->back();
  }
  if (broken == 0) report->good(fmt::format("{} blobs", seen));
  if (broken > 0) report->note(fmt::format("{} of {} blobs are missing or altered", broken, seen));
}

// Every page of the database, and every record.
bool check_records(SqliteStore* store, Report* report) {
  report->progress("checking the store");
  if (const Status status = store->check(); !status.ok()) {
    report->bad(status);
    return false;
  }
  uint64_t seen = 0, damaged = 0;
  std::string cursor;
  do {
    const auto page = store->list({}, cursor, kJobsPerPage);
    if (!page.ok()) {
      report->bad(page.status());
      return false;
    }
    // A server leaves them out, so it would start all the same.
    for (const DamagedJob& job : page->damaged) {
      report->bad(fmt::format("{}: {}", error_code(job.status.number()), job.status.message()));
    }
    seen += page->jobs.size() + page->damaged.size();
    damaged += page->damaged.size();
    cursor = page->next;
    report->progress(fmt::format("{} jobs", seen));
  } while (!cursor.empty());
  if (damaged == 0) report->good(fmt::format("{} jobs", seen));
  if (damaged > 0) report->note(fmt::format("{} of {} jobs are damaged", damaged, seen));
  return true;
}

// A bucket must be there, and the keys must do all that a server does with it.
bool check_bucket(const std::string& what, const s3::Location& location, Report* report) {
  S3BlobOptions options;
  options.location = location;
  options.credentials = s3_credentials();
  const auto opened = S3BlobStore::open(options);
  const Status status = opened.ok() ? (*opened)->check_access() : opened.status();
  if (status.ok()) {
    report->good(fmt::format("{} {}", what, location.shown()));
  } else {
    report->bad(
        Status::unavailable(status.number(), fmt::format("{}: {}", what, status.message())));
  }
  return status.ok();
}

void check_newest_job(SqliteStore* store, Report* report) {
  const auto newest = store->list({}, "", 1);
  if (!newest.ok()) {
    report->bad(newest.status());
  } else if (!newest->jobs.empty() && newest->jobs[0].created_at > wall_clock_ms() + kClockSlack) {
    report->bad(fmt::format("job {} is of {}, which is yet to come: the clock was set back",
                            newest->jobs[0].id().text(), format_time(newest->jobs[0].created_at)));
  }
}

// Who else uses it, and whether it answers.
void check_shared_store(const Config& config, Report* report) {
  MongoOptions options;
  options.uri = config.store;
  const auto store = open_mongo_store(options);
  if (!store.ok()) {
    report->bad(store.status());
    return;
  }
  const auto leases = (*store)->leases();
  if (!leases.ok()) {
    report->bad(leases.status());
    return;
  }
  size_t nodes = 0;
  for (const NodeLease& lease : *leases) nodes += lease.departed ? 0 : 1;
  report->good(
      fmt::format("store {}, replicas that have not departed: {}", (*store)->name(), nodes));
}

void check_store(const Config& config, Report* report) {
  check_directory("data", config.data, errors::kStoreOpen, report);
  // What is inside of a directory that is absent is absent: said once is enough.
  const auto check_part = [&config, report](const std::string& what, const std::string& directory,
                                            int number) {
    if (exists(config.data) || !(directory + "/").starts_with(config.data + "/")) {
      check_directory(what, directory, number, report);
    }
  };
  for (const NamedStore& store : config.stores) {
    if (store.s3) {
      check_bucket("stores." + store.name, *store.s3, report);
      continue;
    }
    check_part("stores." + store.name, store.directory, errors::kStoreOpen);
  }
  const bool shared = config.store.starts_with("mongodb");
  const auto place = blob_place(config.blobs, config.data);
  const auto path = store_path(shared ? "sqlite:" : config.store, config.data);
  if (!place.ok()) report->bad(place.status());
  if (!path.ok()) report->bad(path.status());
  bool blobs = place.ok();
  if (blobs && place->s3) blobs = check_bucket("blobs", *place->s3, report);
  if (blobs && !place->s3) check_part("blobs", place->directory, errors::kBlobWrite);
  if (shared) {
    check_shared_store(config, report);
    return;
  }
  if (!path.ok()) return;
  if (blobs) {
    RuntimeOptions options;
    options.s3 = s3_credentials();
    if (const Status lost = check_not_lost(*path, *place, options); !lost.ok()) {
      report->bad(lost);
      return;
    }
  }
  if (!exists(*path)) {
    if (directory_of(*path) != config.data) {
      check_part("store", directory_of(*path), errors::kStoreOpen);
    }
    report->note(fmt::format("no store at {} yet; `millrace serve` makes it", *path));
    return;
  }
  SqliteOptions options;
  options.path = *path;
  options.upgrade = false;
  const auto store = open_sqlite_store(options);
  if (!store.ok() && store.status().number() == errors::kStoreLocked) {
    const std::string& message = store.status().message();
    report->note(fmt::format("{}: its jobs and blobs are checked when no server runs",
                             message.substr(0, message.find(';'))));
  } else if (!store.ok()) {
    report->bad(store.status());
  } else {
    report->good("store " + *path);
    if (!check_records(store->get(), report)) return;
    check_newest_job(store->get(), report);
    if (blobs) check_blobs(store->get(), *place, report);
  }
}

}  // namespace

int run_doctor(const ConfigArguments& arguments) {
  Config config;
  if (!load_for_verb(arguments, &config)) return kExitConfig;
  set_log(LogLevel::kError, config.log_format);
  Report report;
  report.good("configuration");
  check_secrets(config, &report);
  check_limits(config, &report);
  check_clock(&report);
  check_sandbox(config, &report);  // forks: before there are threads
  check_plugins(config, &report);  // before the store: its processes must not inherit the lock
  check_store(config, &report);
  return report.code();
}

}  // namespace millrace
