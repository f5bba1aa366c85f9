#include "engine/blob/file_blob_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/blob/spooled_file.h"

namespace millrace {
namespace {

constexpr mode_t kDirectoryMode = 0700;
// Smaller blobs are copied out: a mapping costs more than the copy, and address space.
constexpr size_t kMapBytesMin = 64 * 1024;
constexpr size_t kPieceBytes = 256 * 1024;  // of a file that is hashed
constexpr size_t kSuspectsMax = 4096;

Status failed(const char* verb, const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return Status::unavailable(full ? errors::kNoSpace : errors::kBlobWrite,
                             fmt::format("cannot {} {}: {}{}", verb, path, std::strerror(error),
                                         full ? "; free space on this file system" : ""));
}

Status unknown_blob(const Digest& digest) {
  return Status::not_found(errors::kBlobUnknown, fmt::format("no blob {}", digest.text()));
}

Status altered(const Digest& digest, const std::string& path, const std::string& how) {
  return Status::corrupt(errors::kBlobMissing,
                         fmt::format("the blob {} in {} {}; restore the file from a backup",
                                     digest.text(), path, how));
}

template <typename Call>
auto repeat(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// Closes on every way out. A failed close of a synced file loses nothing.
class OpenFile {
 public:
  OpenFile(FileOps* ops, int fd) : ops_(ops), fd_(fd) {}
  ~OpenFile() {
    if (fd_ >= 0) ops_->close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }

 private:
  FileOps* ops_;
  int fd_;
};

}  // namespace

FileBlobStore::FileBlobStore(std::string directory, FileOps* ops)
    : directory_(std::move(directory)), ops_(ops) {}

// ---- what is known of blobs

bool FileBlobStore::verified(const Digest& digest) {
  if (book_.knows(digest)) return true;
  const std::lock_guard<std::mutex> lock(mutex_);
  return hashed_.contains(digest);
}

bool FileBlobStore::suspect(const Digest& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return suspects_.contains(digest);
}

void FileBlobStore::remember(const Digest& digest) {
  book_.remember(digest);
  const std::lock_guard<std::mutex> lock(mutex_);
  suspects_.erase(digest);
}

// The file under its name may be less than durable although a sync of it will say otherwise.
void FileBlobStore::distrust(const Digest& digest) {
  book_.forget(digest);
  const std::lock_guard<std::mutex> lock(mutex_);
  hashed_.erase(digest);
  // So many failed syncs mean a broken disk; to believe one of them again is the lesser evil to
  // growing without bound.
  if (suspects_.size() >= kSuspectsMax) suspects_.erase(suspects_.begin());
  suspects_.insert(digest);
}

std::string FileBlobStore::fan_out(const Digest& digest) const {
  return fmt::format("{}/{:02x}", directory_, digest.bytes[0]);
}

std::string FileBlobStore::path(const Digest& digest) const {
  return fmt::format("{}/{}", fan_out(digest), digest.hex());
}

// ---- putting

Result<Digest> FileBlobStore::put(const Bytes& bytes, bool keep) {
  ON_THREAD(kBlob);
  CHECK(bytes.size() <= static_cast<uint64_t>(kBlobBytesMax));
  const SpooledFile* spooled = SpooledFile::of(bytes);
  const bool hashed = spooled != nullptr && spooled->trusted();
  const Digest digest = hashed ? spooled->digest() : sha256(bytes.view());
  if (spooled != nullptr && digest != spooled->digest()) {
    return Status::corrupt(
        errors::kBlobMissing,
        fmt::format("the spooled bytes of {} were damaged on disk", spooled->digest().text()));
  }
  Status status;
  auto flight = book_.hold(digest, &status);
  // Somebody else's put does not mark it.
  while (keep && flight == nullptr && status.ok()) flight = book_.hold(digest, &status);
  if (flight != nullptr) {
    status = put_held(digest, bytes, keep ? kKeptBlobMode : kBlobMode);
    book_.let_go(digest, flight, status);
  }
  if (!status.ok()) return status;
  return digest;
}

Status FileBlobStore::put_held(const Digest& digest, const Bytes& bytes, mode_t mode) {
  const std::string name = path(digest);
  bool found = false;
  if (book_.knows(digest)) {
    found = ops_->touch(name.c_str()) == 0;
    if (found) {
      remember(digest);
    } else {
      book_.forget(digest);  // somebody removed it
    }
  }
  if (!found && !suspect(digest)) {
    RETURN_IF_ERROR(adopt_existing(digest, &found));
  }
  if (!found) return write_new(digest, bytes, mode);
  return mode == kKeptBlobMode ? mark_kept(name) : Status();
}

// Of a file that is there already; the mark must be as durable as the answer that promises it.
Status FileBlobStore::mark_kept(const std::string& name) {
  struct stat info {};
  if (ops_->stat(name.c_str(), &info) != 0) return failed("examine", name, errno);
  if ((info.st_mode & S_ISVTX) != 0) return {};
  const OpenFile file(ops_, repeat([&] { return ops_->open(name.c_str(), O_RDONLY, 0); }));
  if (file.fd() < 0) return failed("open", name, errno);
  if (ops_->fchmod(file.fd(), kKeptBlobMode) != 0) return failed("mark", name, errno);
  if (repeat([&] { return ops_->fsync(file.fd()); }) != 0) return failed("sync", name, errno);
  return {};
}

// A file that an earlier process left, or that another one shares: its bytes were synced before it
// got its name, but neither of it is known to this process before it has synced both itself.
Status FileBlobStore::adopt_existing(const Digest& digest, bool* found) {
  const std::string name = path(digest);
  struct stat info {};
  if (ops_->stat(name.c_str(), &info) != 0) {
    return errno == ENOENT ? Status() : failed("examine", name, errno);
  }
  if (!read(digest).ok()) {
    distrust(digest);  // damaged by something outside; the bytes at hand are the right ones
    return {};
  }
  Status status = sync_path(name);
  if (status.ok()) status = make_fan_out(digest);
  if (status.ok()) status = sync_path(fan_out(digest));
  if (!status.ok()) {
    distrust(digest);
    return status;
  }
  if (ops_->touch(name.c_str()) != 0) {
    return errno == ENOENT ? Status() : failed("renew", name, errno);
  }
  *found = true;
  remember(digest);
  return {};
}

Status FileBlobStore::write_new(const Digest& digest, const Bytes& bytes, mode_t mode) {
  const bool replace = suspect(digest);
  RETURN_IF_ERROR(make_fan_out(digest));
  bool written = false;
  if (!replace) RETURN_IF_ERROR(name_spooled(digest, bytes, mode, &written));
  if (!written && !replace && unnamed_files_.load(std::memory_order_relaxed)) {
    RETURN_IF_ERROR(write_unnamed(digest, bytes, mode, &written));
  }
  if (!written) RETURN_IF_ERROR(write_named(digest, bytes, mode));
  const Status status = sync_path(fan_out(digest));
  if (!status.ok()) {
    // The file stays: it is whole, and another process may already count on it.
    distrust(digest);
    return status;
  }
  remember(digest);
  return {};
}

// The bytes are in a file already: it lacks its sync and its name.
Status FileBlobStore::name_spooled(const Digest& digest, const Bytes& bytes, mode_t mode,
                                   bool* written) {
  SpooledFile* file = SpooledFile::of(bytes);
  if (file == nullptr || !file->trusted()) return {};
  RETURN_IF_ERROR(file->sync(mode));
  const std::string name = path(digest);
  const int error = file->give_name(name);
  // It had its name and lost it, or cannot be linked from there: its bytes are copied.
  if (error == ENOENT || error == EPERM || error == EOPNOTSUPP || error == EXDEV) return {};
  if (error == EEXIST) {  // as in write_unnamed()
    RETURN_IF_ERROR(sync_path(name));
  } else if (error != 0) {
    return failed("name", name, error);
  }
  *written = true;
  return {};
}

Status FileBlobStore::write_unnamed(const Digest& digest, const Bytes& bytes, mode_t mode,
                                    bool* written) {
  const std::string folder = fan_out(digest), name = path(digest);
  const OpenFile file(
      ops_, repeat([&] { return ops_->open(folder.c_str(), O_WRONLY | O_TMPFILE, mode); }));
  if (file.fd() < 0) {
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
      return failed("create a file in", folder, errno);
    }
    unnamed_files_.store(false, std::memory_order_relaxed);
    return {};
  }
  RETURN_IF_ERROR(write_all(file.fd(), bytes, name));
  if (ops_->link_open_file(file.fd(), name.c_str()) != 0) {
    if (errno == ENOENT || errno == EPERM || errno == EOPNOTSUPP) {  // no /proc here
      unnamed_files_.store(false, std::memory_order_relaxed);
      return {};
    }
    // Another process was faster: its file has the same bytes, and the sync of the directory that
    // follows covers its name as well. Its bytes were synced before it got the name, by its writer.
    if (errno != EEXIST) return failed("name", name, errno);
    RETURN_IF_ERROR(sync_path(name));
  }
  *written = true;
  return {};
}

Status FileBlobStore::write_named(const Digest& digest, const Bytes& bytes, mode_t mode) {
  const auto made = temporary_name();
  if (!made.ok()) return made.status();
  const std::string& temporary = *made;
  const std::string name = path(digest);
  Status status;
  {
    const OpenFile file(ops_, repeat([&] {
                          return ops_->open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL, mode);
                        }));
    if (file.fd() < 0) return failed("create", temporary, errno);
    status = write_all(file.fd(), bytes, temporary);
  }
  if (status.ok() && ops_->rename(temporary.c_str(), name.c_str()) != 0) {
    status = failed("name", name, errno);
  }
  if (!status.ok()) ops_->unlink(temporary.c_str());
  return status;
}

