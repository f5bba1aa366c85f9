#include "server/cli/blob_copy.h"

#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/errors.h"
#include "server/cli/broken_blob.h"
#include "server/cli/cli.h"

namespace millrace {
namespace {

constexpr int kBlobsPerPage = 1024;
constexpr int kCopyThreads = 8;  // a bucket answers after milliseconds, however small the blob
constexpr int64_t kTerminalUs = 100'000, kLineUs = 10'000'000;

// One page, by several threads.
class PageCopy {
 public:
  PageCopy(const BlobCopy& copy, const std::vector<Digest>& digests)
      : copy_(copy), digests_(digests) {}

  void run() {
    std::vector<std::thread> threads;
    for (int i = 0; i < kCopyThreads; i++) {
      threads.emplace_back([this] {
        set_thread(Thread::kBlob);
        while (copy_next()) {
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  Status status;
  std::vector<std::pair<Digest, Status>> broken;
  uint64_t blobs = 0, bytes = 0;

 private:
  bool copy_next() {
    const size_t at = next_++;
    if (at >= digests_.size() || stopped_) return false;
    const auto read = copy_.from->read(digests_[at], /*verify=*/true);
    const bool away = copy_.from_bucket && read.status().code() == Code::kUnavailable;
    Status put;
    if (read.ok() && copy_.to != nullptr) put = copy_.to->put(*read).status();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (away || !put.ok()) {
      status = away ? read.status() : put;
      stopped_ = true;
    } else if (!read.ok()) {
      broken.emplace_back(digests_[at], read.status());
    } else {
      blobs++;
      bytes += read->size();
    }
    return !stopped_;
  }

  const BlobCopy& copy_;
  const std::vector<Digest>& digests_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;  // of what run() gives
};

}  // namespace

Status copy_blobs(const BlobCopy& copy, BlobsCopied* done) {
  const auto summary = copy.names->summary();
  if (!summary.ok()) return summary.status();
  Progress progress(copy.to == nullptr ? "blobs looked at" : "blobs copied", summary->blobs);
  Digest last;
  for (;;) {
    const auto page = copy.names->blobs_after(last, kBlobsPerPage);
    if (!page.ok()) return page.status();
    if (page->empty()) return {};
    PageCopy part(copy, *page);
    part.run();
    for (const auto& [digest, why] : part.broken) {
      print_error("error " + broken_blob_text(copy.names, copy.from_shown, digest, why));
    }
    done->broken += part.broken.size();
    done->blobs += part.blobs;
    done->bytes += part.bytes;
    RETURN_IF_ERROR(part.status);
    progress.at(done->blobs);
    last = page->back();
  }
}

Progress::Progress(std::string what, uint64_t total)
    : what_(std::move(what)),
      total_(total),
      terminal_(isatty(STDERR_FILENO) == 1),
      next_us_(monotonic_us() + (terminal_ ? kTerminalUs : kLineUs)) {}

Progress::~Progress() {
  if (shown_ && terminal_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::at(uint64_t count) {
  if (monotonic_us() < next_us_) return;
  next_us_ = monotonic_us() + (terminal_ ? kTerminalUs : kLineUs);
  shown_ = true;
  const std::string of = total_ == 0 ? std::string() : fmt::format(" of {}", total_);
  fmt::print(stderr, "{}{}{} {}{}", terminal_ ? "\r\x1b[K" : "", count, of, what_,
             terminal_ ? "" : "\n");
}

}  // namespace millrace
