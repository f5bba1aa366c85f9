// Goal: convert changes the file and not the picture, but for what the format cannot hold; colours,
// metadata, frames and damage are treated as steps/README.md says. crop and rotate move pixels and
// change none.
// Method: pictures made by the codec libraries, exact expectations wherever the format is lossless.
#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

constexpr int kRgb = 2;  // J_COLOR_SPACE

StepAnswer convert(const std::string& image, ParamTexts params = {}) {
  return run_picture_step("convert", image, std::move(params));
}

TEST(Convert, LosslessFormatsKeepEveryPixel) {
  for (const int bands : {1, 2, 3, 4}) {
    for (const int bits : {8, 16}) {
      const Picture picture = scene(37, 23, bands, bits);
      const std::string png = encode_png(picture), tiff = encode_tiff({picture});
      for (const std::string& image : {png, tiff}) {
        for (const char* format : {"png", "tiff"}) {
          for (const char* progressive : {"false", "true"}) {
            const Picture got =
                decoded(convert(image, {{"format", format}, {"progressive", progressive}}));
            EXPECT_EQ(worst_difference(got, picture), 0) << bands << " " << bits << " " << format;
            EXPECT_EQ(got.bits, bits);
          }
        }
      }
      if (bits == 16) continue;
      const Picture webp = decoded(convert(png, {{"format", "webp"}, {"lossless", "true"}}));
      int worst = 0;
      for (uint32_t y = 0; y < 23; ++y) {
        for (uint32_t x = 0; x < 37; ++x) {
          worst =
              std::max(worst, std::abs(webp.at(x, y, 1) - picture.at(x, y, bands >= 3 ? 1 : 0)));
        }
      }
      EXPECT_EQ(worst, 0) << bands;
    }
  }
}

TEST(Convert, EveryFileOfPngSuiteBecomesEveryFormat) {
  const auto files = corpus_files("pngsuite", ".png");
  if (files.empty()) GTEST_SKIP() << "no corpus";
  size_t number = 0;
  for (const std::string& name : files) {
    if (name.starts_with("pngsuite/x")) continue;
    const std::string image = corpus(name);
    const Picture before = decode_png(image);
    const Picture after = decoded(convert(image));
    EXPECT_EQ(worst_difference(after, before), 0) << name;
    const char* formats[] = {"jpeg", "webp", "gif", "tiff"};
    const char* format = formats[number++ % 4];
    const StepAnswer other = convert(image, {{"format", format}});
    EXPECT_TRUE(other.ok()) << name << " " << format << ": " << other.message << other.misuse;
    if (other.ok()) {
      EXPECT_EQ(upload(other.outputs[0]).code, MR_OK) << name << " " << format;
    }
  }
}

TEST(Convert, AlphaIsLaidOverTheBackgroundWhereThereIsNone) {
  const Picture half = make_picture(16, 16, 4, 8, [](int, int, int band) {
    return band == 3 ? 128 : band == 0 ? 255 : 0;
  });
  const std::string png = encode_png(half);
  const Picture white = decoded(convert(png, {{"format", "jpeg"}, {"quality", "100"}}));
  EXPECT_NEAR(white.at(8, 8, 0), 255, 2);
  EXPECT_NEAR(white.at(8, 8, 1), 127, 2) << "white, not libvips' black";
  const Picture black =
      decoded(convert(png, {{"format", "jpeg"}, {"quality", "100"}, {"background", "#000"}}));
  EXPECT_NEAR(black.at(8, 8, 0), 128, 2);
  EXPECT_NEAR(black.at(8, 8, 1), 0, 2);
}

