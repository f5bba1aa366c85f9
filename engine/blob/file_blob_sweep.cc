// The other half of FileBlobStore: opening, what earlier processes left behind, removing.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <unordered_set>

#include "engine/base/errors.h"
#include "engine/base/ids.h"
#include "engine/blob/file_blob_store.h"

namespace millrace {
namespace {

constexpr int kFanOuts = 256;
constexpr int64_t kTemporaryAgeMsMax = 86'400'000;
constexpr std::string_view kAlive = ".alive";

Status failed(const char* verb, const std::string& path) {
  return Status::unavailable(errors::kBlobWrite,
                             fmt::format("cannot {} {}: {}", verb, path, std::strerror(errno)));
}

int64_t modified_ms(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1000 + info.st_mtim.tv_nsec / 1'000'000;
}

std::vector<std::string> entries_of(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  return names;
}

}  // namespace

// ---- opening

Result<std::unique_ptr<FileBlobStore>> FileBlobStore::open(const std::string& directory,
                                                           FileOps* ops) {
  CHECK(!directory.empty() && ops != nullptr);
  std::unique_ptr<FileBlobStore> store(new FileBlobStore(directory, ops));
  RETURN_IF_ERROR(store->prepare());
  return store;
}

FileBlobStore::~FileBlobStore() {
  if (alive_fd_ < 0) return;
  ::unlink(fmt::format("{}/tmp/{}{}", directory_, id_, kAlive).c_str());
  ::close(alive_fd_);
}

Status FileBlobStore::prepare() {
  for (size_t slash = directory_.find('/', 1);; slash = directory_.find('/', slash + 1)) {
    const std::string part = directory_.substr(0, slash);
    if (ops_->mkdir(part.c_str(), 0700) == 0) {
      const size_t parent = part.rfind('/');
      RETURN_IF_ERROR(sync_path(parent == std::string::npos ? "."
                                : parent == 0               ? "/"
                                                            : part.substr(0, parent)));
    } else if (errno != EEXIST) {
      return failed("create the directory", part);
    }
    if (slash == std::string::npos) break;
  }
  const std::string temporary = directory_ + "/tmp";
  if (ops_->mkdir(temporary.c_str(), 0700) != 0 && errno != EEXIST) {
    return failed("create the directory", temporary);
  }
  // Of a directory that is there but not ours to write, the first put would be late to tell.
  if (::access(directory_.c_str(), R_OK | W_OK | X_OK) != 0) return failed("write to", directory_);
  clean_temporary_files();
  return {};
}

// A store that lives holds a lock on ID.alive; without one its temporary files are nobody's.
void FileBlobStore::clean_temporary_files() {
  const std::string folder = directory_ + "/tmp/";
  const auto names = entries_of(folder);
  std::unordered_set<std::string> living, gone;
  for (const std::string& name : names) {
    if (!name.ends_with(kAlive)) continue;
    const std::string owner = name.substr(0, name.size() - kAlive.size());
    const std::string path = folder + name;
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) {
      gone.insert(owner);
      ::unlink(path.c_str());
    } else {
      living.insert(owner);
    }
    ::close(fd);
  }
  const int64_t old_ms = wall_clock_ms() - kTemporaryAgeMsMax;
  for (const std::string& name : names) {
    if (name.ends_with(kAlive)) continue;
    const std::string path = folder + name;
    const std::string owner = name.substr(0, name.find('-'));
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) continue;
    const bool old = modified_ms(info) < old_ms;
    if (gone.contains(owner) || (old && !living.contains(owner))) ::unlink(path.c_str());
  }
}

// Called before the first temporary name is used: most file systems never need one.
Status FileBlobStore::own_temporary_names() {
  const std::lock_guard<std::mutex> lock(setup_mutex_);
  if (alive_fd_ >= 0) return {};
  const std::string id = NodeId::random().text();
  const std::string path = fmt::format("{}/tmp/{}{}", directory_, id, kAlive);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    return Status::unavailable(
        errno == ENOSPC || errno == EDQUOT ? errors::kNoSpace : errors::kBlobWrite,
        fmt::format("cannot create {}: {}", path, std::strerror(errno)));
  }
  struct stat info {};
  // A store that opens just now may take the file for an orphan's before it is locked.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 || ::stat(path.c_str(), &info) != 0) {
    const Status status = failed("lock", path);
    ::close(fd);
    return status;
  }
  id_ = id;
  alive_fd_ = fd;
  return {};
}

Result<std::string> FileBlobStore::temporary_name() {
  RETURN_IF_ERROR(own_temporary_names());
  return fmt::format("{}/tmp/{}-{}", directory_, id_, next_temporary_.fetch_add(1));
}

Status FileBlobStore::probe() {
  const auto made = sink();
  RETURN_IF_ERROR(made->append("x"));
  const auto written = made->finish();
  return written.ok() ? Status() : written.status();
}

