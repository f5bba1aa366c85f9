// Goal: the steps that look at pictures tell the truth, and those that make files small or silent
// touch nothing that they should not.
// Method: a direct SSIM sum; hashes that the authors' own encoders gave for pictures made by a
// formula; EXIF blocks built by hand; coefficients and samples compared before and after.
#include <cmath>

#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "steps/common/tiff_file.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

constexpr int kRgb = 2;  // J_COLOR_SPACE

// ---- compare

// SSIM by its definition: every window summed in two dimensions.
double direct_ssim(const Picture& a, const Picture& b) {
  const auto w = static_cast<int>(a.width), h = static_cast<int>(a.height);
  double weights[11][11], all = 0, total = 0;
  for (int j = -5; j <= 5; ++j) {
    for (int i = -5; i <= 5; ++i) {
      all += weights[j + 5][i + 5] = std::exp(-(i * i + j * j) / (2 * 1.5 * 1.5));
    }
  }
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
      for (int j = -5; j <= 5; ++j) {
        for (int i = -5; i <= 5; ++i) {
          const auto column = static_cast<uint32_t>(std::clamp(x + i, 0, w - 1));
          const auto line = static_cast<uint32_t>(std::clamp(y + j, 0, h - 1));
          const double weight = weights[j + 5][i + 5] / all;
          const double p = a.at(column, line, 0), q = b.at(column, line, 0);
          ma += weight * p, mb += weight * q;
          aa += weight * p * p, bb += weight * q * q, ab += weight * p * q;
        }
      }
      const double c1 = 6.5025, c2 = 58.5225;
      total += (2 * ma * mb + c1) * (2 * (ab - ma * mb) + c2) /
               ((ma * ma + mb * mb + c1) * (aa - ma * ma + bb - mb * mb + c2));
    }
  }
  return total / (w * h);
}

StepAnswer compare(const std::string& image, const std::string& reference) {
  return run_picture_step("compare", image, {}, reference);
}

TEST(Compare, IsTheSsimOfTheDefinition) {
  const Picture a = scene(40, 33, 1);
  const Picture b = make_picture(40, 33, 1, 8, [&](int x, int y, int) {
    const int value = a.at(static_cast<uint32_t>(x), static_cast<uint32_t>(y), 0);
    return std::clamp(value + (x * 13 + y * 29) % 23 - 11, 0, 255);
  });
  const StepAnswer answer = compare(encode_png(b), encode_png(a));
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  EXPECT_NEAR(std::stod(answer.results.at("ssim")), direct_ssim(a, b), 1e-4);
  EXPECT_EQ(answer.results.at("worst"), "11");
  EXPECT_EQ(answer.results.at("same"), "0");
  const StepAnswer same = compare(encode_png(a), encode_tiff({a}));
  EXPECT_NEAR(std::stod(same.results.at("ssim")), 1, 1e-6);
  EXPECT_EQ(same.results.at("same"), "1");
  EXPECT_NEAR(std::stod(same.results.at("psnr")), 100, 1e-6);
}

TEST(Compare, SizesMustAgreeAfterOrientation) {
  PngStyle turned;
  turned.exif = build_exif({6, "", ""});
  const Picture stored = scene(40, 20);
  const StepAnswer answer = compare(encode_png(stored, turned), encode_png(upright(stored, 6)));
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  EXPECT_EQ(answer.results.at("same"), "1");
  const StepAnswer other = compare(encode_png(stored), encode_png(scene(40, 21)));
  EXPECT_EQ(other.reason, "different");
  EXPECT_NE(other.message.find("40x20"), std::string::npos);
  const StepAnswer bad = compare(encode_png(stored), "no image");
  EXPECT_EQ(bad.reason, "not_an_image");
  EXPECT_EQ(bad.message.find("the reference: "), 0u);
}

// ---- placeholder

Picture formula(uint32_t width, uint32_t height, int bands) {
  return make_picture(width, height, bands, 8, [](int x, int y, int band) {
    const int values[] = {x * 5 + y * 2, y * 7, x * x + y * 3, x * x + y * 11};
    return values[band] % 256;
  });
}

