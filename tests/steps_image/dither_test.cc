// Goal: dithering is the algorithm of the books, sample for sample, for every method, in coded
// values and in light; alpha and gray stay; a PNG has as few bits as hold the result. Method: a
// straightforward reference that keeps the whole picture in floating point, and the definitions of
// the ordered masks written down as numbers.
#include <cmath>
#include <set>

#include "cmake/precompiled_test.h"
#include "steps/common/gray.h"
#include "steps/common/picture/dither_rows.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

StepAnswer dither_step(const std::string& image, ParamTexts params) {
  return run_picture_step("dither", image, std::move(params));
}

// Error diffusion over a whole picture of one channel, by the book.
std::vector<int> reference(const std::vector<int>& samples, int width, int height, int levels,
                           bool atkinson, bool serpentine, bool linear) {
  const auto value = [&](int code) { return linear ? srgb_decode(code / 255.0) : code / 255.0; };
  std::vector<double> wanted;
  for (const int sample : samples) wanted.push_back(value(sample));
  std::vector<int> out(samples.size());
  for (int y = 0; y < height; ++y) {
    const bool back = serpentine && y % 2 == 1;
    for (int i = 0; i < width; ++i) {
      const int x = back ? width - 1 - i : i;
      const auto at = static_cast<size_t>(y * width + x);
      double best = 1e9, got = 0;
      for (int k = 0; k < levels; ++k) {
        const int code = static_cast<int>(std::lround(255.0 * k / (levels - 1)));
        const double level = linear ? value(code) : k / static_cast<double>(levels - 1);
        // Of two that are as near, the brighter.
        if (std::fabs(wanted[at] - level) <= best) {
          best = std::fabs(wanted[at] - level), got = level, out[at] = code;
        }
      }
      const double error = wanted[at] - got;
      const auto give = [&](int dx, int dy, double part) {
        const int to_x = x + (back ? -dx : dx), to_y = y + dy;
        if (to_x < 0 || to_x >= width || to_y >= height) return;
        wanted[static_cast<size_t>(to_y * width + to_x)] += error * part;
      };
      if (atkinson) {
        for (const auto& [dx, dy] : {std::pair(1, 0), std::pair(2, 0), std::pair(-1, 1),
                                     std::pair(0, 1), std::pair(1, 1), std::pair(0, 2)}) {
          give(dx, dy, 1.0 / 8);
        }
      } else {
        give(1, 0, 7.0 / 16), give(-1, 1, 3.0 / 16), give(0, 1, 5.0 / 16), give(1, 1, 1.0 / 16);
      }
    }
  }
  return out;
}

TEST(Dither, ErrorDiffusionIsTheBooksSampleForSample) {
  const Picture picture = scene(53, 31);
  const std::string image = encode_png(picture);
  for (const int levels : {2, 3, 4, 7, 16, 255, 256}) {
    for (const char* method : {"floyd_steinberg", "atkinson"}) {
      for (const char* serpentine : {"false", "true"}) {
        for (const char* linear : {"false", "true"}) {
          const Picture got = decoded(dither_step(image, {{"channels", std::to_string(levels)},
                                                          {"method", method},
                                                          {"serpentine", serpentine},
                                                          {"linear", linear}}));
          int different = 0;
          for (int band = 0; band < 3; ++band) {
            std::vector<int> plane;
            for (uint32_t y = 0; y < 31; ++y) {
              for (uint32_t x = 0; x < 53; ++x) plane.push_back(picture.at(x, y, band));
            }
            const std::vector<int> wanted = reference(plane, 53, 31, levels, *method == 'a',
                                                      *serpentine == 't', *linear == 't');
            for (size_t i = 0; i < wanted.size(); ++i) {
              const auto x = static_cast<uint32_t>(i % 53), y = static_cast<uint32_t>(i / 53);
              different += got.at(x, y, band) != wanted[i];
            }
          }
          EXPECT_EQ(different, 0) << levels << method << serpentine << linear;
        }
      }
    }
  }
}