// ---- removing

void FileBlobStore::each_blob(int at, const std::function<bool(const Digest&)>& visit) const {
  for (const std::string& name : entries_of(fmt::format("{}/{:02x}", directory_, at))) {
    const auto digest = Digest::parse("sha256:" + name);
    if (digest && digest->bytes[0] == at && !visit(*digest)) return;
  }
}

Result<int> FileBlobStore::sweep(TimeMs before, int max, const Named& named) {
  CHECK(max > 0);
  int removed = 0, looked_at = 0;
  Status status;
  for (int turn = 0; turn < kFanOuts; turn++) {
    each_blob(sweep_at_, [&](const Digest& digest) {
      looked_at++;
      const auto flight = book_.try_hold(digest);
      if (flight == nullptr) return true;  // it is being put: young
      const auto gone = remove_held(digest, before, named);
      book_.let_go(digest, flight, {});
      if (!gone.ok()) status = gone.status();
      if (gone.ok() && *gone) removed++;
      return status.ok() && removed < max;
    });
    if (!status.ok()) return status;
    if (removed >= max) return removed;  // this directory may have more
    sweep_at_ = (sweep_at_ + 1) % kFanOuts;
    if (sweep_at_ == 0) sweep_rounds_++;
    if (sweep_at_ == 0 || looked_at >= kSweepFilesMax) break;
  }
  return removed;
}

Status FileBlobStore::remove(const Digest& digest, const Named& named, int64_t put_before_us,
                             TimeMs kept_since) {
  const auto flight = book_.try_hold(digest);
  if (flight == nullptr) return {};  // somebody is putting it: it is wanted again
  const int64_t put_us = book_.put_us(digest);
  Status status;
  if (put_us < put_before_us) {
    const auto gone = remove_held(digest, kept_until(digest, kept_since), named);
    if (!gone.ok()) status = gone.status();
  }
  book_.let_go(digest, flight, {});
  return status;
}

// Of a blob that was put to be kept: `kept_since`; else no age keeps it.
TimeMs FileBlobStore::kept_until(const Digest& digest, TimeMs kept_since) {
  if (kept_since == kNever) return kNever;
  struct stat info {};
  const bool kept = ops_->stat(path(digest).c_str(), &info) == 0 && (info.st_mode & S_ISVTX) != 0;
  return kept ? kept_since : kNever;
}

// Whether the file is there, older than `before`, and named by nobody. If so it is forgotten.
Result<bool> FileBlobStore::may_remove(const Digest& digest, TimeMs before, const Named& named) {
  struct stat info {};
  if (ops_->stat(path(digest).c_str(), &info) != 0) return false;
  if (modified_ms(info) >= before) return false;
  const auto wanted = named(digest);
  if (!wanted.ok()) return wanted.status();
  if (*wanted) return false;
  book_.forget(digest);
  const std::lock_guard<std::mutex> lock(mutex_);
  suspects_.erase(digest);
  return true;
}

Result<bool> FileBlobStore::remove_held(const Digest& digest, TimeMs before, const Named& named) {
  const auto may = may_remove(digest, before, named);
  if (!may.ok() || !*may) return may;
  const std::string name = path(digest);
  // Not synced: a blob that comes back after a power loss is garbage, and found again.
  if (ops_->unlink(name.c_str()) != 0 && errno != ENOENT) return failed("remove", name);
  return true;
}

Status FileBlobStore::remove_shared(const Digest& digest, const Named& named, TimeMs kept_since) {
  const auto flight = book_.try_hold(digest);
  if (flight == nullptr) return {};  // as in remove()
  const Status status = remove_aside(digest, kept_until(digest, kept_since), named);
  book_.let_go(digest, flight, {});
  return status;
}

// A process that dies with a file aside has taken it: nobody named it when it was asked first.
Status FileBlobStore::remove_aside(const Digest& digest, TimeMs before, const Named& named) {
  const auto may = may_remove(digest, before, named);
  if (!may.ok()) return may.status();
  if (!*may) return {};
  const auto aside = temporary_name();
  if (!aside.ok()) return aside.status();
  const std::string name = path(digest);
  if (ops_->rename(name.c_str(), aside->c_str()) != 0) {
    return errno == ENOENT ? Status() : failed("move", name);
  }
  const auto wanted = named(digest);
  const bool back = !wanted.ok() || *wanted;
  // Whoever put it anew meanwhile has put the same bytes.
  if (back && ops_->link(aside->c_str(), name.c_str()) != 0 && errno != EEXIST) {
    return failed("give back", name);
  }
  if (ops_->unlink(aside->c_str()) != 0 && errno != ENOENT) return failed("remove", *aside);
  return wanted.ok() ? Status() : wanted.status();
}

}  // namespace millrace
