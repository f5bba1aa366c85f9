// Goal: dithering to a palette is the definition, pixel for pixel; the ordered masks of two, four
// and eight are the known ones at every count of levels; and 256 levels are the picture itself.
// Method: a straightforward reference that keeps the whole picture in floating point, and the masks
// as they are printed in the books.
#include <cmath>

#include "cmake/precompiled_test.h"
#include "steps/common/gray.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

Picture dithered(const Picture& picture, ParamTexts params) {
  return decoded(run_picture_step("dither", encode_png(picture), std::move(params)));
}

// ---- palettes

using Colour = std::array<int, 3>;

struct NamedColours {
  const char* text;
  std::vector<Colour> colours;
};

const std::vector<NamedColours>& palettes() {
  static const std::vector<NamedColours> all = {
      {"#000 #fff #f00 #00f", {{0, 0, 0}, {255, 255, 255}, {255, 0, 0}, {0, 0, 255}}},
      {"#102030 #e0d0c0 #808080 #33aa66 #aa3366",
       {{16, 32, 48}, {224, 208, 192}, {128, 128, 128}, {51, 170, 102}, {170, 51, 102}}},
      {"gameboy", {{15, 56, 15}, {48, 98, 48}, {139, 172, 15}, {155, 188, 15}}},
  };
  return all;
}

struct Way {
  bool atkinson = false, diffuses = true, serpentine = false, linear = false;
};

class PaletteReference {
 public:
  PaletteReference(const Picture& picture, const std::vector<Colour>& colours, Way way)
      : picture_(picture), colours_(colours), way_(way) {
    for (uint32_t y = 0; y < picture.height; ++y) {
      for (uint32_t x = 0; x < picture.width; ++x) {
        for (int band = 0; band < 3; ++band) wanted_.push_back(value(picture.at(x, y, band)));
      }
    }
  }

  // The index of each pixel's colour.
  std::vector<size_t> run() {
    const auto width = static_cast<int>(picture_.width);
    std::vector<size_t> out(size_t{picture_.width} * picture_.height);
    for (int y = 0; y < static_cast<int>(picture_.height); ++y) {
      const bool back = way_.diffuses && way_.serpentine && y % 2 == 1;
      for (int i = 0; i < width; ++i) {
        const int x = back ? width - 1 - i : i;
        out[static_cast<size_t>(y * width + x)] = pixel(x, y, back ? -1 : 1);
      }
    }
    return out;
  }

 private:
  double value(int code) const { return way_.linear ? srgb_decode(code / 255.0) : code / 255.0; }

  // What no colour can give is not carried on: what is wanted stays within 0 and 1.
  size_t pixel(int x, int y, int forward) {
    double wanted[3], error[3];
    for (size_t c = 0; c < 3; ++c) wanted[c] = std::clamp(*at(x, y, c), 0.0, 1.0);
    size_t best = 0;
    double least = 1e9;
    for (size_t k = 0; k < colours_.size(); ++k) {
      double distance = 0;
      for (size_t c = 0; c < 3; ++c) distance += std::pow(wanted[c] - value(colours_[k][c]), 2);
      if (distance < least) least = distance, best = k;
    }
    for (size_t c = 0; c < 3; ++c) error[c] = wanted[c] - value(colours_[best][c]);
    const bool seen = picture_.bands == 3 ||
                      picture_.at(static_cast<uint32_t>(x), static_cast<uint32_t>(y), 3) != 0;
    if (!way_.diffuses || !seen) return best;
    const auto give = [&](int dx, int dy, double part) {
      for (size_t c = 0; c < 3; ++c) {
        if (double* to = at(x + dx * forward, y + dy, c)) *to += error[c] * part;
      }
    };
    if (way_.atkinson) {
      for (const auto& [dx, dy] : {std::pair(1, 0), std::pair(2, 0), std::pair(-1, 1),
                                   std::pair(0, 1), std::pair(1, 1), std::pair(0, 2)}) {
        give(dx, dy, 1.0 / 8);
      }
    } else {
      give(1, 0, 7.0 / 16), give(-1, 1, 3.0 / 16), give(0, 1, 5.0 / 16), give(1, 1, 1.0 / 16);
    }
    return best;
  }

  double* at(int x, int y, size_t channel) {
    const auto width = static_cast<int>(picture_.width);
    if (x < 0 || x >= width || y >= static_cast<int>(picture_.height)) return nullptr;
    return &wanted_[static_cast<size_t>(y * width + x) * 3 + channel];
  }

  const Picture& picture_;
  const std::vector<Colour>& colours_;
  Way way_;
  std::vector<double> wanted_;
};

