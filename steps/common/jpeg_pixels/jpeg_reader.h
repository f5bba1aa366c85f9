// JpegReader: the rows of a JPEG's samples, as they are decoded.
//
// It knows bytes, not pictures of libvips or metadata. Gray stays gray, every other picture of
// three components becomes RGB. Memory: what libjpeg needs, some rows of blocks; of a progressive
// one all its coefficients.
#pragma once

#include "steps/common/byte_view.h"
#include "steps/common/jpeg_pixels/jpeg_errors.h"

namespace millrace {

class JpegReader {
 public:
  // Shrink: 1, 2, 4 or 8, in the decoder. With `strict` a file that ends too early is an error.
  JpegReader(ByteView file, int shrink, bool strict);
  ~JpegReader();
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  // Reads the file's head. After false, and after read() said so, only words() may follow.
  [[nodiscard]] bool start();
  // Of the rows that are given: a side that does not divide is rounded up.
  int width() const { return static_cast<int>(source_.output_width); }
  int height() const { return static_cast<int>(source_.output_height); }
  int bands() const { return source_.output_components; }

  // The next `count` rows, which must be there.
  [[nodiscard]] bool read(uint8_t* const* rows, int count);

  // What libjpeg complained about; also of pictures that were read to the end.
  const std::string& words() const { return errors_.words; }

 private:
  JpegErrors errors_;
  jpeg_source_mgr input_;
  jpeg_decompress_struct source_;
  int shrink_;
};

}  // namespace millrace
