#include "steps/store/file_store.h"

#include <dirent.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "steps/store/directory.h"
#include "steps/store/key.h"
#include "steps/store/system.h"

namespace millrace::store_step {

SystemHook system_hook = nullptr;

namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;
constexpr int kRoundsMax = 16;
constexpr int64_t kLeftoverSeconds = 86'400;
constexpr int kLockTriesMax = 2'500;  // 2 ms apart: 5 s

// SHA-256, fed in pieces.
class Hasher {
 public:
  Hasher() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void update(const void* data, size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
  std::string finish() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    std::string text = "sha256:";
    for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

// The version of an object: neither a link nor an exchange changes any of these.
bool same_version(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

// File systems on which FICLONE did not work are not asked again.
class CloneRefusals {
 public:
  bool contains(dev_t device) {
    const std::lock_guard lock(mutex_);
    return devices_.contains(device);
  }
  void insert(dev_t device) {
    const std::lock_guard lock(mutex_);
    if (devices_.size() < 64) devices_.insert(device);
  }

 private:
  std::mutex mutex_;
  std::set<dev_t> devices_;
};

CloneRefusals& clone_refusals() {
  static CloneRefusals instance;
  return instance;
}

std::string random_name() {
  uint64_t bits[2] = {};
  if (::getrandom(bits, sizeof bits, 0) != sizeof bits) {  // never happens once the system is up
    struct timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    bits[0] = static_cast<uint64_t>(now.tv_nsec) ^ reinterpret_cast<uintptr_t>(&now);
    bits[1] = static_cast<uint64_t>(now.tv_sec) ^ static_cast<uint64_t>(::getpid()) << 32;
  }
  return fmt::format("{:016x}{:016x}", bits[0], bits[1]);
}

void remove_leftovers(const File& directory) {
  DIR* listing = ::fdopendir(::openat(directory.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (listing == nullptr) return;
  const int64_t now = ::time(nullptr);
  while (const dirent* entry = ::readdir(listing)) {
    struct stat status;
    if (entry->d_name[0] == '.' || stat_at(directory, entry->d_name, &status) != 0) continue;
    if (S_ISREG(status.st_mode) && status.st_ctime + kLeftoverSeconds < now) {
      (void)unlink_at(directory, entry->d_name);
    }
  }
  ::closedir(listing);
}

// One put: what it holds open, and the steps it takes. Lives in put_object().
class Put {
 public:
  Put(const Source& source, bool replace, const std::function<bool()>& go_on)
      : source_(source), replace_(replace), go_on_(go_on) {}
  ~Put() { forget_temporary(); }

  PutResult run(const std::string& root, std::string_view key);

 private:
  enum class Next { kDone, kAgain };

  Failure open_places(const std::string& root, std::string_view key);
  Next attempt();
  Next attempt_create();
  Next attempt_replace(const struct stat& read);
  Next finish(How how, bool replaced);
  Failure prepare();
  Failure prepare_from_path(bool* prepared);
  Failure prepare_copy();
  Failure open_unnamed();
  Failure name_temporary(bool* again);
  bool give_up_linking();
  Failure open_temporary_directory();
  void forget_temporary();
  int link_prepared(const File& directory, const std::string& name);
  Failure lock_directory();
  Failure digest_file(const File& file, std::string* digest);
  Next fail(Failure failure) {
    result_.failure = std::move(failure);
    return Next::kDone;
  }
  Failure errno_failure(const char* what) const {
    return failure_of_errno(errno, fmt::format("{} object '{}'", what, printable(key_)));
  }

  const Source& source_;
  const bool replace_;
  const std::function<bool()>& go_on_;
  std::string key_;
  std::string name_;  // the last segment
  File root_, parent_, temporary_directory_;
  File prepared_;  // complete and synced, or invalid
  How how_ = How::kCopied;
  bool may_use_path_ = true;
  bool locked_ = false;
  std::string temporary_;  // a name in temporary_directory_ that is ours to remove
  PutResult result_;
};

PutResult Put::run(const std::string& root, std::string_view key) {
  if ((result_.failure = open_places(root, key))) return std::move(result_);
  for (int round = 0; round < kRoundsMax; ++round) {
    if (attempt() == Next::kDone) return std::move(result_);
  }
  result_.failure = {"conflict",
                     fmt::format("object '{}' was changed by another program {} times while it was "
                                 "being put; let only millrace write into this store",
                                 printable(key_), kRoundsMax)};
  return std::move(result_);
}

Failure Put::open_places(const std::string& root, std::string_view key) {
  key_ = key;
  std::vector<std::string_view> segments = key_segments(key);
  name_ = segments.back();
  segments.pop_back();
  if (Failure failure = open_root(root, &root_)) return failure;
  return open_below(root_, segments, &parent_);
}

Put::Next Put::attempt() {
  const File existing = open_at(parent_.fd(), name_, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!existing && errno == ENOENT) return attempt_create();
  struct stat read = {};
  if (existing && stat_file(existing, &read) != 0) return fail(errno_failure("cannot look at"));
  if ((!existing && errno == ELOOP) || (existing && !S_ISREG(read.st_mode))) {
    return fail({"exists", fmt::format("'{}' is a directory or a link in this store and no object; "
                                       "choose another key",
                                       printable(key_))});
  }
  if (!existing) return fail(errno_failure("cannot open"));
  std::string digest;
  if (Failure failure = digest_file(existing, &digest)) return fail(std::move(failure));
  if (result_.cancelled) return Next::kDone;
  if (digest == source_.digest) {
    // It may be the work of a process that died before it synced.
    if (sync_file(existing) != 0) return fail(errno_failure("cannot sync"));
    return finish(How::kIdentical, false);
  }
  if (!replace_) {
    return fail({"exists",
                 fmt::format("object '{}' exists with other bytes ({}, {} bytes) than those to put "
                             "({}, {} bytes); choose another key or set replace: true",
                             printable(key_), digest, static_cast<uint64_t>(read.st_size),
                             source_.digest, source_.size)});
  }
  return attempt_replace(read);
}

Put::Next Put::attempt_create() {
  if (Failure failure = prepare()) return fail(std::move(failure));
  if (result_.cancelled) return Next::kDone;
  if (link_prepared(parent_, name_) == 0) return finish(how_, false);
  if (errno == EEXIST) return Next::kAgain;
  if (give_up_linking()) return Next::kAgain;
  return fail(errno_failure("cannot name"));
}

Put::Next Put::attempt_replace(const struct stat& read) {
  if (Failure failure = prepare()) return fail(std::move(failure));
  if (Failure failure = lock_directory()) return fail(std::move(failure));
  if (result_.cancelled) return Next::kDone;
  struct stat now;
  if (stat_at(parent_, name_, &now) != 0 || !same_version(now, read)) return Next::kAgain;
  bool again = false;
  if (Failure failure = name_temporary(&again)) return fail(std::move(failure));
  if (again) return Next::kAgain;
  if (exchange_at(temporary_directory_, temporary_, parent_, name_) != 0) {
    if (errno == ENOENT) return Next::kAgain;
    if (errno != EINVAL && errno != ENOSYS) return fail(errno_failure("cannot replace"));
    if (rename_at(temporary_directory_, temporary_, parent_, name_) != 0) {
      return fail(errno_failure("cannot replace"));
    }
    temporary_.clear();
    return finish(how_, true);
  }
  struct stat taken;
  if (stat_at(temporary_directory_, temporary_, &taken) != 0) {
    return fail(errno_failure("cannot look at the replaced"));
  }
  if (!same_version(taken, read)) {
    if (exchange_at(temporary_directory_, temporary_, parent_, name_) != 0) {
      forget_temporary();
      prepared_ = File();  // a file that has lost its last name cannot get another
    }
    return Next::kAgain;
  }
  return finish(how_, true);
}

Put::Next Put::finish(How how, bool replaced) {
  if (sync_file(parent_) != 0) return fail(errno_failure("cannot sync the directory of"));
  forget_temporary();
  result_.how = how;
  result_.replaced = replaced;
  return Next::kDone;
}

Failure Put::prepare() {
  if (prepared_) return {};
  bool prepared = false;
  if (source_.path != nullptr && may_use_path_) {
    if (Failure failure = prepare_from_path(&prepared)) return failure;
  }
  return prepared ? Failure{} : prepare_copy();
}

// Without writing bytes: a clone, else the file itself. Leaves `prepared` false when neither can
// be.
Failure Put::prepare_from_path(bool* prepared) {
  File file = open_at(AT_FDCWD, source_.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  struct stat from, to;
  if (!file || stat_file(file, &from) != 0 || stat_file(parent_, &to) != 0) return {};
  if (!S_ISREG(from.st_mode) || static_cast<uint64_t>(from.st_size) != source_.size) return {};
  if (from.st_dev != to.st_dev) return {};
  if (!clone_refusals().contains(from.st_dev)) {
    if (Failure failure = open_unnamed()) return failure;
    if (clone_file(prepared_, file) == 0) {
      if (sync_file(prepared_) != 0) return errno_failure("cannot sync");
      how_ = How::kCloned;
      *prepared = true;
      return {};
    }
    prepared_ = File();
    forget_temporary();
    clone_refusals().insert(from.st_dev);
  }
  // The step must not depend on when its host synced the file; syncing a clean one is cheap.
  if (sync_file(file) != 0) return errno_failure("cannot sync");
  prepared_ = std::move(file);
  how_ = How::kLinked;
  *prepared = true;
  return {};
}

Failure Put::prepare_copy() {
  File from;
  const uint8_t* data = source_.data;
  std::vector<uint8_t> buffer;
  if (data == nullptr && source_.size > 0) {
    from = open_at(AT_FDCWD, source_.path == nullptr ? "" : source_.path, O_RDONLY);
    if (!from) return errno_failure("cannot read the bytes of");
    buffer.resize(kChunkBytes);
  }
  if (Failure failure = open_unnamed()) return failure;
  for (uint64_t at = 0; at < source_.size;) {
    if (!go_on_()) {
      result_.cancelled = true;
      prepared_ = File();
      return {};
    }
    size_t wanted = static_cast<size_t>(std::min<uint64_t>(kChunkBytes, source_.size - at));
    const uint8_t* chunk = data == nullptr ? buffer.data() : data + at;
    if (data == nullptr) {
      const ssize_t got = read_file(from, buffer.data(), wanted, static_cast<off_t>(at));
      if (got < 0) return errno_failure("cannot read the bytes of");
      if (got == 0) {
        return {"io_error",
                fmt::format("{} ended after {} of {} bytes", source_.path, at, source_.size)};
      }
      wanted = static_cast<size_t>(got);
    }
    const ssize_t written = write_file(prepared_, chunk, wanted);
    if (written < 0) {
      Failure failure = errno_failure("cannot write");
      prepared_ = File();
      return failure;
    }
    at += static_cast<uint64_t>(written);
  }
  if (sync_file(prepared_) != 0) {
    Failure failure = errno_failure("cannot sync");
    prepared_ = File();
    return failure;
  }
  how_ = How::kCopied;
  return {};
}

// A new empty file without a name; where the file system knows no such thing, with a temporary one.
Failure Put::open_unnamed() {
  prepared_ = open_at(parent_.fd(), ".", O_TMPFILE | O_WRONLY, 0444);
  if (prepared_) return {};
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT) {
    return errno_failure("cannot create");
  }
  if (Failure failure = open_temporary_directory()) return failure;
  const std::string name = random_name();
  prepared_ = open_at(temporary_directory_.fd(), name, O_CREAT | O_EXCL | O_WRONLY, 0444);
  if (!prepared_) return errno_failure("cannot create");
  temporary_ = name;
  return {};
}

// Whether the last linkat() failed because of the blob's own file: it has too many names, or is not
// ours to link. Then the bytes are written.
bool Put::give_up_linking() {
  if (how_ != How::kLinked || (errno != EMLINK && errno != EPERM && errno != EXDEV)) return false;
  may_use_path_ = false;
  prepared_ = File();
  return true;
}

Failure Put::name_temporary(bool* again) {
  if (!temporary_.empty()) return {};
  if (Failure failure = open_temporary_directory()) return failure;
  const std::string name = random_name();
  if (link_prepared(temporary_directory_, name) != 0) {
    *again = give_up_linking();
    return *again ? Failure{} : errno_failure("cannot name");
  }
  temporary_ = name;
  return {};
}

Failure Put::open_temporary_directory() {
  if (temporary_directory_) return {};
  if (Failure failure = open_below(root_, {kTemporaryDirectory}, &temporary_directory_)) {
    return failure;
  }
  static std::mutex mutex;
  static std::set<std::pair<dev_t, ino_t>> cleaned;
  struct stat status;
  if (stat_file(temporary_directory_, &status) != 0) return {};
  {
    const std::lock_guard lock(mutex);
    if (cleaned.size() > 64 || !cleaned.emplace(status.st_dev, status.st_ino).second) return {};
  }
  remove_leftovers(temporary_directory_);
  return {};
}

void Put::forget_temporary() {
  if (temporary_.empty()) return;
  (void)unlink_at(temporary_directory_, temporary_);
  temporary_.clear();
}

// A second name for the prepared file. By /proc, since AT_EMPTY_PATH needs a capability on older
// kernels.
int Put::link_prepared(const File& directory, const std::string& name) {
  const std::string path = fmt::format("/proc/self/fd/{}", prepared_.fd());
  const int linked = system_call("linkat", [&] {
    return ::linkat(AT_FDCWD, path.c_str(), directory.fd(), name.c_str(), AT_SYMLINK_FOLLOW);
  });
  if (linked == 0 || errno != ENOENT) return linked;
  return system_call("linkat", [&] {
    return ::linkat(prepared_.fd(), "", directory.fd(), name.c_str(), AT_EMPTY_PATH);
  });
}

// Held until the put ends. A file system without locks (some NFS) goes without: the exchange is
// checked all the same.
Failure Put::lock_directory() {
  for (int tries = 0; !locked_; ++tries) {
    if (lock_file(parent_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
      locked_ = true;
      return {};
    }
    if (!go_on_()) {
      result_.cancelled = true;
      return {};
    }
    if (tries == kLockTriesMax) {
      return {"conflict",
              fmt::format("the directory of object '{}' has been locked by another process for 5 s",
                          printable(key_))};
    }
    const struct timespec pause = {0, 2'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return {};
}

Failure Put::digest_file(const File& file, std::string* digest) {
  Hasher hasher;
  std::vector<uint8_t> buffer(kChunkBytes);
  for (off_t at = 0;;) {
    if (!go_on_()) {
      result_.cancelled = true;
      return {};
    }
    const ssize_t got = read_file(file, buffer.data(), buffer.size(), at);
    if (got < 0) return errno_failure("cannot read");
    if (got == 0) break;
    hasher.update(buffer.data(), static_cast<size_t>(got));
    at += got;
  }
  *digest = hasher.finish();
  return {};
}

}  // namespace

PutResult put_object(const std::string& root, std::string_view key, const Source& source,
                     bool replace, const std::function<bool()>& go_on) {
  Put put(source, replace, go_on);
  return put.run(root, key);
}

std::string digest_of(const void* data, uint64_t size) {
  Hasher hasher;
  hasher.update(data, size);
  return hasher.finish();
}

}  // namespace millrace::store_step
