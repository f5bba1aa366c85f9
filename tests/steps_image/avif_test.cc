// Goal: every picture step writes AVIF: the picture, its transparency, its colours and the metadata
// that the policy keeps; what AVIF cannot be here is said.
// Method: libheif's decoder judges what the steps wrote in their own processes.
#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

StepAnswer to_avif(const std::string& image, ParamTexts params = {}) {
  params["format"] = "avif";
  return run_picture_step("convert", image, std::move(params));
}

// The mean difference of a band of one to a band of the other.
double band_difference(const Picture& a, int band, const Picture& b, int other) {
  double sum = 0;
  for (uint32_t y = 0; y < a.height; ++y) {
    for (uint32_t x = 0; x < a.width; ++x) {
      sum += std::abs(a.at(x, y, band) - b.at(x, y, other));
    }
  }
  return sum / (a.width * a.height);
}

TEST(Avif, HoldsThePictureAndItsTransparency) {
  for (const int bands : {1, 2, 3, 4}) {
    const Picture picture = make_picture(64, 48, bands, 8, [bands](int x, int y, int band) {
      return band == bands - 1 && bands % 2 == 0 ? x * 4 : (x + y) * 2 + band * 10;
    });
    const StepAnswer answer = to_avif(encode_png(picture), {{"quality", "90"}});
    EXPECT_EQ(answer.results.at("extension"), "avif");
    const Picture got = decoded(answer);
    ASSERT_EQ(got.width, 64u) << bands;
    ASSERT_EQ(got.height, 48u) << bands;
    ASSERT_EQ(got.bands, bands % 2 == 0 ? 4 : 3) << bands;
    for (int band = 0; band < 3; ++band) {
      EXPECT_LT(band_difference(got, band, picture, bands < 3 ? 0 : band), 5) << bands;
    }
    if (bands % 2 == 0) {
      EXPECT_LT(band_difference(got, 3, picture, bands - 1), 2) << bands;
    }
  }
}

TEST(Avif, ColoursAreTheSame) {
  const uint8_t colours[][3] = {
      {255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 255}, {120, 30, 200}};
  for (const auto& [red, green, blue] : colours) {
    const Picture got =
        decoded(to_avif(encode_png(flat(red, green, blue, 32)), {{"quality", "90"}}));
    ASSERT_EQ(got.width, 32u);
    EXPECT_NEAR(got.at(16, 16, 0), red, 4);
    EXPECT_NEAR(got.at(16, 16, 1), green, 4);
    EXPECT_NEAR(got.at(16, 16, 2), blue, 4);
  }
}

TEST(Avif, IsTheSameTwiceAndSmallerAtALowerQuality) {
  const std::string image = encode_png(scene(96, 64));
  const StepAnswer first = to_avif(image), second = to_avif(image);
  ASSERT_TRUE(first.ok()) << first.message;
  EXPECT_EQ(first.outputs, second.outputs);
  const StepAnswer poor = to_avif(image, {{"quality", "20"}, {"effort", "0"}});
  ASSERT_TRUE(poor.ok()) << poor.message;
  EXPECT_LT(poor.outputs[0].size(), first.outputs[0].size());
}

TEST(Avif, OrientationIsAppliedAndThePolicyDecidesOnMetadata) {
  JpegStyle style;
  ExifFacts facts;
  facts.orientation = 6;
  facts.copyright = "(c) somebody";
  style.exif = build_exif(facts);
  const std::string jpeg = encode_jpeg(scene(64, 48), style);
  const StepAnswer safe = to_avif(jpeg), bare = to_avif(jpeg, {{"metadata", "strip"}});
  EXPECT_EQ(decoded(safe).width, 48u);
  ASSERT_TRUE(safe.ok() && bare.ok());
  EXPECT_NE(safe.outputs[0].find("(c) somebody"), std::string::npos);
  EXPECT_EQ(bare.outputs[0].find("(c) somebody"), std::string::npos);
}

TEST(Avif, AProfileIsKeptOrNotNeeded) {
  PngStyle style;
  style.icc = icc_display_p3();
  const std::string image = encode_png(scene(32, 32), style);
  const StepAnswer kept = to_avif(image, {{"colours", "keep"}}), converted = to_avif(image);
  ASSERT_TRUE(kept.ok() && converted.ok());
  EXPECT_NE(kept.outputs[0].find("colrprof"), std::string::npos);
  EXPECT_EQ(converted.outputs[0].find("colrprof"), std::string::npos);
}

TEST(Avif, OtherDepthsAndFramesBecomeWhatItCanHold) {
  const Picture deep = gradient(40, 30, 3, 16);
  EXPECT_EQ(decoded(to_avif(encode_png(deep))).width, 40u);
  GifStyle gif;
  gif.frame_colours = {{255, 0, 0}, {0, 255, 0}};
  const StepAnswer first = to_avif(encode_gif(gif));
  const Picture got = decoded(first);
  ASSERT_EQ(got.height, gif.height);
  EXPECT_GT(got.at(0, 0, 0), 200);
  EXPECT_EQ(first.results.at("pages"), "1");
}

TEST(Avif, WhatItCannotBeIsSaid) {
  EXPECT_EQ(to_avif(encode_png(flat(1, 2, 3)), {{"lossless", "true"}}).reason, "bad_parameter");
  const StepAnswer wide = to_avif(encode_png(scene(16385, 1, 1)));
  EXPECT_EQ(wide.reason, "unsupported");
  EXPECT_NE(wide.message.find("16384"), std::string::npos) << wide.message;
}

}  // namespace
}  // namespace millrace::testing
