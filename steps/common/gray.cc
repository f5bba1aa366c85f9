#include "steps/common/gray.h"

#include <algorithm>
#include <cmath>
#include <memory>

namespace millrace {
namespace {

constexpr int kLightBits =
    14;  // of the index into the table back to codes: 0.2 levels a step at black
constexpr int kShift = 26 - kLightBits;
constexpr double kOne = (1 << 26) - (1 << kShift);  // white is the last entry

struct Tables8 {
  uint32_t red[256], green[256], blue[256];  // weighted light, 26 bits
  uint8_t code[1 << kLightBits];

  Tables8() {
    for (int i = 0; i < 256; ++i) {
      const double light = srgb_decode(i / 255.0) * kOne;
      red[i] = static_cast<uint32_t>(std::lround(0.2126 * light));
      green[i] = static_cast<uint32_t>(std::lround(0.7152 * light));
      blue[i] = static_cast<uint32_t>(std::lround(0.0722 * light)) + (1u << (kShift - 1));
    }
    for (int i = 0; i < 1 << kLightBits; ++i) {
      code[i] = static_cast<uint8_t>(
          std::lround(255 * srgb_encode(i / static_cast<double>((1 << kLightBits) - 1))));
    }
  }
  uint8_t gray(uint8_t r, uint8_t g, uint8_t b) const {
    return code[(red[r] + green[g] + blue[b]) >> kShift];
  }
};

struct Tables16 {
  float light[65536];
  float code[65537];  // of light in steps of 1/65535, read with interpolation

  Tables16() {
    for (int i = 0; i < 65536; ++i) {
      light[i] = static_cast<float>(srgb_decode(i / 65535.0));
      code[i] = static_cast<float>(65535 * srgb_encode(i / 65535.0));
    }
    code[65536] = 65535;
  }
  uint16_t gray(uint16_t r, uint16_t g, uint16_t b) const {
    const float y = 0.2126f * light[r] + 0.7152f * light[g] + 0.0722f * light[b];
    const float position = std::min(65535.0f, y * 65535.0f);
    const auto index = static_cast<uint32_t>(position);
    const float step = position - static_cast<float>(index);
    return static_cast<uint16_t>(code[index] + (code[index + 1] - code[index]) * step + 0.5f);
  }
};

const Tables8& tables8() {
  static const Tables8 tables;
  return tables;
}
const Tables16& tables16() {
  static const auto tables = std::make_unique<Tables16>();
  return *tables;
}

template <typename Sample>
Sample luma(uint32_t r, uint32_t g, uint32_t b) {
  return static_cast<Sample>((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
}

template <typename Sample>
Sample over(uint64_t sample, uint64_t background, uint64_t alpha) {
  constexpr uint64_t kMax = static_cast<Sample>(~0);
  return static_cast<Sample>((sample * alpha + background * (kMax - alpha) + kMax / 2) / kMax);
}

// The general row; Gray is a function of three samples.
template <typename Sample, typename Gray>
void convert(const GrayRow& row, const Sample* in, Sample* out, size_t pixels, Gray gray) {
  const bool colour = row.bands_used >= 3;
  const bool alpha = row.bands_used == 2 || row.bands_used == 4;
  for (size_t i = 0; i < pixels; ++i, in += row.bands, out += row.out_bands) {
    Sample r = in[0], g = colour ? in[1] : in[0], b = colour ? in[2] : in[0];
    const Sample a = alpha ? in[row.bands_used - 1] : static_cast<Sample>(~0);
    if (alpha && row.flatten) {
      r = over<Sample>(r, row.background[0], a);
      g = over<Sample>(g, row.background[1], a);
      b = over<Sample>(b, row.background[2], a);
    }
    out[0] = r == g && g == b ? r : gray(r, g, b);
    if (row.out_bands == 2) out[1] = a;
  }
}

}  // namespace

double srgb_encode(double linear) {
  return linear <= 0.0031308 ? 12.92 * linear : 1.055 * std::pow(linear, 1 / 2.4) - 0.055;
}

double srgb_decode(double coded) {
  return coded <= 0.04045 ? coded / 12.92 : std::pow((coded + 0.055) / 1.055, 2.4);
}

void gray_row8(const GrayRow& row, const uint8_t* in, uint8_t* out, size_t pixels) {
  if (row.bands == 3 && row.bands_used == 3 && row.out_bands == 1) {  // nearly every picture
    if (row.method == GrayMethod::kLuma) {
      for (size_t i = 0; i < pixels; ++i, in += 3) out[i] = luma<uint8_t>(in[0], in[1], in[2]);
    } else {
      const Tables8& tables = tables8();
      for (size_t i = 0; i < pixels; ++i, in += 3) out[i] = tables.gray(in[0], in[1], in[2]);
    }
    return;
  }
  if (row.method == GrayMethod::kLuma) {
    convert(row, in, out, pixels, luma<uint8_t>);
  } else {
    const Tables8& tables = tables8();
    convert(row, in, out, pixels,
            [&](uint8_t r, uint8_t g, uint8_t b) { return tables.gray(r, g, b); });
  }
}

void gray_row16(const GrayRow& row, const uint16_t* in, uint16_t* out, size_t pixels) {
  if (row.method == GrayMethod::kLuma) {
    convert(row, in, out, pixels, luma<uint16_t>);
  } else {
    const Tables16& tables = tables16();
    convert(row, in, out, pixels,
            [&](uint16_t r, uint16_t g, uint16_t b) { return tables.gray(r, g, b); });
  }
}

uint8_t gray_of(GrayMethod method, uint8_t red, uint8_t green, uint8_t blue) {
  return method == GrayMethod::kLuma ? luma<uint8_t>(red, green, blue)
                                     : tables8().gray(red, green, blue);
}

}  // namespace millrace
