// Dithering: samples to few levels, or pixels to few colours, with the error spread.
//
// Pure functions of memory; they know no libvips. Each channel is dithered by itself between
// levels; with a palette the whole pixel is. Values are 0…1, coded or light.
//
// Levels: level k of n is k/(n-1) as coded, rounded to 8 bits. In light, a level counts as its
// light.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

enum class DitherMethod {
  kFloydSteinberg,
  kAtkinson,
  kBayer2,
  kBayer4,
  kBayer8,
  kBlueNoise,
  kNone
};

struct DitherOptions {
  DitherMethod method = DitherMethod::kFloydSteinberg;
  int levels = 2;  // 2 to 256
  bool serpentine = false;
  bool linear = false;
  std::vector<uint8_t> palette;  // red, green, blue of each colour; empty: levels
};

// In place: `width` x `height` pixels of `bands` samples; of 2 or 4 bands the last is alpha and
// stays. A palette needs 3 or 4 bands. `rows_done` is told after each row and stops it by answering
// false.
void dither(const DitherOptions& options, int width, int height, int bands, uint8_t* samples,
            bool (*rows_done)(void* context, int row), void* context);

// gameboy, cga, ega, c64, pico8, bw, or colours such as "#000 #fff". Empty: it is neither.
std::vector<uint8_t> parse_palette(const std::string& text);

inline constexpr int kMaskSide = 64;
// A blue-noise mask by void and cluster: each of 0…4095 once; near values lie far apart, also over
// the edges. Made once per process from a fixed seed, so always the same.
const std::vector<uint16_t>& blue_noise_mask();

}  // namespace millrace
