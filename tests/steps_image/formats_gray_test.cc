// Goal: PNG, WebP, TIFF and GIF stay what they are, with gray samples by the formula and nothing
// lost. Method: decoded with libpng, libwebp and libtiff, compared sample by sample with the
// formula on the decoded original.
#include <cmath>

#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "steps/common/gray.h"
#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

// What a pixel should become, by the formula in its own depth.
uint16_t expected(const Picture& picture, uint32_t x, uint32_t y, GrayMethod method) {
  uint16_t rgb[3], out = 0;
  for (int band = 0; band < 3; ++band) rgb[band] = picture.at(x, y, picture.bands >= 3 ? band : 0);
  if (picture.bits < 16) {
    return gray_of(method, static_cast<uint8_t>(rgb[0]), static_cast<uint8_t>(rgb[1]),
                   static_cast<uint8_t>(rgb[2]));
  }
  GrayRow row;
  row.method = method;
  gray_row16(row, rgb, &out, 1);
  return out;
}

void expect_gray(const Picture& before, const Picture& after, GrayMethod method,
                 const std::string& what) {
  ASSERT_EQ(after.width, before.width) << what;
  ASSERT_EQ(after.height, before.height) << what;
  const bool alpha = before.bands == 2 || before.bands == 4;
  ASSERT_EQ(after.bands, alpha ? 2 : 1) << what;
  int worst = 0;
  for (uint32_t y = 0; y < before.height; ++y) {
    for (uint32_t x = 0; x < before.width; ++x) {
      worst = std::max(worst, std::abs(after.at(x, y, 0) - expected(before, x, y, method)));
      if (alpha)
        worst = std::max(worst, std::abs(after.at(x, y, 1) - before.at(x, y, before.bands - 1)));
    }
  }
  EXPECT_LE(worst, 1) << what;
}

TEST(GrayPng, EveryFileOfPngSuiteFollowsTheFormula) {
  const auto files = corpus_files("pngsuite", ".png");
  if (files.empty()) GTEST_SKIP() << "no corpus";
  for (const std::string& name : files) {
    const std::string image = corpus(name);
    if (name.starts_with("pngsuite/x")) continue;
    for (const auto& [text, method] :
         {std::pair("luma", GrayMethod::kLuma), std::pair("luminance", GrayMethod::kLuminance)}) {
      const StepAnswer answer = grayscale(image, {{"method", text}});
      ASSERT_TRUE(answer.ok()) << name << ": " << answer.message << answer.misuse;
      const Picture before = decode_png(image), after = decode_png(answer.outputs[0]);
      expect_gray(before, after, method, name);
      EXPECT_EQ(after.bits == 16, before.bits == 16) << name;
      const bool small = name.find("n0g0") != std::string::npos && before.bands == 1;
      if (small) {
        EXPECT_EQ(after.bits, before.bits) << name << ": few bits stay few";
      }
      EXPECT_EQ(upload(answer.outputs[0]).results.at("colour"), "gray") << name;
    }
  }
}

TEST(GrayPng, KeepsInterlaceAlphaAndDepth) {
  for (const int bits : {8, 16}) {
    for (const int bands : {1, 2, 3, 4}) {
      PngStyle style;
      style.interlaced = bands % 2 == 0;
      const Picture picture = gradient(33, 21, bands, bits);
      const StepAnswer answer = grayscale(encode_png(picture, style));
      ASSERT_TRUE(answer.ok()) << answer.message;
      expect_gray(picture, decode_png(answer.outputs[0]), GrayMethod::kLuma,
                  fmt::format("{} bands {} bits", bands, bits));
      EXPECT_EQ(decode_png(answer.outputs[0]).bits, bits);
      EXPECT_EQ(answer.outputs[0][28], style.interlaced ? 1 : 0);
    }
  }
}

std::string names_of(const std::string& png) {
  std::string names;
  for (const auto& [name, data] : png_chunks(png)) {
    if (names.find(name) == std::string::npos) names += (names.empty() ? "" : " ") + name;
  }
  return names;
}

