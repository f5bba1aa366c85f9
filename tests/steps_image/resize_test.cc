// Goal: resize gives the sizes that it promises and the pixels that the mathematics asks for: light
// or coded values, alpha multiplied in, every depth and every frame, upright.
// Method: pictures made by the codec libraries; expectations computed here, by a box where the
// filter must agree with it and by a direct Lanczos sum elsewhere.
#include <cmath>

#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "steps/common/gray.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

StepAnswer resize(const std::string& image, ParamTexts params) {
  return run_picture_step("resize", image, std::move(params));
}

std::string size_of(const StepAnswer& answer) {
  return answer.ok() ? answer.results.at("width") + "x" + answer.results.at("height")
                     : answer.reason + " " + answer.message + answer.misuse;
}

TEST(Resize, EveryFitGivesItsSize) {
  const std::string image = encode_png(scene(200, 100));
  const auto size = [&](const std::string& fit, const char* width, const char* height) {
    ParamTexts params = {{"fit", fit}};
    if (*width) params["width"] = width;
    if (*height) params["height"] = height;
    const StepAnswer answer = resize(image, params);
    if (answer.ok()) {
      const Picture picture = decoded(answer);
      EXPECT_EQ(fmt::format("{}x{}", picture.width, picture.height), size_of(answer));
    }
    return size_of(answer);
  };
  EXPECT_EQ(size("cover", "50", "50"), "50x50");
  EXPECT_EQ(size("contain", "50", "50"), "50x50");
  EXPECT_EQ(size("fill", "50", "50"), "50x50");
  EXPECT_EQ(size("inside", "50", "50"), "50x25");
  EXPECT_EQ(size("outside", "50", "50"), "100x50");
  EXPECT_EQ(size("cover", "50", ""), "50x25");
  EXPECT_EQ(size("cover", "", "50"), "100x50");
  EXPECT_EQ(size("inside", "67", ""), "67x34") << "33.5 is rounded up";
  EXPECT_EQ(size("inside", "1", "1"), "1x1") << "never nothing";
}

TEST(Resize, DoesNotEnlargeUnlessAsked) {
  const std::string image = encode_png(scene(40, 20));
  EXPECT_EQ(size_of(resize(image, {{"width", "80"}})), "40x20");
  EXPECT_EQ(size_of(resize(image, {{"width", "80"}, {"enlarge", "true"}})), "80x40");
  EXPECT_EQ(size_of(resize(image, {{"width", "80"}, {"height", "10"}, {"fit", "fill"}})), "40x10");
  EXPECT_EQ(size_of(resize(image, {{"width", "80"}, {"height", "15"}})), "40x15");
  EXPECT_EQ(size_of(resize(image, {{"width", "80"}, {"height", "60"}, {"fit", "contain"}})),
            "80x60");
}

TEST(Resize, ParametersThatMakeNoSenseAreNamed) {
  const std::string image = encode_png(scene(40, 20));
  EXPECT_EQ(resize(image, {}).reason, "bad_parameter");
  EXPECT_NE(resize(image, {}).message.find("width or height"), std::string::npos);
  const StepAnswer gravity =
      resize(image, {{"width", "9"}, {"fit", "inside"}, {"gravity", "attention"}});
  EXPECT_EQ(gravity.reason, "bad_parameter");
  EXPECT_NE(gravity.message.find("attention"), std::string::npos);
  const StepAnswer colour = resize(image, {{"width", "9"}, {"background", "white"}});
  EXPECT_EQ(colour.reason, "bad_parameter");
}

TEST(Resize, TheResultHasALimitToo) {
  StepRequest request{"resize", "resize", encode_png(scene(40, 20)), {}};
  request.params = {{"width", "4000"}, {"enlarge", "true"}};
  request.pixels_max = 100'000;
  EXPECT_EQ(run_step(request).reason, "too_many_pixels");
}

