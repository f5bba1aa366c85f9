// PngWriter: makes a PNG of rows of samples, as they come.
//
// It knows bytes, not pictures of libvips or metadata. Rows are filtered by the usual rule (the
// filter that leaves the least sum), or left as they are where trials find that smaller: what is
// drawn. The same samples give the same file on every machine. Memory: two strips of rows and 2 MB,
// whatever the height.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "steps/common/png/deflate.h"
#include "steps/common/png/png_rows.h"

namespace millrace {

struct PngHeader : PngShape {
  uint32_t pixels_per_metre = 0;  // 0: not said
  std::string chunks;             // whole ones, to stand before all others
};

class PngWriter {
 public:
  // Appends to `file`. Effort: zlib's levels, 0 (stored) to 9. Throws bad_alloc.
  PngWriter(const PngHeader& header, int effort, std::string* file);

  // The next row, from above; samples of 16 bits in the machine's byte order.
  void add(const void* row);
  // After the last row.
  void finish();

 private:
  void end_strip();
  void filter_strip();
  void choose();
  void append_compressed();
  void append_chunk(const char* name, const uint8_t* data, size_t size);

  PngShape shape_;
  int effort_;
  std::string* file_;
  size_t strip_rows_;
  std::vector<uint8_t> strip_, filtered_strip_;  // rows, each behind the number of its filter
  std::vector<uint8_t> above_;                   // the last row of the strip before
  std::vector<uint8_t> candidate_;
  bool filtered_ = false;  // rows are filtered now
  size_t strips_to_trial_ = 1, trial_every_;
  uint64_t share_ = 0;  // what was left of the strip that was tried last
  Deflater deflater_, trial_;
};

}  // namespace millrace
