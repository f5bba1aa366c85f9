// Goal: what is not taken is refused before anything is decoded, by every step in the same words;
// and what libvips says of damage is said in ours: a reason, what happened, what to do.
// Method: the first bytes of files of other kinds; headers that announce too much over data that
// say nothing; files damaged in their compressed data.
#include "cmake/precompiled_test.h"
#include "tests/steps_image/table.h"

namespace millrace::testing {
namespace {

struct Foreign {
  const char* name;
  std::string bytes;
  const char* reason;
};

std::vector<Foreign> foreign_files() {
  const std::string rest(600, ' ');
  return {
      {"SVG", "<svg xmlns='http://www.w3.org/2000/svg'/>" + rest, "unsupported"},
      {"SVG behind a declaration", "<?xml version='1.0'?><!-- a --><svg/>" + rest, "unsupported"},
      {"PDF", "%PDF-1.7\n1 0 obj" + rest, "not_an_image"},
      {"PostScript", "%!PS-Adobe-3.0" + rest, "not_an_image"},
      {"compressed SVG", std::string("\x1f\x8b\x08\0\0\0\0\0", 8) + rest, "not_an_image"},
      {"MVG", "push graphic-context\nviewbox 0 0 9 9\nimage Over 0,0 9,9 '/etc/passwd'",
       "not_an_image"},
      {"PPM", "P6 1 1 255 abc" + rest, "not_an_image"},
      {"BMP", "BM" + rest, "unsupported"},
      {"a video", std::string("\0\0\0\x18", 4) + "ftypmp42" + rest, "not_an_image"},
      {"HEIC of spaces", std::string("\0\0\0\x18", 4) + "ftypheic" + rest, "truncated"},
      {"Photoshop", "8BPS" + rest, "unsupported"},
      {"OpenEXR", "\x76\x2f\x31\x01" + rest, "unsupported"},
      {"nothing", "", "not_an_image"},
  };
}

TEST(Refusal, OtherKindsOfFilesNeverReachALoader) {
  for (const TableRow& row : table_rows()) {
    for (const Foreign& file : foreign_files()) {
      const StepAnswer answer = run_row(row, {file.bytes, 8, 8});
      EXPECT_EQ(answer.misuse, "") << row.step << " " << file.name;
      EXPECT_EQ(answer.reason, file.reason) << row.step << " " << file.name;
      EXPECT_NE(answer.message.find("send"), std::string::npos) << answer.message;
    }
  }
}

TEST(Refusal, LimitsHoldBeforeAnythingIsDecoded) {
  GifStyle many;
  many.frame_colours.assign(10'001, {1, 2, 3});
  many.width = many.height = 1;
  GifStyle large = many;  // few frames, many pixels together
  large.frame_colours.resize(40);
  large.width = large.height = 64;
  const std::string thousands = encode_gif(many), film = encode_gif(large);
  for (const TableRow& row : table_rows()) {
    const StepAnswer wide = run_row(row, {announced_png(30'000, 30'000), 8, 8});
    EXPECT_EQ(wide.reason, "too_many_pixels") << row.step << wide.misuse;
    EXPECT_NE(wide.message.find("900000000"), std::string::npos) << wide.message;
    EXPECT_NE(wide.message.find("268000000 (limits.pixels)"), std::string::npos) << wide.message;
    const StepAnswer side = run_row(row, {announced_png(1'000'001, 1), 8, 8});
    EXPECT_EQ(side.reason, "too_many_pixels") << row.step << side.misuse;
    const StepAnswer frames = run_row(row, {thousands, 1, 1});
    EXPECT_EQ(frames.reason, "too_many_frames") << row.step << frames.misuse;
    StepRequest request{row.step, row.step, film, row.params};
    request.second = film;
    request.pixels_max = 64 * 64 * 39;
    EXPECT_EQ(run_step(request).reason, "too_many_pixels") << row.step;
    request.cancel_after = 1'000'000;  // counts only then
    EXPECT_EQ(run_step(request).progress_calls, 0u) << row.step << ": nothing was begun";
  }
}

// The chunk of compressed data, spoilt, with a check sum that is right.
std::string spoilt(const std::string& file, size_t permille) {
  std::string bad = file;
  const size_t at = file.size() * permille / 1000;
  for (size_t i = 0; i < 24 && at + i < bad.size(); ++i) bad[at + i] = static_cast<char>(0xA5 ^ i);
  return bad;
}

TEST(Refusal, WhatCodecsSayOfDamageIsSaidInOurWords) {
  TiffStyle lzw;
  lzw.compression = 5;
  const Picture picture = scene(96, 80);
  const std::pair<const char*, std::string> files[] = {
      {"tiff", spoilt(encode_tiff({picture}, lzw), 300)},
      {"webp", spoilt(encode_webp(picture, true), 400)},
      {"lossy webp", spoilt(encode_webp(picture, false), 20)},
      {"jpeg", spoilt(encode_jpeg(picture), 700)},
  };
  for (const TableRow& row : table_rows()) {
    if (row[kDamage] == "refused unread") continue;
    for (const auto& [name, bytes] : files) {
      const StepAnswer answer = run_row(row, {bytes, 96, 80});
      EXPECT_EQ(answer.misuse, "") << row.step << " " << name;
      if (answer.ok()) continue;  // a picture of other pixels is a picture
      EXPECT_TRUE(answer.reason == "corrupt" || answer.reason == "truncated")
          << row.step << " " << name << ": " << answer.reason;
      EXPECT_NE(answer.message.find("; send"), std::string::npos) << answer.message;
      EXPECT_EQ(answer.message.find("the "), 0u) << answer.message;
    }
  }
}

}  // namespace
}  // namespace millrace::testing