TEST(GrayPng, MetadataIsSafeKeptOrStripped) {
  PngStyle style;
  style.exif = build_exif({6, "Ann", "(c) Ann"});
  style.icc = icc_srgb();
  style.text = {{"Copyright", "me"}, {"Comment", "secret"}};
  const std::string image = encode_png(gradient(9, 9), style);
  const std::string safe = grayscale(image).outputs[0];
  EXPECT_EQ(safe.find("secret"), std::string::npos);
  EXPECT_NE(safe.find("Copyright"), std::string::npos);
  EXPECT_NE(safe.find("(c) Ann"), std::string::npos);
  EXPECT_EQ(names_of(safe).find("iCCP"), std::string::npos);
  EXPECT_EQ(upload(safe).results.at("orientation"), "6");
  const std::string keep = grayscale(image, {{"metadata", "keep"}}).outputs[0];
  EXPECT_NE(keep.find("secret"), std::string::npos);
  EXPECT_EQ(names_of(keep).find("iCCP"), std::string::npos) << "an RGB profile on gray";
  const std::string strip = grayscale(image, {{"metadata", "strip"}}).outputs[0];
  EXPECT_EQ(strip.find("Copyright"), std::string::npos);
  EXPECT_EQ(strip.find("Ann"), std::string::npos);
  EXPECT_EQ(upload(strip).results.at("orientation"), "6") << "never lost";
}

TEST(GrayPng, ProfilesAreConvertedOnlyWhenTheirCurveIsNotSrgbs) {
  PngStyle style;
  style.icc = icc_display_p3();
  const std::string p3 = encode_png(flat(241, 0, 0), style);
  EXPECT_EQ(decode_png(grayscale(p3).outputs[0]).at(0, 0, 0), gray_of(GrayMethod::kLuma, 241, 0, 0))
      << "luma is of the coded values";
  EXPECT_NE(decode_png(grayscale(p3, {{"method", "luminance"}}).outputs[0]).at(0, 0, 0),
            gray_of(GrayMethod::kLuminance, 241, 0, 0));
  style.icc = icc_with_gamma(1.0);
  const Picture linear = decode_png(grayscale(encode_png(flat(128, 128, 128), style)).outputs[0]);
  EXPECT_NEAR(linear.at(0, 0, 0), 188, 2);
  const Picture wide = make_picture(8, 8, 3, 16, [](int, int, int) { return 32768; });
  const Picture wide_gray = decode_png(grayscale(encode_png(wide, style)).outputs[0]);
  EXPECT_EQ(wide_gray.bits, 16);
  EXPECT_NEAR(wide_gray.at(0, 0, 0), 48190, 200);
  style.icc = icc_gray(1.8);
  const std::string gray = grayscale(encode_png(gradient(9, 9, 1), style)).outputs[0];
  EXPECT_NE(names_of(gray).find("iCCP"), std::string::npos) << "a gray profile stays";
  EXPECT_EQ(decode_png(gray).samples, gradient(9, 9, 1).samples);
}

TEST(GrayPng, AnAnimationGivesItsDefaultImage) {
  // acTL, one fcTL before the default image, and one more frame.
  const auto chunk = [](const std::string& name, const std::string& data) {
    std::string out;
    const auto put = [&](uint32_t v) {
      for (int s = 24; s >= 0; s -= 8) out.push_back(static_cast<char>(v >> s));
    };
    put(static_cast<uint32_t>(data.size()));
    out += name + data;
    put(0);  // ancillary: nobody checks
    return out;
  };
  const Picture picture = gradient(9, 9);
  std::string png = encode_png(picture);
  png.insert(
      33, chunk("acTL", std::string("\0\0\0\2\0\0\0\0", 8)) + chunk("fcTL", std::string(26, '\0')));
  png.insert(png.size() - 12, chunk("fcTL", std::string(26, '\0')) + chunk("fdAT", "1234abcd"));
  EXPECT_EQ(upload(png).results.at("pages"), "2");
  for (const char* metadata : {"safe", "keep"}) {
    const std::string gray = grayscale(png, {{"metadata", metadata}}).outputs[0];
    EXPECT_EQ(upload(gray).results.at("pages"), "1");
    expect_gray(picture, decode_png(gray), GrayMethod::kLuma, metadata);
  }
}

// ---- WebP

TEST(GrayWebp, StaysWebpLosslessOrLossyWithItsAlpha) {
  for (const bool lossless : {true, false}) {
    for (const int bands : {3, 4}) {
      const std::string image = encode_webp(gradient(40, 30, bands), lossless);
      const StepAnswer answer = grayscale(image, {{"quality", "95"}});
      ASSERT_TRUE(answer.ok()) << answer.message;
      const Picture before = decode_webp(image), after = decode_webp(answer.outputs[0]);
      ASSERT_EQ(after.samples.size(), before.samples.size());
      int worst = 0;
      for (uint32_t y = 0; y < 30; ++y) {
        for (uint32_t x = 0; x < 40; ++x) {
          EXPECT_EQ(after.at(x, y, 3), before.at(x, y, 3));
          if (before.at(x, y, 3) == 0) continue;
          // A VP8 decoder turns a gray YUV into RGB with a rounding of its own for each channel.
          EXPECT_NEAR(after.at(x, y, 0), after.at(x, y, 1), lossless ? 0 : 1);
          EXPECT_NEAR(after.at(x, y, 0), after.at(x, y, 2), lossless ? 0 : 1);
          worst = std::max(worst,
                           std::abs(after.at(x, y, 0) - expected(before, x, y, GrayMethod::kLuma)));
        }
      }
      EXPECT_LE(worst, lossless ? 0 : 12) << lossless << bands;
      EXPECT_EQ(answer.outputs[0].find("VP8L") != std::string::npos, lossless);
    }
  }
}

