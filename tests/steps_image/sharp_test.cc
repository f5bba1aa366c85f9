// Goal: resize and convert give what sharp gives, but for what docs/sharp.md explains.
// Method: sharp_reference/ holds sharp's results for the shared corpus: small pictures, and digests
// of decoded pixels. The same files through our steps; PSNR and the largest difference of what is
// seen.
#include <cmath>
#include <fstream>
#include <regex>
#include <sstream>

#include "cmake/precompiled_test.h"
#include "cmake/tree.h"
#include "engine/base/digest.h"
#include "tests/steps_image/table.h"

namespace millrace::testing {
namespace {

constexpr uint32_t kSide = 24, kColumns = 16;

struct Reference {
  std::string name, sha256;
  uint32_t width = 0, height = 0;
  Picture small;
};

std::string read_text(const std::string& name) {
  std::ifstream file(in_source("/tests/steps_image/sharp_reference/") + name, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

std::vector<Reference> references() {
  const std::string json = read_text("files.json");
  const Picture sheet = decode_png(read_text("thumbnails.png"));
  const std::regex entry(
      R"re("name":"([^"]+)","width":(\d+),"height":(\d+),"sha256":"([0-9a-f]{64})")re");
  std::vector<Reference> all;
  for (std::sregex_iterator it(json.begin(), json.end(), entry), end; it != end; ++it) {
    const auto index = static_cast<uint32_t>(all.size());
    const uint32_t left = index % kColumns * kSide, top = index / kColumns * kSide;
    const Picture small = make_picture(kSide, kSide, 4, 8, [&](int x, int y, int band) {
      return sheet.at(left + static_cast<uint32_t>(x), top + static_cast<uint32_t>(y), band);
    });
    all.push_back({(*it)[1], (*it)[4], static_cast<uint32_t>(std::stoi((*it)[2])),
                   static_cast<uint32_t>(std::stoi((*it)[3])), small});
  }
  return all;
}

// RGBA of 8 bits; of 16 bits the high byte, as sharp takes it.
Picture rgba_of(const Picture& picture) {
  const bool alpha = picture.bands % 2 == 0;
  const int shift = picture.bits == 16 ? 8 : 0;
  return make_picture(picture.width, picture.height, 4, 8, [&](int x, int y, int band) -> int {
    const auto column = static_cast<uint32_t>(x), line = static_cast<uint32_t>(y);
    if (band == 3) return alpha ? picture.at(column, line, picture.bands - 1) >> shift : 255;
    return picture.at(column, line, picture.bands >= 3 ? band : 0) >> shift;
  });
}

struct Distance {
  double psnr = 100;
  int worst = 0;
};

// Of what is seen: colours by how far they are covered, and the covering.
Distance distance(const Picture& a, const Picture& b) {
  if (a.width != b.width || a.height != b.height) return {0, 255};
  Distance found;
  double squares = 0;
  for (size_t i = 0; i < a.samples.size(); ++i) {
    const size_t alpha = i / 4 * 4 + 3;
    const auto seen = [&](const Picture& one) {
      return i == alpha ? double{1.0 * one.samples[i]}
                        : one.samples[i] * one.samples[alpha] / 255.0;
    };
    const double difference = std::fabs(seen(a) - seen(b));
    found.worst = std::max(found.worst, static_cast<int>(std::lround(difference)));
    squares += difference * difference;
  }
  const double mean = squares / static_cast<double>(a.samples.size());
  if (mean > 0) found.psnr = std::min(100.0, 10 * std::log10(255 * 255 / mean));
  return found;
}

std::string pixel_digest(const Picture& rgba) {
  return sha256(std::string(rgba.samples.begin(), rgba.samples.end())).hex();
}

// How near the small pictures must be, in dB; docs/sharp.md says what keeps them apart.
double nearness_of(const Reference& one) {
  const std::string& name = one.name;
  if (name.ends_with(".webp")) return 30;
  for (size_t i = 3; i < one.small.samples.size(); i += 4) {
    if (one.small.samples[i] != 255) return 32;
  }
  const bool jpeg = name.ends_with(".jpg") || name.ends_with(".jpeg");
  return jpeg ? 34 : 36;
}

void compare_small(const Reference& one, bool print) {
  const StepAnswer answer = run_picture_step("resize", corpus(one.name),
                                             {{"width", std::to_string(kSide)},
                                              {"height", std::to_string(kSide)},
                                              {"fit", "fill"},
                                              {"enlarge", "true"},
                                              {"format", "png"}});
  if (!answer.ok()) {
    EXPECT_EQ(answer.reason, "") << one.name << ": sharp takes it; " << answer.message;
    return;
  }
  const Distance found = distance(rgba_of(decode_png(answer.outputs[0])), one.small);
  if (print) {
    printf("%-66s %5.1f dB, worst %3d\n", one.name.c_str(), found.psnr, found.worst);
  }
  EXPECT_GE(found.psnr, nearness_of(one)) << one.name;
}

TEST(Sharp, ResizesASampleLikeUs) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  const std::vector<Reference> all = references();
  ASSERT_GT(all.size(), 100u);
  for (size_t i = 0; i < all.size(); i += 5) compare_small(all[i], false);
}

TEST(SharpLong, ResizesTheCorpusLikeUs) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  for (const Reference& one : references()) compare_small(one, true);
}

void compare_whole(const Reference& one) {
  const std::string file = corpus(one.name);
  const StepAnswer answer = run_picture_step("convert", file, {{"format", "png"}, {"effort", "1"}});
  ASSERT_TRUE(answer.ok()) << one.name << answer.message << answer.misuse;
  const Picture rgba = rgba_of(decode_png(answer.outputs[0]));
  EXPECT_EQ(rgba.width, one.width) << one.name;
  EXPECT_EQ(rgba.height, one.height) << one.name;
  // Its profile is its own, and versions of lcms differ by a level now and then.
  if (one.name == "photo/rocket.jpg") return;
  EXPECT_EQ(pixel_digest(rgba), one.sha256) << one.name;
}

TEST(Sharp, DecodesASampleToTheSamePixels) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  const std::vector<Reference> all = references();
  for (size_t i = 2; i < all.size(); i += 7) {
    if (all[i].name.find("exif-orientation") != 0) compare_whole(all[i]);  // large: below
  }
}

TEST(SharpLong, DecodesTheCorpusToTheSamePixels) {
  if (!has_corpus()) GTEST_SKIP() << "no corpus";
  for (const Reference& one : references()) compare_whole(one);
}

}  // namespace
}  // namespace millrace::testing