TEST(Placeholder, GivesTheAuthorsOwnHashes) {
  // Of formula(), by the reference encoder in C (blurhash-python 1.2.2; 4 by 3 waves) and by
  // thumbhash 0.1.1 of npm.
  struct Case {
    Picture picture;
    const char *blurhash, *thumbhash;
  };
  const Case cases[] = {
      {formula(40, 30, 3), "LlGa@Q2lwsX2Hys9jrf6b=j[fRfj", "3DcKNZRhdodwd4iHiHiHd7SQCNeI"},
      {formula(30, 50, 3), "LhFY$B6^sPbVE2s7jqf8l|e:fSe?", "3ScKLBRhBWYHh3mHR6i0pSBn+A=="},
      {formula(40, 30, 4), "LlGa@Q2lwsX2Hys9jrf6b=j[fRfj", "3TeGHIoHcHaAiIp4WAtZgH1IRGZnBhF3CA=="},
  };
  for (const Case& one : cases) {
    const StepAnswer answer = run_picture_step("placeholder", encode_png(one.picture), {});
    ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
    EXPECT_EQ(answer.results.at("blurhash"), one.blurhash);
    EXPECT_EQ(answer.results.at("thumbhash"), one.thumbhash);
    EXPECT_EQ(answer.results.at("width"), std::to_string(one.picture.width));
  }
}

TEST(Placeholder, TheDominantColourIsTheFullestOne) {
  const Picture mostly = make_picture(300, 200, 3, 8, [](int x, int, int band) {
    const int blue[] = {20, 60, 200};
    return x < 200 ? blue[band] : (x * 31 + band * 90) % 256;
  });
  const StepAnswer answer = run_picture_step("placeholder", encode_png(mostly), {});
  EXPECT_EQ(answer.results.at("colour").substr(0, 7), "#143cc8");
  EXPECT_EQ(answer.results.at("width"), "300") << "of the image, not of what was looked at";
  const StepAnswer one =
      run_picture_step("placeholder", encode_png(mostly), {{"across", "1"}, {"down", "1"}});
  EXPECT_EQ(one.results.at("blurhash").size(), 6u);
}

// ---- metadata

TEST(Metadata, TellsWhatTheFileSays) {
  JpegStyle style;
  style.exif = exif_with_location(6);
  style.icc = icc_display_p3();
  const std::string jpeg = encode_jpeg(scene(48, 32), style);
  const std::string json = run_picture_step("metadata", jpeg, {}).results["metadata"];
  for (const char* words :
       {R"("media_type":"image/jpeg")", R"("width":32,"height":48,"orientation":6)",
        R"("make":"Maker \"X\"")", R"("artist":"Ann")", R"("exposure_time":0.005)", R"("iso":400)",
        R"("date_time_original":"2024:02:29 12:00:00")", R"("has_location":true)",
        R"("space":"RGB")"}) {
    EXPECT_NE(json.find(words), std::string::npos) << words << " in " << json;
  }
  EXPECT_EQ(json.find("latitude"), std::string::npos) << "only when asked";
  const std::string where =
      run_picture_step("metadata", jpeg, {{"location", "true"}}).results["metadata"];
  EXPECT_NE(where.find(R"("location":{"latitude":48.21,"longitude":-16.366667})"),
            std::string::npos)
      << where;
}