TEST(Dither, OrderedMasksAreTheKnownOnes) {
  // A pixel is white when its value is above (rank + 1/2) / cells.
  constexpr int kBayer4[16] = {0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5};
  const Picture ramp = make_picture(16, 16, 1, 8, [](int x, int y, int) { return x * 11 + y * 5; });
  const Picture got =
      decoded(dither_step(encode_png(ramp), {{"method", "bayer4"}, {"channels", "2"}}));
  for (uint32_t y = 0; y < 16; ++y) {
    for (uint32_t x = 0; x < 16; ++x) {
      const double threshold = (kBayer4[(y % 4) * 4 + x % 4] + 0.5) / 16;
      EXPECT_EQ(got.at(x, y, 0), ramp.at(x, y, 0) / 255.0 >= threshold ? 255 : 0) << x << "," << y;
    }
  }
}

TEST(Dither, TheBlueNoiseMaskHoldsEachRankOnceAndNoClusters) {
  const std::vector<uint16_t>& mask = blue_noise_mask();
  const std::set<uint16_t> ranks(mask.begin(), mask.end());
  EXPECT_EQ(ranks.size(), mask.size());
  EXPECT_EQ(*ranks.rbegin(), mask.size() - 1);
  // Of the first sixteenth, nobody has a neighbour: white noise would have hundreds.
  int touching = 0;
  for (int y = 0; y < kMaskSide; ++y) {
    for (int x = 0; x < kMaskSide; ++x) {
      const auto low = [&](int column, int line) {
        return mask[static_cast<size_t>((line % kMaskSide) * kMaskSide + column % kMaskSide)] <
               mask.size() / 16;
      };
      touching += low(x, y) && (low(x + 1, y) || low(x, y + 1));
    }
  }
  EXPECT_EQ(touching, 0);
}

TEST(Dither, EveryMethodKeepsTheMean) {
  for (const char* method : {"floyd_steinberg", "bayer2", "bayer4", "bayer8", "blue_noise"}) {
    for (const bool linear : {false, true}) {
      for (const int gray : {64, 128, 200}) {
        const Picture flat = make_picture(64, 64, 1, 8, [=](int, int, int) { return gray; });
        const Picture got = decoded(dither_step(
            encode_png(flat), {{"method", method}, {"linear", linear ? "true" : "false"}}));
        double white = 0;
        for (const uint16_t sample : got.samples) white += sample == 255;
        const double wanted = linear ? srgb_decode(gray / 255.0) : gray / 255.0;
        const double bound = std::string(method) == "bayer2"   ? 0.13
                             : std::string(method) == "bayer4" ? 0.035
                             : std::string(method) == "bayer8" ? 0.01
                                                               : 0.006;
        EXPECT_NEAR(white / 4096, wanted, bound) << method << gray << linear;
      }
    }
  }
}

TEST(Dither, AlphaStaysAndGrayStaysGray) {
  const Picture picture = scene(30, 20, 4);
  const Picture got = decoded(dither_step(encode_png(picture), {{"channels", "3"}}));
  ASSERT_EQ(got.bands, 4);
  for (uint32_t x = 0; x < 30; ++x) EXPECT_EQ(got.at(x, 7, 3), picture.at(x, 7, 3));
  for (size_t i = 0; i < got.samples.size(); ++i) {
    if (i % 4 == 3) continue;
    EXPECT_TRUE(got.samples[i] == 0 || got.samples[i] == 128 || got.samples[i] == 255);
  }
  EXPECT_EQ(decoded(dither_step(encode_png(scene(30, 20, 2)), {})).bands, 2);
}

