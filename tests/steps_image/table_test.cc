// Goal: the table of steps in steps/README.md is true. Each cell is one test, Table.COLUMN/STEP.
// Method: relations between two runs of a step: the same picture in another format, depth or coding
// gives the same result; and what the words of the cell say of the result itself.
#include "tests/steps_image/table.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cmake/precompiled_test.h"
#include "cmake/tree.h"

namespace millrace::testing {
namespace {

INSTANTIATE_TEST_SUITE_P(Steps, Table, ::testing::ValuesIn(table_rows()),
                         [](const auto& one) { return one.param.step; });

// ---- the table itself

TEST(TableOfSteps, TheReadmePrintsIt) {
  std::ifstream file(in_source("/steps/README.md"));
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str().find("<!-- table -->\n" + table_text() + "<!-- end of table -->\n"),
            std::string::npos)
      << "between the two marks steps/README.md must say:\n"
      << table_text();
}

TEST(TableOfSteps, HasEveryStepThatTakesAnImage) {
  std::vector<std::string> there, missing;
  for (const TableRow& row : table_rows()) there.push_back(row.step);
  for (const auto& entry : std::filesystem::directory_iterator(in_build("/steps"))) {
    if (entry.path().extension() != ".so") continue;
    const mr_plugin* plugin = load_plugin(entry.path().stem());
    ASSERT_NE(plugin, nullptr) << entry.path();
    for (uint32_t i = 0; i < plugin->step_count; ++i) {
      const mr_step& step = *plugin->steps[i];
      bool image = step.name == std::string("upload");
      for (uint32_t k = 0; k < step.input_count; ++k) {
        image = image || step.inputs[k].type == std::string("image");
      }
      if (image && std::count(there.begin(), there.end(), step.name) == 0) {
        missing.emplace_back(step.name);
      }
    }
  }
  EXPECT_TRUE(missing.empty()) << missing[0] << " is not in the table";
}

// ---- formats in

struct Coded {
  const char* name;
  Carrier file;
};

// One picture in all lossless files.
std::vector<Coded> lossless_files(const Picture& picture) {
  PngStyle interlaced;
  interlaced.interlaced = true;
  TiffStyle lzw, big;
  lzw.compression = 5;
  big.big = true;
  HeifStyle tiles, heic;
  tiles.columns = tiles.rows = 2;
  heic.hevc = true;
  const uint32_t w = picture.width, h = picture.height;
  return {{"png", png_of(picture)},
          {"interlaced png", png_of(picture, interlaced)},
          {"webp", {encode_webp(picture, true), w, h}},
          {"tiff", {encode_tiff({picture}), w, h}},
          {"tiff, lzw", {encode_tiff({picture}, lzw), w, h}},
          {"bigtiff", {encode_tiff({picture}, big), w, h}},
          {"avif", {encode_heif(picture), w, h}},
          {"avif of tiles", {encode_heif(picture, tiles), w, h}},
          {"heic", {encode_heif(picture, heic), w, h}}};
}

// JPEG in its codings.
std::vector<Coded> jpeg_files(const Picture& picture) {
  JpegStyle progressive, arithmetic, full, rgb, restart;
  progressive.progressive = true;
  arithmetic.arithmetic = true;
  full.luma_h = full.luma_v = 1;
  rgb.rgb = true;
  restart.restart = 2;
  const uint32_t w = picture.width, h = picture.height;
  return {{"jpeg", {encode_jpeg(picture), w, h}},
          {"progressive jpeg", {encode_jpeg(picture, progressive), w, h}},
          {"arithmetic jpeg", {encode_jpeg(picture, arithmetic), w, h}},
          {"jpeg 4:4:4", {encode_jpeg(picture, full), w, h}},
          {"jpeg of rgb", {encode_jpeg(picture, rgb), w, h}},
          {"jpeg with restarts", {encode_jpeg(picture, restart), w, h}}};
}

Coded gif_file() {
  GifStyle style;
  style.width = 48, style.height = 40;
  style.frame_colours = {{200, 90, 30}};
  return {"gif", {encode_gif(style), 48, 40}};
}

constexpr int kRgbSpace = 2;  // J_COLOR_SPACE

// Facts of the file itself, which differ from format to format.
void forget_format(StepAnswer* answer) {
  for (const char* name : {"media_type", "extension", "metadata", "saved"}) {
    answer->results.erase(name);
  }
}

TEST_P(Table, In) {
  ASSERT_EQ(row()[kIn], "all");
  const Picture picture = scene(48, 40);
  std::vector<Coded> files = lossless_files(picture);
  Seen plain = see_row(row(), files[0].file);
  forget_format(&plain.answer);
  for (const Coded& coded : files) {
    Seen seen = see_row(row(), coded.file);
    forget_format(&seen.answer);
    expect_alike(row(), seen, plain, 0, 0, coded.name);
    if (!row().paints() && !row().tells()) {
      // An AVIF that is encoded anew has losses, and so has the JPEG that a HEIC becomes.
      const bool anew = row().step == "grayscale" && is_heif_file(coded.file.bytes);
      EXPECT_LE(mean_difference(rgb_of(seen.answer), rgb_of(plain.answer)), anew ? 8 : 0)
          << coded.name;
    }
  }
  for (const Coded& coded : jpeg_files(picture)) {
    const Picture wanted = decode_jpeg(coded.file.bytes, kRgbSpace);
    if (row().paints() || row().tells()) {
      expect_alike(row(), see_row(row(), coded.file), see_row(row(), png_of(wanted)), 0, 0,
                   coded.name);
      continue;
    }
    const StepAnswer got = run_row(row(), coded.file);
    ASSERT_TRUE(got.ok()) << coded.name << got.message << got.misuse;
    const Picture as_png = rgb_of(run_row(row(), png_of(wanted)));
    // Luma out of the file and luma of rounded colours; a JPEG of RGB, and what optimize finds, is
    // encoded anew.
    const bool anew = row().step == "optimize" || coded.name == std::string("jpeg of rgb");
    EXPECT_LE(mean_difference(rgb_of(got), as_png), anew ? 8 : 1) << coded.name;
  }
  const Coded gif = gif_file();
  const Picture one = decode_gif(gif.file.bytes).frames[0];
  Seen of_gif = see_row(row(), gif.file), of_png = see_row(row(), png_of(without_alpha(one)));
  forget_format(&of_gif.answer), forget_format(&of_png.answer);
  if (row().step != "upload") expect_alike(row(), of_gif, of_png, 0, 0, "gif");
}

// ---- format out

TEST_P(Table, Out) {
  const Picture picture = scene(48, 40);
  if (cell(kOut, "none")) {
    EXPECT_TRUE(see_row(row(), png_of(picture)).answer.outputs.empty());
    return;
  }
  if (cell(kOut, "any")) {
    const Picture wanted = see_row(row(), png_of(picture)).picture;
    const std::pair<const char*, double> formats[] = {{"png", 0},  {"tiff", 0}, {"webp", 0},
                                                      {"jpeg", 5}, {"gif", 12}, {"avif", 12}};
    for (const auto& [format, mean] : formats) {
      ParamTexts params = {{"format", format}, {"quality", "98"}};
      if (format != std::string("avif")) params["lossless"] = "true";
      const StepAnswer answer = run_row(row(), png_of(picture), params);
      ASSERT_TRUE(answer.ok()) << format << answer.message << answer.misuse;
      EXPECT_EQ(answer.media_type, "image/" + std::string(format));
      EXPECT_EQ(upload(answer.outputs[0]).results["media_type"], answer.media_type);
      // Dots of full colour are more than an AVIF's chroma of half the resolution holds.
      if (row().step == "dither" && format == std::string("avif")) continue;
      EXPECT_LE(mean_difference(rgb_of(answer), as_rgb(wanted)), mean) << format;
    }
    return;
  }
  std::vector<Coded> files = lossless_files(picture);
  files.push_back(jpeg_files(picture)[0]);
  files.push_back(gif_file());
  for (const Coded& coded : files) {
    const StepAnswer answer = run_row(row(), coded.file);
    ASSERT_TRUE(answer.ok()) << coded.name << answer.message << answer.misuse;
    std::string before = upload(coded.file.bytes).results["media_type"];
    if (before == "image/heic" && row().step == "grayscale") before = "image/jpeg";
    EXPECT_EQ(upload(answer.outputs[0]).results["media_type"], before) << coded.name;
    if (cell(kOut, "input")) {
      EXPECT_TRUE(answer.forwarded) << coded.name;
    } else if (cell(kOut, "same or WebP")) {
      const StepAnswer web = run_row(row(), coded.file, {{"formats", "web"}});
      EXPECT_TRUE(web.media_type == "image/webp" || web.media_type == before) << coded.name;
      EXPECT_LE(web.outputs.at(0).size(), answer.outputs[0].size()) << coded.name;
    } else if (!cell(kOut, "same")) {
      no_proof_of(kOut);
    }
  }
}

// ---- alpha

// A disc of one colour that is seen, in a green that is not (alpha 0); the rim is half covered.
// `red` and `green` are the disc's, as parts of 255; gray is its red.
Picture hidden_green(int bits, int bands, int red = 255, int green = 0) {
  const int top = bits == 16 ? 65535 : 255, unit = top / 255;
  return make_picture(48, 40, bands, bits, [=](int x, int y, int band) {
    const int away = (x - 24) * (x - 24) + (y - 20) * (y - 20);
    const int alpha = away < 120 ? top : away < 190 ? top / 2 : 0;
    if (band == bands - 1) return alpha;
    if (alpha == 0) return bands == 2 || band == 1 ? top * 2 / 5 : 0;
    return band == 0 ? red * unit : band == 1 ? green * unit : 0;
  });
}

// What is seen has the colour of the disc, also where it is hardly seen.
void expect_no_fringe(const Picture& picture, int red, int green, const std::string& what) {
  const double top = picture.bits == 16 ? 65535 : 255;
  const int alpha = picture.bands - 1;
  double worst = 0;
  int clear = 0, covered = 0;
  for (uint32_t y = 0; y < picture.height; ++y) {
    for (uint32_t x = 0; x < picture.width; ++x) {
      const double cover = picture.at(x, y, alpha) / top;
      clear += cover == 0;
      covered += cover == 1;
      const double wanted[3] = {red / 255.0, green / 255.0, 0};
      for (int band = 0; band < alpha; ++band) {
        worst = std::max(worst, cover * std::fabs(picture.at(x, y, band) / top - wanted[band]));
      }
    }
  }
  EXPECT_LE(worst, 1.6 / 255) << what;
  EXPECT_GT(clear, 0) << what << ": nothing is transparent any more";
  EXPECT_GT(covered, 0) << what << ": nothing is opaque any more";
}

// Where nothing is seen of a picture a JPEG has the background, and no other colour.
void prove_background_of_painter(const TableRow& row) {
  const Carrier file = png_of(hidden_green(8, 4));
  const StepAnswer jpeg =
      run_row(row, file, {{"format", "jpeg"}, {"background", "#1450c8"}, {"quality", "100"}});
  ASSERT_TRUE(jpeg.ok()) << jpeg.message << jpeg.misuse;
  const Picture laid = decode_jpeg(jpeg.outputs[0], kRgbSpace);
  const Picture clear = see_row(row, file).picture;
  const int wanted[] = {0x14, 0x50, 0xC8};
  int places = 0, worst = 0;
  for (uint32_t y = 0; y < clear.height; ++y) {
    for (uint32_t x = 0; x < clear.width; ++x) {
      if (clear.at(x, y, 3) != 0) continue;
      places += 1;
      for (int band = 0; band < 3; ++band) {
        worst = std::max(worst, std::abs(laid.at(x, y, band) - wanted[band]));
      }
    }
  }
  EXPECT_LE(worst, 4) << row.step;
  EXPECT_GT(places, 50) << row.step;
}

void prove_alpha_of_painter(const TableRow& row) {
  for (const int bits : {8, 16}) {
    for (const int bands : {2, 4}) {
      if (row.step == "watermark" && bands == 2) continue;  // a red mark makes it coloured
      const Picture picture = hidden_green(bits, bands);
      const std::string what = fmt::format("{} {} bands, {} bits", row.step, bands, bits);
      const Seen seen = see_row(row, png_of(picture));
      ASSERT_EQ(seen.picture.bands, bands) << what;
      expect_no_fringe(seen.picture, 255, 0, what);
      // Neither darker nor lighter, where a filter rings; levels and red marks are other colours.
      const bool own_colours = row.step == "dither" || row.step == "watermark";
      if (!own_colours) {
        const Seen middle = see_row(row, png_of(hidden_green(bits, bands, 130, 60)));
        expect_no_fringe(middle.picture, 130, 60, what + ", middle tones");
      }
      const Seen tiff = see_row(row, {encode_tiff({picture}), 48, 40});
      expect_alike(row, tiff, seen, 0, 0, what + " of a TIFF");
      if (bits == 16) continue;
      const Seen avif = see_row(row, {encode_heif(picture), 48, 40});
      expect_alike(row, avif, seen, 0, 0, what + " of an AVIF");
    }
  }
  // A picture that is opaque throughout stays so, and has the colours of one without alpha.
  const Picture plain = scene(48, 40);
  Seen opaque = see_row(row, png_of(with_alpha(plain)));
  if (row.step == "dither" && opaque.picture.bands == 3) {  // a PNG of the fewest bits
    opaque.picture = with_alpha(opaque.picture);
  }
  ASSERT_EQ(opaque.picture.bands, 4);
  for (size_t i = 3; i < opaque.picture.samples.size(); i += 4) {
    ASSERT_EQ(opaque.picture.samples[i], 255) << row.step;
  }
  Seen without = see_row(row, png_of(plain));
  ASSERT_EQ(without.picture.bands, 3);
  without.picture = with_alpha(without.picture);
  expect_alike(row, opaque, without, 2, 0.6, "opaque");
  prove_background_of_painter(row);
}

void prove_alpha_plays_no_part_hidden(const TableRow& row) {
  Picture hidden = hidden_green(8, 4), black = hidden;
  for (size_t i = 0; i < black.samples.size(); i += 4) {
    if (black.samples[i + 3] == 0) black.samples[i + 1] = 0;
  }
  const Seen seen = see_row(row, png_of(hidden)), other = see_row(row, png_of(black));
  EXPECT_EQ(seen.answer.results.at("thumbhash"), other.answer.results.at("thumbhash"));
  EXPECT_EQ(seen.answer.results.at("colour"), "#ff0000");
  const Seen opaque = see_row(row, png_of(without_alpha(hidden)));
  EXPECT_NE(seen.answer.results.at("thumbhash"), opaque.answer.results.at("thumbhash"));
}

void prove_alpha_over_white(const TableRow& row) {
  const Picture picture = hidden_green(8, 4);
  const Picture flat = make_picture(48, 40, 3, 8, [&](int x, int y, int band) {
    const auto at = [&](int b) {
      return int{picture.at(static_cast<uint32_t>(x), static_cast<uint32_t>(y), b)};
    };
    return (at(band) * at(3) + 255 * (255 - at(3)) + 127) / 255;
  });
  expect_alike(row, see_row(row, png_of(picture)), see_row(row, png_of(flat)), 0, 0, "over white");
}

TEST_P(Table, Alpha) {
  const Picture picture = hidden_green(8, 4);
  if (row().paints()) return prove_alpha_of_painter(row());
  if (cell(kAlpha, "used")) return prove_alpha_plays_no_part_hidden(row());
  if (cell(kAlpha, "over white")) return prove_alpha_over_white(row());
  for (const Picture& one : {picture, hidden_green(8, 2)}) {
    for (const Coded& coded : lossless_files(one.bands == 2 ? with_alpha(as_rgb(one)) : one)) {
      const StepAnswer answer = run_row(row(), coded.file);
      ASSERT_TRUE(answer.ok()) << coded.name << answer.message << answer.misuse;
      StepAnswer before = answer, after = answer;
      before.outputs[0] = coded.file.bytes;
      before.media_type = after.media_type = upload(answer.outputs[0]).results["media_type"];
      const bool heif = is_heif_file(coded.file.bytes);
      const Picture in = seen_in(before);
      Picture out = seen_in(after);
      const int worst = heif && row().step == "grayscale" ? 12 : 0;  // coded anew, with losses
      if (row().step == "optimize" && out.bands % 2 == 1) out = with_alpha(out);  // of opaque ones
      ASSERT_TRUE(out.bands == 2 || out.bands == 4) << coded.name;
      for (uint32_t y = 0; y < in.height; ++y) {
        for (uint32_t x = 0; x < in.width; ++x) {
          ASSERT_NEAR(out.at(x, y, out.bands - 1), in.at(x, y, in.bands - 1), worst) << coded.name;
        }
      }
      if (cell(kAlpha, "untouched")) {
        EXPECT_EQ(worst_difference(in, out), 0) << coded.name;
      } else if (!cell(kAlpha, "kept")) {
        no_proof_of(kAlpha);
      }
    }
  }
}

}  // namespace
}  // namespace millrace::testing
