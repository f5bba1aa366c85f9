// Goal: a JPEG keeps every bit of luma that it can keep, and carries only the metadata that it
// should. Method: luma coefficients and decoded Y planes compared with the original's, by libjpeg
// itself.
#include <cmath>
#include <cstdio>
extern "C" {
#include <jpeglib.h>
}

#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "steps/common/gray.h"
#include "steps/common/tiff_file.h"
#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

int max_difference(const Picture& a, const Picture& b) {
  if (a.samples.size() != b.samples.size()) return 1000;
  int worst = 0;
  for (size_t i = 0; i < a.samples.size(); ++i)
    worst = std::max(worst, std::abs(a.samples[i] - b.samples[i]));
  return worst;
}

void expect_lossless(const std::string& image, const std::string& what) {
  const StepAnswer answer = grayscale(image);
  ASSERT_TRUE(answer.ok()) << what << ": " << answer.message << answer.misuse;
  const std::string& out = answer.outputs[0];
  EXPECT_EQ(jpeg_facts(out).components, 1) << what;
  EXPECT_EQ(jpeg_facts(out).luma_coefficients, jpeg_facts(image).luma_coefficients) << what;
  EXPECT_EQ(max_difference(decode_jpeg(out, JCS_GRAYSCALE), decode_jpeg(image, JCS_GRAYSCALE)), 0)
      << what;
  EXPECT_EQ(answer.media_type, "image/jpeg");
  EXPECT_EQ(answer.results.at("extension"), "jpg");
}

TEST(GrayJpeg, LumaIsBitExactForEverySamplingAndProcess) {
  for (const auto& [h, v] :
       {std::pair(1, 1), std::pair(2, 1), std::pair(1, 2), std::pair(2, 2), std::pair(4, 1)}) {
    for (const uint32_t side : {1u, 7u, 8u, 17u, 64u, 129u}) {
      for (int kind = 0; kind < 4; ++kind) {
        JpegStyle style;
        style.luma_h = h;
        style.luma_v = v;
        style.progressive = kind == 1;
        style.arithmetic = kind == 2;
        style.restart = kind == 3 ? 2 : 0;
        const std::string image = encode_jpeg(gradient(side, side + 3), style);
        expect_lossless(image, fmt::format("{}x{} side {} kind {}", h, v, side, kind));
      }
    }
  }
}

TEST(GrayJpeg, ProgressiveStaysProgressiveAndGrayStaysGray) {
  JpegStyle style;
  style.progressive = true;
  EXPECT_TRUE(jpeg_facts(grayscale(encode_jpeg(gradient(40, 30), style)).outputs[0]).progressive);
  EXPECT_FALSE(jpeg_facts(grayscale(encode_jpeg(gradient(40, 30))).outputs[0]).progressive);
  expect_lossless(encode_jpeg(gradient(40, 30, 1)), "gray");
}

TEST(GrayJpeg, CorpusIsBitExact) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  for (const char* name : {"photo/bench-1080p.jpg", "photo/hubble_deep_field.jpg",
                           "libjpeg-turbo/testorig.jpg", "libjpeg-turbo/testimgint.jpg",
                           "libjpeg-turbo/testimgari.jpg", "x-image/go-turns-two-280x360.jpeg"}) {
    const std::string image = corpus(name);
    if (!image.empty()) expect_lossless(image, name);
  }
}

// A photograph in Adobe RGB, whose curve is not sRGB's: converted, with the original's
// quantisation.
TEST(GrayJpeg, CorpusPhotographInAdobeRgbIsConverted) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  const std::string image = corpus("photo/rocket.jpg");
  const StepAnswer answer = grayscale(image);
  ASSERT_TRUE(answer.ok()) << answer.message;
  EXPECT_EQ(jpeg_facts(answer.outputs[0]).components, 1);
  EXPECT_NE(jpeg_facts(answer.outputs[0]).luma_coefficients, jpeg_facts(image).luma_coefficients);
  const Picture gray = decode_jpeg(answer.outputs[0], JCS_GRAYSCALE);
  EXPECT_LT(max_difference(gray, decode_jpeg(image, JCS_GRAYSCALE)), 40);
}

