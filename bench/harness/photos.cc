#include "bench/harness/photos.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace millrace {
namespace {

constexpr size_t kTextBytes = 16;  // with the NUL

}  // namespace

Photos::Photos(const std::string& photo) {
  // Big-endian TIFF with one entry, Copyright (0x8298), ASCII, at offset 26.
  const std::string entry("\x82\x98\x00\x02\x00\x00\x00\x10\x00\x00\x00\x1a", 12);
  const std::string tiff =
      std::string("MM\x00\x2a\x00\x00\x00\x08\x00\x01", 10) + entry + std::string(4, '\0');
  const std::string payload = std::string("Exif\0\0", 6) + tiff;
  const size_t length = 2 + payload.size() + kTextBytes;
  bytes_ = photo.substr(0, 2) + "\xff\xe1" + static_cast<char>(length >> 8) +
           static_cast<char>(length) + payload;
  text_at_ = bytes_.size();
  bytes_ += std::string(kTextBytes, '\0') + photo.substr(2);
}

const std::string& Photos::number(uint64_t number) {
  const std::string text = fmt::format("job {:011}", number);
  std::copy(text.begin(), text.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(text_at_));
  return bytes_;
}

std::string file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

}  // namespace millrace
