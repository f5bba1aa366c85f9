// GET /v1/files/{store}/{key}: objects that the step `store` put into a directory.
//
// The key is a path below the store's directory and never leaves it: no segment is "..", and no
// symbolic link is followed on the way.
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "engine/base/errors.h"
#include "engine/base/utf8.h"
#include "server/api.h"
#include "server/http/text.h"
#include "server/sniff.h"

namespace millrace {
namespace {

constexpr std::string_view kTemporaryDirectory = ".millrace.tmp";  // of the step `store`
constexpr size_t kSniffBytes = 64;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

class FileSource final : public BodySource {
 public:
  FileSource(Descriptor fd, uint64_t first) : fd_(std::move(fd)), at_(first) {}
  bool read(size_t max, std::string* out) override {
    const size_t start = out->size();
    out->resize(start + max);
    const ssize_t size = pread(fd_.get(), out->data() + start, max, static_cast<off_t>(at_));
    out->resize(start + static_cast<size_t>(std::max<ssize_t>(size, 0)));
    if (size <= 0) return false;  // shorter than it was: the length we promised cannot be kept
    at_ += static_cast<uint64_t>(size);
    return true;
  }

 private:
  Descriptor fd_;
  uint64_t at_;
};

bool acceptable_key(std::string_view key) {
  if (key.empty() || key.size() > kObjectKeyBytesMax || !is_utf8(key)) return false;
  for (char c : key) {
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) return false;
  }
  bool first = true;
  while (true) {
    const size_t end = std::min(key.find('/'), key.size());
    const std::string_view segment = key.substr(0, end);
    if (segment.empty() || segment == "." || segment == "..") return false;
    if (first && segment == kTemporaryDirectory) return false;
    first = false;
    if (end == key.size()) return true;
    key.remove_prefix(end + 1);
  }
}

// Kernels before 5.6, and sandboxes that do not know the call: segment by segment.
int open_by_segments(int directory, std::string_view key) {
  int at = fcntl(directory, F_DUPFD_CLOEXEC, 0);
  while (at >= 0) {
    const size_t end = std::min(key.find('/'), key.size());
    const std::string segment(key.substr(0, end));
    const bool last = end == key.size();
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (last ? 0 : O_DIRECTORY);
    const int next = openat(at, segment.c_str(), flags);
    ::close(at);
    if (last) return next;
    at = next;
    key.remove_prefix(end + 1);
  }
  return -1;
}

int open_beneath(int directory, const std::string& key) {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a FIFO must not hold the loop
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const long fd = syscall(SYS_openat2, directory, key.c_str(), &how, sizeof how);
  if (fd >= 0) return static_cast<int>(fd);
  return errno == ENOSYS || errno == EPERM ? open_by_segments(directory, key) : -1;
}

}  // namespace

void answer_file(App& app, Exchange& exchange) {
  const std::string& name = exchange.request.params[0];
  const std::string& key = exchange.request.params[1];
  const NamedStore* store = nullptr;
  for (const NamedStore& candidate : app.config().stores) {
    if (candidate.name == name) store = &candidate;
  }
  const auto missing = [&exchange](std::string message) {
    exchange.respond(Status::not_found(errors::kFileUnknown, std::move(message)));
  };
  if (store == nullptr) return missing(fmt::format("no store is named '{}'", name.substr(0, 63)));
  if (!acceptable_key(key)) return missing("this can be no object's key");
  const Descriptor directory(
      open(store->directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_PATH));
  auto file =
      std::make_shared<Descriptor>(directory.get() < 0 ? -1 : open_beneath(directory.get(), key));
  struct stat info {};
  if (file->get() < 0 || fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return missing(fmt::format("store '{}' holds no object of this key", name));
  }
  char head[kSniffBytes];
  const ssize_t size = pread(file->get(), head, sizeof head, 0);
  const std::string_view sniffed =
      sniff_image({head, static_cast<size_t>(std::max<ssize_t>(size, 0))});
  Stored stored;
  stored.media_type =
      std::string(sniffed.empty() ? std::string_view("application/octet-stream") : sniffed);
  stored.etag =
      fmt::format("\"{:x}-{:x}-{:x}-{:x}\"", static_cast<uint64_t>(info.st_ino),
                  static_cast<uint64_t>(info.st_mtim.tv_sec),
                  static_cast<uint64_t>(info.st_mtim.tv_nsec), static_cast<uint64_t>(info.st_size));
  stored.file_name = key.substr(key.rfind('/') + 1);
  respond_source(app, exchange, stored, static_cast<uint64_t>(info.st_size),
                 [file](uint64_t first) -> std::unique_ptr<BodySource> {
                   return std::make_unique<FileSource>(std::move(*file), first);
                 });
}

}  // namespace millrace
