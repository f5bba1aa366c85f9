// Goal: how many dots a file says lie on an inch is not lost, whatever is made of it.
// Method: files that say so in each of the ways there are; what is written is read by the codec
// libraries, byte by byte where these do not tell.
#include <cmath>

#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "steps/common/tiff_file.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

int byte_at(const std::string& text, size_t at) {
  return static_cast<uint8_t>(text.at(at));
}

// 0: the segment is not there, or says nothing.
int jfif_dots(const std::string& file) {
  for (const auto& [marker, text] : jpeg_facts(file).markers) {
    if (marker != 0xE0 || text.compare(0, 5, std::string("JFIF\0", 5)) != 0) continue;
    const int across = byte_at(text, 8) << 8 | byte_at(text, 9);
    EXPECT_EQ(across, byte_at(text, 10) << 8 | byte_at(text, 11));
    return byte_at(text, 7) == 1 ? across : 0;
  }
  return 0;
}

int png_dots(const std::string& file) {
  for (const auto& [name, data] : png_chunks(file)) {
    if (name != "pHYs") continue;
    double number = 0;
    for (size_t i = 0; i < 4; ++i) number = number * 256 + byte_at(data, i);
    return static_cast<int>(std::lround(number * 0.0254));
  }
  return 0;
}

int dots_in(const std::string& file) {
  if (file.compare(0, 2, "\xff\xd8") == 0) return jfif_dots(file);
  if (file.compare(0, 4, "\x89PNG") == 0) return png_dots(file);
  return static_cast<int>(std::lround(decode_tiff(file).at(0).dots_per_inch));
}

std::string exif_with_dots(uint32_t dots, uint16_t unit) {
  TiffWriter writer;
  const std::string ratio = tiff_long(0, dots * 2).bytes + tiff_long(0, 2).bytes;
  writer.add_page({{282, 5, 1, ratio}, {283, 5, 1, ratio}, tiff_short(296, unit)});
  return writer.take();
}

// libjpeg writes one, of no unit.
std::string without_jfif(std::string jpeg) {
  EXPECT_EQ(jpeg.compare(6, 4, "JFIF"), 0);
  return jpeg.erase(2, 18);
}

// 300 dots on an inch, said in every way.
std::vector<std::pair<const char*, std::string>> files_of_300_dots(const Picture& picture) {
  JpegStyle jfif, exif, rgb, adobe;
  jfif.dots_per_inch = 300;
  exif.exif = exif_with_dots(300, 2);
  rgb = exif;
  rgb.rgb = true;
  adobe.exif = exif.exif;
  adobe.markers = {{0xEE, std::string("Adobe\0\144\0\0\0\0\1", 12)}};  // YCbCr, as by JFIF
  PngStyle png, interlaced, palette;
  png.pixels_per_metre = interlaced.pixels_per_metre = 11811;
  interlaced.interlaced = true;
  TiffStyle tiff;
  tiff.dots_per_inch = {300};
  HeifStyle avif;
  avif.exif = exif.exif;
  return {{"jpeg", encode_jpeg(picture, jfif)},
          {"jpeg, by exif", encode_jpeg(picture, exif)},
          {"jpeg without jfif, by exif", without_jfif(encode_jpeg(picture, exif))},
          {"jpeg of rgb, by exif", encode_jpeg(picture, rgb)},
          {"jpeg with adobe's marker, by exif", without_jfif(encode_jpeg(picture, adobe))},
          {"png", encode_png(picture, png)},
          {"interlaced png", encode_png(picture, interlaced)},
          {"tiff", encode_tiff({picture}, tiff)},
          {"webp, by exif", encode_webp(picture, true, exif.exif)},
          {"avif, by exif", encode_heif(picture, avif)}};
}

TEST(Resolution, StaysInWhatIsEncodedAnew) {
  for (const auto& [name, file] : files_of_300_dots(scene(48, 40))) {
    for (const char* format : {"jpeg", "png", "tiff"}) {
      for (const char* metadata : {"safe", "strip", "keep"}) {
        const std::string what = std::string(name) + " to " + format + ", " + metadata;
        const ParamTexts params = {{"format", format}, {"metadata", metadata}, {"width", "20"}};
        const StepAnswer resized = run_picture_step("resize", file, params);
        ASSERT_TRUE(resized.ok()) << what << ": " << resized.message << resized.misuse;
        const std::string& out = resized.outputs[0];
        // Where EXIF is kept and says it, JFIF need not.
        const bool told = out.compare(0, 2, "\xff\xd8") == 0 && metadata == std::string("keep") &&
                          std::string(name).find("exif") != std::string::npos;
        EXPECT_EQ(dots_in(out), told ? 0 : 300) << what;
        EXPECT_TRUE(!told || out.find(exif_with_dots(300, 2)) != std::string::npos) << what;
      }
    }
  }
}