Status FileBlobStore::write_all(int fd, const Bytes& bytes, const std::string& name) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t count =
        repeat([&] { return ops_->write(fd, bytes.data() + at, bytes.size() - at); });
    if (count < 0) return failed("write", name, errno);
    if (count == 0) return failed("write", name, ENOSPC);
    at += static_cast<size_t>(count);
  }
  if (repeat([&] { return ops_->fsync(fd); }) != 0) return failed("sync", name, errno);
  return {};
}

Status FileBlobStore::make_fan_out(const Digest& digest) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (fan_out_durable_[digest.bytes[0]]) return {};
  }
  const std::string folder = fan_out(digest);
  if (ops_->mkdir(folder.c_str(), kDirectoryMode) != 0 && errno != EEXIST) {
    return failed("create the directory", folder, errno);
  }
  RETURN_IF_ERROR(sync_path(directory_));
  const std::lock_guard<std::mutex> lock(mutex_);
  fan_out_durable_[digest.bytes[0]] = true;
  return {};
}

Status FileBlobStore::sync_path(const std::string& path) {
  const OpenFile file(ops_, repeat([&] { return ops_->open(path.c_str(), O_RDONLY, 0); }));
  if (file.fd() < 0) return failed("open", path, errno);
  if (repeat([&] { return ops_->fsync(file.fd()); }) != 0) return failed("sync", path, errno);
  return {};
}