TEST(GrayWebp, OrientationAndCopyrightSurvive) {
  const std::string image = encode_webp(gradient(40, 30), true, build_exif({8, "Ann", "(c) Ann"}));
  EXPECT_EQ(upload(grayscale(image).outputs[0]).results.at("orientation"), "8");
  EXPECT_NE(grayscale(image).outputs[0].find("(c) Ann"), std::string::npos);
  const std::string strip = grayscale(image, {{"metadata", "strip"}}).outputs[0];
  EXPECT_EQ(strip.find("Ann"), std::string::npos);
  EXPECT_EQ(upload(strip).results.at("orientation"), "8");
  EXPECT_EQ(decode_webp(strip).width, 40u);
}

TEST(GrayWebp, AnAnimationKeepsEveryFrameDelayAndLoop) {
  std::vector<Picture> frames;
  for (int i = 0; i < 5; ++i) {
    frames.push_back(make_picture(20, 10, 4, 8, [=](int x, int, int band) {
      return band == 3 ? (x < 10 ? 255 : 128) : band == i % 3 ? 200 : 10;
    }));
  }
  frames.push_back(frames.back());  // equal neighbours stay two
  const std::string image = encode_webp_animation(frames, 70, 3);
  const StepAnswer answer = grayscale(image);
  ASSERT_TRUE(answer.ok()) << answer.message;
  const WebpAnimation before = decode_webp_animation(image),
                      after = decode_webp_animation(answer.outputs[0]);
  EXPECT_EQ(after.durations, before.durations);
  EXPECT_EQ(after.loop, 3u);
  ASSERT_EQ(after.frames.size(), 6u);
  for (size_t i = 0; i < after.frames.size(); ++i) {
    for (const uint32_t x : {3u, 15u}) {
      EXPECT_NEAR(after.frames[i].at(x, 5, 0), expected(before.frames[i], x, 5, GrayMethod::kLuma),
                  1)
          << i;
      EXPECT_EQ(after.frames[i].at(x, 5, 3), before.frames[i].at(x, 5, 3));
    }
  }
  EXPECT_EQ(upload(answer.outputs[0]).results.at("pages"), "6");
}

// ---- GIF

TEST(GrayGif, OnlyTheColourTablesChange) {
  for (const bool local : {false, true}) {
    GifStyle style;
    style.frame_colours = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}};
    style.local_tables = local;
    style.comment = "made at home";
    const std::string image = encode_gif(style);
    for (const auto& [text, method] :
         {std::pair("luma", GrayMethod::kLuma), std::pair("luminance", GrayMethod::kLuminance)}) {
      GifStyle gray = style;
      gray.comment = "";
      for (auto& c : gray.frame_colours) c.assign(3, gray_of(method, c[0], c[1], c[2]));
      EXPECT_EQ(grayscale(image, {{"method", text}}).outputs[0], encode_gif(gray));
      gray.comment = style.comment;
      EXPECT_EQ(grayscale(image, {{"method", text}, {"metadata", "keep"}}).outputs[0],
                encode_gif(gray));
    }
  }
}

// ---- TIFF

TEST(GrayTiff, KeepsPagesOfDifferentSizesDepthsAndTags) {
  TiffStyle style;
  style.compression = 5;
  style.orientation = 6;
  style.artist = "Ann";
  style.copyright = "(c) Ann";
  style.make = "Maker";
  const std::vector<Picture> pages = {gradient(40, 30), gradient(16, 50, 3, 16), gradient(21, 9, 4),
                                      gradient(5, 5, 1)};
  const StepAnswer answer = grayscale(encode_tiff(pages, style));
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  const std::vector<TiffPage> gray = decode_tiff(answer.outputs[0]);
  ASSERT_EQ(gray.size(), pages.size());
  for (size_t i = 0; i < gray.size(); ++i) {
    expect_gray(pages[i], gray[i].picture, GrayMethod::kLuma, fmt::format("page {}", i));
    EXPECT_EQ(gray[i].picture.bits, pages[i].bits);
    EXPECT_EQ(gray[i].orientation, 6);
    EXPECT_EQ(gray[i].copyright, "(c) Ann");
    EXPECT_EQ(gray[i].artist, "Ann");
    EXPECT_EQ(gray[i].make, "");
    EXPECT_EQ(gray[i].compression, 5);
  }
  EXPECT_EQ(upload(answer.outputs[0]).results.at("pages"), "4");
  const auto keep =
      decode_tiff(grayscale(encode_tiff(pages, style), {{"metadata", "keep"}}).outputs[0]);
  EXPECT_EQ(keep[0].make, "Maker");
  const auto strip =
      decode_tiff(grayscale(encode_tiff(pages, style), {{"metadata", "strip"}}).outputs[0]);
  EXPECT_EQ(strip[0].copyright, "");
  EXPECT_EQ(strip[0].orientation, 6);
}

