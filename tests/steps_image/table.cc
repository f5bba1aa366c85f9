#include "tests/steps_image/table.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>

namespace millrace::testing {
namespace {

struct ColumnText {
  const char* name;
  const char* title;
};
constexpr ColumnText kTitles[kColumns] = {
    {"In", "formats in"},   {"Out", "format out"},      {"Alpha", "alpha"},
    {"Depth", "16 bits"},   {"FewBits", "few bits"},    {"Ink", "CMYK, YCCK"},
    {"Profile", "profile"}, {"Orientation", "upright"}, {"Animation", "frames"},
    {"Pages", "pages"},     {"Damage", "damage"},       {"Metadata", "metadata"},
};

// Of the steps that decode, work and encode: only these cells differ.
TableRow painter(const char* step, ParamTexts params, const char* alpha, const char* depth = "kept",
                 const char* few_bits = "8 bits") {
  return {step,
          std::move(params),
          {"all", "any", alpha, depth, few_bits, "sRGB", "sRGB or kept", "applied", "kept", "kept",
           "refused or accepted", "safe, keep, strip"}};
}

struct Meaning {
  const char* words;
  const char* meaning;
};
constexpr Meaning kMeanings[] = {
    {"all",
     "JPEG (progressive and arithmetic too), PNG (interlaced too), WebP, GIF, TIFF, AVIF, HEIC (of "
     "the two last, single pictures and grids)"},
    {"any", "JPEG, PNG, WebP, GIF, TIFF, AVIF, by `format`"},
    {"same", "the format of the input; of a HEIC that is decoded, JPEG, or PNG with alpha"},
    {"input", "the bytes of the input, forwarded"},
    {"untouched", "not decoded, stays as it is in the file"},
    {"none", "no picture comes out"},
    {"mixed", "multiplied in where pixels are mixed: what cannot be seen gives no colour"},
    {"over white", "laid over white before looking"},
    {"used",
     "plays its part in what is computed: hidden pixels do not count, gray is taken from "
     "the colours that the profile means"},
    {"sRGB or kept", "converted to sRGB without a profile, or kept with it (`colours`)"},
    {"as seen",
     "some candidates are upright and in sRGB, others keep tag and profile: what is "
     "seen is the same"},
    {"applied", "turned, and the tag is gone"},
    {"tag kept", "not turned, the tag stays; AVIF and HEIC are turned"},
    {"told", "reported, the file stays as it is"},
    {"first", "the first frame or page"},
    {"refused", "cut files are `truncated`, picture data that do not decode `corrupt`"},
    {"refused unread", "cut files are `truncated`; picture data are not decoded"},
    {"refused or accepted", "the same, unless `damaged: accept`"},
    {"by remove", "by the parameter `remove`"},
};

std::string markdown_row(const std::string& first, const std::vector<std::string>& cells) {
  std::string text = "| " + first;
  for (const std::string& cell : cells) text += " | " + cell;
  return text + " |\n";
}

std::string second_of(const TableRow& row, const Carrier& file) {
  if (row.step == "compare") return encode_png(gradient(file.width, file.height));
  return row.step == "watermark" ? mark() : "";
}

std::vector<double> mean_colours(const Picture& picture) {
  std::vector<double> means(static_cast<size_t>(picture.bands));
  for (size_t i = 0; i < picture.samples.size(); ++i) {
    means[i % means.size()] += picture.samples[i];
  }
  for (double& mean : means) mean /= static_cast<double>(picture.width) * picture.height;
  return means;
}

}  // namespace

const std::vector<TableRow>& table_rows() {
  static const std::vector<TableRow> rows = {
      {"upload",
       {},
       {"all", "input", "untouched", "untouched", "untouched", "told", "untouched", "told",
        "untouched", "untouched", "refused unread", "untouched"}},
      painter("transform",
              {{"operations", R"([{"type":"crop","params":{"left":2,"width":40}},)"
                              R"({"type":"resize","params":{"width":30,"height":25,"fit":"fill"}},)"
                              R"({"type":"rotate","params":{"angle":90}},)"
                              R"({"type":"sharpen","params":{"amount":0.5}}])"}},
              "mixed"),
      painter("resize", {{"width", "31"}, {"height", "29"}, {"fit", "fill"}}, "mixed"),
      painter("crop", {{"left", "3"}, {"top", "5"}, {"width", "30"}, {"height", "21"}}, "kept"),
      painter("rotate", {{"angle", "90"}, {"mirror", "horizontal"}}, "kept"),
      painter("convert", {}, "kept"),
      painter("blur", {{"sigma", "1.5"}}, "mixed"),
      painter("sharpen", {}, "mixed"),
      painter("watermark", {{"margin", "2"}}, "mixed"),
      painter("dither", {{"channels", "2"}}, "kept", "8 bits", "fewest"),
      {"optimize",
       {},
       {"all", "same or WebP", "kept", "kept", "fewest", "as seen", "as seen", "as seen",
        "untouched", "untouched", "refused", "safe, keep, strip"}},
      {"grayscale",
       {},
       {"all", "same", "kept", "kept", "kept", "gray", "used", "tag kept", "kept", "kept",
        "refused", "safe, keep, strip"}},
      {"placeholder",
       {},
       {"all", "none", "used", "8 bits", "8 bits", "sRGB", "sRGB", "applied", "first", "first",
        "refused", "none"}},
      {"compare",
       {},
       {"all", "none", "over white", "8 bits", "8 bits", "sRGB", "sRGB", "applied", "first",
        "first", "refused", "none"}},
      {"metadata",
       {},
       {"all", "same", "untouched", "untouched", "untouched", "untouched", "told", "told",
        "untouched", "untouched", "refused unread", "by remove"}},
  };
  return rows;
}

std::string table_text() {
  std::vector<std::string> names, titles, rules(kColumns, "---");
  for (const ColumnText& column : kTitles) {
    names.push_back("`" + std::string(column.name) + "`");
    titles.push_back(column.title);
  }
  std::string text =
      markdown_row("step", titles) + markdown_row("---", rules) + markdown_row("`Table.`…", names);
  for (const TableRow& row : table_rows()) {
    text += markdown_row(row.step, {std::begin(row.cells), std::end(row.cells)});
  }
  text += "\n";
  for (const Meaning& one : kMeanings) {
    text += fmt::format("- {}: {}\n", one.words, one.meaning);
  }
  return text;
}

Carrier png_of(const Picture& picture, const PngStyle& style) {
  return {encode_png(picture, style), picture.width, picture.height};
}

std::string mark(int red, int green, int blue) {
  return encode_png(make_picture(10, 8, 4, 8, [=](int x, int y, int band) {
    const int colour[] = {red, green, blue, 100 + x * 15 + y};
    return colour[band];
  }));
}

StepAnswer run_row(const TableRow& row, const Carrier& file, ParamTexts more) {
  more.insert(row.params.begin(), row.params.end());
  return run_picture_step(row.step, file.bytes, std::move(more), second_of(row, file));
}

Seen see_row(const TableRow& row, const Carrier& file, ParamTexts more) {
  if (row.paints()) more.emplace("format", "png");
  Seen seen;
  seen.answer = run_row(row, file, std::move(more));
  EXPECT_TRUE(seen.answer.ok()) << row.step << ": " << seen.answer.reason << " "
                                << seen.answer.message << seen.answer.misuse;
  if (row.paints() && seen.answer.ok()) seen.picture = decode_png(seen.answer.outputs[0]);
  return seen;
}

bool is_heif_file(const std::string& bytes) {
  return bytes.compare(4, 4, "ftyp") == 0;
}

Picture seen_in(const StepAnswer& answer) {
  const std::string& bytes = answer.outputs.at(0);
  if (!is_heif_file(bytes)) return decoded(answer);
  return decoded(run_picture_step("convert", bytes, {{"format", "png"}}));
}

Picture rgb_of(const StepAnswer& answer) {
  const std::string& bytes = answer.outputs.at(0);
  const ::testing::Message what = ::testing::Message() << bytes.substr(0, 4);
  Picture picture;
  if (bytes.compare(0, 3, "GIF") == 0) {
    picture = decode_gif(bytes).frames.at(0);
  } else {
    StepAnswer typed = answer;
    typed.media_type = upload(bytes).results["media_type"];
    picture = seen_in(typed);
  }
  return as_rgb(picture);
}

void expect_alike(const TableRow& row, const Seen& a, const Seen& b, int worst, double mean,
                  const std::string& what) {
  if (!row.paints()) {
    EXPECT_EQ(a.answer.results, b.answer.results) << row.step << ", " << what;
    return;
  }
  ASSERT_EQ(a.picture.width, b.picture.width) << row.step << ", " << what;
  ASSERT_EQ(a.picture.height, b.picture.height) << row.step << ", " << what;
  ASSERT_EQ(a.picture.bands, b.picture.bands) << row.step << ", " << what;
  ASSERT_EQ(a.picture.bits, b.picture.bits) << row.step << ", " << what;
  if (row.step == "dither" && mean > 0) {
    const std::vector<double> left = mean_colours(a.picture), right = mean_colours(b.picture);
    for (size_t i = 0; i < left.size(); ++i) EXPECT_NEAR(left[i], right[i], 3) << what;
    return;
  }
  EXPECT_LE(worst_difference(a.picture, b.picture), worst) << row.step << ", " << what;
  EXPECT_LE(mean_difference(a.picture, b.picture), mean) << row.step << ", " << what;
}

namespace {

Picture changed_bands(const Picture& picture, int bands,
                      const std::function<int(uint32_t, uint32_t, int)>& sample) {
  return make_picture(picture.width, picture.height, bands, picture.bits,
                      [&](int x, int y, int band) {
                        return sample(static_cast<uint32_t>(x), static_cast<uint32_t>(y), band);
                      });
}

}  // namespace

Picture with_alpha(const Picture& picture) {
  const int top = picture.bits == 16 ? 65535 : 255;
  return changed_bands(picture, picture.bands + 1, [&](uint32_t x, uint32_t y, int band) -> int {
    return band < picture.bands ? picture.at(x, y, band) : top;
  });
}

Picture without_alpha(const Picture& picture) {
  return changed_bands(picture, picture.bands - 1, [&](uint32_t x, uint32_t y, int band) -> int {
    return picture.at(x, y, band);
  });
}

Picture as_rgb(const Picture& picture) {
  return changed_bands(picture, 3, [&](uint32_t x, uint32_t y, int band) -> int {
    return picture.at(x, y, picture.bands >= 3 ? band : 0);
  });
}

Picture deepened(const Picture& picture) {
  Picture out = picture;
  out.bits = 16;
  for (uint16_t& sample : out.samples) sample = static_cast<uint16_t>(sample * 257);
  return out;
}

}  // namespace millrace::testing