TEST(Metadata, RemovesTheLocationAndNothingElse) {
  const Picture picture = scene(48, 32);
  JpegStyle jpeg;
  PngStyle png;
  jpeg.exif = png.exif = exif_with_location(6);
  const std::string gps_value = tiff_long(0, 3600).bytes + tiff_long(0, 100).bytes;
  for (const std::string& image : {encode_jpeg(picture, jpeg), encode_png(picture, png),
                                   encode_webp(picture, true, jpeg.exif)}) {
    ASSERT_NE(image.find(gps_value), std::string::npos);
    const StepAnswer answer = run_picture_step("metadata", image, {});
    ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
    const std::string& clean = answer.outputs[0];
    EXPECT_EQ(clean.find(gps_value), std::string::npos)
        << "the bytes are gone, not only the pointer";
    const std::string json =
        run_picture_step("metadata", clean, {{"location", "true"}}).results["metadata"];
    EXPECT_NE(json.find(R"("has_location":false)"), std::string::npos) << json;
    EXPECT_NE(json.find(R"("iso":400)"), std::string::npos) << json;
    EXPECT_NE(json.find(R"("orientation":6)"), std::string::npos) << json;
    const StepAnswer same = compare(clean, image);
    EXPECT_EQ(same.results.at("same"), "1");
    EXPECT_EQ(run_picture_step("metadata", image, {{"remove", "nothing"}}).outputs[0], image);
    const std::string safe = run_picture_step("metadata", image, {{"remove", "unsafe"}}).outputs[0];
    EXPECT_NE(safe.find("(c) Ann"), std::string::npos);
    EXPECT_EQ(safe.find("Maker"), std::string::npos);
    EXPECT_EQ(upload(safe).results.at("orientation"), "6");
    const std::string none =
        run_picture_step("metadata", image, {{"remove", "everything"}}).outputs[0];
    EXPECT_EQ(none.find("Ann"), std::string::npos);
    EXPECT_EQ(upload(none).results.at("orientation"), "6") << "never lost";
  }
  const std::string before = encode_jpeg(picture, jpeg);
  const std::string after = run_picture_step("metadata", before, {}).outputs[0];
  EXPECT_EQ(jpeg_facts(after).luma_coefficients, jpeg_facts(before).luma_coefficients);
}

TEST(Metadata, WhatStandsBehindTheEndOfAJpegGoesToo) {
  JpegStyle style;
  style.exif = exif_with_location(1);
  const std::string jpeg = encode_jpeg(scene(48, 32), style);
  const std::string clean = run_picture_step("metadata", jpeg + jpeg, {}).outputs[0];
  EXPECT_LT(clean.size(), jpeg.size() + 10) << "a second picture has a place of its own";
  EXPECT_EQ(upload(clean).code, MR_OK);
}

TEST(Metadata, TextThatIsNoUtf8IsStillJson) {
  TiffWriter writer;
  writer.add_page({tiff_ascii(271, "\xc3\xa9\xff\xc3 a\n\xe2\x82")});
  PngStyle style;
  style.exif = writer.take();
  const StepAnswer answer = run_picture_step("metadata", encode_png(scene(9, 9), style), {});
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  EXPECT_NE(answer.results.at("metadata").find("\"make\":\"\xc3\xa9?? a\\u000a??\""),
            std::string::npos)
      << answer.results.at("metadata");
}

// ---- optimize

StepAnswer optimize(const std::string& image, ParamTexts params = {}) {
  return run_picture_step("optimize", image, std::move(params));
}

TEST(Optimize, FindsASmallerFileThatLooksEnoughAlike) {
  JpegStyle style;
  style.quality = 97;
  const std::string jpeg = encode_jpeg(scene(320, 240), style);
  size_t last = jpeg.size();
  for (const auto& [quality, least] :
       {std::pair("lossless", 1.0), std::pair("high", 0.985), std::pair("low", 0.95)}) {
    const StepAnswer answer = optimize(jpeg, {{"quality", quality}});
    ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
    EXPECT_LT(answer.outputs[0].size(), last) << quality;
    last = answer.outputs[0].size();
    EXPECT_EQ(std::stol(answer.results.at("saved")), static_cast<long>(jpeg.size() - last));
    const StepAnswer likeness = compare(answer.outputs[0], jpeg);
    EXPECT_GE(std::stod(likeness.results.at("ssim")) + 1e-4, least) << quality;
    if (least == 1.0) {
      EXPECT_EQ(likeness.results.at("same"), "1");
    }
  }
  const StepAnswer web = optimize(jpeg, {{"formats", "web"}, {"ssim", "0.95"}});
  ASSERT_TRUE(web.ok()) << web.message << web.misuse;
  EXPECT_LE(web.outputs[0].size(), last);
  EXPECT_EQ(optimize(jpeg, {{"ssim", "2"}}).reason, "bad_parameter");
}

