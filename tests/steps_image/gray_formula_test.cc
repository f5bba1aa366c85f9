// Goal: gray is what the two formulas say, and profiles are told apart by what they do.
// Method: every 8-bit level, a grid of colours, and random 16-bit samples against the formulas in
// double precision.
#include <cmath>
#include <random>

#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "steps/common/gray.h"
#include "steps/common/icc.h"
#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

double luminance(double r, double g, double b) {
  return srgb_encode(0.2126 * srgb_decode(r) + 0.7152 * srgb_decode(g) + 0.0722 * srgb_decode(b));
}

TEST(GrayFormula, PureColoursHaveTheirGoldenValues) {
  EXPECT_EQ(gray_of(GrayMethod::kLuma, 255, 0, 0), 76);
  EXPECT_EQ(gray_of(GrayMethod::kLuma, 0, 255, 0), 150);
  EXPECT_EQ(gray_of(GrayMethod::kLuma, 0, 0, 255), 29);
  EXPECT_EQ(gray_of(GrayMethod::kLuminance, 255, 0, 0), 127);
  EXPECT_EQ(gray_of(GrayMethod::kLuminance, 0, 255, 0), 220);
  EXPECT_EQ(gray_of(GrayMethod::kLuminance, 0, 0, 255), 76);
}

TEST(GrayFormula, GraysStayWhatTheyAre) {
  for (int v = 0; v < 256; ++v) {
    const auto level = static_cast<uint8_t>(v);
    EXPECT_EQ(gray_of(GrayMethod::kLuma, level, level, level), level);
    EXPECT_EQ(gray_of(GrayMethod::kLuminance, level, level, level), level);
  }
}

TEST(GrayFormula, EightBitsAreTheFormulaWithinOne) {
  for (int r = 0; r < 256; r += 5) {
    for (int g = 0; g < 256; g += 5) {
      for (int b = 0; b < 256; b += 5) {
        const auto red = static_cast<uint8_t>(r), green = static_cast<uint8_t>(g),
                   blue = static_cast<uint8_t>(b);
        EXPECT_NEAR(gray_of(GrayMethod::kLuma, red, green, blue), 0.299 * r + 0.587 * g + 0.114 * b,
                    0.51);
        EXPECT_NEAR(gray_of(GrayMethod::kLuminance, red, green, blue),
                    255 * luminance(r / 255.0, g / 255.0, b / 255.0), 0.75);
      }
    }
  }
}

TEST(GrayFormula, SixteenBitsAreTheFormulaWithinOne) {
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const uint32_t shift = i % 16;  // dark ones too
    uint16_t in[3], luma = 0, light = 0;
    for (uint16_t& sample : in) sample = static_cast<uint16_t>((random() & 0xFFFF) >> shift);
    GrayRow row;
    gray_row16(row, in, &luma, 1);
    row.method = GrayMethod::kLuminance;
    gray_row16(row, in, &light, 1);
    EXPECT_NEAR(luma, 0.299 * in[0] + 0.587 * in[1] + 0.114 * in[2], 1.0);
    EXPECT_NEAR(light, 65535 * luminance(in[0] / 65535.0, in[1] / 65535.0, in[2] / 65535.0), 1.0);
  }
}

TEST(GrayFormula, AlphaIsKeptOrThePixelIsLaidOverTheBackground) {
  const uint8_t in[8] = {255, 0, 0, 128, 10, 20, 30, 0};
  uint8_t out[4];
  GrayRow row;
  row.bands = row.bands_used = 4;
  row.out_bands = 2;
  gray_row8(row, in, out, 2);
  EXPECT_EQ(out[0], 76);
  EXPECT_EQ(out[1], 128);
  EXPECT_EQ(out[3], 0);
  row.out_bands = 1;
  row.flatten = true;
  gray_row8(row, in, out, 2);
  EXPECT_NEAR(out[0], (76 * 128 + 255 * 127) / 255.0, 1);
  EXPECT_EQ(out[1], 255);
}

IccFacts facts_of(const std::string& profile) {
  return read_icc({reinterpret_cast<const uint8_t*>(profile.data()), profile.size()});
}

TEST(Icc, TellsCurvesAndPrimariesApart) {
  const IccFacts srgb = facts_of(icc_srgb()), p3 = facts_of(icc_display_p3());
  EXPECT_TRUE(srgb.space == IccSpace::kRgb && srgb.srgb_curve && srgb.srgb_primaries);
  EXPECT_TRUE(p3.space == IccSpace::kRgb && p3.srgb_curve && !p3.srgb_primaries);
  for (const double gamma : {1.0, 1.8, 2.2, 2.4})
    EXPECT_FALSE(facts_of(icc_with_gamma(gamma)).srgb_curve) << gamma;
  EXPECT_EQ(facts_of(icc_gray(2.2)).space, IccSpace::kGray);
  EXPECT_EQ(facts_of("nonsense").space, IccSpace::kNone);
}

TEST(Icc, SurvivesEveryCutAndFlip) {
  const std::string profile = icc_display_p3();
  for (size_t size = 0; size < profile.size(); ++size) facts_of(std::string(profile, 0, size));
  for (size_t at = 0; at < profile.size() * 8; ++at) {
    std::string flipped = profile;
    flipped[at / 8] = static_cast<char>(flipped[at / 8] ^ (1 << at % 8));
    facts_of(flipped);
  }
}

TEST(Exif, BuildsTheSmallestBlockThatSaysTheSame) {
  const std::string block = build_exif({6, "Ann", "(c) Ann"});
  const ExifFacts facts = read_exif({reinterpret_cast<const uint8_t*>(block.data()), block.size()});
  EXPECT_EQ(facts.orientation, 6);
  EXPECT_EQ(facts.artist, "Ann");
  EXPECT_EQ(facts.copyright, "(c) Ann");
  EXPECT_EQ(build_exif({1, "", ""}), "");
}

}  // namespace
}  // namespace millrace::testing
