#include "tests/steps_image/operations.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

extern "C" {
#include <jpeglib.h>
}

#include "steps/common/tiff_file.h"

namespace millrace::testing {

int worst_difference(const Picture& a, const Picture& b) {
  if (a.width != b.width || a.height != b.height || a.bands != b.bands) return 1'000'000;
  int worst = 0;
  for (size_t i = 0; i < a.samples.size(); ++i) {
    worst = std::max(worst, std::abs(int{a.samples[i]} - int{b.samples[i]}));
  }
  return worst;
}

double mean_difference(const Picture& a, const Picture& b) {
  if (a.samples.size() != b.samples.size() || a.samples.empty()) return 1e6;
  double sum = 0;
  for (size_t i = 0; i < a.samples.size(); ++i) {
    sum += std::abs(int{a.samples[i]} - int{b.samples[i]});
  }
  return sum / static_cast<double>(a.samples.size());
}

Picture upright(const Picture& picture, int orientation) {
  const bool swapped = orientation >= 5;
  const uint32_t w = picture.width, h = picture.height;
  return make_picture(swapped ? h : w, swapped ? w : h, picture.bands, picture.bits,
                      [&](int x, int y, int band) -> int {
                        const auto column = static_cast<uint32_t>(x);
                        const auto line = static_cast<uint32_t>(y);
                        // Where the stored picture has what is seen at (column, line);
                        // EXIF 2.3, 4.6.4.
                        switch (orientation) {
                          case 2:
                            return picture.at(w - 1 - column, line, band);
                          case 3:
                            return picture.at(w - 1 - column, h - 1 - line, band);
                          case 4:
                            return picture.at(column, h - 1 - line, band);
                          case 5:
                            return picture.at(line, column, band);
                          case 6:
                            return picture.at(line, h - 1 - column, band);
                          case 7:
                            return picture.at(w - 1 - line, h - 1 - column, band);
                          case 8:
                            return picture.at(w - 1 - line, column, band);
                          default:
                            return picture.at(column, line, band);
                        }
                      });
}

Picture scene(uint32_t width, uint32_t height, int bands, int bits) {
  const int top = bits == 16 ? 65535 : 255;
  return make_picture(width, height, bands, bits, [&](int x, int y, int band) {
    const bool alpha = (bands == 2 || bands == 4) && band == bands - 1;
    if (alpha) return x * 3 < static_cast<int>(width) ? top : top / 2;
    const double smooth = 0.5 + 0.35 * std::sin(x * 0.11 + band) * std::cos(y * 0.07 - band);
    const double edge = (x / 16 + y / 12) % 2 == 0 ? 0.08 : -0.08;
    const double noise = ((x * 7919 + y * 104729 + band * 31) % 17) / 170.0 - 0.05;
    return static_cast<int>(std::clamp(smooth + edge + noise, 0.0, 1.0) * top);
  });
}

std::string exif_with_location(int orientation) {
  TiffWriter writer;
  const auto rationals = [](std::initializer_list<uint32_t> numbers) {
    std::string bytes;
    for (const uint32_t number : numbers) bytes += tiff_long(0, number).bytes;
    return bytes;
  };
  std::vector<TiffValue> place = {tiff_ascii(1, "N"),
                                  {2, 5, 3, rationals({48, 1, 12, 1, 3600, 100})},
                                  tiff_ascii(3, "W"),
                                  {4, 5, 3, rationals({16, 1, 22, 1, 0, 1})}};
  const uint32_t gps = writer.append_directory(std::move(place));
  std::vector<TiffValue> shot = {{33434, 5, 1, rationals({1, 200})},
                                 tiff_short(34855, 400),
                                 tiff_ascii(36867, "2024:02:29 12:00:00")};
  const uint32_t exif = writer.append_directory(std::move(shot));
  writer.add_page({tiff_ascii(271, "Maker \"X\""),
                   tiff_short(274, static_cast<uint16_t>(orientation)), tiff_ascii(315, "Ann"),
                   tiff_ascii(33432, "(c) Ann"), tiff_long(34665, exif), tiff_long(34853, gps)});
  return writer.take();
}

Picture decoded(const StepAnswer& answer) {
  EXPECT_TRUE(answer.ok()) << answer.reason << ": " << answer.message << answer.misuse;
  if (!answer.ok()) return {};
  const std::string& bytes = answer.outputs[0];
  if (answer.media_type == "image/png") return decode_png(bytes);
  if (answer.media_type == "image/webp") return decode_webp(bytes);
  if (answer.media_type == "image/jpeg") {
    const bool gray = jpeg_facts(bytes).components == 1;
    return decode_jpeg(bytes, gray ? JCS_GRAYSCALE : JCS_RGB);
  }
  if (answer.media_type == "image/avif" || answer.media_type == "image/heic") {
    return decode_heif(bytes);
  }
  if (answer.media_type == "image/tiff") return decode_tiff(bytes)[0].picture;
  ADD_FAILURE() << "a " << answer.media_type << " cannot be judged here";
  return {};
}

}  // namespace millrace::testing