int wrong_pixels(const Picture& got, const std::vector<size_t>& wanted,
                 const std::vector<Colour>& colours) {
  int wrong = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    bool same = true;
    for (size_t c = 0; c < 3; ++c) {
      const auto band = got.bands < 3 ? size_t{0} : c;
      same =
          same && got.samples[i * static_cast<size_t>(got.bands) + band] == colours[wanted[i]][c];
    }
    wrong += !same;
  }
  return wrong;
}

TEST(DitherPalette, IsTheDefinitionPixelForPixel) {
  for (const int bands : {3, 4}) {
    Picture picture = scene(53, 31, bands);
    // Some that cannot be seen.
    for (size_t i = 3; bands == 4 && i < picture.samples.size(); i += 28) picture.samples[i] = 0;
    for (const NamedColours& palette : palettes()) {
      for (const char* method : {"floyd_steinberg", "atkinson", "none"}) {
        for (const bool serpentine : {false, true}) {
          for (const bool linear : {false, true}) {
            const Way way = {*method == 'a', *method != 'n', serpentine, linear};
            const Picture got = dithered(picture, {{"palette", palette.text},
                                                   {"method", method},
                                                   {"serpentine", serpentine ? "true" : "false"},
                                                   {"linear", linear ? "true" : "false"}});
            EXPECT_EQ(wrong_pixels(got, PaletteReference(picture, palette.colours, way).run(),
                                   palette.colours),
                      0)
                << palette.text << method << serpentine << linear << bands;
          }
        }
      }
    }
  }
}

// ---- ordered

constexpr int kBayer2[] = {0, 2, 3, 1};
constexpr int kBayer4[] = {0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5};
constexpr int kBayer8[] = {0,  32, 8,  40, 2,  34, 10, 42, 48, 16, 56, 24, 50, 18, 58, 26,
                           12, 44, 4,  36, 14, 46, 6,  38, 60, 28, 52, 20, 62, 30, 54, 22,
                           3,  35, 11, 43, 1,  33, 9,  41, 51, 19, 59, 27, 49, 17, 57, 25,
                           15, 47, 7,  39, 13, 45, 5,  37, 63, 31, 55, 23, 61, 29, 53, 21};

struct Mask {
  const char* method;
  uint32_t side;
  const int* ranks;
};

// The upper of the two levels around a value from (rank + 1/2) / cells of the way on.
int ordered(int code, int levels, double threshold) {
  const double place = code / 255.0 * (levels - 1);
  const int low = std::min(static_cast<int>(place), levels - 2);
  const int chosen = place - low >= threshold ? low + 1 : low;
  return static_cast<int>(std::lround(255.0 * chosen / (levels - 1)));
}

TEST(DitherOrdered, EveryMaskIsTheKnownOneAtEveryCountOfLevels) {
  const Picture ramp = make_picture(48, 40, 3, 8, [](int x, int y, int band) {
    return (x * 5 + y * (3 + band) + band * 40) % 256;
  });
  for (const Mask& mask :
       {Mask{"bayer2", 2, kBayer2}, Mask{"bayer4", 4, kBayer4}, Mask{"bayer8", 8, kBayer8}}) {
    for (const int levels : {2, 4, 6, 16}) {
      const Picture got =
          dithered(ramp, {{"method", mask.method}, {"channels", std::to_string(levels)}});
      int different = 0;
      for (uint32_t y = 0; y < 40; ++y) {
        for (uint32_t x = 0; x < 48; ++x) {
          const int rank = mask.ranks[y % mask.side * mask.side + x % mask.side];
          const double threshold = (rank + 0.5) / (mask.side * mask.side);
          for (int band = 0; band < 3; ++band) {
            different += got.at(x, y, band) != ordered(ramp.at(x, y, band), levels, threshold);
          }
        }
      }
      EXPECT_EQ(different, 0) << mask.method << " " << levels;
    }
  }
}

TEST(DitherLevels, As256AreThePictureItself) {
  for (const int bands : {1, 3, 4}) {
    const Picture picture = scene(40, 30, bands);
    for (const char* method : {"floyd_steinberg", "atkinson", "bayer8", "blue_noise", "none"}) {
      for (const char* linear : {"false", "true"}) {
        EXPECT_EQ(
            worst_difference(
                dithered(picture, {{"channels", "256"}, {"method", method}, {"linear", linear}}),
                picture),
            0)
            << bands << method << linear;
      }
    }
  }
  EXPECT_EQ(
      transform(encode_png(scene(9, 9)), R"([{"type":"dither","params":{"channels":257}}])").reason,
      "bad_parameter");
}

}  // namespace
}  // namespace millrace::testing