TEST(Convert, ATiffsAlphaThatIsMultipliedInIsTakenOut) {
  for (const int bits : {8, 16}) {
    const int top = bits == 16 ? 65535 : 255;
    const Picture straight = make_picture(16, 16, 4, bits, [=](int x, int, int band) {
      return band == 3 ? top / 2 + x * top / 40 : band == 0 ? top : top / 4;
    });
    Picture multiplied = straight;
    for (size_t i = 0; i < multiplied.samples.size(); ++i) {
      if (i % 4 == 3) continue;
      multiplied.samples[i] = static_cast<uint16_t>(int64_t{straight.samples[i]} *
                                                    straight.samples[i / 4 * 4 + 3] / top);
    }
    TiffStyle style;
    style.associated = true;
    const Picture got = decoded(convert(encode_tiff({multiplied}, style), {{"format", "png"}}));
    EXPECT_LE(worst_difference(got, straight), bits == 16 ? 3 : 2) << bits;
  }
}

TEST(Convert, SixteenBitsAreRoundedNotCut) {
  const Picture wide = make_picture(16, 16, 1, 16, [](int, int, int) { return 0x01ff; });
  EXPECT_NEAR(
      decoded(convert(encode_png(wide), {{"format", "jpeg"}, {"quality", "100"}})).at(4, 4, 0), 2,
      0);
}

TEST(Convert, ProfilesAreConvertedOrKept) {
  PngStyle style;
  style.icc = icc_display_p3();
  const std::string p3 = encode_png(flat(200, 30, 30), style);
  const StepAnswer srgb = convert(p3);
  EXPECT_EQ(srgb.outputs[0].find("iCCP"), std::string::npos);
  EXPECT_NEAR(decoded(srgb).at(1, 1, 0), 219, 3) << "P3's red is redder than sRGB's";
  const StepAnswer keep = convert(p3, {{"colours", "keep"}});
  EXPECT_EQ(decoded(keep).at(1, 1, 0), 200);
  for (const char* format : {"png", "jpeg", "webp", "tiff"}) {
    // Kept once more, then converted: the profile that was written is the one that was read.
    const StepAnswer kept =
        convert(p3, {{"colours", "keep"}, {"format", format}, {"quality", "98"}});
    ASSERT_TRUE(kept.ok()) << kept.message << kept.misuse;
    const Picture again = decoded(convert(kept.outputs[0], {{"format", "png"}}));
    EXPECT_NEAR(again.at(1, 1, 0), 219, 5) << format;
  }
  style.icc = icc_srgb();
  EXPECT_EQ(decoded(convert(encode_png(flat(200, 30, 30), style))).at(1, 1, 0), 200);
  style.icc = icc_gray(1.0);
  const Picture gray = make_picture(9, 9, 1, 8, [](int, int, int) { return 128; });
  const Picture got = decoded(convert(encode_png(gray, style)));
  ASSERT_EQ(got.bands, 1) << "gray stays gray";
  EXPECT_NEAR(got.at(1, 1, 0), 188, 2);
  TiffStyle other;
  other.icc = icc_gray(1.8);  // does not fit RGB
  const StepAnswer unfit = convert(encode_tiff({flat(1, 2, 3)}, other));
  EXPECT_EQ(decoded(unfit).at(1, 1, 2), 3);
  EXPECT_FALSE(unfit.notes.empty());
}

TEST(Convert, CmykBecomesRgb) {
  JpegStyle style;
  style.cmyk = true;
  style.quality = 98;
  const Picture none =
      make_picture(32, 32, 4, 8, [](int, int, int) { return 255; });  // Adobe: inverted
  const StepAnswer answer = convert(encode_jpeg(none, style), {{"format", "png"}});
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  const Picture got = decoded(answer);
  ASSERT_EQ(got.bands, 3);
  for (int band = 0; band < 3; ++band) EXPECT_GE(got.at(16, 16, band), 250) << band;
  TiffStyle tiff;
  tiff.photometric = 5;
  const Picture no_ink = make_picture(16, 16, 4, 8, [](int, int, int) { return 0; });
  EXPECT_GE(decoded(convert(encode_tiff({no_ink}, tiff), {{"format", "png"}})).at(8, 8, 1), 250);
}

