// Pictures for process tests: small, made here, each number another one.
#pragma once

#include <cstdint>
#include <string>

namespace millrace {

// A colour JPEG of (320 + 16 × number) × 240 pixels; equal numbers give equal bytes.
std::string make_photo(int number);

// A PNG whose header announces so many pixels and whose data are a few bytes: what it says is all
// there is. The header's checksum is right.
std::string make_announced_png(uint32_t width, uint32_t height);

// A black PNG of 8 × 8 pixels, with `chunk` (iCCP, zTXt, or IDAT: its own pixels) unfolding to so
// many zeros.
std::string make_png_bomb(const std::string& chunk, uint64_t zeros);

// A whole GIF of few bytes that unfolds to frames × side × side pixels.
std::string make_gif_bomb(int frames, uint16_t side);

}  // namespace millrace