// A direct separable Lanczos-3 sum with the filter stretched by the factor, as every textbook has
// it.
Picture lanczos(const Picture& in, uint32_t width, uint32_t height) {
  const auto weight = [](double x) {
    if (std::fabs(x) < 1e-9) return 1.0;
    if (std::fabs(x) >= 3) return 0.0;
    const double t = M_PI * x;
    return 3 * std::sin(t) * std::sin(t / 3) / (t * t);
  };
  const auto pass = [&](const std::vector<double>& from, int count, int to_count, int lines,
                        bool across) {
    std::vector<double> to(static_cast<size_t>(to_count) * static_cast<size_t>(lines));
    const double factor = count / static_cast<double>(to_count);
    const double stretch = std::max(1.0, factor);
    for (int i = 0; i < to_count; ++i) {
      const double centre = (i + 0.5) * factor - 0.5;
      for (int line = 0; line < lines; ++line) {
        double sum = 0, total = 0;
        for (int k = static_cast<int>(centre - 3 * stretch);
             k <= static_cast<int>(centre + 3 * stretch) + 1; ++k) {
          const double part = weight((k - centre) / stretch);
          const int inside = std::clamp(k, 0, count - 1);
          const int at = across ? line * count + inside : inside * lines + line;
          sum += part * from[static_cast<size_t>(at)];
          total += part;
        }
        const int at = across ? line * to_count + i : i * lines + line;
        to[static_cast<size_t>(at)] = sum / total;
      }
    }
    return to;
  };
  std::vector<std::vector<double>> planes;
  for (int band = 0; band < in.bands; ++band) {
    std::vector<double> plane;
    for (uint32_t y = 0; y < in.height; ++y) {
      for (uint32_t x = 0; x < in.width; ++x) plane.push_back(in.at(x, y, band));
    }
    const auto iw = static_cast<int>(in.width), ih = static_cast<int>(in.height);
    const auto w = static_cast<int>(width), h = static_cast<int>(height);
    planes.push_back(pass(pass(plane, iw, w, ih, true), ih, h, w, false));
  }
  const int top = in.bits == 16 ? 65535 : 255;
  return make_picture(width, height, in.bands, in.bits, [&](int x, int y, int band) {
    const size_t at = static_cast<size_t>(y) * width + static_cast<size_t>(x);
    return static_cast<int>(
        std::lround(std::clamp<double>(planes[static_cast<size_t>(band)][at], 0, top)));
  });
}

TEST(Resize, AgreesWithADirectLanczosSum) {
  for (const auto& [width, height] :
       {std::pair(48u, 36u), std::pair(71u, 50u), std::pair(100u, 75u)}) {
    const Picture picture = scene(160, 120);
    const StepAnswer answer = resize(
        encode_png(picture),
        {{"width", std::to_string(width)}, {"height", std::to_string(height)}, {"fit", "fill"}});
    const Picture got = decoded(answer), wanted = lanczos(picture, width, height);
    EXPECT_LE(worst_difference(got, wanted), 1) << width;
    EXPECT_LT(mean_difference(got, wanted), 0.01) << width;
  }
  const Picture wide = scene(160, 120, 3, 16);
  const Picture got = decoded(resize(encode_png(wide), {{"width", "64"}}));
  EXPECT_EQ(got.bits, 16);
  EXPECT_LE(worst_difference(got, lanczos(wide, 64, 48)), 1);
}

TEST(Resize, AFlatPictureStaysExactlyFlat) {
  for (const int bands : {1, 2, 3, 4}) {
    for (const int bits : {8, 16}) {
      for (const char* linear : {"false", "true"}) {
        const int top = bits == 16 ? 65535 : 255;
        const Picture flat = make_picture(90, 70, bands, bits, [&](int, int, int band) {
          return band == bands - 1 && bands % 2 == 0 ? top * 3 / 5 : top / 3 + band * 20;
        });
        const Picture got =
            decoded(resize(encode_png(flat), {{"width", "23"}, {"linear", linear}}));
        ASSERT_EQ(got.bands, bands);
        ASSERT_EQ(got.bits, bits);
        int worst = 0;
        for (uint32_t y = 0; y < got.height; ++y) {
          for (uint32_t x = 0; x < got.width; ++x) {
            for (int band = 0; band < bands; ++band) {
              worst = std::max(worst, std::abs(got.at(x, y, band) - flat.at(0, 0, band)));
            }
          }
        }
        EXPECT_LE(worst, bits == 16 ? 2 : 0) << bands << " " << bits << " " << linear;
      }
    }
  }
}

TEST(Resize, LinearLightKeepsTheBrightnessOfFineLines) {
  const Picture lines =
      make_picture(128, 128, 3, 8, [](int x, int, int) { return x % 2 == 0 ? 255 : 0; });
  const Picture coded = decoded(resize(encode_png(lines), {{"width", "16"}}));
  const Picture light = decoded(resize(encode_png(lines), {{"width", "16"}, {"linear", "true"}}));
  EXPECT_NEAR(coded.at(8, 8, 0), 128, 1);
  EXPECT_NEAR(light.at(8, 8, 0), std::lround(255 * srgb_encode(0.5)), 1);  // 188
}