TEST(Convert, MetadataIsSafeKeptOrStripped) {
  JpegStyle jpeg;
  jpeg.exif = build_exif({6, "Ann", "(c) Ann"});
  jpeg.markers = {
      {0xFE, "secret comment"},
      {0xE1, std::string("http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation=\"6\"/>", 54)}};
  const std::string image = encode_jpeg(scene(32, 16), jpeg);
  for (const char* format : {"jpeg", "png", "webp", "tiff"}) {
    const std::string safe = convert(image, {{"format", format}}).outputs[0];
    EXPECT_NE(safe.find("(c) Ann"), std::string::npos) << format;
    EXPECT_EQ(safe.find("secret"), std::string::npos) << format;
    EXPECT_EQ(safe.find("tiff:Orientation"), std::string::npos) << format;
    const StepAnswer facts = upload(safe);
    EXPECT_EQ(facts.results.at("orientation"), "1") << format;
    EXPECT_EQ(facts.results.at("width"), "16") << format << ": upright";
    const std::string strip =
        convert(image, {{"format", format}, {"metadata", "strip"}}).outputs[0];
    EXPECT_EQ(strip.find("Ann"), std::string::npos) << format;
    const std::string keep = convert(image, {{"format", format}, {"metadata", "keep"}}).outputs[0];
    EXPECT_NE(keep.find("(c) Ann"), std::string::npos) << format;
    EXPECT_NE(keep.find("tiff:Orientation=\"1\""), std::string::npos) << format;
    EXPECT_EQ(upload(keep).results.at("orientation"), "1") << format;
  }
}

TEST(Convert, AnimationsChangeTheirFormatAndKeepTheirTime) {
  GifStyle gif;
  gif.frame_colours = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}};
  gif.delay = 9;
  const StepAnswer webp = convert(encode_gif(gif), {{"format", "webp"}, {"lossless", "true"}});
  ASSERT_TRUE(webp.ok()) << webp.message << webp.misuse;
  const WebpAnimation frames = decode_webp_animation(webp.outputs[0]);
  ASSERT_EQ(frames.frames.size(), 3u);
  EXPECT_EQ(frames.durations, (std::vector<uint32_t>{90, 90, 90}));
  EXPECT_EQ(frames.frames[1].at(2, 2, 1), 255);
  const StepAnswer still = convert(encode_gif(gif), {{"format", "png"}});
  EXPECT_EQ(decoded(still).at(2, 2, 0), 255) << "the first frame";
  EXPECT_EQ(still.results.at("pages"), "1");
  const StepAnswer back = convert(webp.outputs[0], {{"format", "gif"}});
  EXPECT_EQ(upload(back.outputs[0]).results.at("pages"), "3");
  const StepAnswer pages = convert(encode_gif(gif), {{"format", "tiff"}});
  EXPECT_EQ(upload(pages.outputs[0]).results.at("pages"), "3");
}

TEST(Convert, CutFilesAreRefusedUnlessTheyAreAccepted) {
  const std::string whole = encode_jpeg(scene(200, 150));
  const std::string cut = whole.substr(0, whole.size() / 2);
  EXPECT_EQ(convert(cut).reason, "truncated");
  const StepAnswer accepted = convert(cut, {{"damaged", "accept"}, {"format", "png"}});
  ASSERT_TRUE(accepted.ok()) << accepted.message << accepted.misuse;
  EXPECT_FALSE(accepted.notes.empty());
  const Picture got = decoded(accepted), wanted = decode_jpeg(whole, kRgb);
  EXPECT_NEAR(got.at(10, 10, 0), wanted.at(10, 10, 0), 2) << "what was there is there";
  EXPECT_EQ(convert("no image", {{"damaged", "accept"}}).reason, "not_an_image");
  const std::string holed = cut + "\xff\xd9";
  EXPECT_EQ(convert(holed).reason, "corrupt");
}

