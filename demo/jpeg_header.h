// What a JPEG file says about itself, read with libjpeg and without decoding.
#pragma once

#include <optional>
#include <string>

namespace millrace::demo {

struct JpegHeader {
  unsigned width = 0, height = 0;
  int components = 0;
};

// Empty when `bytes` do not begin as a JPEG file does.
std::optional<JpegHeader> read_jpeg_header(const std::string& bytes);

}  // namespace millrace::demo