TEST(GrayJpeg, TwelveBitsAreRefusedClearly) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  const StepAnswer answer = grayscale(corpus("libjpeg-turbo/testorig12.jpg"));
  EXPECT_EQ(answer.reason, "unsupported");
  EXPECT_NE(answer.message.find("12"), std::string::npos) << answer.message;
}

TEST(GrayJpeg, QualityReencodesTheDecodedLumaPlane) {
  const std::string image = encode_jpeg(gradient(65, 47));
  const StepAnswer answer = grayscale(image, {{"quality", "95"}});
  ASSERT_TRUE(answer.ok()) << answer.message;
  EXPECT_EQ(jpeg_facts(answer.outputs[0]).components, 1);
  EXPECT_LE(max_difference(decode_jpeg(answer.outputs[0], JCS_GRAYSCALE),
                           decode_jpeg(image, JCS_GRAYSCALE)),
            8);
  const size_t small = grayscale(image, {{"quality", "10"}}).outputs[0].size();
  EXPECT_LT(small, answer.outputs[0].size());
}

TEST(GrayJpeg, PureColoursFollowTheFormulaByEveryRoute) {
  const uint8_t colours[][3] = {
      {255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 0}, {90, 120, 30}};
  for (const auto& c : colours) {
    for (int route = 0; route < 3; ++route) {
      JpegStyle style;
      style.quality = 100;
      style.rgb = route == 1;
      const std::string image = encode_jpeg(flat(c[0], c[1], c[2]), style);
      for (const char* method : {"luma", "luminance"}) {
        std::map<std::string, std::string> params = {{"method", method}};
        if (route == 2) params["quality"] = "100";
        const StepAnswer answer = grayscale(image, params);
        ASSERT_TRUE(answer.ok()) << answer.message;
        const Picture gray = decode_jpeg(answer.outputs[0], JCS_GRAYSCALE);
        const Picture seen =
            decode_jpeg(image, JCS_RGB);  // the coding of a colour is itself not exact
        const bool luma = std::string(method) == "luma";
        const uint8_t expected =
            gray_of(luma ? GrayMethod::kLuma : GrayMethod::kLuminance,
                    static_cast<uint8_t>(seen.at(8, 8, 0)), static_cast<uint8_t>(seen.at(8, 8, 1)),
                    static_cast<uint8_t>(seen.at(8, 8, 2)));
        EXPECT_NEAR(gray.at(8, 8, 0), expected, 1)
            << method << " route " << route << " colour " << int{c[0]} << "," << int{c[1]} << ","
            << int{c[2]};
      }
    }
  }
}

TEST(GrayJpeg, WithoutQualityAReencodedPictureKeepsTheOriginalsQuantisation) {
  JpegStyle style;
  style.quality = 83;
  const std::string image = encode_jpeg(gradient(65, 47), style);
  const JpegFacts before = jpeg_facts(image);
  const JpegFacts after = jpeg_facts(grayscale(image, {{"method", "luminance"}}).outputs[0]);
  EXPECT_EQ(std::vector<uint16_t>(before.quantisation, before.quantisation + 64),
            std::vector<uint16_t>(after.quantisation, after.quantisation + 64));
}

TEST(GrayJpeg, CmykBecomesOneComponentThroughAProfile) {
  JpegStyle style;
  style.cmyk = true;
  style.quality = 100;
  // libjpeg writes Adobe's marker: samples are stored inverted, 255 is no ink.
  const auto solid = [&](int c, int m, int y, int k) {
    return encode_jpeg(make_picture(16, 16, 4, 8,
                                    [=](int, int, int band) {
                                      return band == 0 ? c : band == 1 ? m : band == 2 ? y : k;
                                    }),
                       style);
  };
  for (const auto& [image, low, high] :
       {std::tuple(solid(255, 255, 255, 255), 250, 255), std::tuple(solid(255, 255, 255, 0), 0, 60),
        std::tuple(solid(0, 255, 255, 255), 90, 200)}) {
    const StepAnswer answer = grayscale(image);
    ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
    const Picture gray = decode_jpeg(answer.outputs[0], JCS_GRAYSCALE);
    EXPECT_GE(gray.at(8, 8, 0), low);
    EXPECT_LE(gray.at(8, 8, 0), high);
    EXPECT_EQ(jpeg_facts(answer.outputs[0]).components, 1);
  }
}