TEST(Resize, TransparentPixelsGiveNoColour) {
  // Green that cannot be seen beside red that can: without multiplication the edge turns brown.
  const Picture picture = make_picture(64, 64, 4, 8, [](int x, int, int band) {
    const bool seen = x < 31;
    if (band == 3) return seen ? 255 : 0;
    return band == (seen ? 0 : 1) ? 255 : 0;
  });
  for (const char* linear : {"false", "true"}) {
    const Picture got = decoded(resize(encode_png(picture), {{"width", "16"}, {"linear", linear}}));
    for (uint32_t x = 0; x < 16; ++x) {
      if (got.at(x, 8, 3) == 0) continue;
      EXPECT_GE(got.at(x, 8, 0), 254) << x;
      EXPECT_LE(got.at(x, 8, 1), 1) << x;
    }
  }
}

TEST(Resize, ContainFillsWithTheBackgroundOrWithNothing) {
  const Picture rgb = flat(200, 10, 10, 40),
                clear =
                    make_picture(40, 40, 4, 8, [](int, int, int b) { return b == 3 ? 255 : 90; });
  const ParamTexts box = {{"width", "40"}, {"height", "20"}, {"fit", "contain"}};
  const Picture white = decoded(resize(encode_png(rgb), box));
  EXPECT_EQ(white.at(1, 10, 0), 255);
  EXPECT_NEAR(white.at(20, 10, 0), 200, 0);
  ParamTexts blue = box;
  blue["background"] = "#0000ff";
  EXPECT_EQ(decoded(resize(encode_png(rgb), blue)).at(1, 10, 2), 255);
  const Picture nothing = decoded(resize(encode_png(clear), box));
  EXPECT_EQ(nothing.at(1, 10, 3), 0);
  EXPECT_EQ(nothing.at(20, 10, 3), 255);
  const Picture gray = make_picture(40, 40, 1, 8, [](int, int, int) { return 50; });
  const Picture coloured = decoded(resize(encode_png(gray), blue));
  ASSERT_EQ(coloured.bands, 3) << "gray on blue is a coloured picture";
  EXPECT_EQ(coloured.at(1, 10, 2), 255);
  EXPECT_EQ(coloured.at(20, 10, 2), 50);
  EXPECT_EQ(decoded(resize(encode_png(gray), box)).bands, 1) << "gray on white is gray";
}

TEST(Resize, GravityChoosesWhatCoverKeeps) {
  const Picture halves = make_picture(
      100, 50, 3, 8, [](int x, int, int band) { return band == (x < 50 ? 0 : 2) ? 255 : 0; });
  const auto middle = [&](const char* gravity) {
    return decoded(resize(encode_png(halves),
                          {{"width", "25"}, {"height", "50"}, {"gravity", gravity}}))
        .at(12, 25, 0);
  };
  EXPECT_EQ(middle("west"), 255);
  EXPECT_EQ(middle("northwest"), 255);
  EXPECT_EQ(middle("east"), 0);
  // A detailed corner draws the eye.
  const Picture corner = make_picture(120, 40, 3, 8, [](int x, int y, int band) {
    if (x < 90) return 128;
    return band == 0 ? 255 : (x * 37 + y * 91) % 128;
  });
  const Picture seen = decoded(
      resize(encode_png(corner), {{"width", "20"}, {"height", "20"}, {"gravity", "attention"}}));
  EXPECT_GT(seen.at(10, 10, 0), 200);
}

TEST(Resize, EveryOrientationIsAppliedBeforeMeasuring) {
  const Picture stored = scene(96, 64);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Picture seen = upright(stored, orientation);
    PngStyle png;
    png.exif = build_exif({orientation, "", ""});
    JpegStyle jpeg;
    jpeg.quality = 98;
    jpeg.luma_h = jpeg.luma_v = 1;
    jpeg.exif = png.exif;
    for (const std::string& image : {encode_png(stored, png), encode_jpeg(stored, jpeg)}) {
      const StepAnswer answer = resize(image, {{"width", "48"}, {"format", "png"}});
      const Picture got = decoded(answer);
      EXPECT_EQ(got.width, 48u);
      EXPECT_EQ(got.height, orientation >= 5 ? 72u : 32u);
      const Picture wanted = decoded(resize(encode_png(seen), {{"width", "48"}}));
      EXPECT_LE(mean_difference(got, wanted), image[0] == '\x89' ? 0.0 : 3.0) << orientation;
      EXPECT_EQ(upload(answer.outputs[0]).results.at("orientation"), "1");
    }
  }
}

