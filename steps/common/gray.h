// Gray: the two definitions of a gray value, by our own formulas and by nobody's library.
//
// luma:      Y' = (19595 R' + 38470 G' + 7471 B' + 32768) >> 16: BT.601 on the coded values,
// rounded; what JPEG, Pillow
//            and OpenCV compute. The same for 8 and 16 bits.
// luminance: Y = 0.2126 R + 0.7152 G + 0.0722 B on linear light (BT.709 weights, sRGB's curve both
// ways), rounded. Of a gray sample both are the sample itself. All functions may run on any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

enum class GrayMethod { kLuma, kLuminance };

// sRGB's curve (IEC 61966-2-1) on 0…1: light to code, code to light.
double srgb_encode(double linear);
double srgb_decode(double coded);

// How rows of pixels are laid out: `bands` samples a pixel in, `out_bands` out.
// Bands in: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha; further ones are ignored when
// `bands_used` says less.
struct GrayRow {
  GrayMethod method = GrayMethod::kLuma;
  int bands = 3;         // samples from one pixel to the next
  int bands_used = 3;    // 1 to 4: those that mean something
  int out_bands = 1;     // 1, or 2 to keep the alpha
  bool flatten = false;  // with alpha used and one band out: lay the pixel over `background`
  uint16_t background[3] = {255, 255, 255};  // in the samples' own range
};

void gray_row8(const GrayRow& row, const uint8_t* in, uint8_t* out, size_t pixels);
void gray_row16(const GrayRow& row, const uint16_t* in, uint16_t* out, size_t pixels);

// One pixel, 8 bits.
uint8_t gray_of(GrayMethod method, uint8_t red, uint8_t green, uint8_t blue);

}  // namespace millrace
