// Goal: with `colours: keep` each colour of the result is what its profile says it is, also those
// that the input did not have: backgrounds, bars, marks, palettes.
// Method: what Display P3, Adobe RGB and gray of a known curve are by their definitions, computed
// here; no profile is asked.
#include <algorithm>
#include <array>
#include <cmath>

#include "cmake/precompiled_test.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

using Rgb = std::array<double, 3>;  // 0 to 255

double srgb_light(double value) {
  const double x = value / 255;
  return x <= 0.04045 ? x / 12.92 : std::pow((x + 0.055) / 1.055, 2.4);
}

double srgb_code(double light) {
  const double x = std::clamp(light, 0.0, 1.0);
  return 255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * std::pow(x, 1 / 2.4) - 0.055);
}

// Light of sRGB's primaries by light of others; all of them are white at D65. (From the
// chromaticities of BT.709, P3 and Adobe RGB.)
constexpr double kP3[3][3] = {
    {0.822462, 0.177538, 0}, {0.033194, 0.966806, 0}, {0.017083, 0.072397, 0.910520}};
constexpr double kAdobe[3][3] = {{0.715125, 0.284875, 0}, {0, 1, 0}, {0, 0.041181, 0.958819}};

Rgb light_in(const double (&matrix)[3][3], const Rgb& srgb) {
  Rgb out = {};
  for (size_t to = 0; to < 3; ++to) {
    for (size_t from = 0; from < 3; ++from) out[to] += matrix[to][from] * srgb_light(srgb[from]);
  }
  return out;
}

Rgb p3_of(const Rgb& srgb) {
  Rgb out = light_in(kP3, srgb);
  for (double& value : out) value = srgb_code(value);
  return out;
}

Rgb adobe_of(const Rgb& srgb) {
  Rgb out = light_in(kAdobe, srgb);
  for (double& value : out) value = 255 * std::pow(value, 256 / 563.0);
  return out;
}

struct Space {
  const char* name;
  std::string icc;
  Rgb (*of)(const Rgb& srgb);
};

std::vector<Space> spaces() {
  return {{"Display P3", icc_display_p3(), p3_of}, {"Adobe RGB", icc_adobe_rgb(), adobe_of}};
}

std::string png_in(const Picture& picture, const std::string& icc) {
  PngStyle style;
  style.icc = icc;
  return encode_png(picture, style);
}

void expect_colour(const Picture& picture, uint32_t x, uint32_t y, const Rgb& wanted, double near,
                   const std::string& what) {
  const double unit = picture.bits == 16 ? 257 : 1;
  ASSERT_GE(picture.bands, 3) << what;
  for (int band = 0; band < 3; ++band) {
    EXPECT_NEAR(picture.at(x, y, band) / unit, wanted[static_cast<size_t>(band)], near)
        << what << ", band " << band;
  }
}

// libvips' profile of sRGB has primaries of its own rounding.
constexpr double kNear = 2;

constexpr Rgb kRed = {255, 0, 0}, kTeal = {20, 140, 150};
constexpr const char* kTealText = "#148c96";

Picture plain(int bands, int bits = 8) {
  const int unit = bits == 16 ? 257 : 1;
  return make_picture(32, 32, bands, bits, [=](int, int, int band) {
    const bool alpha = bands % 2 == 0 && band == bands - 1;
    return alpha ? 0 : (60 + 50 * band) * unit;
  });
}

StepAnswer kept(const std::string& step, const std::string& file, ParamTexts params,
                const std::string& second = "") {
  params["colours"] = "keep";
  StepAnswer answer = run_picture_step(step, file, std::move(params), second);
  EXPECT_TRUE(answer.ok()) << answer.reason << answer.message << answer.misuse;
  return answer;
}

