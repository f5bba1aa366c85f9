// Upload: the bytes of one upload as they come. In memory, charged to the byte budget, up to a
// limit or until memory is short; then they go to a file that becomes the blob, and only what waits
// for the disk is charged.
//
// It knows nothing of requests. Thread: loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/runtime/runtime.h"
#include "server/http/exchange.h"

namespace millrace {

class Upload final : public BodySink {
 public:
  // `charge` has been charged for what write() is given; it outlives the request's body.
  // `bytes_expected` is a hint, 0 for none. With `memory_bytes` 0 everything goes to a file, and
  // the digest is known at the end.
  Upload(Runtime* runtime, Charge* charge, uint64_t bytes_expected,
         size_t memory_bytes = kSpoolBytes);

  Status write(std::string_view data) override;  // E016, E123, E126: of what was written before
  bool ready() const override;                   // false while the disk is behind
  bool spill() override;
  uint64_t size() const { return size_; }

  // All has come; `done` hears once it can be read, perhaps inside the call. Until then the Upload
  // must live.
  void finish(std::function<void(const Status&)> done);
  // Afterwards, once, with the charge alive.
  Bytes take();
  const std::optional<Digest>& digest() const { return digest_; }  // of what went to a file

 private:
  void hand_over();

  Runtime* const runtime_;
  Charge* const charge_;
  const size_t memory_bytes_;
  size_t piece_bytes_ = kSpoolPieceBytes, behind_bytes_ = kSpoolBehindBytes;
  uint64_t size_ = 0;
  std::string data_;                  // all of it, or what was not handed over yet
  std::unique_ptr<BlobUpload> file_;  // null: all is in memory
  std::optional<Digest> digest_;
  Bytes written_;
};

}  // namespace millrace
