// Goal: JPEGs are read and written row by row without libvips as libjpeg means them, and what is
// damaged is told in libjpeg's words. Method: pictures of all kinds beside those that the tests'
// own codec makes of them; files cut off and scribbled over; steps that read them as users do.
#include "cmake/precompiled_test.h"
#include "steps/common/jpeg_pixels/jpeg_reader.h"
#include "steps/common/jpeg_pixels/jpeg_writer.h"
#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

ByteView view(const std::string& bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

// All rows, `at_once` of them at a time; empty: the reader gave up.
std::vector<uint8_t> read_all(JpegReader* reader, int at_once = 16) {
  if (!reader->start()) return {};
  const auto step = static_cast<size_t>(reader->width() * reader->bands());
  std::vector<uint8_t> samples(step * static_cast<size_t>(reader->height()));
  for (int y = 0; y < reader->height(); y += at_once) {
    std::vector<uint8_t*> rows;
    for (int row = y; row < std::min(y + at_once, reader->height()); ++row) {
      rows.push_back(samples.data() + step * static_cast<size_t>(row));
    }
    if (!reader->read(rows.data(), static_cast<int>(rows.size()))) return {};
  }
  return samples;
}

std::vector<uint8_t> bytes_of(const Picture& picture) {
  return {picture.samples.begin(), picture.samples.end()};
}

std::string write_all(const Picture& picture, int quality, bool progressive, int at_once = 16) {
  const JpegShape shape = {static_cast<int>(picture.width), static_cast<int>(picture.height),
                           picture.bands, quality, progressive};
  const std::vector<uint8_t> samples = bytes_of(picture);
  const size_t step = samples.size() / picture.height;
  std::string file;
  JpegWriter writer(shape, &file);
  EXPECT_TRUE(writer.start()) << writer.words();
  for (int y = 0; y < shape.height; y += at_once) {
    std::vector<const uint8_t*> rows;
    for (int row = y; row < std::min(y + at_once, shape.height); ++row) {
      rows.push_back(samples.data() + step * static_cast<size_t>(row));
    }
    EXPECT_TRUE(writer.add(rows.data(), static_cast<int>(rows.size()))) << writer.words();
  }
  EXPECT_TRUE(writer.finish()) << writer.words();
  return file;
}

TEST(JpegReader, GivesTheSamplesOfLibjpeg) {
  for (const int bands : {1, 3}) {
    const int space = bands == 1 ? 1 : 2;  // JCS_GRAYSCALE, JCS_RGB
    for (const auto& [width, height] : {std::pair{1u, 1u}, {17u, 3u}, {64u, 48u}, {203u, 131u}}) {
      for (const bool progressive : {false, true}) {
        JpegStyle style;
        style.progressive = progressive;
        style.restart = progressive ? 0 : 2;
        const std::string file = encode_jpeg(gradient(width, height, bands), style);
        JpegReader reader(view(file), 1, true);
        EXPECT_EQ(read_all(&reader, 5), bytes_of(decode_jpeg(file, space)));
        EXPECT_EQ(reader.words(), "");
        EXPECT_EQ(reader.bands(), bands);
      }
    }
  }
}

TEST(JpegReader, ShrinksInTheDecoderRoundingSidesUp) {
  const std::string file = encode_jpeg(gradient(203, 131));
  for (const int shrink : {2, 4, 8}) {
    JpegReader reader(view(file), shrink, true);
    EXPECT_FALSE(read_all(&reader).empty());
    EXPECT_EQ(reader.width(), (203 + shrink - 1) / shrink);
    EXPECT_EQ(reader.height(), (131 + shrink - 1) / shrink);
  }
}

TEST(JpegReader, RefusesWhatIsCutOffUnlessItMayBe) {
  const std::string whole = encode_jpeg(gradient(200, 150));
  const std::string cut = whole.substr(0, whole.size() * 2 / 3);
  JpegReader strict(view(cut), 1, true), lenient(view(cut), 1, false);
  EXPECT_EQ(read_all(&strict), std::vector<uint8_t>());
  EXPECT_EQ(strict.words(), "Premature end of input file");
  EXPECT_EQ(read_all(&lenient).size(), size_t{200} * 150 * 3);
  EXPECT_EQ(lenient.words(), "Premature end of JPEG file");
}

// Many warnings are one; more than libvips stands end it; no byte of rubbish is too much.
TEST(JpegReader, KeepsTheFirstWarningAndOutlivesAnyDamage) {
  const std::string whole = encode_jpeg(gradient(300, 200));
  for (size_t from = 2; from + 64 < whole.size(); from += 61) {
    std::string damaged = whole;
    for (size_t at = from; at < from + 64; at += 3) damaged[at] = static_cast<char>(at * 37);
    for (const bool strict : {false, true}) {
      JpegReader reader(view(damaged), 1, strict);
      read_all(&reader);
      EXPECT_LE(std::count(reader.words().begin(), reader.words().end(), '\n'), 1);
    }
  }
}

TEST(JpegWriter, WritesWhatWasAskedForAndNothingElse) {
  for (const int bands : {1, 3}) {
    for (const int quality : {40, 80, 89, 90, 97}) {
      for (const bool progressive : {false, true}) {
        const Picture picture = gradient(161, 97, bands);
        const std::string file = write_all(picture, quality, progressive);
        const JpegFacts facts = jpeg_facts(file);
        EXPECT_EQ(facts.components, bands);
        EXPECT_EQ(facts.progressive, progressive);
        EXPECT_TRUE(facts.markers.empty());
        JpegStyle style;
        style.quality = quality;
        style.progressive = progressive;
        if (quality >= 90) style.luma_h = style.luma_v = 1;
        const std::string other = encode_jpeg(picture, style);
        EXPECT_EQ(bytes_of(decode_jpeg(file, bands == 1 ? 1 : 2)),
                  bytes_of(decode_jpeg(other, bands == 1 ? 1 : 2)))
            << quality;
      }
    }
  }
}

TEST(JpegWriter, TheNumberOfRowsAtOnceChangesNothing) {
  const Picture picture = gradient(500, 333);
  const std::string file = write_all(picture, 80, false, 16);
  EXPECT_EQ(write_all(picture, 80, false, 1), file);
  EXPECT_EQ(write_all(picture, 80, false, 333), file);
}

// The words of damage reach the user by every way that reads rows, and a host that says stop is
// heard.
TEST(JpegPixels, StepsSayWhatTheDecoderSaid) {
  const std::string whole = encode_jpeg(gradient(400, 300));
  std::string damaged = whole;
  for (size_t at = whole.size() / 2; at < whole.size() / 2 + 400; at += 2) damaged[at] = '\x55';
  const std::map<std::string, std::string> accept = {{"damaged", "accept"}};
  for (const char* step : {"convert", "blur"}) {
    const StepAnswer refused = run_step({step, step, damaged, {}});
    EXPECT_EQ(refused.reason, "corrupt") << refused.message;
    EXPECT_NE(refused.message.find("VipsJpeg: "), std::string::npos) << refused.message;
    EXPECT_TRUE(run_step({step, step, damaged, accept}).ok()) << step;
    StepRequest stopped = {step, step, whole, {}};
    stopped.cancel_after = 4;
    EXPECT_EQ(run_step(stopped).code, MR_CANCELLED) << step;
  }
}

// libvips tells of a loader's own progress on whatever thread decodes it, which no host hears.
TEST(JpegPixels, NoStepReportsFromAnotherThread) {
  const Picture picture = gradient(643, 427);
  for (const std::string& file :
       {encode_webp(picture, false), encode_jpeg(picture), encode_png(picture)}) {
    for (const char* step : {"sharpen", "convert", "rotate"}) {
      StepRequest request = {step, step, file, {}};
      if (step == std::string_view("rotate")) request.params["angle"] = "90";
      const StepAnswer answer = run_step(request);
      EXPECT_TRUE(answer.ok()) << step << ": " << answer.message << answer.misuse;
    }
  }
}

}  // namespace
}  // namespace millrace::testing
