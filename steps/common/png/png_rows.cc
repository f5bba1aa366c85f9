#include "steps/common/png/png_rows.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "steps/common/wide.h"

namespace millrace {
namespace {

typedef uint8_t Bytes __attribute__((vector_size(8)));
typedef int16_t Lanes __attribute__((vector_size(16)));

MILLRACE_INLINE uint8_t paeth(int16_t left, int16_t up, int16_t corner) {
  int16_t to_left = static_cast<int16_t>(up - corner);
  int16_t to_up = static_cast<int16_t>(left - corner);
  int16_t to_corner = static_cast<int16_t>(to_left + to_up);
  to_left = static_cast<int16_t>(to_left < 0 ? -to_left : to_left);
  to_up = static_cast<int16_t>(to_up < 0 ? -to_up : to_up);
  to_corner = static_cast<int16_t>(to_corner < 0 ? -to_corner : to_corner);
  const int16_t other = to_up <= to_corner ? up : corner;
  const int16_t to_other = to_up <= to_corner ? to_up : to_corner;
  return static_cast<uint8_t>(to_left <= to_other ? left : other);
}

MILLRACE_WIDE void filter_sub(const uint8_t* row, const uint8_t* left, size_t bytes,
                              uint8_t* __restrict out) {
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<uint8_t>(row[i] - left[i]);
}

MILLRACE_WIDE void filter_average(const uint8_t* row, const uint8_t* left, const uint8_t* up,
                                  size_t bytes, uint8_t* __restrict out) {
  for (size_t i = 0; i < bytes; ++i) {
    out[i] = static_cast<uint8_t>(row[i] - ((left[i] + up[i]) >> 1));
  }
}

MILLRACE_WIDE void filter_paeth(const uint8_t* row, const uint8_t* left, const uint8_t* up,
                                const uint8_t* corner, size_t bytes, uint8_t* __restrict out) {
  for (size_t i = 0; i < bytes; ++i) {
    out[i] = static_cast<uint8_t>(row[i] - paeth(left[i], up[i], corner[i]));
  }
}

MILLRACE_WIDE void restore_up(uint8_t* __restrict row, const uint8_t* above, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) row[i] = static_cast<uint8_t>(row[i] + above[i]);
}

// The bytes of a pixel side by side. Each pixel waits for its left neighbour, so it stays in a
// register.
template <size_t kStep>
MILLRACE_INLINE Lanes pixel_at(const uint8_t* from) {
  Bytes bytes = {};
  std::memcpy(&bytes, from, kStep);
  return __builtin_convertvector(bytes, Lanes);
}

template <size_t kStep>
MILLRACE_INLINE void put_pixel(Lanes pixel, uint8_t* to) {
  const Bytes bytes = __builtin_convertvector(pixel, Bytes);
  std::memcpy(to, &bytes, kStep);
}

MILLRACE_INLINE Lanes magnitude(Lanes value) {
  return value < 0 ? -value : value;
}

template <size_t kStep>
void restore(uint8_t filter, uint8_t* row, const uint8_t* above, size_t bytes) {
  Lanes left = {}, corner = {};
  if (filter == kPngSub) {
    for (size_t i = 0; i < bytes; i += kStep) {
      left = (pixel_at<kStep>(row + i) + left) & 255;
      put_pixel<kStep>(left, row + i);
    }
  } else if (filter == kPngAverage) {
    for (size_t i = 0; i < bytes; i += kStep) {
      left = (pixel_at<kStep>(row + i) + ((left + pixel_at<kStep>(above + i)) >> 1)) & 255;
      put_pixel<kStep>(left, row + i);
    }
  } else {
    for (size_t i = 0; i < bytes; i += kStep) {
      const Lanes up = pixel_at<kStep>(above + i);
      const Lanes to_left = up - corner, to_up = left - corner;
      const Lanes least_left = magnitude(to_left), least_up = magnitude(to_up);
      const Lanes least_corner = magnitude(to_left + to_up);
      const Lanes other = least_up <= least_corner ? up : corner;
      const Lanes least_other = least_up <= least_corner ? least_up : least_corner;
      const Lanes nearest = least_left <= least_other ? left : other;
      left = (pixel_at<kStep>(row + i) + nearest) & 255;
      put_pixel<kStep>(left, row + i);
      corner = up;
    }
  }
}

}  // namespace

void filter_png_row(PngFilter filter, const uint8_t* row, const uint8_t* above, size_t bytes,
                    size_t step, uint8_t* out) {
  // The first pixel has nothing to its left: Paeth then predicts what is above, average half of it.
  const size_t first = std::min(step, bytes), rest = bytes - first;
  for (size_t i = 0; i < first; ++i) {
    const uint8_t up = above[i];
    const int predicted = filter == kPngUp || filter == kPngPaeth ? up
                          : filter == kPngAverage                 ? up >> 1
                                                                  : 0;
    out[i] = static_cast<uint8_t>(row[i] - predicted);
  }
  const uint8_t *at = row + first, *up = above + first;
  uint8_t* to = out + first;
  switch (filter) {
    case kPngSub:
      return filter_sub(at, row, rest, to);
    case kPngUp:
      return filter_sub(at, up, rest, to);
    case kPngAverage:
      return filter_average(at, row, up, rest, to);
    case kPngPaeth:
      return filter_paeth(at, row, up, above, rest, to);
    default:
      std::memcpy(to, at, rest);
  }
}

MILLRACE_WIDE uint64_t png_row_cost(const uint8_t* filtered, size_t bytes) {
  constexpr size_t kPart = 65536;  // whose sum fits 32 bits, of which a register holds more
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes;) {
    uint32_t part = 0;
    for (const size_t end = std::min(bytes, i + kPart); i < end; ++i) {
      const uint8_t value = filtered[i], negative = static_cast<uint8_t>(-value);
      part += std::min(value, negative);
    }
    sum += part;
  }
  return sum;
}

bool restore_png_row(uint8_t filter, uint8_t* row, const uint8_t* above, size_t bytes,
                     size_t step) {
  if (filter >= kPngFilters) return false;
  if (filter == kPngNone) return true;
  if (filter == kPngUp) return restore_up(row, above, bytes), true;
  switch (step) {
    case 1:
      return restore<1>(filter, row, above, bytes), true;
    case 2:
      return restore<2>(filter, row, above, bytes), true;
    case 3:
      return restore<3>(filter, row, above, bytes), true;
    case 4:
      return restore<4>(filter, row, above, bytes), true;
    case 6:
      return restore<6>(filter, row, above, bytes), true;
    case 8:
      return restore<8>(filter, row, above, bytes), true;
    default:
      return false;
  }
}

}  // namespace millrace
