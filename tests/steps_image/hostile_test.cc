// Goal: no bytes whatever crash or hang a step, or make it do anything but answer with a declared
// reason. Method: good files cut at many places and with seeded bit flips, each run in a child with
// 2 GiB of address space and a time limit; what a step accepts must be a file that upload accepts.
#include <random>

#include "cmake/precompiled_test.h"
#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

std::vector<std::pair<std::string, std::string>> victims() {
  const Picture rgb = gradient(40, 30), rgba = gradient(20, 20, 4);
  JpegStyle progressive, arithmetic, profile, cmyk;
  progressive.progressive = true;
  arithmetic.arithmetic = true;
  profile.icc = icc_with_gamma(1.8);
  cmyk.cmyk = true;
  PngStyle png;
  png.icc = icc_with_gamma(1.8);
  png.interlaced = true;
  GifStyle gif;
  gif.frame_colours = {{255, 0, 0}, {0, 255, 0}};
  TiffStyle lzw, tiled;
  lzw.compression = 5;
  tiled.tiled = true;
  return {{"jpeg", encode_jpeg(rgb)},
          {"jpeg progressive", encode_jpeg(rgb, progressive)},
          {"jpeg arithmetic", encode_jpeg(rgb, arithmetic)},
          {"jpeg with profile", encode_jpeg(rgb, profile)},
          {"jpeg cmyk", encode_jpeg(rgba, cmyk)},
          {"png", encode_png(rgba, png)},
          {"gif", encode_gif(gif)},
          {"webp", encode_webp(rgb, false)},
          {"webp lossless", encode_webp(rgba, true)},
          {"webp animation", encode_webp_animation({rgb, rgb}, 40, 0)},
          {"tiff", encode_tiff({rgb, rgb}, lzw)},
          {"tiff tiled", encode_tiff({rgb}, tiled)}};
}

void expect_clean(const std::string& step, const std::string& image,
                  const std::map<std::string, std::string>& params, const std::string& what) {
  const StepRun run = run_step_apart({step, step, image, params});
  EXPECT_EQ(run.died, "") << what;
  EXPECT_EQ(run.answer.misuse, "") << what;
  if (run.answer.code == MR_OK && step == "grayscale") {
    const StepRun again = run_step_apart({"upload", "upload", run.answer.outputs[0], {}});
    EXPECT_EQ(again.answer.code, MR_OK) << what << ": " << again.answer.message;
  } else if (run.answer.code != MR_OK) {
    EXPECT_EQ(run.answer.code, MR_FAILED) << what;
    EXPECT_FALSE(run.answer.message.empty()) << what;
  }
}

TEST(Hostile, CutFilesAreTruncatedForGrayscaleToo) {
  for (const auto& [name, image] : victims()) {
    for (int permille = 50; permille < 1000; permille += 95) {
      const std::string cut = image.substr(0, image.size() * static_cast<size_t>(permille) / 1000);
      const StepRun run = run_step_apart({"grayscale", "grayscale", cut, {}});
      EXPECT_EQ(run.died, "") << name;
      EXPECT_TRUE(run.answer.reason == "truncated" || cut.size() < 16)
          << name << " at " << permille << ": " << run.answer.reason;
    }
  }
}

TEST(Hostile, BitFlipsOnlyEverGiveCleanAnswers) {
  std::mt19937 random(20260101);
  for (const auto& [name, image] : victims()) {
    for (int round = 0; round < 40; ++round) {
      std::string flipped = image;
      const int flips = 1 + static_cast<int>(random() % 8);
      for (int i = 0; i < flips; ++i) {
        // Every other round in the first 64 bytes, where headers are.
        const size_t at =
            random() % (round % 2 ? flipped.size() : std::min<size_t>(flipped.size(), 64));
        flipped[at] = static_cast<char>(flipped[at] ^ (1 << random() % 8));
      }
      const std::string what = fmt::format("{} round {}", name, round);
      expect_clean("upload", flipped, {}, what);
      expect_clean("grayscale", flipped, {{"method", round % 2 ? "luma" : "luminance"}}, what);
    }
  }
}

// The steps on the common core: a few flips each, since they share decoders and encoders.
TEST(Hostile, PictureStepsOnlyEverGiveCleanAnswers) {
  std::mt19937 random(20260202);
  const std::vector<std::pair<std::string, std::map<std::string, std::string>>> steps = {
      {"resize", {{"width", "17"}, {"gravity", "attention"}, {"height", "9"}}},
      {"rotate", {{"angle", "90"}}},
      {"convert", {{"damaged", "accept"}, {"format", "webp"}}},
      {"convert", {{"metadata", "keep"}, {"colours", "keep"}}},
      {"dither", {}},
      {"metadata", {{"location", "true"}}},
      {"metadata", {{"remove", "everything"}}},
      {"placeholder", {}},
      {"optimize", {{"quality", "lossless"}}},
  };
  size_t number = 0;
  for (const auto& [name, image] : victims()) {
    for (int round = 0; round < 18; ++round) {
      const auto& [step, params] = steps[number++ % steps.size()];
      std::string bad = image;
      for (int i = 0; i < 1 + round % 6; ++i) {
        const size_t at = random() % (round % 2 ? bad.size() : std::min<size_t>(bad.size(), 200));
        bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
      }
      if (round % 5 == 4) bad.resize(bad.size() * (random() % 100) / 100);
      expect_clean(step, bad, params, fmt::format("{} {} round {}", step, name, round));
    }
  }
}

TEST(Hostile, CutFilesAreRefusedByEveryPictureStep) {
  for (const auto& [name, image] : victims()) {
    for (const char* step :
         {"convert", "rotate", "dither", "placeholder", "metadata", "optimize"}) {
      const StepRun run = run_step_apart({step, step, image.substr(0, image.size() * 6 / 10), {}});
      EXPECT_EQ(run.died, "") << name << step;
      EXPECT_EQ(run.answer.reason, "truncated") << name << step;
    }
  }
}

TEST(Hostile, AChunkOfZeroesInThePictureDataIsCaught) {
  std::string jpeg = encode_jpeg(gradient(200, 200));
  std::fill(jpeg.end() - 400, jpeg.end() - 2, '\0');
  const StepRun run = run_step_apart({"grayscale", "grayscale", jpeg, {}});
  EXPECT_EQ(run.died, "");
  EXPECT_TRUE(run.answer.code == MR_OK || run.answer.reason == "corrupt");
}

// The entropy-coded data ends early but the end marker is there: upload cannot see it, decoding
// must.
TEST(Hostile, MissingPictureDataBeforeTheEndMarkerIsCorrupt) {
  for (const bool progressive : {false, true}) {
    JpegStyle style;
    style.progressive = progressive;
    const std::string jpeg = encode_jpeg(gradient(200, 200), style);
    const std::string holed = jpeg.substr(0, jpeg.size() * 6 / 10) + "\xff\xd9";
    EXPECT_EQ(upload(holed).code, MR_OK);
    for (const char* method : {"luma", "luminance"}) {
      EXPECT_EQ(grayscale(holed, {{"method", method}}).reason, "corrupt") << progressive << method;
    }
  }
}

TEST(Hostile, PixelLimitHoldsForGrayscaleAlone) {
  for (const auto& [name, image] : victims()) {
    StepRequest request{"grayscale", "grayscale", image, {}};
    request.pixels_max = 90;
    EXPECT_EQ(run_step(request).reason, "too_many_pixels") << name;
  }
}

}  // namespace
}  // namespace millrace::testing
