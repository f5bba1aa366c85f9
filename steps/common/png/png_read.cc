#include "steps/common/png/png_read.h"

#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace millrace {
namespace {

constexpr uint64_t kSignatureBytes = 8, kFrameBytes = 12;  // of a chunk: length, name, check sum
constexpr size_t kStripBytes = 64 << 10;                   // if a row is not more

bool read_header(ByteView file, PngShape* shape) {
  const uint64_t at = kSignatureBytes + 8;
  shape->width = file.be32(at);
  shape->height = file.be32(at + 4);
  const uint8_t bits = file.u8(at + 8), colour = file.u8(at + 9), interlace = file.u8(at + 12);
  shape->wide = bits == 16;
  shape->bands = colour == 0 ? 1 : colour == 2 ? 3 : colour == 4 ? 2 : 4;
  if (colour != 0 && colour != 2 && colour != 4 && colour != 6) return false;
  return (bits == 8 || bits == 16) && interlace == 0 && shape->width > 0 && shape->height > 0 &&
         shape->row_bytes() <= kPngRowBytesMax;
}

// Where the first chunk of pixels is; 0: something is in the file that is not known here.
uint64_t first_data(ByteView file) {
  uint64_t first = 0;
  for (uint64_t at = kSignatureBytes; file.has(at, kFrameBytes);) {
    const uint64_t size = file.be32(at);
    if (!file.has(at, kFrameBytes + size)) return 0;
    if (file.is(at + 4, "tRNS") || file.is(at + 4, "CgBI")) return 0;
    if (file.is(at + 4, "IDAT") && first == 0) first = at;
    if (file.is(at + 4, "IEND")) return first;
    at += kFrameBytes + size;
  }
  return 0;
}

void turn(const uint8_t* from, size_t bytes, uint8_t* to) {
  for (size_t i = 0; i + 1 < bytes; i += 2) {
    const auto sample = static_cast<uint16_t>(from[i] << 8 | from[i + 1]);
    std::memcpy(to + i, &sample, 2);
  }
}

}  // namespace

struct PngReader::Inflater {
  inflate_state state;
};

std::unique_ptr<PngReader> PngReader::open(ByteView file) {
  PngShape shape;
  if (!file.is(0, std::string_view("\x89PNG\r\n\x1a\n", kSignatureBytes)) ||
      !file.is(kSignatureBytes + 4, "IHDR") || !read_header(file, &shape)) {
    return nullptr;
  }
  const uint64_t first = first_data(file);
  if (first == 0) return nullptr;
  return std::unique_ptr<PngReader>(new PngReader(file, shape, first));
}

PngReader::PngReader(ByteView file, const PngShape& shape, uint64_t first_data)
    : file_(file),
      shape_(shape),
      chunk_at_(first_data),
      strip_rows_(std::clamp<size_t>(kStripBytes / (shape.row_bytes() + 1), 1, shape.height)),
      strip_((strip_rows_ + 1) * (shape.row_bytes() + 1), 0),
      turned_(shape.wide ? shape.row_bytes() : 0),
      inflater_(std::make_unique_for_overwrite<Inflater>()) {
  isal_inflate_init(&inflater_->state);
  inflater_->state.crc_flag = ISAL_ZLIB;
  inflater_->state.avail_in = 0;
}

PngReader::~PngReader() = default;

const uint8_t* PngReader::read_row() {
  failed_ = failed_ || next_ == shape_.height || (strip_at_ == strip_end_ && !fill());
  if (failed_) return nullptr;
  const uint8_t* row = strip_.data() + ++strip_at_ * (shape_.row_bytes() + 1) + 1;
  ++next_;
  if (!shape_.wide) return row;
  turn(row, shape_.row_bytes(), turned_.data());
  return turned_.data();
}

// Another strip, behind the last row of the one before.
bool PngReader::fill() {
  const size_t bytes = shape_.row_bytes(), line = bytes + 1;
  std::copy_n(strip_.begin() + static_cast<std::ptrdiff_t>(strip_end_ * line), line,
              strip_.begin());
  strip_at_ = 0;
  strip_end_ = std::min<size_t>(strip_rows_, shape_.height - next_);
  if (!inflate(strip_.data() + line, strip_end_ * line)) return false;
  if (next_ + strip_end_ == shape_.height && !inflate_end()) return false;
  for (size_t i = 1; i <= strip_end_; ++i) {
    uint8_t* row = strip_.data() + i * line + 1;
    if (!restore_png_row(row[-1], row, row - line, bytes, shape_.pixel_bytes())) return false;
  }
  return true;
}

// Goes on as far as bytes and room allow. False: something is wrong, or nothing moves any more.
bool PngReader::inflate_some() {
  inflate_state& state = inflater_->state;
  const bool more = state.avail_in > 0 || find_data();
  const uint32_t in = state.avail_in, out = state.avail_out;
  const int result = isal_inflate(&state);
  if (result != ISAL_DECOMP_OK && result != ISAL_END_INPUT && result != ISAL_OUT_OVERFLOW) {
    return false;
  }
  // It may hold bytes of both kinds, but not for ever.
  return state.block_state == ISAL_BLOCK_FINISH || state.avail_out != out ||
         (more && state.avail_in != in);
}

bool PngReader::inflate(uint8_t* to, size_t bytes) {
  inflate_state& state = inflater_->state;
  state.next_out = to;
  state.avail_out = static_cast<uint32_t>(bytes);
  while (state.avail_out > 0) {
    if (!inflate_some()) return false;
    if (state.block_state == ISAL_BLOCK_FINISH) return state.avail_out == 0;
  }
  return true;
}

// Nothing but the check sum is left, and it is right.
bool PngReader::inflate_end() {
  inflate_state& state = inflater_->state;
  uint8_t none = 0;
  while (state.block_state != ISAL_BLOCK_FINISH) {
    state.next_out = &none;
    state.avail_out = 1;
    if (!inflate_some() || state.avail_out == 0) return false;
  }
  return state.avail_in == 0 && state.read_in_length < 8 && !find_data();
}

// Hands the next bytes of pixels to the inflater, which has used up those before.
bool PngReader::find_data() {
  for (;;) {
    const uint64_t size = file_.be32(chunk_at_);
    if (file_.is(chunk_at_ + 4, "IEND")) return false;
    const uint64_t at = chunk_at_ + 8;
    const bool data = file_.is(chunk_at_ + 4, "IDAT");
    chunk_at_ += kFrameBytes + size;
    if (!data || size == 0) continue;
    inflater_->state.next_in = const_cast<uint8_t*>(file_.data + at);
    inflater_->state.avail_in = static_cast<uint32_t>(size);
    return true;
  }
}

}  // namespace millrace
