// PNG's five row filters, there and back.
//
// It knows rows of bytes. `step` is the bytes of a pixel, 1 to 8; what lies left of a row or above
// the first one is 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

struct PngShape {
  uint32_t width = 0, height = 0;
  int bands = 3;      // 1 to 4: gray, gray with alpha, RGB, RGBA
  bool wide = false;  // 16 bits a sample

  size_t pixel_bytes() const { return static_cast<size_t>(bands) * (wide ? 2 : 1); }
  size_t row_bytes() const { return width * pixel_bytes(); }
};

enum PngFilter : uint8_t { kPngNone, kPngSub, kPngUp, kPngAverage, kPngPaeth, kPngFilters };

// The row as the filter leaves it. `above` may not be null: a row of zeros stands above the first
// one.
void filter_png_row(PngFilter filter, const uint8_t* row, const uint8_t* above, size_t bytes,
                    size_t step, uint8_t* out);

// The sum of the distances from 0 of all bytes, as signed ones: what little is left compresses
// well.
uint64_t png_row_cost(const uint8_t* filtered, size_t bytes);

// Undoes the filter in place. False: there is no such filter.
[[nodiscard]] bool restore_png_row(uint8_t filter, uint8_t* row, const uint8_t* above, size_t bytes,
                                   size_t step);

}  // namespace millrace
