// PngWriter: makes a PNG of rows of samples, as they come.
//
// It knows bytes, not pictures of libvips or metadata. Rows are filtered by the usual rule (the
// filter that leaves the least sum) and deflated by zlib, by one of four methods that trials
// choose as the picture goes along: photographs are smallest, and made in an eighth of the time,
// when only runs are looked for, drawings when matches are, flat ones unfiltered. The same samples
// give the same file. Memory: two strips of rows and zlib's windows, whatever the height.
#pragma once

#include <zlib.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "steps/common/png/png_rows.h"

namespace millrace {

struct PngHeader : PngShape {
  uint32_t pixels_per_metre = 0;  // 0: not said
};

class PngWriter {
 public:
  // Appends to `file`. Effort: zlib's levels, 0 (stored) to 9. Throws bad_alloc.
  PngWriter(const PngHeader& header, int effort, std::string* file);

  // The next row, from above; samples of 16 bits in the machine's byte order.
  void add(const void* row);
  // After the last row. False: zlib gave up, which only a bug can do.
  [[nodiscard]] bool finish();

 private:
  struct End {
    void operator()(z_stream* stream) const { deflateEnd(stream), delete stream; }
  };
  using Deflater = std::unique_ptr<z_stream, End>;
  struct Method {
    int level, strategy;
    bool filtered;
  };
  static Deflater deflater(int level, int strategy);

  void end_strip();
  void filter_strip();
  Method choose();
  size_t tried(size_t trial, const std::vector<uint8_t>& bytes);
  void use(const Method& method);
  void deflate_bytes(const std::vector<uint8_t>& bytes, int flush);
  void append_chunk(const char* name, const uint8_t* data, size_t size);

  PngShape shape_;
  int effort_;
  std::string* file_;
  size_t strip_rows_;
  size_t strips_ = 0;
  bool failed_ = false;
  std::vector<uint8_t> strip_, filtered_;  // rows, each behind the number of its filter
  std::vector<uint8_t> above_;             // the last row of the strip before
  std::vector<uint8_t> candidate_;
  Method method_;
  Deflater deflater_;
  std::array<Deflater, 4> trials_;
  std::vector<uint8_t> compressed_, ignored_;
};

}  // namespace millrace
