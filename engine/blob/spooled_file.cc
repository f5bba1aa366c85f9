#include "engine/blob/spooled_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace {
namespace {

Status failed(const char* verb, const std::string& folder, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return Status::unavailable(
      full ? errors::kNoSpace : errors::kBlobWrite,
      fmt::format("cannot {} an upload's file in {}: {}{}", verb, folder, std::strerror(error),
                  full ? "; free space on this file system" : ""));
}

// The deleter of a mapping keeps the file, and by its type the mapping is known again.
struct Unmap {
  std::shared_ptr<SpooledFile> file;
  size_t size = 0;
  void operator()(const void* at) const {
    if (size > 0) ::munmap(const_cast<void*>(at), size);
  }
};

}  // namespace

SpooledFile::SpooledFile(FileOps* ops, int fd, std::string folder, std::string temporary)
    : ops_(ops),
      fd_(fd),
      folder_(std::move(folder)),
      temporary_(std::move(temporary)),
      unnamed_(temporary_.empty()) {
  CHECK(ops != nullptr && fd >= 0);
}

SpooledFile::~SpooledFile() {
  ops_->close(fd_);
  if (!temporary_.empty()) ops_->unlink(temporary_.c_str());
}

Status SpooledFile::append(std::string_view data) {
  CHECK(size_ + data.size() <= static_cast<uint64_t>(kBlobBytesMax));
  hash_.update(data);
  size_ += data.size();
  while (!data.empty()) {
    const ssize_t count = ops_->write(fd_, data.data(), data.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return failed("write", folder_, count < 0 ? errno : ENOSPC);
    data.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

Result<WrittenBlob> SpooledFile::seal(const std::shared_ptr<SpooledFile>& file) {
  file->digest_ = file->hash_.finish();
  const auto size = static_cast<size_t>(file->size_);
  static const char kNothing = 0;  // a mapping has at least one byte
  void* mapped = const_cast<char*>(&kNothing);
  if (size > 0) mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file->fd_, 0);
  if (mapped == MAP_FAILED) return failed("map", file->folder_, errno);
  const std::shared_ptr<const void> owner(static_cast<const void*>(mapped), Unmap{file, size});
  return WrittenBlob{file->digest_, Bytes(owner, static_cast<const uint8_t*>(mapped), size)};
}

SpooledFile* SpooledFile::of(const Bytes& bytes) {
  const auto* unmap = std::get_deleter<Unmap>(bytes.owner());
  // Bytes that were cut out of a mapping share its owner and are another blob.
  if (unmap == nullptr || unmap->size != bytes.size()) return nullptr;
  return unmap->file.get();
}

Status SpooledFile::sync(mode_t mode) {
  if (synced_mode_ == mode) return {};
  if (mode != kBlobMode && ops_->fchmod(fd_, mode) != 0) return failed("mark", folder_, errno);
  int result = ops_->fsync(fd_);
  while (result != 0 && errno == EINTR) result = ops_->fsync(fd_);
  if (result != 0) {
    trusted_.store(false, std::memory_order_relaxed);
    return failed("sync", folder_, errno);
  }
  synced_mode_ = mode;
  return {};
}

int SpooledFile::give_name(const std::string& name) {
  CHECK(synced_mode_ != 0);
  if (unnamed_) return ops_->link_open_file(fd_, name.c_str()) == 0 ? 0 : errno;
  if (temporary_.empty()) return ENOENT;  // it had its name before
  if (ops_->rename(temporary_.c_str(), name.c_str()) != 0) return errno;
  temporary_.clear();
  return 0;
}

// ---- writing

std::unique_ptr<BlobSink> FileBlobStore::sink() {
  return std::make_unique<FileBlobSink>(this);
}

Status FileBlobSink::open() {
  FileOps* ops = store_->ops_;
  const std::string folder = store_->directory_ + "/tmp";
  if (store_->unnamed_files_.load(std::memory_order_relaxed)) {
    const int fd = ops->open(folder.c_str(), O_RDWR | O_TMPFILE, kBlobMode);
    if (fd >= 0) {
      file_ = std::make_shared<SpooledFile>(ops, fd, folder, "");
      return {};
    }
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
      return failed("open", folder, errno);
    store_->unnamed_files_.store(false, std::memory_order_relaxed);
  }
  auto name = store_->temporary_name();
  if (!name.ok()) return name.status();
  const int fd = ops->open(name->c_str(), O_RDWR | O_CREAT | O_EXCL, kBlobMode);
  if (fd < 0) return failed("create", folder, errno);
  file_ = std::make_shared<SpooledFile>(ops, fd, folder, *std::move(name));
  return {};
}

Status FileBlobSink::append(std::string_view data) {
  ON_THREAD(kBlob);
  if (file_ == nullptr) RETURN_IF_ERROR(open());
  return file_->append(data);
}

Result<WrittenBlob> FileBlobSink::finish() {
  ON_THREAD(kBlob);
  if (file_ == nullptr) RETURN_IF_ERROR(open());
  const std::shared_ptr<SpooledFile> file = std::move(file_);
  return SpooledFile::seal(file);
}

}  // namespace millrace
