// Goal: the columns Depth and FewBits of the table.
// Method: 16 bits give what 8 give, and more; few bits and palettes what the same samples of 8
// give.
#include <fmt/core.h>

#include "cmake/precompiled_test.h"
#include "tests/steps_image/table.h"

namespace millrace::testing {
namespace {

// ---- depth

// 10 bits are 16, of which the lowest follow from the highest.
void prove_depth_of_heic(const TableRow& row) {
  if (!row.paints() && !row.tells()) return;  // what is forwarded, or written with 8 bits
  Picture fine = scene(48, 40, 3, 16);
  HeifStyle style;
  style.hevc = true;
  style.bits = 10;
  const Carrier heic = {encode_heif(fine, style), 48, 40};
  for (uint16_t& sample : fine.samples) {
    sample = static_cast<uint16_t>(((sample >> 6) * 65535 + 511) / 1023);
  }
  expect_alike(row, see_row(row, heic), see_row(row, png_of(fine)), 6, 0.05, "heic of 10 bits");
}

TEST_P(Table, Depth) {
  const Picture narrow = scene(48, 40), wide = deepened(narrow);
  const Picture fine = scene(48, 40, 3, 16);  // with levels between those of 8 bits
  const std::string tiff = encode_tiff({fine});
  const Seen of_narrow = see_row(row(), png_of(narrow)), of_wide = see_row(row(), png_of(wide));
  prove_depth_of_heic(row());
  if (cell(kDepth, "8 bits")) {
    expect_alike(row(), of_wide, of_narrow, 0, 0, "as 16 bits");
    expect_alike(row(), see_row(row(), {tiff, 48, 40}), see_row(row(), png_of(fine)), 0, 0, "tiff");
    return;
  }
  for (const Carrier& file : {png_of(fine), Carrier{tiff, 48, 40}}) {
    const StepAnswer answer =
        run_row(row(), file, row().paints() ? ParamTexts{{"format", "same"}} : ParamTexts{});
    ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
    StepAnswer typed = answer;
    typed.media_type = upload(answer.outputs[0]).results["media_type"];
    const Picture got = decoded(typed);
    EXPECT_EQ(got.bits, 16);
    size_t between = 0;
    for (const uint16_t sample : got.samples) between += sample % 257 != 0;
    EXPECT_GT(between, got.samples.size() / 2) << "its low byte says nothing";
    if (cell(kDepth, "untouched")) {
      EXPECT_EQ(worst_difference(got, fine), 0);
    }
  }
  if (cell(kDepth, "untouched")) return;
  if (!cell(kDepth, "kept")) return no_proof_of(kDepth);
  if (!row().paints()) return;
  Seen deep = of_narrow;
  deep.picture = deepened(of_narrow.picture);
  expect_alike(row(), of_wide, deep, 3 * 257, 257, "as 16 bits");
  const StepAnswer jpeg = run_row(row(), png_of(wide), {{"format", "jpeg"}});
  const StepAnswer narrow_jpeg = run_row(row(), png_of(narrow), {{"format", "jpeg"}});
  EXPECT_LE(mean_difference(rgb_of(jpeg), rgb_of(narrow_jpeg)), 2);
}

// ---- 1, 2, 4 bits and palettes

struct FewBits {
  std::string name;
  Carrier file;
  Picture meant;  // the same in 8 bits
};

std::vector<FewBits> few_bits_files() {
  std::vector<FewBits> files;
  for (const int bits : {1, 2, 4}) {
    const int step = 255 / ((1 << bits) - 1);
    const Picture gray = make_picture(
        48, 40, 1, 8, [&](int x, int y, int) { return (x * 5 + y * 3) % (1 << bits) * step; });
    PngStyle style;
    style.stored_bits = bits;
    files.push_back({fmt::format("gray, {} bits", bits), png_of(gray, style), gray});
    const Picture colours = make_picture(48, 40, 3, 8, [&](int x, int y, int band) {
      return (x / 7 + y / 5) % (1 << bits) * 16 + band * 5;
    });
    style.palette = true;
    files.push_back({fmt::format("palette, {} bits", bits), png_of(colours, style), colours});
  }
  const Picture many = make_picture(
      48, 40, 3, 8, [](int x, int y, int band) { return (x + y) % 80 * 3 + band * 4; });
  PngStyle palette;
  palette.palette = true;
  files.push_back({"palette, 8 bits", png_of(many, palette), many});
  palette.first_transparent = true;
  Picture clear = with_alpha(many);
  for (size_t i = 0; i < clear.samples.size(); i += 4) {
    const bool first = clear.samples[i] == many.samples[0];
    if (first) clear.samples[i + 3] = 0;
  }
  files.push_back({"palette with a transparent colour", png_of(many, palette), clear});
  const Picture ink =
      make_picture(48, 40, 1, 1, [](int x, int y, int) { return (x + y) % 3 == 0; });
  Picture ink8 = ink;
  ink8.bits = 8;
  for (uint16_t& sample : ink8.samples) sample = static_cast<uint16_t>(sample * 255);
  files.push_back({"tiff, 1 bit", {encode_tiff({ink}), 48, 40}, ink8});
  return files;
}

TEST_P(Table, FewBits) {
  for (const FewBits& one : few_bits_files()) {
    if (cell(kFewBits, "8 bits") || row().step == "dither") {
      expect_alike(row(), see_row(row(), one.file), see_row(row(), png_of(one.meant)), 0, 0,
                   one.name);
      if (row().paints() && row().step != "dither") {
        EXPECT_EQ(see_row(row(), one.file).answer.outputs[0][24], 8) << one.name;
      }
      if (row().step != "dither") continue;
    }
    const StepAnswer answer = run_row(row(), one.file);
    ASSERT_TRUE(answer.ok()) << one.name << answer.message << answer.misuse;
    const bool png = one.file.bytes[0] == '\x89';
    const int before = one.file.bytes[24], after = answer.outputs[0][24];
    if (cell(kFewBits, "untouched")) {
      EXPECT_EQ(worst_difference(rgb_of(answer), png ? as_rgb(one.meant) : rgb_of(answer)), 0);
      EXPECT_EQ(png ? after : before, before) << one.name;
    } else if (cell(kFewBits, "kept")) {
      // Palettes become gray: as many bits as levels need.
      EXPECT_TRUE(!png || one.name.find("palette") == 0 || after == before) << one.name;
    } else if (cell(kFewBits, "fewest")) {
      if (png && row().step == "optimize") {
        EXPECT_LE(after, before) << one.name;
        EXPECT_EQ(worst_difference(rgb_of(answer), as_rgb(one.meant)), 0) << one.name;
      } else if (png && one.name.find("gray") == 0) {
        EXPECT_LE(after, 2) << one.name << ": four levels";
      }
    } else {
      no_proof_of(kFewBits);
    }
  }
}

}  // namespace
}  // namespace millrace::testing