TEST(Convert, SidesThatAFormatCannotHaveAreNamed) {
  const StepAnswer answer =
      convert(encode_png(make_picture(17000, 2, 1, 8, [](int, int, int) { return 7; })),
              {{"format", "webp"}});
  EXPECT_EQ(answer.reason, "unsupported");
  EXPECT_NE(answer.message.find("16383"), std::string::npos);
}

// ---- crop and rotate

TEST(Crop, TakesTheBoxThatWasAskedFor) {
  const Picture picture = scene(60, 40, 3, 16);
  const std::string image = encode_png(picture);
  const auto crop = [&](ParamTexts params) { return run_picture_step("crop", image, params); };
  const auto expect_box = [&](const StepAnswer& answer, uint32_t left, uint32_t top, uint32_t width,
                              uint32_t height) {
    const Picture wanted = make_picture(width, height, 3, 16, [&](int x, int y, int band) {
      return picture.at(left + static_cast<uint32_t>(x), top + static_cast<uint32_t>(y), band);
    });
    EXPECT_EQ(worst_difference(decoded(answer), wanted), 0);
  };
  expect_box(crop({{"left", "5"}, {"top", "7"}, {"width", "20"}, {"height", "10"}}), 5, 7, 20, 10);
  expect_box(crop({{"left", "50"}, {"width", "20"}}), 50, 0, 10, 40);
  expect_box(crop({{"width", "20"}, {"height", "10"}, {"gravity", "southeast"}}), 40, 30, 20, 10);
  expect_box(crop({{"aspect", "1:1"}}), 10, 0, 40, 40);
  expect_box(crop({{"aspect", "1:1"}, {"gravity", "west"}}), 0, 0, 40, 40);
  expect_box(crop({{"aspect", "3:1"}}), 0, 10, 60, 20);
  EXPECT_EQ(crop({}).reason, "bad_parameter");
  EXPECT_EQ(crop({{"aspect", "square"}}).reason, "bad_parameter");
  EXPECT_EQ(crop({{"aspect", "1:1"}, {"width", "5"}}).reason, "bad_parameter");
  EXPECT_EQ(crop({{"left", "60"}, {"width", "5"}}).reason, "bad_parameter");
}

// The luma blocks of a box, in blocks of 8 pixels.
std::vector<int16_t> blocks_of(const std::string& jpeg, size_t left, size_t top, size_t width,
                               size_t height) {
  const JpegFacts facts = jpeg_facts(jpeg);
  const size_t across = (static_cast<size_t>(facts.width) + 7) / 8;
  std::vector<int16_t> out;
  for (size_t y = top; y < top + height; ++y) {
    const auto first =
        facts.luma_coefficients.begin() + static_cast<ptrdiff_t>((y * across + left) * 64);
    out.insert(out.end(), first, first + static_cast<ptrdiff_t>(width * 64));
  }
  return out;
}

