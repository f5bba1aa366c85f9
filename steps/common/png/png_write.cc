#include "steps/common/png/png_write.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "steps/common/crc32.h"

namespace millrace {
namespace {

constexpr size_t kStripBytes = Deflater::kBlockBytes;  // that share a method, if a row is not more
constexpr size_t kChunkBytes = 64 << 10;               // of compressed data
constexpr size_t kSampleBytes = 48 << 10;              // of a strip that is tried

// Strips until the next trial: ever more while its outcome is clear and the same. A strip that is
// made much more or less of than the one that was tried last is followed by a trial.
constexpr size_t kTrialEvery = 1, kTrialEveryMax = 8;
constexpr uint64_t kClearPercent = 110, kChangedPercent = 125;
constexpr uint64_t kWhole = 4096;  // shares of the bytes before

void put32(uint64_t value, uint8_t* to) {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<uint8_t>(value >> (24 - 8 * i));
}

// PNG's samples have their high byte first.
void copy_wide(const void* from, size_t samples, uint8_t* to) {
  const auto* in = static_cast<const uint16_t*>(from);
  for (size_t i = 0; i < samples; ++i) {
    to[2 * i] = static_cast<uint8_t>(in[i] >> 8);
    to[2 * i + 1] = static_cast<uint8_t>(in[i]);
  }
}

}  // namespace

PngWriter::PngWriter(const PngHeader& header, int effort, std::string* file)
    : shape_(header),
      effort_(effort),
      file_(file),
      strip_rows_(std::max<size_t>(1, kStripBytes / (header.row_bytes() + 1))),
      above_(header.row_bytes(), 0),
      candidate_(header.row_bytes()),
      trial_every_(kTrialEvery),
      deflater_(effort),
      trial_(effort) {
  file_->append("\x89PNG\r\n\x1a\n", 8);
  constexpr uint8_t kColourTypes[] = {0, 4, 2, 6};
  uint8_t basics[13] = {}, resolution[9] = {};
  put32(header.width, basics);
  put32(header.height, basics + 4);
  basics[8] = header.wide ? 16 : 8;
  basics[9] = kColourTypes[header.bands - 1];
  append_chunk("IHDR", basics, sizeof basics);
  *file_ += header.chunks;
  if (header.pixels_per_metre > 0) {
    put32(header.pixels_per_metre, resolution);
    put32(header.pixels_per_metre, resolution + 4);
    resolution[8] = 1;
    append_chunk("pHYs", resolution, sizeof resolution);
  }
  strip_.reserve(strip_rows_ * (header.row_bytes() + 1));
}

void PngWriter::add(const void* row) {
  const size_t bytes = shape_.row_bytes(), at = strip_.size();
  strip_.resize(at + 1 + bytes);
  strip_[at] = kPngNone;
  if (shape_.wide) {
    copy_wide(row, bytes / 2, strip_.data() + at + 1);
  } else {
    std::memcpy(strip_.data() + at + 1, row, bytes);
  }
  if (strip_.size() == strip_rows_ * (bytes + 1)) end_strip();
}

void PngWriter::finish() {
  if (!strip_.empty()) end_strip();
  deflater_.finish();
  append_compressed();
  append_chunk("IEND", nullptr, 0);
}

void PngWriter::end_strip() {
  const bool trial = effort_ > 0 && --strips_to_trial_ == 0;
  if (trial || filtered_) filter_strip();
  if (trial) choose();
  const std::vector<uint8_t>& bytes = filtered_ ? filtered_strip_ : strip_;
  const size_t before = deflater_.output().size();
  deflater_.add(bytes);
  const uint64_t share = (deflater_.output().size() - before) * kWhole / bytes.size();
  const auto [less, more] = std::minmax(share, share_);
  if (trial) {
    share_ = share;
  } else if (more * 100 > less * kChangedPercent) {
    strips_to_trial_ = 1;
  }
  if (deflater_.output().size() >= kChunkBytes) append_compressed();
  const size_t row = shape_.row_bytes();
  std::memcpy(above_.data(), strip_.data() + strip_.size() - row, row);
  strip_.clear();
}

void PngWriter::filter_strip() {
  const size_t bytes = shape_.row_bytes();
  filtered_strip_.resize(strip_.size());
  const uint8_t* above = above_.data();
  for (size_t at = 0; at < strip_.size(); at += bytes + 1) {
    const uint8_t* row = strip_.data() + at + 1;
    uint8_t* best = filtered_strip_.data() + at;
    std::memcpy(best, row - 1, bytes + 1);
    uint64_t least = png_row_cost(row, bytes);
    for (const PngFilter filter : {kPngSub, kPngUp, kPngAverage, kPngPaeth}) {
      filter_png_row(filter, row, above, bytes, shape_.pixel_bytes(), candidate_.data());
      const uint64_t cost = png_row_cost(candidate_.data(), bytes);
      if (cost >= least) continue;
      least = cost;
      best[0] = filter;
      std::memcpy(best + 1, candidate_.data(), bytes);
    }
    above = row;
  }
}

void PngWriter::choose() {
  const auto sample = [](const std::vector<uint8_t>& bytes) {
    return std::span(bytes).last(std::min(bytes.size(), kSampleBytes));
  };
  const uint64_t filtered = trial_.tried(sample(filtered_strip_));
  const uint64_t plain = trial_.tried(sample(strip_));
  const bool before = filtered_;
  filtered_ = filtered <= plain;
  const auto [least, most] = std::minmax(filtered, plain);
  const bool clear = filtered_ == before && most * 100 > least * kClearPercent;
  trial_every_ = clear ? std::min(2 * trial_every_, kTrialEveryMax) : kTrialEvery;
  strips_to_trial_ = trial_every_;
}

void PngWriter::append_compressed() {
  append_chunk("IDAT", deflater_.output().data(), deflater_.output().size());
  deflater_.output().clear();
}

void PngWriter::append_chunk(const char* name, const uint8_t* data, size_t size) {
  uint8_t number[4];
  put32(size, number);
  file_->append(reinterpret_cast<const char*>(number), 4);
  const size_t at = file_->size();
  file_->append(name, 4);
  if (size > 0) file_->append(reinterpret_cast<const char*>(data), size);
  const auto* written = reinterpret_cast<const uint8_t*>(file_->data()) + at;
  put32(crc32(written, file_->size() - at), number);
  file_->append(reinterpret_cast<const char*>(number), 4);
}

}  // namespace millrace