// ---- profiles

bool has_profile(const std::string& image) {
  for (const auto& [marker, data] : jpeg_facts(image).markers) {
    if (marker == 0xE2 && data.starts_with("ICC_PROFILE")) return true;
  }
  return false;
}

TEST(GrayJpeg, AProfileWithSrgbsCurveKeepsTheCoefficientsAndIsDropped) {
  for (const std::string& icc : {icc_srgb(), icc_display_p3()}) {
    JpegStyle style;
    style.icc = icc;
    const std::string image = encode_jpeg(gradient(40, 30), style);
    expect_lossless(image, "profile");
    for (const char* metadata : {"safe", "keep", "strip"}) {
      EXPECT_FALSE(has_profile(grayscale(image, {{"metadata", metadata}}).outputs[0])) << metadata;
    }
  }
}

TEST(GrayJpeg, AnotherCurveIsConvertedFirst) {
  JpegStyle style;
  style.quality = 100;
  style.icc = icc_with_gamma(1.0);  // linear light: 50 % is 188 in sRGB
  const StepAnswer answer = grayscale(encode_jpeg(flat(128, 128, 128), style));
  ASSERT_TRUE(answer.ok()) << answer.message;
  EXPECT_NEAR(decode_jpeg(answer.outputs[0], JCS_GRAYSCALE).at(8, 8, 0), 188, 2);
  EXPECT_FALSE(has_profile(answer.outputs[0]));
}

TEST(GrayJpeg, LuminanceConvertsForeignPrimaries) {
  JpegStyle style;
  style.quality = 100;
  style.icc = icc_display_p3();
  const std::string image = encode_jpeg(flat(0, 200, 0), style);
  style.icc = "";
  const std::string plain = encode_jpeg(flat(0, 200, 0), style);
  const int with =
      decode_jpeg(grayscale(image, {{"method", "luminance"}}).outputs[0], JCS_GRAYSCALE)
          .at(8, 8, 0);
  const int without =
      decode_jpeg(grayscale(plain, {{"method", "luminance"}}).outputs[0], JCS_GRAYSCALE)
          .at(8, 8, 0);
  EXPECT_NE(with, without);
}

TEST(GrayJpeg, AGrayProfileOfAGrayPictureStaysAndAMistaggedOneGoes) {
  JpegStyle style;
  style.icc = icc_gray(1.8);
  EXPECT_TRUE(has_profile(grayscale(encode_jpeg(gradient(40, 30, 1), style)).outputs[0]));
  const StepAnswer rgb = grayscale(encode_jpeg(gradient(40, 30), style));
  EXPECT_TRUE(rgb.ok());
  EXPECT_FALSE(has_profile(rgb.outputs[0]));
  EXPECT_EQ(rgb.notes.size(), 1u);
  style.icc = icc_srgb();
  EXPECT_FALSE(has_profile(grayscale(encode_jpeg(gradient(40, 30, 1), style)).outputs[0]));
}

TEST(GrayJpeg, ABrokenProfileIsANoteAndNoFailure) {
  if (has_corpus()) {
    for (const char* name : {"libjpeg-turbo/test1.icc", "libjpeg-turbo/test2.icc"}) {
      JpegStyle style;
      style.icc = corpus(name);
      EXPECT_TRUE(grayscale(encode_jpeg(gradient(40, 30), style)).ok()) << name;
    }
  }
  JpegStyle style;
  style.icc = std::string(500, 'x');
  const StepAnswer answer = grayscale(encode_jpeg(gradient(40, 30), style));
  EXPECT_TRUE(answer.ok()) << answer.message;
  EXPECT_EQ(answer.notes.size(), 1u);
}