TEST(Resolution, OfCentimetresIsWrittenInInches) {
  JpegStyle style;
  style.exif = exif_with_dots(118, 3);
  EXPECT_EQ(dots_in(run_picture_step("convert", encode_jpeg(scene(32, 24), style)).outputs.at(0)),
            300);
}

TEST(Resolution, OfNoUnitOrOfNonsenseIsNone) {
  const Picture picture = scene(32, 24);
  for (const std::string& exif :
       {exif_with_dots(300, 1), exif_with_dots(0, 2), exif_with_dots(0x7FFFFFFF, 3)}) {
    JpegStyle style;
    style.exif = exif;
    EXPECT_EQ(jfif_dots(run_picture_step("resize", encode_jpeg(picture, style), {{"width", "20"}})
                            .outputs.at(0)),
              0);
  }
  // Nothing is made up where nothing is said: not even the segment is there.
  const StepAnswer plain =
      run_picture_step("resize", encode_jpeg(picture), {{"width", "20"}, {"metadata", "strip"}});
  EXPECT_EQ(plain.outputs.at(0).substr(0, 4), std::string("\xff\xd8\xff\xdb"));
}

TEST(Resolution, StaysWhereAJpegIsTurnedCutOrCleanedWithoutLoss) {
  for (const auto& [name, file] : files_of_300_dots(scene(48, 48))) {
    if (file.compare(0, 2, "\xff\xd8") != 0) continue;
    const bool rgb = std::string(name).find("rgb") != std::string::npos;
    for (const auto& [step, params] :
         std::vector<std::pair<const char*, ParamTexts>>{{"rotate", {{"angle", "90"}}},
                                                         {"crop", {{"left", "16"}, {"top", "16"}}},
                                                         {"grayscale", {}},
                                                         {"grayscale", {{"quality", "70"}}},
                                                         {"optimize", {}},
                                                         {"metadata", {{"remove", "unsafe"}}}}) {
      const StepAnswer answer = run_picture_step(step, file, params);
      ASSERT_TRUE(answer.ok()) << step << ", " << name << answer.message << answer.misuse;
      const bool untouched =
          answer.results.count("untouched") != 0 && answer.results.at("untouched") == "1";
      // A JFIF segment would make others take its colours for YCbCr.
      const bool cannot = rgb && (untouched || step == std::string("metadata"));
      EXPECT_EQ(dots_in(answer.outputs[0]), cannot ? 0 : 300) << step << ", " << name;
    }
    const Picture before = decode_jpeg(file, 2);
    const StepAnswer clean = run_picture_step("metadata", file, {{"remove", "everything"}});
    EXPECT_EQ(worst_difference(decode_jpeg(clean.outputs.at(0), 2), before), 0) << name;
  }
}

TEST(Resolution, StaysInTheFewestBitsOfAPng) {
  PngStyle style;
  style.pixels_per_metre = 11811;
  const std::string file =
      encode_png(make_picture(64, 64, 3, 8, [](int x, int, int) { return x / 32 * 255; }), style);
  const StepAnswer answer = run_picture_step("optimize", file);
  ASSERT_LT(answer.outputs.at(0).size(), file.size());
  EXPECT_EQ(dots_in(answer.outputs[0]), 300);
}

TEST(Resolution, OfEachPageIsItsOwn) {
  const Picture page = scene(24, 16);
  TiffStyle style;
  style.dots_per_inch = {300, 200};
  const StepAnswer answer =
      run_picture_step("resize", encode_tiff({page, page}, style), {{"width", "12"}});
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  const std::vector<TiffPage> pages = decode_tiff(answer.outputs[0]);
  ASSERT_EQ(pages.size(), 2u);
  EXPECT_NEAR(pages[0].dots_per_inch, 300, 0.01);
  EXPECT_NEAR(pages[1].dots_per_inch, 200, 0.01);
}

}  // namespace
}  // namespace millrace::testing
