// PngReader: the rows of a PNG one after the other, for those that are read most: not interlaced,
// whole bytes, no colour key.
//
// It knows nothing of damage: what is not whole, and what it does not know, it leaves to libpng,
// whose words for it are better. Memory: a strip of rows and the inflater's state, 0.3 MB.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "steps/common/byte_view.h"
#include "steps/common/png/png_rows.h"

namespace millrace {

// Of pictures with longer rows, more than a strip of a few would be held.
inline constexpr uint64_t kPngRowBytesMax = uint64_t{16} << 20;

class PngReader {
 public:
  // Null: use libpng; nothing is wrong yet. The file has to stay.
  static std::unique_ptr<PngReader> open(ByteView file);
  ~PngReader();

  const PngShape& shape() const { return shape_; }
  uint32_t next() const { return next_; }  // the row that comes next, from above

  // Its samples in the machine's byte order, until the next call. Null, from then on: use libpng.
  // The last rows come only if all bytes of the file have been right.
  const uint8_t* read_row();

 private:
  struct Inflater;

  PngReader(ByteView file, const PngShape& shape, uint64_t first_data);
  bool fill();
  bool inflate_some();
  bool inflate(uint8_t* to, size_t bytes);
  bool inflate_end();
  bool find_data();

  ByteView file_;
  PngShape shape_;
  uint64_t chunk_at_;  // the chunk that is looked at next
  bool failed_ = false;
  uint32_t next_ = 0;  // of those that are handed out
  size_t strip_rows_, strip_end_ = 0, strip_at_ = 0;
  std::vector<uint8_t> strip_;   // the row before, then rows, each behind the number of its filter
  std::vector<uint8_t> turned_;  // a row of 16 bits
  std::unique_ptr<Inflater> inflater_;
};

}  // namespace millrace