TEST(Crop, AJpegIsCutWithoutLossWhereItsBlocksAllow) {
  JpegStyle style;  // 4:2:0: blocks of 16 pixels
  const std::string jpeg = encode_jpeg(scene(120, 88), style);
  const auto crop = [&](ParamTexts params, const std::string& image) {
    const StepAnswer answer = run_picture_step("crop", image, std::move(params));
    EXPECT_TRUE(answer.ok()) << answer.reason << answer.message << answer.misuse;
    return answer;
  };
  const StepAnswer inside =
      crop({{"left", "16"}, {"top", "32"}, {"width", "64"}, {"height", "48"}}, jpeg);
  EXPECT_EQ(inside.results.at("untouched"), "1");
  EXPECT_EQ(jpeg_facts(inside.outputs[0]).luma_coefficients, blocks_of(jpeg, 2, 4, 8, 6));
  EXPECT_EQ(inside.results.at("width") + "x" + inside.results.at("height"), "64x48");
  const StepAnswer to_the_end = crop({{"left", "32"}, {"top", "48"}}, jpeg);
  EXPECT_EQ(to_the_end.results.at("untouched"), "1");
  EXPECT_EQ(to_the_end.results.at("width") + "x" + to_the_end.results.at("height"), "88x40");
  // What would leave unseen pixels in the file, or cut through blocks, is decoded.
  const ParamTexts decoded_ones[] = {
      {{"left", "8"}, {"top", "32"}, {"width", "64"}, {"height", "48"}},
      {{"left", "16"}, {"top", "32"}, {"width", "60"}, {"height", "48"}},
      {{"left", "16"}, {"top", "32"}, {"width", "64"}, {"height", "48"}, {"quality", "90"}},
      {{"left", "16"}, {"top", "32"}, {"width", "64"}, {"height", "48"}, {"format", "png"}},
      {{"left", "16"}, {"top", "32"}, {"width", "64"}, {"height", "48"}, {"damaged", "accept"}},
      {{"width", "64"}, {"height", "48"}, {"gravity", "attention"}},
  };
  for (const ParamTexts& params : decoded_ones) {
    EXPECT_EQ(crop(params, jpeg).results.at("untouched"), "0");
  }
}

TEST(Crop, AJpegThatIsTurnedByItsTagIsCutUpright) {
  for (const auto& [h, v] : {std::pair(1, 1), std::pair(2, 1), std::pair(2, 2)}) {
    JpegStyle style;
    style.luma_h = h, style.luma_v = v;
    const Picture seen = decode_jpeg(encode_jpeg(scene(96, 64), style), kRgb);
    for (int orientation = 1; orientation <= 8; ++orientation) {
      style.exif = build_exif({orientation, "Ann", ""});
      const Picture whole = upright(seen, orientation);
      const StepAnswer answer =
          run_picture_step("crop", encode_jpeg(scene(96, 64), style),
                           {{"left", "16"}, {"top", "32"}, {"width", "32"}, {"height", "16"}});
      ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
      EXPECT_EQ(answer.results.at("untouched"), "1") << h << v << orientation;
      const Picture got = decode_jpeg(answer.outputs[0], kRgb);
      const Picture wanted = make_picture(32, 16, 3, 8, [&](int x, int y, int band) {
        return whole.at(16 + static_cast<uint32_t>(x), 32 + static_cast<uint32_t>(y), band);
      });
      // Colours of coarser sampling are interpolated across the box's edges in the whole picture.
      EXPECT_LE(worst_difference(got, wanted), h * v == 1 ? 3 : 40) << h << v << orientation;
      EXPECT_LE(mean_difference(got, wanted), h * v == 1 ? 1 : 4) << h << v << orientation;
      EXPECT_EQ(upload(answer.outputs[0]).results.at("orientation"), "1");
      EXPECT_NE(answer.outputs[0].find("Ann"), std::string::npos);
    }
  }
}

TEST(Rotate, AllTurnsAndMirrorsOfAllOrientations) {
  const Picture stored = scene(24, 16);
  const auto turned = [](const Picture& picture, int angle, const std::string& mirror) {
    const int number = ((angle % 360) + 360) % 360;
    Picture out = upright(picture, number == 90 ? 6 : number == 180 ? 3 : number == 270 ? 8 : 1);
    if (mirror == "horizontal") out = upright(out, 2);
    return mirror == "vertical" ? upright(out, 4) : out;
  };
  for (int orientation = 1; orientation <= 8; ++orientation) {
    PngStyle style;
    style.exif = build_exif({orientation, "", ""});
    const std::string image = encode_png(stored, style);
    for (const int angle : {0, 90, 180, 270, -90}) {
      for (const char* mirror : {"none", "horizontal", "vertical"}) {
        if (orientation % 3 != 0 && angle == 180) continue;  // keeps the test quick
        const StepAnswer answer = run_picture_step(
            "rotate", image, {{"angle", std::to_string(angle)}, {"mirror", mirror}});
        EXPECT_EQ(
            worst_difference(decoded(answer), turned(upright(stored, orientation), angle, mirror)),
            0)
            << orientation << " " << angle << " " << mirror;
      }
    }
  }
}