TEST(Dither, APngHasAsFewBitsAsHoldTheResult) {
  const auto facts = [](const Picture& picture, ParamTexts params) {
    const StepAnswer answer = dither_step(encode_png(picture), params);
    EXPECT_TRUE(answer.ok()) << answer.message << answer.misuse;
    const std::string& png = answer.outputs[0];
    return std::pair(int{png[24]}, int{png[25]});  // depth, colour type
  };
  const Picture gray = scene(40, 30, 1), rgb = scene(40, 30);
  EXPECT_EQ(facts(gray, {{"channels", "2"}}), std::pair(1, 0));
  EXPECT_EQ(facts(gray, {{"channels", "4"}}), std::pair(2, 0));
  EXPECT_EQ(facts(gray, {{"channels", "16"}}), std::pair(4, 0));
  EXPECT_EQ(facts(gray, {{"channels", "3"}}), std::pair(2, 3));
  EXPECT_EQ(facts(rgb, {{"channels", "2"}}), std::pair(4, 3)) << "eight colours";
  EXPECT_EQ(facts(rgb, {{"palette", "gameboy"}}), std::pair(2, 3));
  EXPECT_EQ(facts(rgb, {{"palette", "bw"}}), std::pair(1, 0));
  EXPECT_EQ(facts(scene(64, 64), {{"channels", "200"}}), std::pair(8, 2));
  const Picture clear = scene(40, 30, 4);
  const StepAnswer answer = dither_step(encode_png(clear), {{"channels", "2"}});
  EXPECT_EQ(int{answer.outputs[0][25]}, 3) << "a palette with alpha";
  EXPECT_EQ(decoded(answer).bands, 4);
}

TEST(Dither, PalettesGiveTheirColoursOnly) {
  const std::vector<uint8_t> pico = parse_palette("pico8");
  ASSERT_EQ(pico.size(), 48u);
  std::set<std::vector<int>> known;
  for (size_t i = 0; i < pico.size(); i += 3) known.insert({pico[i], pico[i + 1], pico[i + 2]});
  for (const char* method : {"floyd_steinberg", "bayer8", "none"}) {
    const Picture got = decoded(
        dither_step(encode_jpeg(scene(40, 30)), {{"palette", "pico8"}, {"method", method}}));
    for (uint32_t y = 0; y < 30; ++y) {
      for (uint32_t x = 0; x < 40; ++x) {
        EXPECT_TRUE(known.contains({got.at(x, y, 0), got.at(x, y, 1), got.at(x, y, 2)}));
      }
    }
  }
  EXPECT_EQ(parse_palette("#000 #fff,#f00").size(), 9u);
  EXPECT_TRUE(parse_palette("#000").empty());
  EXPECT_TRUE(parse_palette("nes").empty());
  const StepAnswer wrong = dither_step(encode_png(scene(9, 9)), {{"palette", "nes"}});
  EXPECT_EQ(wrong.reason, "bad_parameter");
  EXPECT_NE(wrong.message.find("gameboy"), std::string::npos);
}

TEST(Dither, AJpegBecomesAPngAndAPhotoEndsInOneOfItsLevels) {
  const StepAnswer answer = dither_step(encode_jpeg(scene(40, 30)), {});
  EXPECT_EQ(answer.media_type, "image/png");
  const StepAnswer webp = dither_step(encode_webp(scene(40, 30), false), {});
  ASSERT_TRUE(webp.ok()) << webp.message << webp.misuse;
  for (const uint16_t sample : decoded(webp).samples) EXPECT_TRUE(sample == 0 || sample == 255);
}

TEST(Dither, WhatCannotBeSeenSpreadsNoError) {
  // A visible black column among hidden grays: white dots in it would come from errors of theirs.
  const Picture picture = make_picture(33, 40, 4, 8, [](int x, int, int band) {
    if (band == 3) return x == 16 ? 255 : 0;
    return x == 16 ? 0 : 120;
  });
  for (const char* method : {"floyd_steinberg", "atkinson"}) {
    const Picture got = decode_png(
        run_picture_step("dither", encode_png(picture), {{"method", method}}).outputs.at(0));
    for (uint32_t y = 0; y < 40; ++y) EXPECT_EQ(got.at(16, y, 0), 0) << method << " row " << y;
  }
}

}  // namespace
}  // namespace millrace::testing
