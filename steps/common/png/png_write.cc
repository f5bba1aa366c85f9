#include "steps/common/png/png_write.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "steps/common/crc32.h"

namespace millrace {
namespace {

constexpr size_t kStripBytes = 64 << 10;  // that share a method, if a row is not more
constexpr size_t kTrialEvery = 4;         // strips; one of so many is tried by all methods
constexpr size_t kChunkBytes = 64 << 10;  // of compressed data
constexpr int kMemoryLevel = 8, kWindowBits = 15;

// How far matches reach back: of a strip that is tried, so much is only looked back upon.
constexpr size_t kWindowBytes = size_t{1} << kWindowBits;

constexpr size_t kSampleBytes = 16 << 10;
constexpr int kFastLevel = 1;
constexpr size_t kFlatPercent = 130;
// Runs are for what has noise. Where little is to be seen they beat matches by chance, which cost
// nothing there.
constexpr size_t kRunsPercent = 98, kNoiseBytesMin = kSampleBytes / 8;

enum Trial : size_t { kFast, kRuns, kMatches, kFlat, kTrials };
constexpr int kStrategies[kTrials] = {Z_DEFAULT_STRATEGY, Z_RLE, Z_FILTERED, Z_DEFAULT_STRATEGY};

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

PngWriter::Deflater PngWriter::deflater(int level, int strategy) {
  Deflater stream(new z_stream());
  if (deflateInit2(stream.get(), level, Z_DEFLATED, kWindowBits, kMemoryLevel, strategy) != Z_OK) {
    throw std::bad_alloc();
  }
  return stream;
}

PngWriter::PngWriter(const PngHeader& header, int effort, std::string* file)
    : shape_(header),
      effort_(effort),
      file_(file),
      strip_rows_(std::max<size_t>(1, kStripBytes / (header.row_bytes() + 1))),
      above_(header.row_bytes(), 0),
      candidate_(header.row_bytes()),
      method_{effort, Z_DEFAULT_STRATEGY, false},
      deflater_(deflater(effort, Z_DEFAULT_STRATEGY)),
      compressed_(kChunkBytes) {
  file_->append("\x89PNG\r\n\x1a\n", 8);
  constexpr uint8_t kColourTypes[] = {0, 4, 2, 6};
  uint8_t basics[13] = {}, resolution[9] = {};
  put32(header.width, basics);
  put32(header.height, basics + 4);
  basics[8] = header.wide ? 16 : 8;
  basics[9] = kColourTypes[header.bands - 1];
  append_chunk("IHDR", basics, sizeof basics);
  if (header.pixels_per_metre > 0) {
    put32(header.pixels_per_metre, resolution);
    put32(header.pixels_per_metre, resolution + 4);
    resolution[8] = 1;
    append_chunk("pHYs", resolution, sizeof resolution);
  }
  deflater_->next_out = compressed_.data();
  deflater_->avail_out = static_cast<uInt>(compressed_.size());
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

bool PngWriter::finish() {
  if (!strip_.empty()) end_strip();
  deflate_bytes({}, Z_FINISH);
  const size_t rest = compressed_.size() - deflater_->avail_out;
  if (rest > 0) append_chunk("IDAT", compressed_.data(), rest);
  append_chunk("IEND", nullptr, 0);
  return !failed_;
}

void PngWriter::end_strip() {
  const bool trial = effort_ > 0 && strips_ % kTrialEvery == 0;
  if (trial || method_.filtered) filter_strip();
  if (trial) use(choose());
  deflate_bytes(method_.filtered ? filtered_ : strip_, Z_NO_FLUSH);
  const size_t bytes = shape_.row_bytes();
  std::memcpy(above_.data(), strip_.data() + strip_.size() - bytes, bytes);
  strip_.clear();
  ++strips_;
}

void PngWriter::filter_strip() {
  const size_t bytes = shape_.row_bytes();
  filtered_.resize(strip_.size());
  const uint8_t* above = above_.data();
  for (size_t at = 0; at < strip_.size(); at += bytes + 1) {
    const uint8_t* row = strip_.data() + at + 1;
    uint8_t* best = filtered_.data() + at;
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

PngWriter::Method PngWriter::choose() {
  const size_t fast = tried(kFast, filtered_);
  const size_t runs = tried(kRuns, filtered_);
  const size_t matches = tried(kMatches, filtered_);
  // Unfiltered bytes are worth a look only where the fastest level makes about as much of them.
  const bool look = tried(kFast, strip_) * 100 < fast * kFlatPercent;
  const size_t flat = look ? tried(kFlat, strip_) : SIZE_MAX;
  const size_t least = std::min({fast, matches, flat});
  const bool noise = runs > kNoiseBytesMin && runs * 100 < least * kRunsPercent;
  // Of a photograph that was a JPEG the fastest level finds enough: those above it take short
  // matches for noise.
  const Trial best = noise ? kRuns : fast == least ? kFast : flat < matches ? kFlat : kMatches;
  return {best == kFast ? kFastLevel : effort_, kStrategies[best], best != kFlat};
}

// How much the method makes of the last of these bytes, after those before.
size_t PngWriter::tried(size_t trial, const std::vector<uint8_t>& bytes) {
  Deflater& stream = trials_[trial];
  if (!stream) stream = deflater(trial == kFast ? kFastLevel : effort_, kStrategies[trial]);
  ignored_.resize(kChunkBytes);
  const size_t sample = std::min(kSampleBytes, (bytes.size() + 1) / 2);
  const size_t before = std::min(kWindowBytes, bytes.size() - sample);
  const uint8_t* at = bytes.data() + bytes.size() - sample;
  failed_ |= deflateReset(stream.get()) != Z_OK ||
             deflateSetDictionary(stream.get(), at - before, static_cast<uInt>(before)) != Z_OK;
  stream->next_in = const_cast<uint8_t*>(at);
  stream->avail_in = static_cast<uInt>(sample);
  do {
    stream->next_out = ignored_.data();
    stream->avail_out = static_cast<uInt>(ignored_.size());
  } while (deflate(stream.get(), Z_FINISH) == Z_OK);
  return stream->total_out;
}

void PngWriter::use(const Method& method) {
  method_ = method;
  for (;;) {
    if (deflater_->avail_out == 0) {
      append_chunk("IDAT", compressed_.data(), compressed_.size());
      deflater_->next_out = compressed_.data();
      deflater_->avail_out = static_cast<uInt>(compressed_.size());
    }
    const int result = deflateParams(deflater_.get(), method.level, method.strategy);
    if (result == Z_OK) return;
    // What is pending may need more room.
    failed_ |= result != Z_BUF_ERROR || deflater_->avail_out > 0;
    if (failed_) return;
  }
}

void PngWriter::deflate_bytes(const std::vector<uint8_t>& bytes, int flush) {
  deflater_->next_in = const_cast<uint8_t*>(bytes.data());
  deflater_->avail_in = static_cast<uInt>(bytes.size());
  for (;;) {
    const int result = deflate(deflater_.get(), flush);
    failed_ |= result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR;
    if (deflater_->avail_out > 0 || failed_) break;
    append_chunk("IDAT", compressed_.data(), compressed_.size());
    deflater_->next_out = compressed_.data();
    deflater_->avail_out = static_cast<uInt>(compressed_.size());
    if (result == Z_STREAM_END) break;
  }
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
