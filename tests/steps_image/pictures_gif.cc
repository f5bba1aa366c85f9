// Reading GIF by the specification: LZW, places of frames, and what becomes of them afterwards.
#include <array>
#include <cstdlib>

#include "tests/steps_image/pictures.h"

namespace millrace::testing {
namespace {

class GifReader {
 public:
  explicit GifReader(const std::string& bytes) : bytes_(bytes) {}

  GifAnimation run() {
    gif_.width = word(6);
    gif_.height = word(8);
    size_t at = 13;
    global_ = colours(byte(10), &at);
    canvas_ = make_picture(gif_.width, gif_.height, 4, 8, [](int, int, int) { return 0; });
    while (at < bytes_.size() && byte(at) != 0x3B) {
      if (byte(at) == 0x21) {
        extension(&at);
      } else if (byte(at) == 0x2C) {
        image(&at);
      } else {
        abort();  // the tests' files are whole
      }
    }
    return std::move(gif_);
  }

 private:
  using Colours = std::vector<std::array<uint8_t, 3>>;

  uint32_t byte(size_t at) const {
    return at < bytes_.size() ? static_cast<uint8_t>(bytes_[at]) : 0;
  }
  uint32_t word(size_t at) const { return byte(at) | byte(at + 1) << 8; }

  Colours colours(uint32_t flags, size_t* at) const {
    Colours table;
    if ((flags & 0x80) == 0) return table;
    for (uint32_t i = 0; i < 2u << (flags & 7); ++i, *at += 3) {
      table.push_back({static_cast<uint8_t>(byte(*at)), static_cast<uint8_t>(byte(*at + 1)),
                       static_cast<uint8_t>(byte(*at + 2))});
    }
    return table;
  }

  std::string sub_blocks(size_t* at) const {
    std::string data;
    while (byte(*at) != 0) {
      data += bytes_.substr(*at + 1, byte(*at));
      *at += 1 + byte(*at);
    }
    *at += 1;
    return data;
  }

  void extension(size_t* at) {
    const uint32_t label = byte(*at + 1);
    if (label == 0xF9) {
      disposal_ = byte(*at + 3) >> 2 & 7;
      delay_ = word(*at + 4) * 10;
      transparent_ = byte(*at + 3) & 1 ? static_cast<int>(byte(*at + 6)) : -1;
    }
    const bool netscape = label == 0xFF && bytes_.compare(*at + 3, 11, "NETSCAPE2.0") == 0;
    if (netscape && byte(*at + 15) == 1) gif_.loop = static_cast<int>(word(*at + 16));
    *at += 2;
    sub_blocks(at);
  }

  void image(size_t* at) {
    const uint32_t left = word(*at + 1), top = word(*at + 3);
    const uint32_t width = word(*at + 5), height = word(*at + 7), flags = byte(*at + 9);
    *at += 10;
    const Colours local = colours(flags, at);
    const Colours& table = local.empty() ? global_ : local;
    const uint32_t code_bits = byte((*at)++);
    const std::vector<uint8_t> indices = unpack(sub_blocks(at), code_bits);
    if (indices.size() < size_t{width} * height || (flags & 0x40) != 0) abort();
    const Picture before = canvas_;
    for (uint32_t y = 0; y < height; ++y) {
      for (uint32_t x = 0; x < width; ++x) {
        const uint8_t index = indices[size_t{y} * width + x];
        if (index != transparent_) paint(left + x, top + y, table.at(index), 255);
      }
    }
    gif_.frames.push_back(canvas_);
    gif_.durations.push_back(delay_);
    if (disposal_ == 3) canvas_ = before;
    for (uint32_t y = 0; y < height && disposal_ == 2; ++y) {
      for (uint32_t x = 0; x < width; ++x) paint(left + x, top + y, {0, 0, 0}, 0);
    }
    transparent_ = -1;
    disposal_ = delay_ = 0;
  }

  void paint(uint32_t x, uint32_t y, const std::array<uint8_t, 3>& colour, uint16_t alpha) {
    if (x >= gif_.width || y >= gif_.height) return;
    uint16_t* pixel = canvas_.samples.data() + (size_t{y} * gif_.width + x) * 4;
    for (size_t i = 0; i < 3; ++i) pixel[i] = colour[i];
    pixel[3] = alpha;
  }

  static std::vector<uint8_t> unpack(const std::string& data, uint32_t code_bits) {
    const uint32_t clear = 1u << code_bits, end = clear + 1;
    std::vector<std::vector<uint8_t>> words;
    std::vector<uint8_t> out, last;
    uint32_t size = code_bits + 1, bits = 0, count = 0;
    const auto reset = [&] {
      words.clear();
      for (uint32_t i = 0; i < clear + 2; ++i) words.push_back({static_cast<uint8_t>(i)});
      size = code_bits + 1;
      last.clear();
    };
    reset();
    for (const char c : data) {
      bits |= static_cast<uint32_t>(static_cast<uint8_t>(c)) << count;
      count += 8;
      while (count >= size) {
        const uint32_t code = bits & ((1u << size) - 1);
        bits >>= size;
        count -= size;
        if (code == end) return out;
        if (code == clear) {
          reset();
          continue;
        }
        std::vector<uint8_t> word = code < words.size() ? words[code] : last;
        if (code >= words.size()) word.push_back(last.at(0));
        out.insert(out.end(), word.begin(), word.end());
        if (!last.empty() && words.size() < 4096) {
          last.push_back(word[0]);
          words.push_back(last);
        }
        if (words.size() == 1u << size && size < 12) ++size;
        last = std::move(word);
      }
    }
    return out;
  }

  const std::string& bytes_;
  GifAnimation gif_;
  Colours global_;
  Picture canvas_;
  uint32_t disposal_ = 0, delay_ = 0;
  int transparent_ = -1;
};

}  // namespace

GifAnimation decode_gif(const std::string& bytes) {
  return GifReader(bytes).run();
}

}  // namespace millrace::testing
