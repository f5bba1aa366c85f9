// Goal: upload says what the bytes truly are, and refuses the rest with the right word, before
// anything is decoded. Method: pictures made by the codec libraries, headers forged by hand, every
// file cut at many places; the real plugin in a forked child.
#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

std::string told(const StepAnswer& answer) {
  if (!answer.misuse.empty()) return "misuse: " + answer.misuse;
  if (answer.code != MR_OK) return answer.reason;
  const auto& r = answer.results;
  return r.at("extension") + " " + r.at("media_type") + " " + r.at("width") + "x" + r.at("height") +
         " pages " + r.at("pages") + " orientation " + r.at("orientation") + " " + r.at("colour");
}

StepAnswer upload_with_limit(const std::string& image, uint64_t pixels_max) {
  StepRequest request{"upload", "upload", image, {}};
  request.pixels_max = pixels_max;
  return run_step(request);
}

// One good file of every kind.
std::vector<std::pair<std::string, std::string>> samples() {
  const Picture small = gradient(40, 30);
  TiffStyle big;
  big.big = true;
  TiffStyle tiled;
  tiled.tiled = true;
  JpegStyle progressive;
  progressive.progressive = true;
  HeifStyle tiles;
  tiles.hevc = true;
  tiles.columns = 2;
  GifStyle gif;
  gif.frame_colours = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}};
  return {{"jpeg", encode_jpeg(small)},
          {"jpeg progressive", encode_jpeg(small, progressive)},
          {"png", encode_png(small)},
          {"gif", encode_gif(gif)},
          {"webp", encode_webp(small, false)},
          {"webp lossless", encode_webp(small, true)},
          {"webp animation", encode_webp_animation({small, small}, 50, 0)},
          {"tiff", encode_tiff({small, small})},
          {"tiff tiled", encode_tiff({small}, tiled)},
          {"bigtiff", encode_tiff({small}, big)},
          {"avif", encode_heif(small)},
          {"heic of tiles", encode_heif(small, tiles)}};
}

TEST(Upload, SaysTypeSizePagesOrientationAndColourOfEachFormat) {
  const Picture rgb = gradient(40, 30), gray = gradient(40, 30, 1);
  EXPECT_EQ(told(upload(encode_jpeg(rgb))), "jpg image/jpeg 40x30 pages 1 orientation 1 rgb");
  EXPECT_EQ(told(upload(encode_jpeg(gray))), "jpg image/jpeg 40x30 pages 1 orientation 1 gray");
  JpegStyle cmyk;
  cmyk.cmyk = true;
  EXPECT_EQ(told(upload(encode_jpeg(gradient(40, 30, 4), cmyk))),
            "jpg image/jpeg 40x30 pages 1 orientation 1 cmyk");
  EXPECT_EQ(told(upload(encode_png(rgb))), "png image/png 40x30 pages 1 orientation 1 rgb");
  PngStyle palette;
  palette.palette = true;
  EXPECT_EQ(told(upload(encode_png(flat(9, 8, 7), palette))),
            "png image/png 16x16 pages 1 orientation 1 palette");
  GifStyle gif;
  gif.frame_colours = {{255, 0, 0}, {0, 255, 0}};
  EXPECT_EQ(told(upload(encode_gif(gif))), "gif image/gif 8x6 pages 2 orientation 1 palette");
  EXPECT_EQ(told(upload(encode_webp(rgb, true, build_exif({6, "", ""})))),
            "webp image/webp 40x30 pages 1 orientation 6 rgb");
  EXPECT_EQ(told(upload(encode_webp_animation({rgb, rgb, rgb}, 50, 0))),
            "webp image/webp 40x30 pages 3 orientation 1 rgb");
  TiffStyle turned;
  turned.orientation = 8;
  HeifStyle avif, heic;
  avif.orientation = 3;
  heic.hevc = true;
  heic.exif = build_exif({6, "", ""});
  EXPECT_EQ(told(upload(encode_heif(rgb, avif))),
            "avif image/avif 40x30 pages 1 orientation 3 rgb");
  EXPECT_EQ(told(upload(encode_heif(gray, heic))),
            "heic image/heic 40x30 pages 1 orientation 1 gray");
  EXPECT_EQ(told(upload(encode_tiff({rgb, gray}, turned))),
            "tiff image/tiff 40x30 pages 2 orientation 8 rgb");
}