TEST(Resize, AShrunkJpegIsAsGoodAsAWholeOne) {
  JpegStyle style;
  style.quality = 95;
  const Picture picture = scene(1600, 1200);
  const std::string jpeg = encode_jpeg(picture, style);
  const Picture whole = decode_jpeg(jpeg, 2 /* JCS_RGB */);
  const Picture got = decoded(resize(jpeg, {{"width", "100"}, {"format", "png"}}));
  const Picture wanted = decoded(resize(encode_png(whole), {{"width", "100"}}));
  // What the decoder takes together is a box, which lets a little more of the noise through.
  EXPECT_LE(mean_difference(got, wanted), 2.0) << "the decoder shrank by 4 or 8";
  EXPECT_LE(worst_difference(got, wanted), 12);
}

TEST(Resize, AShrunkWebpIsAsGoodAsAWholeOne) {
  const Picture picture = scene(1203, 907, 4);  // sides that no factor divides
  const StepAnswer answer =
      resize(encode_webp(picture, true), {{"width", "100"}, {"format", "png"}});
  const Picture got = decoded(answer),
                wanted = decoded(resize(encode_png(picture), {{"width", "100"}}));
  EXPECT_LE(mean_difference(got, wanted), 2.0) << "the decoder shrank by 4";
  EXPECT_LE(worst_difference(got, wanted), 16);
}

TEST(Resize, EveryFrameOfAnAnimationIsResizedAndKept) {
  std::vector<Picture> frames;
  for (int i = 0; i < 4; ++i) {
    frames.push_back(make_picture(40, 30, 4, 8, [=](int x, int, int band) {
      return band == 3 ? 255 : band == i % 3 ? (x < 20 ? 220 : 180) : 10;
    }));
  }
  const std::string webp = encode_webp_animation(frames, 70, 3);
  const StepAnswer answer = resize(webp, {{"width", "20"}, {"lossless", "true"}});
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  EXPECT_EQ(size_of(answer), "20x15");
  const WebpAnimation after = decode_webp_animation(answer.outputs[0]);
  EXPECT_EQ(after.loop, 3u);
  ASSERT_EQ(after.frames.size(), 4u);
  EXPECT_EQ(after.durations, decode_webp_animation(webp).durations);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(after.frames[i].at(3, 1, static_cast<int>(i % 3)), 220, 3) << i;
    EXPECT_NEAR(after.frames[i].at(3, 13, static_cast<int>(i % 3)), 220, 3)
        << "no neighbour's rows";
    EXPECT_NEAR(after.frames[i].at(17, 7, static_cast<int>(i % 3)), 180, 3) << i;
  }
  GifStyle gif;
  gif.width = 8, gif.height = 6;
  gif.frame_colours = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}};
  const StepAnswer small = resize(encode_gif(gif), {{"width", "4"}});
  ASSERT_TRUE(small.ok()) << small.message << small.misuse;
  const StepAnswer facts = upload(small.outputs[0]);
  EXPECT_EQ(facts.results.at("media_type"), "image/gif");
  EXPECT_EQ(facts.results.at("pages"), "3");
  EXPECT_EQ(facts.results.at("width"), "4");
}

TEST(Resize, PagesOfATiffMayDiffer) {
  TiffStyle style;
  style.artist = "Ann";
  const StepAnswer answer =
      resize(encode_tiff({scene(80, 40), scene(30, 60, 1), scene(50, 50, 3, 16)}, style),
             {{"width", "20"}});
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  const std::vector<TiffPage> pages = decode_tiff(answer.outputs[0]);
  ASSERT_EQ(pages.size(), 3u);
  EXPECT_EQ(pages[0].picture.height, 10u);
  EXPECT_EQ(pages[1].picture.height, 40u);
  EXPECT_EQ(pages[1].picture.bands, 1);
  EXPECT_EQ(pages[2].picture.bits, 16);
  EXPECT_EQ(pages[2].artist, "Ann");
  EXPECT_EQ(answer.results.at("pages"), "3");
}

TEST(Resize, StopsWhenTheHostSaysSo) {
  StepRequest request{"resize", "resize", encode_png(scene(1200, 900)), {{"width", "300"}}};
  request.cancel_after = 1;
  const StepAnswer answer = run_step(request);
  EXPECT_EQ(answer.code, MR_CANCELLED) << answer.reason << answer.misuse;
}

}  // namespace
}  // namespace millrace::testing
