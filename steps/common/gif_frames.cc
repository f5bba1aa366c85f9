#include "steps/common/gif_frames.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "steps/common/gif_lzw.h"

namespace millrace {
namespace {

constexpr uint32_t kColours = 256;
constexpr size_t kPixel = 4;

uint32_t table_entries(uint8_t flags) {
  return flags & 0x80 ? 2u << (flags & 7) : 0;
}

// Behind a chain of sub-blocks; at the end of the file when that ends before.
uint64_t behind_sub_blocks(ByteView file, uint64_t at) {
  while (file.has(at, 1)) {
    const uint64_t length = file.u8(at);
    at += 1 + length;
    if (length == 0) return at;
  }
  return file.size;
}

using Table = std::array<std::array<uint8_t, kPixel>, kColours>;

// An index that the table does not have is black.
Table read_table(ByteView file, uint64_t at, uint32_t entries) {
  Table table;
  table.fill({0, 0, 0, 255});
  for (uint32_t i = 0; i < entries; ++i) {
    for (uint32_t k = 0; k < 3; ++k) table[i][k] = file.u8(at + uint64_t{i} * 3 + k);
  }
  return table;
}

// Where the stored line `number` lies in an interlaced frame.
uint32_t interlaced_line(uint32_t number, uint32_t height) {
  constexpr uint32_t kFirst[] = {0, 4, 2, 1}, kBy[] = {8, 8, 4, 2};
  for (size_t pass = 0; pass < 4; ++pass) {
    if (kFirst[pass] >= height) continue;
    const uint32_t lines = (height - kFirst[pass] + kBy[pass] - 1) / kBy[pass];
    if (number < lines) return kFirst[pass] + number * kBy[pass];
    number -= lines;
  }
  return 0;
}

}  // namespace

GifFrames::GifFrames(ByteView file, bool strict) : file_(file), strict_(strict) {
  width_ = file.le16(6);
  height_ = file.le16(8);
  table_at_ = 13;
  table_size_ = table_entries(file.u8(10));
  scan();
}

void GifFrames::scan() {
  uint64_t at = table_at_ + uint64_t{table_size_} * 3;
  GifControl control;
  GifCover cover;
  while (file_.has(at, 1)) {
    const uint8_t block = file_.u8(at);
    at += 1;
    if (block == 0x21) {
      if (file_.u8(at) == 0xF9) control = read_gif_control(file_, at);
      const bool loops = file_.u8(at) == 0xFF &&
                         (file_.is(at + 2, "NETSCAPE2.0") || file_.is(at + 2, "ANIMEXTS1.0"));
      if (loops && file_.u8(at + 13) == 3 && file_.u8(at + 14) == 1) {
        // It says how often it is repeated.
        loop_ = static_cast<int>(file_.le16(at + 15));
        if (loop_ > 0) loop_ += 1;
      }
      at = behind_sub_blocks(file_, at + 1);
    } else if (block == 0x2C) {
      const Frame frame = {at, control};
      const Area area = area_of(frame);
      if (!file_.has(at, 9) || area.width == 0 || area.height == 0) break;
      const bool fills =
          area.left == 0 && area.top == 0 && area.width >= width_ && area.height >= height_;
      cover.add(fills, control);
      frames_.push_back(frame);
      control = {};
      at += 9 + uint64_t{table_entries(file_.u8(at + 8))} * 3;
      at = behind_sub_blocks(file_, at + 1);
    } else if (block != 0) {
      break;  // the trailer, or damage
    }
  }
  alpha_ = cover.open();
}

GifFrames::Area GifFrames::area_of(const Frame& frame) const {
  return {file_.le16(frame.at), file_.le16(frame.at + 2), file_.le16(frame.at + 4),
          file_.le16(frame.at + 6)};
}

std::vector<int> GifFrames::delays() const {
  std::vector<int> delays;
  for (const Frame& frame : frames_) {
    delays.push_back(static_cast<int>(frame.control.delay * 10));
  }
  return delays;
}

std::string GifFrames::show(size_t frame) {
  if (frame >= frames_.size()) return fmt::format("there is no frame {}", frame + 1);
  if (canvas_.empty()) canvas_.resize(size_t{width_} * height_ * kPixel);
  if (frame + 1 < shown_) {  // from the beginning again
    std::fill(canvas_.begin(), canvas_.end(), uint8_t{0});
    shown_ = 0;
  }
  while (shown_ <= frame) {
    if (shown_ > 0) dispose();
    const size_t number = shown_++;
    if (std::string wrong = paint(number); !wrong.empty() && strict_) return wrong;
  }
  return "";
}

// What is on the canvas of the area, into `kept_` or back.
void GifFrames::copy_area(const Area& area, bool keep) {
  if (area.left >= width_ || area.top >= height_) return;
  const size_t bytes = std::min(area.width, width_ - area.left) * kPixel;
  const uint32_t lines = std::min(area.height, height_ - area.top);
  if (keep) kept_.resize(bytes * lines);
  for (uint32_t y = 0; y < lines; ++y) {
    uint8_t* place = canvas_.data() + (size_t{area.top + y} * width_ + area.left) * kPixel;
    uint8_t* kept = kept_.data() + bytes * y;
    std::memcpy(keep ? kept : place, keep ? place : kept, bytes);
  }
}

// What becomes of the frame that was shown, before the next one is painted.
void GifFrames::dispose() {
  const Frame& frame = frames_[shown_ - 1];
  const Area area = area_of(frame);
  if (frame.control.takes_back()) copy_area(area, false);
  if (!frame.control.clears() || area.left >= width_) return;
  const size_t bytes = std::min(area.width, width_ - area.left) * kPixel;
  for (uint32_t y = area.top; y < std::min(area.top + area.height, height_); ++y) {
    std::memset(canvas_.data() + (size_t{y} * width_ + area.left) * kPixel, 0, bytes);
  }
}

std::string GifFrames::paint(size_t number) {
  const Frame& frame = frames_[number];
  const Area area = area_of(frame);
  if (frame.control.takes_back()) copy_area(area, true);
  const uint8_t flags = file_.u8(frame.at + 8);
  const uint32_t own = table_entries(flags);
  const Table table =
      own > 0 ? read_table(file_, frame.at + 9, own) : read_table(file_, table_at_, table_size_);
  if (own == 0 && table_size_ == 0) return fmt::format("frame {} has no colours", number + 1);
  GifLzw lzw(file_, frame.at + 9 + uint64_t{own} * 3);
  std::vector<uint8_t> line(area.width);
  const uint32_t columns = area.left < width_ ? std::min(area.width, width_ - area.left) : 0;
  for (uint32_t i = 0; i < area.height; ++i) {
    const size_t got = lzw.read(line.data(), line.size());
    const uint32_t y = area.top + (flags & 0x40 ? interlaced_line(i, area.height) : i);
    const size_t painted = y < height_ ? std::min<size_t>(got, columns) : 0;
    for (size_t x = 0; x < painted; ++x) {
      if (line[x] == frame.control.transparent) continue;
      const auto& colour = table[line[x]];
      std::memcpy(canvas_.data() + (size_t{y} * width_ + area.left + x) * kPixel, colour.data(),
                  kPixel);
    }
    if (got == line.size()) continue;
    return fmt::format("frame {} has {} of its {} pixels{}", number + 1,
                       uint64_t{i} * area.width + got, uint64_t{area.width} * area.height,
                       lzw.broken() ? ", then a code without a meaning" : "");
  }
  return "";
}

}  // namespace millrace
