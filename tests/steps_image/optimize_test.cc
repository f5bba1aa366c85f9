// Goal: `optimize` never gives a larger file than it was given, of any kind of picture; `web` gives
// WebP where that is smaller and only there; and a profile's colours are seen as before. Method:
// every kind under every wish; photographs and drawings; what is seen is computed by lcms.
#include <fstream>
#include <sstream>

#include "cmake/precompiled_test.h"
#include "cmake/tree.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

constexpr int kRgb = 2;  // J_COLOR_SPACE

StepAnswer optimize(const std::string& image, ParamTexts params = {}) {
  return run_picture_step("optimize", image, std::move(params));
}

double likeness(const std::string& image, const std::string& reference) {
  StepRequest request{"compare", "compare", image, {}};
  request.second = reference;
  const StepAnswer answer = run_step(request);
  EXPECT_TRUE(answer.ok()) << answer.message << answer.misuse;
  return answer.ok() ? std::stod(answer.results.at("ssim")) : 0;
}

std::string photograph() {
  std::ifstream file(in_source("/demo/photo.jpg"), std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// Something drawn: a few flat colours.
Picture drawing(uint32_t width, uint32_t height) {
  return make_picture(width, height, 3, 8,
                      [](int x, int y, int band) { return (x / 9 + y / 7) % 4 * 70 + band * 9; });
}

// libwebp's decoder adds alpha.
Picture colours_of(const Picture& picture) {
  return make_picture(picture.width, picture.height, 3, 8, [&](int x, int y, int band) {
    return int{picture.at(static_cast<uint32_t>(x), static_cast<uint32_t>(y), band)};
  });
}

TEST(OptimizeForTheWeb, APhotographBecomesAWebpThatIsSmaller) {
  const std::string jpeg =
      run_picture_step("resize", photograph(), {{"width", "400"}, {"quality", "92"}}).outputs.at(0);
  for (const auto& [quality, least] : {std::pair("high", 0.985), std::pair("low", 0.95)}) {
    const StepAnswer same = optimize(jpeg, {{"quality", quality}});
    const StepAnswer web = optimize(jpeg, {{"quality", quality}, {"formats", "web"}});
    ASSERT_TRUE(same.ok() && web.ok()) << same.message << web.message << web.misuse;
    EXPECT_EQ(same.media_type, "image/jpeg");
    EXPECT_EQ(web.media_type, "image/webp") << quality;
    EXPECT_EQ(web.results.at("extension"), "webp");
    EXPECT_LT(web.outputs[0].size(), same.outputs[0].size()) << quality;
    EXPECT_LT(same.outputs[0].size(), jpeg.size());
    EXPECT_GE(likeness(web.outputs[0], jpeg) + 1e-4, least) << quality;
    EXPECT_NEAR(std::stod(web.results.at("ssim")), likeness(web.outputs[0], jpeg), 1e-4);
    EXPECT_EQ(std::stol(web.results.at("saved")),
              static_cast<long>(jpeg.size()) - static_cast<long>(web.outputs[0].size()));
  }
}

TEST(OptimizeForTheWeb, ADrawingBecomesALosslessWebpAndAJpegWithoutLossNone) {
  const std::string png = encode_png(drawing(120, 90));
  const StepAnswer web = optimize(png, {{"formats", "web"}, {"quality", "lossless"}});
  ASSERT_TRUE(web.ok()) << web.message << web.misuse;
  EXPECT_EQ(web.media_type, "image/webp");
  EXPECT_EQ(web.results.at("ssim"), "1.000000");
  EXPECT_EQ(worst_difference(colours_of(decoded(web)), drawing(120, 90)), 0);
  const StepAnswer lossless =
      optimize(encode_jpeg(scene(64, 48)), {{"formats", "web"}, {"quality", "lossless"}});
  EXPECT_EQ(lossless.media_type, "image/jpeg") << "the coefficients are kept";
}

TEST(OptimizeForTheWeb, AStillGifAndATiffOfOnePageMayBecomeOne) {
  GifFilm still;
  still.width = 64, still.height = 48;
  still.table = {{255, 0, 0}, {0, 90, 0}, {0, 0, 255}, {9, 9, 9}};
  GifFrame frame;
  frame.width = 64, frame.height = 48;
  for (int i = 0; i < 64 * 48; ++i) {
    frame.indices.push_back(static_cast<uint8_t>(i % 64 / 5 % 4));
  }
  still.frames = {frame};
  const std::string gif = encode_gif(still), tiff = encode_tiff({drawing(64, 48)});
  for (const std::string& image : {gif, tiff}) {
    const StepAnswer web = optimize(image, {{"formats", "web"}, {"quality", "lossless"}});
    ASSERT_TRUE(web.ok()) << web.message << web.misuse;
    EXPECT_EQ(web.media_type, "image/webp");
    EXPECT_EQ(likeness(web.outputs[0], image), 1);
    const StepAnswer same = optimize(image, {{"quality", "low"}});
    EXPECT_EQ(worst_difference(
                  decoded(run_picture_step("convert", same.outputs.at(0), {{"format", "png"}})),
                  decoded(run_picture_step("convert", image, {{"format", "png"}}))),
              0);
  }
  // Never of an animation, nor of pages.
  still.frames.push_back(frame);
  still.frames[1].indices.assign(64 * 48, 2);
  EXPECT_EQ(optimize(encode_gif(still), {{"formats", "web"}}).media_type, "image/gif");
  EXPECT_EQ(
      optimize(encode_tiff({drawing(20, 20), drawing(9, 9)}), {{"formats", "web"}}).media_type,
      "image/tiff");
}

// What a screen of sRGB shows of a file, by its profile.
Picture seen(const std::string& file, const std::string& media_type) {
  const Picture stored =
      media_type == "image/webp" ? colours_of(decode_webp(file)) : decode_jpeg(file, kRgb);
  const std::string profile = profile_in(file);
  return profile.empty() ? stored : to_srgb(stored, profile);
}

TEST(Optimize, TheColoursOfAProfileAreSeenAsBefore) {
  JpegStyle style;
  style.quality = 96;
  style.icc = icc_display_p3();
  // Reds and greens that sRGB has too, so that nothing is cut off.
  const Picture muted = make_picture(160, 120, 3, 8, [](int x, int y, int band) {
    const int wave = std::abs((x + y) % 160 - 80);
    return band == 0 ? 90 + wave : band == 1 ? 170 - wave : 110 + y / 4;
  });
  const std::string jpeg = encode_jpeg(muted, style);
  const Picture before = seen(jpeg, "image/jpeg");
  ASSERT_GT(mean_difference(decode_jpeg(jpeg, kRgb), before), 4) << "a lost profile would show";
  for (const char* formats : {"same", "web"}) {
    for (const char* quality : {"lossless", "high", "low"}) {
      const std::string what = fmt::format("{} {}", formats, quality);
      const StepAnswer answer = optimize(jpeg, {{"formats", formats}, {"quality", quality}});
      ASSERT_TRUE(answer.ok()) << what << answer.message << answer.misuse;
      EXPECT_LE(answer.outputs[0].size(), jpeg.size()) << what;
      const Picture after = seen(answer.outputs[0], answer.media_type);
      const double bound = quality == std::string("lossless") ? 0 : 3;
      EXPECT_LE(mean_difference(after, before), bound) << what;
    }
  }
}

TEST(Optimize, OfEveryKindOfPictureNoResultIsLargerThanTheInput) {
  JpegStyle progressive, cmyk, p3, turned, poor;
  progressive.progressive = true;
  cmyk.cmyk = true;
  p3.icc = icc_display_p3();
  turned.exif = exif_with_location(6);
  poor.quality = 3;
  PngStyle interlaced, tagged;
  interlaced.interlaced = true;
  tagged.icc = icc_adobe_rgb();
  TiffStyle lzw;
  lzw.compression = 5;
  HeifStyle avif, heic;
  heic.hevc = true;
  const std::pair<const char*, std::string> images[] = {
      {"jpeg", encode_jpeg(scene(60, 44))},
      {"gray jpeg", encode_jpeg(scene(60, 44, 1))},
      {"progressive jpeg", encode_jpeg(scene(60, 44), progressive)},
      {"cmyk jpeg", encode_jpeg(scene(60, 44, 4), cmyk)},
      {"p3 jpeg", encode_jpeg(scene(60, 44), p3)},
      {"turned jpeg", encode_jpeg(scene(60, 44), turned)},
      {"poor jpeg", encode_jpeg(scene(60, 44), poor)},
      {"jpeg of one pixel", encode_jpeg(scene(1, 1))},
      {"png", encode_png(scene(60, 44))},
      {"png of one pixel", encode_png(scene(1, 1))},
      {"interlaced png", encode_png(scene(60, 44, 4), interlaced)},
      {"png in AdobeRGB", encode_png(scene(60, 44), tagged)},
      {"png of 16 bits", encode_png(scene(60, 44, 4, 16))},
      {"drawn png", encode_png(drawing(60, 44))},
      {"webp", encode_webp(scene(60, 44), false)},
      {"lossless webp", encode_webp(scene(60, 44, 4), true)},
      {"webp animation", encode_webp_animation({scene(30, 20, 4), scene(30, 20, 4)}, 50, 0)},
      {"tiff", encode_tiff({scene(60, 44)}, lzw)},
      {"avif", encode_heif(scene(60, 44), avif)},
      {"heic", encode_heif(scene(60, 44), heic)},
  };
  for (const auto& [name, image] : images) {
    for (const char* quality : {"low", "high", "lossless"}) {
      for (const char* formats : {"same", "web"}) {
        for (const char* metadata : {"safe", "keep"}) {
          const std::string what = fmt::format("{} {} {} {}", name, quality, formats, metadata);
          const StepAnswer answer =
              optimize(image, {{"quality", quality}, {"formats", formats}, {"metadata", metadata}});
          ASSERT_TRUE(answer.ok()) << what << answer.message << answer.misuse;
          EXPECT_LE(answer.outputs[0].size(), image.size()) << what;
          EXPECT_EQ(std::stol(answer.results.at("saved")),
                    static_cast<long>(image.size() - answer.outputs[0].size()))
              << what;
          EXPECT_TRUE(upload(answer.outputs[0]).ok()) << what;
        }
      }
    }
  }
}

}  // namespace
}  // namespace millrace::testing
