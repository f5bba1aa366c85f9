// Goal: PNGs that are written here are what libpng reads, whatever the picture, its depth and the
// effort, and are small by the method that fits; PNGs that are read at once are what libpng makes
// of them, and all others are left to it. Method: filters beside the standard's own words; pictures
// of noise, of writing and of nothing, and of all three, which make the writer change its method;
// libpng as the judge; files of others where they are.
#include <random>

#include "cmake/precompiled_test.h"
#include "steps/common/png/png_read.h"
#include "steps/common/png/png_rows.h"
#include "steps/common/png/png_write.h"
#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {
namespace {

ByteView view(const std::string& bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

std::vector<uint8_t> noise(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> out(bytes);
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random());
  return out;
}

// As the standard says it.
int predicted(int filter, int left, int up, int corner) {
  const int estimate = left + up - corner;
  const int to_left = std::abs(estimate - left), to_up = std::abs(estimate - up);
  const int to_corner = std::abs(estimate - corner);
  switch (filter) {
    case kPngSub:
      return left;
    case kPngUp:
      return up;
    case kPngAverage:
      return (left + up) / 2;
    case kPngPaeth:
      return to_left <= to_up && to_left <= to_corner ? left : to_up <= to_corner ? up : corner;
    default:
      return 0;
  }
}

TEST(PngRows, FiltersAreThoseOfTheStandardThereAndBack) {
  for (const size_t step : {1, 2, 3, 4, 6, 8}) {
    for (const size_t pixels : {1, 2, 3, 15, 16, 17, 100}) {
      const size_t bytes = step * pixels;
      const std::vector<uint8_t> row = noise(bytes, 1), above = noise(bytes, 2);
      for (int filter = kPngNone; filter < kPngFilters; ++filter) {
        std::vector<uint8_t> out(bytes), expected(bytes);
        for (size_t i = 0; i < bytes; ++i) {
          const bool first = i < step;
          const int value =
              predicted(filter, first ? 0 : row[i - step], above[i], first ? 0 : above[i - step]);
          expected[i] = static_cast<uint8_t>(row[i] - value);
        }
        filter_png_row(static_cast<PngFilter>(filter), row.data(), above.data(), bytes, step,
                       out.data());
        EXPECT_EQ(out, expected) << filter << " of " << step << " x " << pixels;
        ASSERT_TRUE(
            restore_png_row(static_cast<uint8_t>(filter), out.data(), above.data(), bytes, step));
        EXPECT_EQ(out, row) << filter << " of " << step << " x " << pixels;
      }
    }
  }
  uint8_t byte = 0;
  EXPECT_FALSE(restore_png_row(kPngFilters, &byte, &byte, 1, 1));
}

TEST(PngRows, CostIsTheSumOfDistances) {
  std::vector<uint8_t> row = {0, 1, 255, 128, 127, 129};
  EXPECT_EQ(png_row_cost(row.data(), row.size()), 0u + 1 + 1 + 128 + 127 + 127);
  row.assign(1 << 20, 128);
  EXPECT_EQ(png_row_cost(row.data(), row.size()), uint64_t{128} << 20);
}

// What is in the picture at a row: noise, writing that repeats, one colour, or each in turn.
enum class Content { kNoise, kWriting, kFlat, kAll };

int content_at(Content content, int x, int y, int band) {
  if (content == Content::kAll) content = static_cast<Content>(y / 150 % 3);
  const auto hash = static_cast<uint32_t>((x * 2654435761u) ^ (y * 40503u * 65537u) ^ (band * 97u));
  switch (content) {
    case Content::kNoise:
      return static_cast<int>((x + y) / 3 + (hash >> 13 & 31)) & 255;
    case Content::kWriting:
      return ((x % 37) * 7 ^ (y % 11) * 5) % 3 == 0 ? 20 : 250;
    default:
      return 90 + 40 * band;
  }
}

Picture content(Content kind, uint32_t width, uint32_t height, int bands, int bits) {
  return make_picture(width, height, bands, bits, [=](int x, int y, int band) {
    const int value = content_at(kind, x, y, band);
    return bits == 16 ? value * 257 ^ (x & 3) : value;
  });
}

std::string written(const Picture& picture, int effort) {
  PngHeader header;
  header.width = picture.width;
  header.height = picture.height;
  header.bands = picture.bands;
  header.wide = picture.bits == 16;
  header.pixels_per_metre = 2835;
  std::string file;
  PngWriter writer(header, effort, &file);
  const size_t row = size_t{picture.width} * static_cast<size_t>(picture.bands);
  for (uint32_t y = 0; y < picture.height; ++y) {
    const uint16_t* samples = picture.samples.data() + y * row;
    if (header.wide) {
      writer.add(samples);
    } else {
      writer.add(std::vector<uint8_t>(samples, samples + row).data());
    }
  }
  writer.finish();
  return file;
}

// What PngReader makes of it; empty: it leaves it.
std::vector<uint16_t> read_at_once(const std::string& file) {
  const std::unique_ptr<PngReader> reader = PngReader::open(view(file));
  std::vector<uint16_t> samples;
  if (!reader) return samples;
  const PngShape& shape = reader->shape();
  for (uint32_t y = 0; y < shape.height; ++y) {
    EXPECT_EQ(reader->next(), y);
    const uint8_t* row = reader->read_row();
    if (row == nullptr) {
      EXPECT_EQ(reader->read_row(), nullptr);
      return {};
    }
    for (size_t i = 0; i < shape.row_bytes(); i += shape.wide ? 2 : 1) {
      uint16_t sample = row[i];
      if (shape.wide) std::memcpy(&sample, row + i, 2);
      samples.push_back(sample);
    }
  }
  EXPECT_EQ(reader->read_row(), nullptr);
  return samples;
}

TEST(Png, WhatIsWrittenIsReadByLibpngWhateverTheMethod) {
  for (const Content kind : {Content::kNoise, Content::kWriting, Content::kFlat, Content::kAll}) {
    for (const int bands : {1, 2, 3, 4}) {
      for (const int bits : {8, 16}) {
        const Picture picture = content(kind, 301, 900, bands, bits);
        for (const int effort : {0, 1, 6}) {
          const std::string file = written(picture, effort);
          EXPECT_EQ(decode_png(file).samples, picture.samples)
              << static_cast<int>(kind) << ", " << bands << " bands, " << bits << " bits, effort "
              << effort;
          EXPECT_EQ(read_at_once(file), picture.samples);
        }
      }
    }
  }
}

TEST(Png, EveryEffortAndEverySmallSizeIsWhole) {
  for (int effort = 0; effort <= 9; ++effort) {
    const Picture picture = content(Content::kAll, 97, 460, 3, 8);
    EXPECT_EQ(decode_png(written(picture, effort)).samples, picture.samples) << effort;
  }
  for (const uint32_t width : {1u, 2u, 3u, 17u}) {
    for (const uint32_t height : {1u, 2u, 5u}) {
      const Picture picture = content(Content::kNoise, width, height, 4, 8);
      EXPECT_EQ(decode_png(written(picture, 6)).samples, picture.samples) << width << "x" << height;
    }
  }
  // Rows that are longer than a strip, and than what is compressed at once.
  const Picture wide = content(Content::kNoise, 70'001, 3, 3, 16);
  EXPECT_EQ(decode_png(written(wide, 6)).samples, wide.samples);
}

TEST(Png, TheSamePictureIsTheSameFile) {
  const Picture picture = content(Content::kAll, 400, 900, 3, 8);
  EXPECT_EQ(written(picture, 6), written(picture, 6));
}

TEST(Png, EachContentIsAboutAsSmallAsItsMethodMakesIt) {
  // libpng's own filters and zlib's matches, as encode_png() has them.
  for (const Content kind : {Content::kNoise, Content::kWriting, Content::kFlat}) {
    const Picture picture = content(kind, 600, 900, 3, 8);
    EXPECT_LE(written(picture, 6).size(), encode_png(picture).size() * 103 / 100 + 500)
        << static_cast<int>(kind);
  }
}

TEST(Png, ChunksAreWhatIsNeeded) {
  const auto chunks = png_chunks(written(content(Content::kFlat, 30, 20, 3, 8), 6));
  std::string names;
  for (const auto& [name, data] : chunks) names += name + " ";
  EXPECT_EQ(names, "IHDR pHYs IDAT IEND ");
  EXPECT_EQ(chunks[1].second, std::string("\0\0\x0b\x13\0\0\x0b\x13\x01", 9));
}

TEST(Png, WhatIsNotWholeIsLeft) {
  const std::string file = written(content(Content::kAll, 60, 50, 3, 8), 6);
  const std::vector<uint16_t> whole = read_at_once(file);
  ASSERT_FALSE(whole.empty());
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_TRUE(read_at_once(file.substr(0, size)).empty()) << size;
  }
  const size_t data = file.find("IDAT") + 4, end = file.find("IEND") - 8;
  for (size_t at = data; at < end; ++at) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    const std::vector<uint16_t> samples = read_at_once(damaged);
    // The bits that fill the last byte mean nothing.
    EXPECT_TRUE(samples.empty() || (samples == whole && at + 5 == end)) << at;
  }
}

TEST(Png, WhatIsInterlacedOrHasAColourKeyOrAPaletteIsLeft) {
  const Picture picture = content(Content::kWriting, 40, 30, 3, 8);
  PngStyle interlaced, palette;
  interlaced.interlaced = true;
  palette.palette = true;
  EXPECT_EQ(read_at_once(encode_png(picture)), picture.samples);
  EXPECT_TRUE(read_at_once(encode_png(picture, interlaced)).empty());
  EXPECT_TRUE(read_at_once(encode_png(picture, palette)).empty());
}

TEST(Png, OthersFilesAreReadAsLibpngReadsThem) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  int read = 0;
  for (const std::string& name : corpus_files("pngsuite", ".png")) {
    const std::string file = corpus(name);
    const std::vector<uint16_t> samples = read_at_once(file);
    if (samples.empty()) continue;
    EXPECT_EQ(samples, decode_png(file, false).samples) << name;
    ++read;
  }
  EXPECT_GT(read, 5);
}

}  // namespace
}  // namespace millrace::testing