TEST(KeptProfile, HasTheMarkInIt) {
  const Picture colours = make_picture(8, 8, 3, 8, [](int, int, int band) {
    return static_cast<int>(kTeal[static_cast<size_t>(band)]);
  });
  const Picture gray = make_picture(8, 8, 1, 8, [](int, int, int) { return 90; });
  for (const Space& space : spaces()) {
    for (const int bits : {8, 16}) {
      const std::string file = png_in(plain(3, bits), space.icc);
      const StepAnswer teal = kept("watermark", file, {{"margin", "0"}}, encode_png(colours));
      EXPECT_EQ(profile_in(teal.outputs.at(0)), space.icc);
      expect_colour(decoded(teal), 28, 28, space.of(kTeal), kNear, space.name);
      expect_colour(decoded(teal), 4, 4, {60, 110, 160}, 0, space.name);
      const StepAnswer dark = kept("watermark", file, {{"margin", "0"}}, encode_png(gray));
      expect_colour(decoded(dark), 28, 28, space.of({90, 90, 90}), kNear, space.name);
    }
  }
}

TEST(KeptProfile, HasTheBackgroundInIt) {
  for (const Space& space : spaces()) {
    const std::string file = png_in(plain(4), space.icc);
    const StepAnswer laid =
        kept("convert", file, {{"format", "jpeg"}, {"quality", "100"}, {"background", kTealText}});
    EXPECT_EQ(profile_in(laid.outputs.at(0)), space.icc);
    expect_colour(decoded(laid), 16, 16, space.of(kTeal), 2.5, space.name);
    const StepAnswer bars =
        kept("resize", png_in(plain(3), space.icc),
             {{"width", "32"}, {"height", "20"}, {"fit", "contain"}, {"background", kTealText}});
    EXPECT_EQ(profile_in(bars.outputs.at(0)), space.icc);
    expect_colour(decoded(bars), 1, 10, space.of(kTeal), kNear, space.name);
    expect_colour(decoded(bars), 16, 10, {60, 110, 160}, 0, space.name);
  }
}

TEST(KeptProfile, HasThePaletteInIt) {
  const StepAnswer answer = kept("dither", png_in(plain(3), icc_display_p3()),
                                 {{"palette", "#148c96 #ff0000"}, {"format", "png"}});
  const Picture picture = decoded(answer);
  const bool teal = picture.at(0, 0, 0) < 128;
  expect_colour(picture, 0, 0, teal ? p3_of(kTeal) : p3_of(kRed), kNear, "palette");
}

// Gray g by a curve of 1 is light; as sRGB codes it:
double srgb_of_linear(int value) {
  return srgb_code(value / 255.0);
}

TEST(KeptProfile, OfGrayHasGrayInIt) {
  const std::string icc = icc_gray(1);
  const double wanted = 255 * srgb_light(0x80);
  const StepAnswer laid = kept("convert", png_in(plain(2), icc),
                               {{"format", "jpeg"}, {"quality", "100"}, {"background", "#808080"}});
  EXPECT_EQ(profile_in(laid.outputs.at(0)), icc);
  EXPECT_NEAR(decoded(laid).at(16, 16, 0), wanted, kNear);
  const Picture mark = make_picture(8, 8, 1, 8, [](int, int, int) { return 0x80; });
  const StepAnswer marked =
      kept("watermark", png_in(plain(1), icc), {{"margin", "0"}}, encode_png(mark));
  EXPECT_EQ(profile_in(marked.outputs.at(0)), icc);
  EXPECT_NEAR(decoded(marked).at(28, 28, 0), wanted, kNear);
  EXPECT_EQ(decoded(marked).at(4, 4, 0), 60);
}