TEST(GrayTiff, TilesBigTiffBilevelAndCmykWork) {
  TiffStyle tiled;
  tiled.tiled = true;
  expect_gray(gradient(40, 30),
              decode_tiff(grayscale(encode_tiff({gradient(40, 30)}, tiled)).outputs[0])[0].picture,
              GrayMethod::kLuma, "tiles");
  TiffStyle big;
  big.big = true;
  expect_gray(gradient(40, 30),
              decode_tiff(grayscale(encode_tiff({gradient(40, 30)}, big)).outputs[0])[0].picture,
              GrayMethod::kLuma, "big");
  const Picture bits =
      make_picture(19, 7, 1, 1, [](int x, int y, int) { return (x + y) % 3 == 0; });
  for (const int photometric : {0, 1}) {
    for (const int compression : {1, 4, 8}) {
      TiffStyle style;
      style.photometric = photometric;
      style.compression = compression;
      const auto pages = decode_tiff(grayscale(encode_tiff({bits}, style)).outputs[0]);
      ASSERT_EQ(pages.size(), 1u);
      EXPECT_EQ(pages[0].picture.bits, 1) << "one bit stays one bit";
      EXPECT_EQ(pages[0].compression, compression);
    }
  }
  TiffStyle cmyk;
  cmyk.photometric = 5;
  const Picture no_ink = make_picture(16, 16, 4, 8, [](int, int, int) { return 0; });
  const auto white = decode_tiff(grayscale(encode_tiff({no_ink}, cmyk)).outputs[0]);
  ASSERT_EQ(white.size(), 1u);
  EXPECT_EQ(white[0].picture.bands, 1);
  EXPECT_GE(white[0].picture.at(8, 8, 0), 250);
}

TEST(GrayTiff, ProfilesFollowTheSameRule) {
  TiffStyle style;
  style.icc = icc_with_gamma(1.0);
  const auto linear = decode_tiff(grayscale(encode_tiff({flat(128, 128, 128)}, style)).outputs[0]);
  EXPECT_NEAR(linear[0].picture.at(0, 0, 0), 188, 2);
  EXPECT_EQ(linear[0].icc, "");
  style.icc = icc_gray(1.8);
  const auto gray = decode_tiff(grayscale(encode_tiff({gradient(9, 9, 1)}, style)).outputs[0]);
  EXPECT_EQ(gray[0].icc, style.icc);
}

TEST(GrayCorpus, EveryXImageFileBecomesGrayOfTheSameSize) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  for (const char* ending : {".webp", ".tiff", ".png", ".jpeg"}) {
    for (const std::string& name : corpus_files("x-image", ending)) {
      const std::string image = corpus(name);
      const StepAnswer before = upload(image);
      for (const char* method : {"luma", "luminance"}) {
        const StepAnswer gray = grayscale(image, {{"method", method}});
        if (name.find("invalid") != std::string::npos ||
            name.find("no_compress") != std::string::npos ||
            name.find("no_rps") != std::string::npos) {
          EXPECT_EQ(gray.misuse, "") << name;
          continue;
        }
        ASSERT_TRUE(gray.ok()) << name << ": " << gray.reason << " " << gray.message << gray.misuse;
        const StepAnswer after = upload(gray.outputs[0]);
        ASSERT_EQ(after.code, MR_OK) << name << ": " << after.message;
        for (const char* fact : {"width", "height", "pages", "media_type", "orientation"}) {
          EXPECT_EQ(after.results.at(fact), before.results.at(fact)) << name << " " << fact;
        }
      }
    }
  }
}

TEST(Grayscale, RefusesABadBackgroundColour) {
  const StepAnswer answer = grayscale(encode_png(flat(1, 2, 3)), {{"background", "white"}});
  EXPECT_EQ(answer.code, MR_FAILED);
  EXPECT_NE(answer.message.find("'white'"), std::string::npos);
  EXPECT_TRUE(grayscale(encode_png(flat(1, 2, 3)), {{"background", "#fff"}}).ok());
}

}  // namespace
}  // namespace millrace::testing