TEST(Rotate, AJpegIsTurnedWithoutLoss) {
  // 4:4:4, so that decoding is the same for a turned picture; sides are whole blocks.
  JpegStyle style;
  style.luma_h = style.luma_v = 1;
  for (const bool progressive : {false, true}) {
    style.progressive = progressive;
    const Picture seen = decode_jpeg(encode_jpeg(scene(48, 32), style), kRgb);
    for (int orientation = 1; orientation <= 8; ++orientation) {
      style.exif = build_exif({orientation, "Ann", ""});
      const std::string jpeg = encode_jpeg(scene(48, 32), style);
      const StepAnswer answer = run_picture_step("rotate", jpeg, {{"angle", "90"}});
      ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
      EXPECT_EQ(answer.results.at("untouched"), "1");
      const Picture wanted = upright(upright(seen, orientation), 6);
      // A decoder's transform rounds rows and columns differently: a level in each of three planes.
      EXPECT_LE(worst_difference(decode_jpeg(answer.outputs[0], kRgb), wanted), 3);
      EXPECT_EQ(std::to_string(wanted.width), answer.results.at("width"));
      EXPECT_EQ(upload(answer.outputs[0]).results.at("orientation"), "1");
      EXPECT_NE(answer.outputs[0].find("Ann"), std::string::npos);
      EXPECT_EQ(jpeg_facts(answer.outputs[0]).progressive, progressive);
    }
    style.exif = "";
  }
}

TEST(Rotate, FourQuartersGiveTheSameCoefficients) {
  for (const int side : {1, 2}) {  // of luma's sampling
    JpegStyle style;
    style.luma_h = style.luma_v = side;
    const std::string jpeg = encode_jpeg(scene(64, 32), style);
    std::string turned = jpeg;
    for (const char* angle : {"90", "180", "-270"}) {
      const StepAnswer answer = run_picture_step("rotate", turned, {{"angle", angle}});
      ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
      EXPECT_EQ(answer.results.at("untouched"), "1");
      turned = answer.outputs[0];
    }
    EXPECT_EQ(jpeg_facts(turned).luma_coefficients, jpeg_facts(jpeg).luma_coefficients);
  }
}

TEST(Rotate, AJpegThatDoesNotFitItsBlocksIsDecoded) {
  JpegStyle style;
  style.quality = 98;
  style.luma_h = style.luma_v = 1;
  const Picture seen = decode_jpeg(encode_jpeg(scene(50, 35), style), kRgb);
  const StepAnswer answer = run_picture_step("rotate", encode_jpeg(scene(50, 35), style),
                                             {{"angle", "90"}, {"quality", "98"}});
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  EXPECT_EQ(answer.results.at("untouched"), "0");
  EXPECT_LT(mean_difference(decode_jpeg(answer.outputs[0], kRgb), upright(seen, 6)), 4.0);
  EXPECT_EQ(run_picture_step("rotate", encode_jpeg(scene(48, 32)), {{"angle", "45"}}).reason,
            "bad_parameter");
}

TEST(Rotate, TheCorpusOfOrientationsComesOutUpright) {
  const auto files = corpus_files("exif-orientation", ".jpg");
  if (files.empty()) GTEST_SKIP() << "no corpus";
  for (const std::string& name : files) {
    const StepAnswer answer = run_picture_step("rotate", corpus(name), {});
    ASSERT_TRUE(answer.ok()) << name << answer.message << answer.misuse;
    const bool portrait = name.find("ortrait") != std::string::npos;
    const int width = std::stoi(answer.results.at("width"));
    const int height = std::stoi(answer.results.at("height"));
    EXPECT_EQ(height > width, portrait) << name;
  }
}

}  // namespace
}  // namespace millrace::testing