TEST(Upload, PassesTheBytesOnUntouchedAndDescribesThem) {
  const std::string image = encode_png(gradient(7, 5));
  const StepAnswer answer = upload(image);
  EXPECT_TRUE(answer.forwarded);
  EXPECT_EQ(answer.outputs[0], image);
  EXPECT_EQ(answer.media_type, "image/png");
  EXPECT_EQ(answer.width, 7u);
  EXPECT_EQ(answer.height, 5u);
}

TEST(Upload, RefusesWhatIsNoImageAndNamesWhatItDoesNotTake) {
  for (const std::string& bytes :
       {std::string(), std::string("hello"), std::string(100000, '\0'), std::string("%PDF-1.7\n"),
        std::string("\xff\xd8"), std::string("GIF8")}) {
    EXPECT_EQ(told(upload(bytes)), "not_an_image");
  }
  for (const std::string& bytes :
       {std::string("BM\x46\0\0\0", 6), std::string("<svg xmlns='x'/>"),
        std::string("<?xml version='1.0'?><svg/>"), std::string("8BPS\0\1", 6)}) {
    EXPECT_EQ(told(upload(bytes)), "unsupported") << bytes;
  }
}

TEST(Upload, CallsEveryCutFileTruncated) {
  for (const auto& [name, image] : samples()) {
    for (int permille = 20; permille < 1000; permille += 49) {
      const std::string cut = image.substr(0, image.size() * static_cast<size_t>(permille) / 1000);
      const std::string reason = told(upload(cut));
      const bool only_magic = cut.size() < 16;
      EXPECT_TRUE(reason == "truncated" || (only_magic && reason == "not_an_image"))
          << name << " cut to " << cut.size() << " of " << image.size() << ": " << reason;
    }
    EXPECT_EQ(told(upload(image.substr(0, image.size() - 1))), "truncated") << name;
    EXPECT_EQ(upload(image + "trailing bytes").code, MR_OK) << name;
  }
}

TEST(Upload, ChecksPixelsOfAllFramesAgainstTheLimitBeforeDecoding) {
  EXPECT_EQ(told(upload_with_limit(encode_png(gradient(40, 30)), 1199)), "too_many_pixels");
  EXPECT_EQ(upload_with_limit(encode_png(gradient(40, 30)), 1200).code, MR_OK);
  const std::string two = encode_webp_animation({gradient(40, 30), gradient(40, 30)}, 50, 0);
  EXPECT_EQ(told(upload_with_limit(two, 2399)), "too_many_pixels");
  EXPECT_EQ(upload_with_limit(two, 2400).code, MR_OK);
  const StepAnswer answer =
      upload_with_limit(encode_tiff({gradient(40, 30), gradient(40, 30)}), 2399);
  EXPECT_EQ(answer.reason, "too_many_pixels");
  EXPECT_NE(answer.message.find("2400"), std::string::npos) << answer.message;
  EXPECT_NE(answer.message.find("2399"), std::string::npos) << answer.message;
}

TEST(Upload, AnswersAPngThatCannotHoldWhatItSaysWithoutInflatingIt) {
  const StepAnswer answer = upload(announced_png(16'000, 16'000));
  EXPECT_EQ(answer.reason, "corrupt");
  EXPECT_NE(answer.message.find("bytes of compressed data cannot hold 16000x16000 pixels"),
            std::string::npos)
      << answer.message;
  // What deflate makes least of can.
  const Picture black = make_picture(4000, 4000, 1, 8, [](int, int, int) { return 0; });
  EXPECT_EQ(told(upload(encode_png(black))), "png image/png 4000x4000 pages 1 orientation 1 gray");
}

