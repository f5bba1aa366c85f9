// Reading and writing GIF by the specification: LZW, places of frames, interlacing, and what
// becomes of frames afterwards, as browsers do it: disposal 2 makes their place transparent,
// whatever the file calls its background.
#include <algorithm>
#include <array>
#include <cstdlib>

#include "tests/steps_image/pictures.h"

namespace millrace::testing {
namespace {

// The lines of a frame in the order in which they are stored.
std::vector<uint32_t> stored_lines(uint32_t height, bool interlaced) {
  std::vector<uint32_t> lines;
  const std::pair<uint32_t, uint32_t> passes[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
  for (const auto& [first, by] : passes) {
    for (uint32_t y = first; y < height && interlaced; y += by) lines.push_back(y);
  }
  for (uint32_t y = 0; y < height && !interlaced; ++y) lines.push_back(y);
  return lines;
}

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
  uint32_t byte(size_t at) const {
    return at < bytes_.size() ? static_cast<uint8_t>(bytes_[at]) : 0;
  }
  uint32_t word(size_t at) const { return byte(at) | byte(at + 1) << 8; }

  GifColours colours(uint32_t flags, size_t* at) const {
    GifColours table;
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
    const GifColours local = colours(flags, at);
    const GifColours& table = local.empty() ? global_ : local;
    const uint32_t code_bits = byte((*at)++);
    const std::vector<uint8_t> indices = unpack(sub_blocks(at), code_bits);
    if (indices.size() < size_t{width} * height) abort();
    const Picture before = canvas_;
    const std::vector<uint32_t> lines = stored_lines(height, (flags & 0x40) != 0);
    for (uint32_t y = 0; y < height; ++y) {
      for (uint32_t x = 0; x < width; ++x) {
        const uint8_t index = indices[size_t{y} * width + x];
        if (index != transparent_) paint(left + x, top + lines[y], table.at(index), 255);
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
  GifColours global_;
  Picture canvas_;
  uint32_t disposal_ = 0, delay_ = 0;
  int transparent_ = -1;
};

void put16(std::string* out, uint32_t value) {
  out->push_back(static_cast<char>(value));
  out->push_back(static_cast<char>(value >> 8));
}

// LZW without a match: a clear code comes so often that no code gets a bit more.
std::string plain_lzw(const std::vector<uint8_t>& indices, uint32_t code_bits) {
  const uint32_t clear = 1u << code_bits;
  std::string packed, out;
  uint32_t bits = 0, count = 0;
  const auto code = [&](uint32_t value) {
    bits |= value << count;
    for (count += code_bits + 1; count >= 8; count -= 8, bits >>= 8) {
      packed.push_back(static_cast<char>(bits));
    }
  };
  for (size_t i = 0; i < indices.size(); ++i) {
    if (i % (clear - 2) == 0) code(clear);
    code(indices[i]);
  }
  code(clear + 1);
  if (count > 0) packed.push_back(static_cast<char>(bits));
  out.push_back(static_cast<char>(code_bits));
  for (size_t at = 0; at < packed.size(); at += 255) {
    const std::string part = packed.substr(at, 255);
    out.push_back(static_cast<char>(part.size()));
    out += part;
  }
  out.push_back(0);
  return out;
}

// Of a table of this many colours: 2, 4, ... 256.
uint32_t bits_of(const GifColours& table) {
  uint32_t bits = 1;
  while (1u << bits < table.size()) ++bits;
  return bits;
}

// The flags that tell of a table, and the table.
std::pair<uint8_t, std::string> table_bytes(const GifColours& table) {
  if (table.empty()) return {0, ""};
  std::string bytes;
  for (const auto& colour : table) bytes.append(colour.begin(), colour.end());
  bytes.resize(size_t{3} << bits_of(table));
  return {static_cast<uint8_t>(0x80 | (bits_of(table) - 1)), bytes};
}

void put_frame(const GifFilm& film, const GifFrame& frame, std::string* out) {
  const auto [flags, table] = table_bytes(frame.table);
  *out += std::string("\x21\xF9\x04", 3);
  *out += static_cast<char>(frame.disposal << 2 | (frame.transparent >= 0 ? 1 : 0));
  put16(out, frame.delay);
  *out += static_cast<char>(frame.transparent >= 0 ? frame.transparent : 0);
  *out += std::string("\0\x2C", 2);
  for (const uint32_t value : {frame.left, frame.top, frame.width, frame.height}) {
    put16(out, value);
  }
  *out += static_cast<char>(flags | (frame.interlaced ? 0x40 : 0));
  *out += table;
  std::vector<uint8_t> stored;
  for (const uint32_t y : stored_lines(frame.height, frame.interlaced)) {
    const auto line = frame.indices.begin() + static_cast<ptrdiff_t>(size_t{y} * frame.width);
    stored.insert(stored.end(), line, line + static_cast<ptrdiff_t>(frame.width));
  }
  const GifColours& colours = frame.table.empty() ? film.table : frame.table;
  *out += plain_lzw(stored, std::max(bits_of(colours), 2u));
}

}  // namespace

std::string encode_gif(const GifFilm& film) {
  const auto [flags, table] = table_bytes(film.table);
  std::string out = "GIF89a";
  put16(&out, film.width);
  put16(&out, film.height);
  out += static_cast<char>(flags);
  out += static_cast<char>(film.background);
  out += '\0';
  out += table;
  out += std::string("\x21\xFF\x0BNETSCAPE2.0\x03\x01", 16);
  put16(&out, film.loop);
  out += '\0';
  out += film.extensions;
  for (const GifFrame& frame : film.frames) put_frame(film, frame, &out);
  return out + ';';
}

std::string gif_extension(char label, const std::vector<std::string>& blocks) {
  std::string out = std::string("\x21") + label;
  for (const std::string& block : blocks) {
    out += static_cast<char>(block.size());
    out += block;
  }
  return out + '\0';
}

std::string encode_gif(const GifStyle& style) {
  GifColours table;
  for (const auto& c : style.frame_colours) {
    if (table.size() < 4) table.push_back({c[0], c[1], c[2]});
  }
  table.resize(4);
  GifFilm film;
  film.width = style.width, film.height = style.height;
  if (!style.local_tables) film.table = table;
  if (!style.comment.empty()) film.extensions = gif_extension('\xFE', {style.comment});
  GifFrame frame;
  frame.width = style.width, frame.height = style.height;
  frame.delay = static_cast<uint32_t>(style.delay);
  if (style.local_tables) frame.table = table;
  for (size_t i = 0; i < style.frame_colours.size(); ++i) {
    frame.indices.assign(size_t{style.width} * style.height, static_cast<uint8_t>(i % 4));
    film.frames.push_back(frame);
  }
  return encode_gif(film);
}

GifAnimation decode_gif(const std::string& bytes) {
  return GifReader(bytes).run();
}

}  // namespace millrace::testing
