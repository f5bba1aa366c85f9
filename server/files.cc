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
constexpr size_t kFilePieceBytes = 256 * 1024;

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

// A part of a file, read piece by piece off the loop, one piece ahead of what is sent.
class FileSource final : public BodySource {
 public:
  FileSource(Runtime* runtime, std::shared_ptr<Descriptor> file, uint64_t first, uint64_t size)
      : runtime_(runtime), state_(std::make_shared<State>()) {
    state_->file = std::move(file);
    state_->at = first;
    state_->left = size;
  }

  Got read(size_t max, std::string* out, std::function<void()> arrived) override {
    if (state_->piece.empty()) {
      state_->arrived = std::move(arrived);
      return state_->failed || !go_on() ? Got::kNothing : Got::kLater;
    }
    const size_t count = std::min(max, state_->piece.size());
    out->append(state_->piece, 0, count);
    state_->piece.erase(0, count);
    // A piece that cannot be read ahead is asked for again when it is due.
    if (state_->piece.empty()) static_cast<void>(go_on());
    return Got::kBytes;
  }

 private:
  struct State {
    std::shared_ptr<Descriptor> file;
    uint64_t at = 0, left = 0;
    std::string piece;
    bool busy = false, failed = false;
    std::function<void()> arrived;
  };

  // False: it cannot be read now.
  bool go_on() {
    if (state_->busy || state_->left == 0) return state_->busy;
    const auto size = static_cast<size_t>(std::min<uint64_t>(kFilePieceBytes, state_->left));
    state_->busy = runtime_->off_loop([state = state_, at = state_->at, size] {
      std::string piece(size, '\0');
      const ssize_t count = pread(state->file->get(), piece.data(), size, static_cast<off_t>(at));
      piece.resize(static_cast<size_t>(std::max<ssize_t>(count, 0)));
      return [state, piece = std::move(piece)]() mutable { take(*state, std::move(piece)); };
    });
    return state_->busy;
  }

  static void take(State& state, std::string piece) {
    state.busy = false;
    state.failed = piece.empty();  // shorter than it was: what we promised cannot be kept
    state.at += piece.size();
    state.left -= piece.size();
    state.piece = std::move(piece);
    if (const auto arrived = std::exchange(state.arrived, nullptr)) arrived();
  }

  Runtime* const runtime_;
  const std::shared_ptr<State> state_;  // shared with the read under way
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

// What is known of an object once it is open.
struct Opened {
  std::shared_ptr<Descriptor> file;  // null: there is none
  uint64_t size = 0;
  FileState state;
  Stored stored;
};

Opened open_object(const std::string& directory_name, const std::string& key) {
  const Descriptor directory(
      open(directory_name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_PATH));
  auto file =
      std::make_shared<Descriptor>(directory.get() < 0 ? -1 : open_beneath(directory.get(), key));
  struct stat info {};
  if (file->get() < 0 || fstat(file->get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  char head[kSniffBytes];
  const ssize_t size = pread(file->get(), head, sizeof head, 0);
  const std::string_view sniffed =
      sniff_image({head, static_cast<size_t>(std::max<ssize_t>(size, 0))});
  Opened opened;
  opened.size = static_cast<uint64_t>(info.st_size);
  opened.stored.media_type =
      std::string(sniffed.empty() ? std::string_view("application/octet-stream") : sniffed);
  opened.state = FileState::of(info);
  opened.stored.file_name = key.substr(key.rfind('/') + 1);
  opened.file = std::move(file);
  return opened;
}

void respond_busy(Exchange& exchange) {
  exchange.respond(Status::busy(errors::kOutOfMemoryBudget,
                                "too many requests wait for the disk; try again later"));
}

void respond_file(App& app, const ExchangeRef& ref, const std::string& store,
                  const Opened& opened) {
  Exchange* exchange = ref.get();
  if (exchange == nullptr) return;
  if (opened.file == nullptr) {
    exchange->respond(Status::not_found(
        errors::kFileUnknown, fmt::format("store '{}' holds no object of this key", store)));
    return;
  }
  const auto wanted = [ref] { return ref.get() != nullptr; };
  const auto answer = [&app, ref, opened](const std::optional<Digest>& digest) {
    Exchange* waiting = ref.get();
    if (waiting == nullptr) return;
    if (!digest) return respond_busy(*waiting);
    Stored stored = opened.stored;
    stored.etag = "\"" + digest->text() + "\"";
    respond_source(app, *waiting, stored, opened.size,
                   [&](const ByteRange& range) -> std::unique_ptr<BodySource> {
                     return std::make_unique<FileSource>(&app.runtime(), opened.file, range.first,
                                                         range.size);
                   });
  };
  app.object_digests().find(opened.file, opened.file->get(), opened.state, wanted, answer);
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
  const ExchangeRef ref = exchange.ref();
  const bool taken = app.runtime().off_loop([&app, ref, name, directory = store->directory, key] {
    return [&app, ref, name, opened = open_object(directory, key)] {
      respond_file(app, ref, name, opened);
    };
  });
  if (!taken) respond_busy(exchange);
}

}  // namespace millrace