// A JPEG of 5 KB that says 64250x64250; a PNG that says 787402x787402.
TEST(Upload, RefusesBombsByTheirHeaders) {
  std::string jpeg = encode_jpeg(gradient(40, 30));
  const size_t frame = jpeg.find("\xff\xc0");
  jpeg.replace(frame + 5, 4, "\xfa\xfa\xfa\xfa");
  EXPECT_EQ(told(upload(jpeg)), "too_many_pixels");
  std::string png = encode_png(gradient(40, 30));
  png.replace(16, 8, std::string("\x00\x0c\x03\xca\x00\x0c\x03\xca", 8));
  EXPECT_EQ(told(upload(png)), "corrupt") << "the header's check sum no longer fits";
  std::string gif = encode_gif(GifStyle{{{1, 2, 3}}});
  gif.replace(6, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(told(upload(gif)), "too_many_pixels");
  std::string webp = encode_webp_animation({gradient(40, 30), gradient(40, 30)}, 50, 0);
  webp.replace(24, 6, "\xff\xff\xff\xff\xff\xff");
  EXPECT_EQ(told(upload(webp)), "too_many_pixels");
}

TEST(Upload, RefusesAnAbsurdNumberOfFrames) {
  GifStyle many;
  many.width = many.height = 1;
  many.frame_colours.assign(10'001, {1, 2, 3});
  EXPECT_EQ(told(upload(encode_gif(many))), "too_many_frames");
  many.frame_colours.resize(10'000);
  EXPECT_EQ(upload(encode_gif(many)).code, MR_OK);
}

TEST(Upload, RefusesZeroSizesAndBrokenStructure) {
  std::string jpeg = encode_jpeg(gradient(40, 30));
  std::string narrow = jpeg;
  narrow.replace(narrow.find("\xff\xc0") + 7, 2, std::string(2, '\0'));
  EXPECT_EQ(told(upload(narrow)), "corrupt");
  std::string late = jpeg;
  late.replace(late.find("\xff\xc0") + 5, 2, std::string(2, '\0'));
  EXPECT_EQ(told(upload(late)), "unsupported");
  EXPECT_EQ(told(upload("\xff\xd8\xff\xd9")), "corrupt");
  std::string png = encode_png(gradient(40, 30));
  png[png.find("IDAT") + 6] ^= 1;
  EXPECT_EQ(told(upload(png)), "corrupt");
  std::string tiff = encode_tiff({gradient(40, 30), gradient(40, 30)});
  const uint32_t first = static_cast<uint8_t>(tiff[4]) | static_cast<uint8_t>(tiff[5]) << 8;
  const uint32_t count = static_cast<uint8_t>(tiff[first]);
  tiff.replace(first + 2 + count * 12, 4, tiff.substr(4, 4));  // the second page is the first again
  EXPECT_EQ(told(upload(tiff)), "corrupt");
}

TEST(Upload, ReadsTheOrientationOfEveryExampleInTheCorpus) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  for (const char* name : {"Landscape", "Portrait"}) {
    for (int i = 0; i <= 8; ++i) {
      const StepAnswer answer = upload(corpus(fmt::format("exif-orientation/{}_{}.jpg", name, i)));
      ASSERT_EQ(answer.code, MR_OK) << answer.message;
      EXPECT_EQ(answer.results.at("orientation"), std::to_string(i == 0 ? 1 : i)) << name << i;
    }
  }
}

TEST(Upload, TakesEveryGoodFileOfTheCorpus) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  for (const char* folder : {"photo", "pngsuite", "x-image", "libjpeg-turbo"}) {
    for (const char* ending : {".jpg", ".jpeg", ".png", ".webp", ".tiff"}) {
      for (const std::string& name : corpus_files(folder, ending)) {
        const StepAnswer answer = upload(corpus(name));
        const bool broken = name.starts_with("pngsuite/x");
        EXPECT_EQ(answer.code == MR_OK, !broken)
            << name << ": " << answer.reason << " " << answer.message;
      }
    }
  }
}

}  // namespace
}  // namespace millrace::testing
