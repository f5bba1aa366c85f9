#include "server/upload.h"

#include <algorithm>

namespace millrace {

Upload::Upload(Runtime* runtime, Charge* charge, uint64_t bytes_expected, size_t memory_bytes)
    : runtime_(runtime), charge_(charge), memory_bytes_(memory_bytes) {
  CHECK(runtime != nullptr && charge != nullptr);
  if (memory_bytes == 0) file_ = runtime_->begin_blob();
  // Pages that stay untouched cost nothing.
  data_.reserve(static_cast<size_t>(std::min<uint64_t>(bytes_expected, kSpoolBytes)));
}

Status Upload::write(std::string_view data) {
  size_ += data.size();
  data_ += data;
  if (file_ == nullptr) {
    if (data_.size() <= memory_bytes_) return {};
    file_ = runtime_->begin_blob();
  }
  if (data_.size() >= piece_bytes_) hand_over();
  return file_->status();
}

bool Upload::ready() const {
  return file_ == nullptr || file_->waiting_bytes() <= behind_bytes_;
}

bool Upload::spill() {
  if (file_ == nullptr) file_ = runtime_->begin_blob();
  piece_bytes_ = 1;                  // whatever comes is handed over at once,
  behind_bytes_ = kSpoolPieceBytes;  // and others want their turn
  if (!data_.empty()) hand_over();
  return true;
}

void Upload::hand_over() {
  file_->append(charge_->detach(std::move(data_)));
  data_ = std::string();
}

void Upload::finish(std::function<void(const Status&)> done) {
  if (file_ == nullptr) {
    done({});
    return;
  }
  if (!data_.empty()) hand_over();
  const auto file = std::move(file_);
  file->finish([this, done = std::move(done)](Result<WrittenBlob> blob) {
    if (blob.ok()) {
      digest_ = blob->digest;
      written_ = std::move(blob->bytes);
    }
    done(blob.status());
  });
}

Bytes Upload::take() {
  return digest_ ? std::move(written_) : charge_->detach(std::move(data_));
}

}  // namespace millrace
