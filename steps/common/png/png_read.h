// Reading the pixels of a PNG at once, for those that are read most: not interlaced, whole bytes,
// no colour key.
//
// It knows nothing of damage: what is not whole, and what it does not know, it leaves to libpng,
// whose words for it are better.
#pragma once

#include <cstdint>
#include <memory>

#include "steps/common/byte_view.h"
#include "steps/common/png/png_rows.h"

namespace millrace {

// Rows of samples in the machine's byte order; each stands behind one byte that means nothing.
struct PngPixels : PngShape {
  std::unique_ptr<uint8_t[]> bytes;

  size_t size() const { return (row_bytes() + 1) * height; }
  uint8_t* row(size_t y) const { return bytes.get() + y * (row_bytes() + 1) + 1; }
};

// Pictures of more bytes are better read row by row.
inline constexpr uint64_t kPngBytesMax = uint64_t{64} << 20;

// False: use libpng; nothing is wrong yet.
[[nodiscard]] bool read_png(ByteView file, PngPixels* pixels);

}  // namespace millrace
