#include "steps/store/directory.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <cstring>
#include <mutex>
#include <set>
#include <tuple>

#include "steps/store/key.h"

namespace millrace::store_step {
namespace {

constexpr int kDirectory = O_RDONLY | O_DIRECTORY;

// A directory as such: its birth time tells it from a later one with the same inode number.
using Identity = std::tuple<uint64_t, uint64_t, int64_t, uint32_t>;

bool identify(const File& directory, Identity* identity) {
  struct statx status;
  if (::statx(directory.fd(), "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) != 0 ||
      (status.stx_mask & STATX_BTIME) == 0) {
    return false;  // such a file system cannot tell; then nothing is remembered
  }
  *identity = {makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino,
               status.stx_btime.tv_sec, status.stx_btime.tv_nsec};
  return true;
}

// The directories whose own entries this process has synced. Bounded: forgetting costs one sync.
class Durable {
 public:
  bool contains(const Identity& identity) {
    const std::lock_guard lock(mutex_);
    return known_.contains(identity);
  }
  void insert(const Identity& identity) {
    constexpr size_t kKnownMax = 4096;
    const std::lock_guard lock(mutex_);
    if (known_.size() >= kKnownMax) known_.clear();
    known_.insert(identity);
  }

 private:
  std::mutex mutex_;
  std::set<Identity> known_;
};

Durable& durable() {
  static Durable instance;
  return instance;
}

Failure make_durable(const File& parent, const File& child, bool created,
                     const std::string& shown) {
  Identity identity;
  const bool identified = identify(child, &identity);
  if (identified && !created && durable().contains(identity)) return {};
  if (sync_file(parent) != 0) {
    return failure_of_errno(errno, fmt::format("cannot sync the parent of directory {}", shown));
  }
  if (identified) durable().insert(identity);
  return {};
}

}  // namespace

Failure failure_of_errno(int error, const std::string& what) {
  const std::string text = fmt::format("{}: {}", what, std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) {
    return {"no_space", text + "; free some space, the step tries again"};
  }
  if (error == ENAMETOOLONG) {
    return {"invalid_key",
            text + "; a segment of a key may have at most 255 bytes in a file store"};
  }
  return {"io_error", text};
}

Failure open_root(const std::string& path, File* root) {
  *root = open_at(AT_FDCWD, path, kDirectory);
  if (*root) {
    // Its parent may not be ours to open; then its durability is not ours to promise either.
    const File parent = open_at(root->fd(), "..", kDirectory);
    if (!parent) return {};
    return make_durable(parent, *root, false, path);
  }
  if (errno != ENOENT) return failure_of_errno(errno, "cannot open the store's directory " + path);
  File at = open_at(AT_FDCWD, path.starts_with('/') ? "/" : ".", kDirectory);
  if (!at) return failure_of_errno(errno, "cannot open the directory above " + path);
  for (const std::string_view segment : key_segments(path)) {
    if (segment.empty() || segment == ".") continue;
    const std::string name(segment);
    const bool created = make_directory_at(at.fd(), name) == 0;
    if (!created && errno != EEXIST) {
      return failure_of_errno(errno, fmt::format("cannot create {} of {}", name, path));
    }
    File next = open_at(at.fd(), name, kDirectory);
    if (!next) return failure_of_errno(errno, fmt::format("cannot open {} of {}", name, path));
    if (created) {
      if (Failure failure = make_durable(at, next, true, path)) return failure;
    }
    at = std::move(next);
  }
  *root = std::move(at);
  return {};
}

Failure open_below(const File& root, const std::vector<std::string_view>& segments,
                   File* directory) {
  *directory = open_at(root.fd(), ".", kDirectory);
  if (!*directory) return failure_of_errno(errno, "cannot open the store's directory");
  for (const std::string_view segment : segments) {
    const std::string name(segment);
    bool created = false;
    File next = open_at(directory->fd(), name, kDirectory | O_NOFOLLOW);
    if (!next && errno == ENOENT) {
      created = make_directory_at(directory->fd(), name) == 0;
      if (!created && errno != EEXIST) {
        return failure_of_errno(errno, fmt::format("cannot create directory '{}'", name));
      }
      next = open_at(directory->fd(), name, kDirectory | O_NOFOLLOW);
    }
    if (!next && (errno == ENOTDIR || errno == ELOOP)) {
      return {"exists",
              fmt::format("'{}' is an object or a link in this store, so no key can lie below it; "
                          "choose another key",
                          printable(name))};
    }
    if (!next) return failure_of_errno(errno, fmt::format("cannot open directory '{}'", name));
    if (Failure failure = make_durable(*directory, next, created, name)) return failure;
    *directory = std::move(next);
  }
  return {};
}

}  // namespace millrace::store_step