// A large picture is searched on a sample of it; what comes must be as good as was asked, and
// hardly larger than the file of the lowest quality that is: half of the picture is smooth, half is
// not.
TEST(Optimize, ALargePictureIsAsGoodAsAskedAndAlmostAsSmallAsItCanBe) {
  const Picture picture = make_picture(1640, 1640, 3, 8, [](int x, int y, int band) {
    const int wave = (x * (band + 1) / 8 + y / 4) % 256;
    const uint32_t noise =
        (static_cast<uint32_t>(x) * 2654435761u ^ static_cast<uint32_t>(y) * 40503u) >> 24;
    return x < 820 ? std::abs(wave - 128) : (std::abs(wave - 128) + static_cast<int>(noise)) / 2;
  });
  JpegStyle style;
  style.quality = 97;
  const std::string jpeg = encode_jpeg(picture, style);
  const StepAnswer answer = optimize(jpeg);
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  const double said = std::stod(answer.results.at("ssim"));
  EXPECT_GE(said, 0.985);
  EXPECT_NEAR(std::stod(compare(answer.outputs[0], jpeg).results.at("ssim")), said, 1e-4);
  int low = 20, high = 95;
  size_t least = 0;
  while (low <= high) {
    const int quality = (low + high) / 2;
    const StepAnswer one = run_picture_step(
        "convert", jpeg, {{"quality", std::to_string(quality)}, {"progressive", "true"}});
    ASSERT_TRUE(one.ok()) << one.message << one.misuse;
    const bool enough = std::stod(compare(one.outputs[0], jpeg).results.at("ssim")) >= 0.985;
    if (enough) least = one.outputs[0].size();
    (enough ? high : low) = enough ? quality - 1 : quality + 1;
  }
  EXPECT_LE(static_cast<double>(answer.outputs[0].size()), static_cast<double>(least) * 1.05);
}

TEST(Optimize, IsNeverLargerThanTheInput) {
  JpegStyle poor;
  poor.quality = 5;
  GifStyle gif;
  gif.frame_colours = {{255, 0, 0}, {0, 255, 0}};
  gif.comment = "made at home";
  const std::pair<const char*, std::string> images[] = {
      {"jpeg", encode_jpeg(scene(40, 30), poor)},
      {"png", encode_png(scene(40, 30))},
      {"png16", encode_png(scene(40, 30, 4, 16))},
      {"webp", encode_webp(scene(40, 30), false)},
      {"lossless", encode_webp(scene(40, 30, 4), true)},
      {"animation", encode_webp_animation({scene(40, 30, 4), scene(40, 30, 4)}, 50, 0)},
      {"gif", encode_gif(gif)},
      {"tiff", encode_tiff({scene(40, 30), scene(20, 20)})},
  };
  for (const auto& [name, image] : images) {
    for (const char* metadata : {"safe", "keep", "strip"}) {
      const StepAnswer answer =
          optimize(image, {{"metadata", metadata}, {"quality", "lossless"}, {"formats", "web"}});
      ASSERT_TRUE(answer.ok()) << name << answer.message << answer.misuse;
      EXPECT_LE(answer.outputs[0].size(), image.size()) << name;
      const StepAnswer before = upload(image), after = upload(answer.outputs[0]);
      EXPECT_EQ(after.results.at("pages"), before.results.at("pages")) << name;
      EXPECT_EQ(compare(answer.outputs[0], image).results.at("same"), "1") << name;
    }
  }
}

TEST(Optimize, APngOfFewColoursGetsAPalette) {
  const Picture picture = make_picture(
      64, 64, 3, 8, [](int x, int y, int band) { return (x / 8 + y / 8) % 5 * 50 + band; });
  const StepAnswer answer = optimize(encode_png(picture));
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  EXPECT_EQ(int{answer.outputs[0][25]}, 3);
  EXPECT_EQ(worst_difference(decode_png(answer.outputs[0]), picture), 0);
}

TEST(Optimize, PlacesGoAndTheOrientationStaysTrue) {
  JpegStyle style;
  style.quality = 10;  // nothing smaller is to be found, so the file itself is cleaned
  style.exif = exif_with_location(6);
  const std::string jpeg = encode_jpeg(scene(48, 32), style);
  for (const char* quality : {"high", "lossless"}) {
    const StepAnswer answer = optimize(jpeg, {{"quality", quality}});
    ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
    EXPECT_EQ(answer.outputs[0].find("Maker"), std::string::npos);
    const Picture wanted = upright(decode_jpeg(jpeg, kRgb), 6);
    const StepAnswer turned = run_picture_step("convert", answer.outputs[0], {{"format", "png"}});
    EXPECT_LT(mean_difference(decoded(turned), wanted), 6.0) << "seen the same way";
  }
}

}  // namespace
}  // namespace millrace::testing