// ---- metadata

std::string exif_of(const std::string& image) {
  for (const auto& [marker, data] : jpeg_facts(image).markers) {
    if (marker == 0xE1 && data.starts_with("Exif")) return data.substr(6);
  }
  return "";
}

std::string private_exif() {
  TiffWriter writer;
  const uint32_t gps = writer.append_directory({tiff_ascii(1, "N")});
  writer.add_page({tiff_short(274, 6), tiff_ascii(271, "Maker"), tiff_ascii(315, "Ann"),
                   tiff_ascii(33432, "(c) Ann"), tiff_ascii(42033, "serial number 123"),
                   tiff_long(34853, gps)});
  return writer.take();
}

TEST(GrayJpeg, SafeKeepsOrientationAndCopyrightAndNothingElse) {
  JpegStyle style;
  style.exif = private_exif();
  style.markers = {{0xE1, std::string("http://ns.adobe.com/xap/1.0/\0<x/>", 33)},
                   {0xED, "Photoshop 3.0"},
                   {0xFE, "a comment"}};
  const std::string image = encode_jpeg(gradient(40, 30), style);
  const std::string safe = grayscale(image).outputs[0];
  const std::string block = exif_of(safe);
  const ExifFacts facts = read_exif({reinterpret_cast<const uint8_t*>(block.data()), block.size()});
  EXPECT_EQ(facts.orientation, 6);
  EXPECT_EQ(facts.artist, "Ann");
  EXPECT_EQ(facts.copyright, "(c) Ann");
  EXPECT_EQ(block.find("serial"), std::string::npos);
  EXPECT_EQ(block.find("Maker"), std::string::npos);
  EXPECT_EQ(jpeg_facts(safe).markers.size(), 2u) << "JFIF and EXIF";
  const std::string strip = grayscale(image, {{"metadata", "strip"}}).outputs[0];
  EXPECT_EQ(exif_of(strip), build_exif({6, "", ""}));
  const std::string keep = grayscale(image, {{"metadata", "keep"}}).outputs[0];
  EXPECT_EQ(exif_of(keep), style.exif);
  EXPECT_EQ(jpeg_facts(keep).markers.size(), 5u);
}

TEST(GrayJpeg, OrientationOfEveryExampleSurvives) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  for (const std::string& name : corpus_files("exif-orientation", ".jpg")) {
    const std::string image = corpus(name);
    const std::string before = upload(image).results.at("orientation");
    for (const char* metadata : {"safe", "keep", "strip"}) {
      for (const char* method : {"luma", "luminance"}) {
        const StepAnswer gray = grayscale(image, {{"metadata", metadata}, {"method", method}});
        ASSERT_TRUE(gray.ok()) << name << gray.message;
        EXPECT_EQ(upload(gray.outputs[0]).results.at("orientation"), before) << name << metadata;
      }
    }
  }
}

// Regression: a quantisation of 0, or of 8192 and more, made libjpeg's encoder divide by zero.
TEST(GrayJpeg, AbsurdQuantisationDoesNotKillTheEncoder) {
  JpegStyle style;
  style.quality = 90;
  std::string zero = encode_jpeg(gradient(40, 30), style);
  zero[zero.find(std::string("\xff\xdb\x00\x43", 4)) + 5] = 0;
  for (const char* method : {"luma", "luminance"}) {
    const StepAnswer answer = grayscale(zero, {{"method", method}});
    EXPECT_TRUE(answer.ok()) << method << answer.misuse << answer.message;
  }
}

TEST(GrayJpeg, StopsWhenTheHostSaysSo) {
  for (const char* method : {"luma", "luminance"}) {
    StepRequest request{
        "grayscale", "grayscale", encode_jpeg(gradient(400, 300)), {{"method", method}}};
    request.cancel_after = 3;
    EXPECT_EQ(run_step(request).code, MR_CANCELLED) << method;
  }
}

}  // namespace
}  // namespace millrace::testing
