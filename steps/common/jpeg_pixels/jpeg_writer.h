// JpegWriter: makes a JPEG of rows of samples, as they come.
//
// It knows bytes, not pictures of libvips or metadata: the file has none. Huffman tables are made
// for the picture; colours are halved in both directions below quality 90. Memory: libjpeg's, all
// coefficients until finish(), and the file.
#pragma once

#include <string>

#include "steps/common/jpeg_pixels/jpeg_errors.h"

namespace millrace {

struct JpegShape {
  int width = 0, height = 0, bands = 0;  // 1: gray, 3: RGB
  int quality = 0;                       // 1 to 100
  bool progressive = false;
};

class JpegWriter {
 public:
  // Appends to `file`.
  JpegWriter(const JpegShape& shape, std::string* file);
  ~JpegWriter();
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;

  // Each says false when libjpeg gave up, which is for want of memory; then only words() may
  // follow.
  [[nodiscard]] bool start();
  [[nodiscard]] bool add(const uint8_t* const* rows, int count);
  [[nodiscard]] bool finish();  // after the last row

  const std::string& words() const { return errors_.words; }

 private:
  struct Output : jpeg_destination_mgr {
    std::string* file;
    JOCTET buffer[65536];
  };

  static void begin_buffer(j_compress_ptr target);
  static boolean flush_buffer(j_compress_ptr target);
  static void flush_rest(j_compress_ptr target);

  JpegErrors errors_;
  jpeg_compress_struct target_;
  JpegShape shape_;
  Output output_;
};

}  // namespace millrace