TEST(KeptProfile, OfGrayGoesWhenColoursCome) {
  const std::string icc = icc_gray(1);
  const Picture red =
      make_picture(8, 8, 3, 8, [](int, int, int band) { return band == 0 ? 255 : 0; });
  const Rgb under = {srgb_of_linear(60), srgb_of_linear(60), srgb_of_linear(60)};
  const StepAnswer marked =
      kept("watermark", png_in(plain(1), icc), {{"margin", "0"}}, encode_png(red));
  const StepAnswer bars =
      kept("resize", png_in(plain(1), icc),
           {{"width", "32"}, {"height", "20"}, {"fit", "contain"}, {"background", "#f00"}});
  for (const StepAnswer& answer : {marked, bars}) {
    EXPECT_EQ(profile_in(answer.outputs.at(0)), "");
    ASSERT_EQ(answer.notes.size(), 1u);
    EXPECT_NE(answer.notes[0].find("gray profile"), std::string::npos) << answer.notes[0];
  }
  expect_colour(decoded(marked), 28, 28, kRed, 0, "the mark");
  expect_colour(decoded(marked), 4, 4, under, kNear, "what is under it");
  expect_colour(decoded(bars), 1, 10, kRed, 0, "the bar");
  expect_colour(decoded(bars), 16, 10, under, kNear, "between the bars");
}

TEST(KeptProfile, IsNotWrittenWhereItIsThatOfSrgb) {
  const StepAnswer answer = kept("convert", png_in(plain(3), icc_srgb()), {});
  EXPECT_EQ(profile_in(answer.outputs.at(0)), "");
  expect_colour(decoded(answer), 4, 4, {60, 110, 160}, 0, "sRGB");
}

// Looked for as a chunk: libpng does not give one that does not fit.
bool has_profile_chunk(const std::string& png) {
  const auto chunks = png_chunks(png);
  return std::any_of(chunks.begin(), chunks.end(),
                     [](const auto& chunk) { return chunk.first == "iCCP"; });
}

TEST(KeptProfile, OfColoursGoesWithThem) {
  const std::string file = png_in(plain(3), icc_adobe_rgb());
  const StepAnswer gray = transform(file, R"([{"type":"grayscale"}])", {{"colours", "keep"}});
  ASSERT_TRUE(gray.ok()) << gray.message << gray.misuse;
  EXPECT_EQ(decoded(gray).bands, 1);
  EXPECT_FALSE(has_profile_chunk(gray.outputs.at(0)));
  ASSERT_EQ(gray.notes.size(), 1u);
  const StepAnswer converted = transform(file, R"([{"type":"grayscale"}])");
  EXPECT_EQ(worst_difference(decoded(gray), decoded(converted)), 0);
  EXPECT_FALSE(has_profile_chunk(kept("dither", file, {{"palette", "bw"}}).outputs.at(0)));
  EXPECT_TRUE(has_profile_chunk(kept("blur", file, {}).outputs.at(0)));
}

// Each page of a TIFF is in its own.
TEST(KeptProfile, IsThatOfEachPage) {
  const Picture page = plain(3);
  TiffStyle style;
  style.iccs = {icc_display_p3(), "", icc_adobe_rgb(), icc_display_p3()};
  const Picture mark = make_picture(8, 8, 3, 8, [](int, int, int band) {
    return static_cast<int>(kTeal[static_cast<size_t>(band)]);
  });
  const StepAnswer answer = kept("watermark", encode_tiff({page, page, page, page}, style),
                                 {{"margin", "0"}}, encode_png(mark));
  const std::vector<TiffPage> pages = decode_tiff(answer.outputs.at(0));
  ASSERT_EQ(pages.size(), 4u);
  const Rgb wanted[] = {p3_of(kTeal), kTeal, adobe_of(kTeal), p3_of(kTeal)};
  for (size_t i = 0; i < pages.size(); ++i) {
    const std::string what = "page " + std::to_string(i);
    EXPECT_EQ(pages[i].icc, style.iccs[i]) << what;
    expect_colour(pages[i].picture, 4, 4, {60, 110, 160}, 0, what);
    expect_colour(pages[i].picture, 28, 28, wanted[i], kNear, what);
  }
}

}  // namespace
}  // namespace millrace::testing