// ---- reading

Result<Bytes> FileBlobStore::read(const Digest& digest, bool verify) {
  const std::string name = path(digest);
  const OpenFile file(ops_, repeat([&] { return ops_->open(name.c_str(), O_RDONLY, 0); }));
  if (file.fd() < 0) {
    return errno == ENOENT ? unknown_blob(digest) : failed("open", name, errno);
  }
  struct stat info {};
  if (::fstat(file.fd(), &info) != 0) return failed("examine", name, errno);
  const auto size = static_cast<size_t>(info.st_size);
  if (info.st_size > kBlobBytesMax) return altered(digest, name, "is larger than any blob");
  const bool hash = verify || !verified(digest);
  Digest found = digest;
  Bytes bytes;
  if (size < kMapBytesMin) {
    std::string text(size, '\0');
    RETURN_IF_ERROR(read_at(file.fd(), digest, 0, text.data(), size));
    if (hash) found = sha256(text);
    bytes = Bytes::of(std::move(text));
  } else {
    if (hash) {
      const auto hashed = hash_file(file.fd(), digest, size);
      if (!hashed.ok()) return hashed.status();
      found = *hashed;
    }
    void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd(), 0);
    if (mapped == MAP_FAILED) return failed("map", name, errno);
    const std::shared_ptr<const void> owner(mapped, [size](void* at) { ::munmap(at, size); });
    bytes = Bytes(owner, static_cast<const uint8_t*>(mapped), size);
  }
  if (!hash) return bytes;
  if (found != digest) return altered(digest, name, "does not have the bytes of its name");
  const std::lock_guard<std::mutex> lock(mutex_);
  if (hashed_.size() >= kDurableBlobsKept) hashed_.clear();
  hashed_.insert(digest);
  return bytes;
}

Status FileBlobStore::read_at(int fd, const Digest& digest, size_t at, char* data, size_t size) {
  for (const size_t end = at + size; at < end;) {
    const ssize_t count =
        repeat([&] { return ops_->pread(fd, data, end - at, static_cast<off_t>(at)); });
    if (count < 0) return failed("read", path(digest), errno);
    if (count == 0) return altered(digest, path(digest), "ends early");
    at += static_cast<size_t>(count);
    data += count;
  }
  return {};
}

// Not by way of a map: there a page that the disk does not give back would be SIGBUS.
Result<Digest> FileBlobStore::hash_file(int fd, const Digest& digest, size_t size) {
  Sha256 sum;
  std::string piece(std::min(size, kPieceBytes), '\0');
  for (size_t at = 0; at < size; at += piece.size()) {
    piece.resize(std::min(piece.size(), size - at));
    RETURN_IF_ERROR(read_at(fd, digest, at, piece.data(), piece.size()));
    sum.update(piece);
  }
  return sum.finish();
}

// A change of its times goes to the server of a shared file system, while what a look says may be
// of some seconds ago.
Result<bool> FileBlobStore::still_there(const Digest& digest) {
  const std::string name = path(digest);
  if (ops_->touch(name.c_str()) == 0) return true;
  if (errno != ENOENT && errno != ESTALE) return failed("renew", name, errno);
  book_.forget(digest);
  return false;
}

Result<uint64_t> FileBlobStore::size(const Digest& digest) {
  struct stat info {};
  const std::string name = path(digest);
  if (::stat(name.c_str(), &info) == 0) return static_cast<uint64_t>(info.st_size);
  if (errno == ENOENT) return unknown_blob(digest);
  return failed("examine", name, errno);
}

}  // namespace millrace
