// Goal: the columns Ink, Profile and Metadata of the table.
// Method: what lcms makes of the same samples; what is found in the bytes of a result.
#include <array>

#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "tests/steps_image/table.h"

namespace millrace::testing {
namespace {

// The picture seen in a result, in sRGB, upright, by the step whose promises are tested on its own.
Picture shown(const std::string& file) {
  return as_rgb(decoded(run_picture_step("convert", file, {{"format", "png"}})));
}

// ---- CMYK and YCCK

// Inks as files store them: 0 is none.
Picture inks() {
  return make_picture(48, 40, 4, 8, [](int x, int y, int band) {
    const int amounts[] = {x * 4, y * 5, (x + y) * 2, x * y / 16};
    return amounts[band];
  });
}

Picture inverted(const Picture& picture) {
  Picture out = picture;
  for (uint16_t& sample : out.samples) sample = static_cast<uint16_t>(255 - sample);
  return out;
}

struct InkFile {
  const char* name;
  std::string bytes;
};

std::vector<InkFile> ink_files(const std::string& icc) {
  JpegStyle cmyk, ycck;
  cmyk.cmyk = true;
  cmyk.quality = ycck.quality = 98;
  cmyk.icc = ycck.icc = icc;
  ycck.ycck = true;
  ycck.luma_h = ycck.luma_v = 1;
  TiffStyle tiff;
  tiff.photometric = 5;
  tiff.icc = icc;
  // Adobe's JPEGs store inks inverted, and libjpeg says by its marker that ours are such.
  return {{"cmyk jpeg", encode_jpeg(inverted(inks()), cmyk)},
          {"ycck jpeg", encode_jpeg(inverted(inks()), ycck)},
          {"cmyk tiff", encode_tiff({inks()}, tiff)}};
}

void prove_ink_of_painter(const TableRow& row) {
  const std::string icc = icc_cmyk();
  const Seen wanted = see_row(row, png_of(to_srgb(inks(), icc)));
  for (const InkFile& file : ink_files(icc)) {
    const Seen seen = see_row(row, {file.bytes, 48, 40});
    expect_alike(row, seen, wanted, 40, 3, file.name);  // JPEG at 98, and sharpened
    EXPECT_EQ(profile_in(seen.answer.outputs[0]), "") << file.name;
  }
}

void prove_ink_of_grayscale(const TableRow& row) {
  const std::string icc = icc_cmyk();
  const Picture rgb = to_srgb(inks(), icc);
  const Picture wanted = shown(run_row(row, png_of(rgb)).outputs.at(0));
  for (const InkFile& file : ink_files(icc)) {
    const StepAnswer answer = run_row(row, {file.bytes, 48, 40});
    ASSERT_TRUE(answer.ok()) << file.name << answer.message << answer.misuse;
    EXPECT_LE(mean_difference(shown(answer.outputs[0]), wanted), 3) << file.name;
    EXPECT_EQ(profile_in(answer.outputs[0]), "") << file.name << ": no inks are left";
  }
}

void expect_near_colours(const std::string& a, const std::string& b, const std::string& what) {
  for (size_t i = 1; i < 7; i += 2) {
    EXPECT_NEAR(std::stoi(a.substr(i, 2), nullptr, 16), std::stoi(b.substr(i, 2), nullptr, 16), 2)
        << what << ": " << a << ", not " << b;
  }
}

// One ink mixture all over: lcms through libvips and by itself may differ by a level, which the
// facts of a flat picture do not magnify.
void prove_ink_of_teller(const TableRow& row) {
  const std::string icc = icc_cmyk();
  const Picture ink = make_picture(48, 40, 4, 8, [](int, int, int band) { return 90 - band * 25; });
  TiffStyle tiff;
  tiff.photometric = 5;
  tiff.icc = icc;
  JpegStyle jpeg;
  jpeg.cmyk = true;
  jpeg.icc = icc;
  jpeg.quality = 98;
  JpegStyle ycck = jpeg;
  ycck.cmyk = false;
  ycck.ycck = true;
  const Seen wanted = see_row(row, png_of(to_srgb(ink, icc)));
  for (const std::string& file : {encode_tiff({ink}, tiff), encode_jpeg(inverted(ink), jpeg),
                                  encode_jpeg(inverted(ink), ycck)}) {
    const Seen seen = see_row(row, {file, 48, 40});
    if (row.step == "compare") {
      EXPECT_NEAR(std::stod(seen.answer.results.at("psnr")),
                  std::stod(wanted.answer.results.at("psnr")), 0.2);
    } else {
      expect_near_colours(seen.answer.results.at("colour"), wanted.answer.results.at("colour"), "");
    }
  }
}

// What an ink looks like on paper, whose profile the file does not have.
struct Print {
  const char* name;
  int inks[4];
  int low[3], high[3];  // red, green, blue
};
constexpr Print kPrints[] = {
    {"paper", {0, 0, 0, 0}, {250, 250, 250}, {255, 255, 255}},
    {"all inks", {255, 255, 255, 255}, {0, 0, 0}, {50, 50, 50}},
    {"cyan", {255, 0, 0, 0}, {0, 130, 200}, {60, 200, 255}},
    {"magenta", {0, 255, 0, 0}, {200, 0, 90}, {255, 60, 170}},
    {"yellow", {0, 0, 255, 0}, {230, 210, 0}, {255, 255, 70}},
};

std::string without_adobe_marker(std::string jpeg) {
  const size_t at = jpeg.find("\xff\xee");
  const size_t size = static_cast<uint8_t>(jpeg.at(at + 3)) + size_t{2};
  EXPECT_EQ(jpeg.compare(at + 4, 5, "Adobe"), 0);
  return jpeg.erase(at, size);
}

std::vector<InkFile> files_of(const Print& print) {
  const Picture ink =
      make_picture(48, 40, 4, 8, [&](int, int, int band) { return print.inks[band]; });
  JpegStyle cmyk, ycck;
  cmyk.cmyk = ycck.ycck = true;
  cmyk.quality = ycck.quality = 98;
  TiffStyle tiff;
  tiff.photometric = 5;
  // All who write inks into JPEGs store them inverted, whether Adobe's marker says so or is absent.
  return {{"cmyk tiff", encode_tiff({ink}, tiff)},
          {"cmyk jpeg", encode_jpeg(inverted(ink), cmyk)},
          {"ycck jpeg", encode_jpeg(inverted(ink), ycck)},
          {"cmyk jpeg without a marker", without_adobe_marker(encode_jpeg(inverted(ink), cmyk))}};
}

void expect_print(const Print& print, const std::array<double, 3>& colour, bool gray,
                  const std::string& what) {
  const auto luma = [](const int* rgb) { return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]; };
  for (size_t band = 0; band < 3; ++band) {
    EXPECT_GE(colour[band], gray ? luma(print.low) : print.low[band]) << what << ", band " << band;
    EXPECT_LE(colour[band], gray ? luma(print.high) : print.high[band])
        << what << ", band " << band;
  }
}

// The mean of the upper left quarter, where no mark lies.
std::array<double, 3> colour_of(const Picture& picture) {
  std::array<double, 3> sum = {};
  const uint32_t width = picture.width / 2, height = picture.height / 2;
  for (uint32_t i = 0; i < width * height; ++i) {
    for (int band = 0; band < 3; ++band) {
      sum[static_cast<size_t>(band)] += picture.at(i % width, i / width, band);
    }
  }
  for (double& one : sum) one /= width * height;
  return sum;
}

std::array<double, 3> colour_of(const std::string& text) {
  const unsigned long rgb = std::stoul(text.substr(1), nullptr, 16);
  return {static_cast<double>(rgb >> 16), static_cast<double>(rgb >> 8 & 255),
          static_cast<double>(rgb & 255)};
}

std::string middle_of(const Print& print) {
  return encode_png(make_picture(
      48, 40, 3, 8, [&](int, int, int band) { return (print.low[band] + print.high[band]) / 2; }));
}

// Paper is white, all inks are dark, and each ink has its colour, in every coding.
void prove_ink_without_profile(const TableRow& row) {
  for (const Print& print : kPrints) {
    const std::vector<InkFile> files = files_of(print);
    for (const InkFile& file : files) {
      const std::string what = fmt::format("{}: {}, {}", row.step, print.name, file.name);
      if (row.step == "compare") {
        const bool first = &file == files.data();
        const StepAnswer answer =
            run_picture_step("compare", file.bytes, {}, first ? middle_of(print) : files[0].bytes);
        EXPECT_GE(std::stod(answer.results.at("psnr")), first ? 15 : 35) << what;
        continue;
      }
      const StepAnswer answer = run_row(row, {file.bytes, 48, 40});
      ASSERT_TRUE(answer.ok()) << what << answer.message << answer.misuse;
      expect_print(print,
                   row.tells() ? colour_of(answer.results.at("colour"))
                               : colour_of(shown(answer.outputs.at(0))),
                   row.step == "grayscale", what);
    }
  }
}

TEST_P(Table, Ink) {
  const std::string icc = icc_cmyk();
  prove_ink_without_profile(row());
  if (row().paints()) return prove_ink_of_painter(row());
  if (cell(kInk, "gray")) return prove_ink_of_grayscale(row());
  if (cell(kInk, "sRGB")) return prove_ink_of_teller(row());
  for (const InkFile& file : ink_files(icc)) {
    const Carrier carrier = {file.bytes, 48, 40};
    const StepAnswer answer = run_row(row(), carrier);
    ASSERT_TRUE(answer.ok()) << file.name << answer.message << answer.misuse;
    if (cell(kInk, "told")) {
      EXPECT_EQ(answer.results.at("colour"), "cmyk") << file.name;
      EXPECT_EQ(answer.outputs[0], file.bytes) << file.name;
    } else if (cell(kInk, "untouched")) {
      EXPECT_EQ(upload(answer.outputs[0]).results.at("colour"), "cmyk") << file.name;
      EXPECT_EQ(worst_difference(shown(answer.outputs[0]), shown(file.bytes)), 0) << file.name;
      EXPECT_EQ(profile_in(answer.outputs[0]), icc) << file.name;
    } else if (cell(kInk, "as seen")) {
      EXPECT_LE(mean_difference(shown(answer.outputs[0]), shown(file.bytes)), 8) << file.name;
    } else {
      no_proof_of(kInk);
    }
  }
}

// ---- profiles

struct Profile {
  const char* name;
  std::string icc;
  int bands;
};

std::vector<Profile> profiles() {
  return {{"sRGB", icc_srgb(), 3},
          {"Display P3", icc_display_p3(), 3},
          {"Display P3 with alpha", icc_display_p3(), 4},
          {"Adobe RGB", icc_adobe_rgb(), 3},
          {"gray, gamma 1", icc_gray(1), 1},
          {"gray, gamma 2.2", icc_gray(2.2), 1}};
}

// A picture without noise: a level of difference in the conversion must stay one.
Picture smooth(int bands) {
  return make_picture(48, 40, bands, 8, [=](int x, int y, int band) {
    if (band == bands - 1 && bands % 2 == 0) return x < 24 ? 255 : 128;
    return 30 + band * 20 + x * (3 - band) + y * band;
  });
}

// Kept: the samples of the file without a profile, and the profile beside them. A mark, which is in
// sRGB, lies among them as the profile codes its colours; gray becomes sRGB before red is laid on.
void prove_kept_profile(const TableRow& row, const Profile& one, const Carrier& file) {
  const Seen kept = see_row(row, file, {{"colours", "keep"}});
  const bool marked = row.step == "watermark";
  Seen wanted = see_row(row, marked && one.bands == 1 ? file : png_of(smooth(one.bands)));
  if (marked && one.bands == 3) {
    // sRGB's red by the primaries of Display P3: light of 0.8225, 0.0332, 0.0171 through sRGB's
    // curve.
    ParamTexts params = row.params;
    params["format"] = "png";
    wanted.answer = run_picture_step(row.step, png_of(smooth(3)).bytes, params, mark(234, 51, 35));
    wanted.picture = decoded(wanted.answer);
  }
  expect_alike(row, kept, wanted, marked ? 2 : 0, marked ? 0.2 : 0,
               std::string(one.name) + " kept");
  if (one.bands == 1) {
    // A coloured mark makes the picture coloured, and a WebP always is: no gray profile there.
    EXPECT_EQ(profile_in(kept.answer.outputs.at(0)), row.step == "watermark" ? "" : one.icc);
    const ParamTexts webp = {{"colours", "keep"}, {"format", "webp"}, {"lossless", "true"}};
    const StepAnswer answer = run_row(row, file, webp);
    ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
    EXPECT_EQ(profile_in(answer.outputs[0]), "");
    Picture converted = as_rgb(see_row(row, file).picture);
    EXPECT_EQ(worst_difference(as_rgb(decode_webp(answer.outputs[0])), converted), 0);
    return;
  }
  for (const char* format : {"png", "jpeg", "webp", "tiff"}) {
    const StepAnswer answer = run_row(row, file, {{"colours", "keep"}, {"format", format}});
    ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
    EXPECT_EQ(profile_in(answer.outputs[0]), one.icc) << one.name << " in " << format;
  }
}

void prove_profile_of_painter(const TableRow& row) {
  for (const Profile& one : profiles()) {
    const Picture picture = smooth(one.bands);
    PngStyle style;
    style.icc = one.icc;
    const Carrier file = png_of(picture, style);
    const Seen seen = see_row(row, file);
    const Seen wanted = see_row(row, png_of(to_srgb(picture, one.icc)));
    expect_alike(row, seen, wanted, row.step == "dither" ? 255 : 8, 1, one.name);
    EXPECT_EQ(profile_in(seen.answer.outputs.at(0)), "") << one.name;
    const bool p3 = one.name == std::string("Display P3");
    if (p3) {
      TiffStyle tiff;
      tiff.icc = one.icc;
      const Seen of_tiff = see_row(row, {encode_tiff({picture}, tiff), 48, 40});
      expect_alike(row, of_tiff, seen, 0, 0, "tiff");
      HeifStyle avif;
      avif.icc = one.icc;
      const Seen of_avif = see_row(row, {encode_heif(picture, avif), 48, 40});
      expect_alike(row, of_avif, seen, 0, 0, "avif");
    }
    if (p3 || one.name == std::string("gray, gamma 1")) prove_kept_profile(row, one, file);
  }
}

// Facts of colours that went through a profile are those of the converted picture.
void prove_profile_of_teller(const TableRow& row) {
  for (const Profile& one : profiles()) {
    const Picture picture = smooth(one.bands);
    PngStyle style;
    style.icc = one.icc;
    const Seen seen = see_row(row, png_of(picture, style));
    const Seen wanted = see_row(row, png_of(to_srgb(picture, one.icc)));
    if (row.step == "compare") {
      EXPECT_NEAR(std::stod(seen.answer.results.at("psnr")),
                  std::stod(wanted.answer.results.at("psnr")), 0.2)
          << one.name;
      continue;
    }
    expect_near_colours(seen.answer.results.at("colour"), wanted.answer.results.at("colour"),
                        one.name);
  }
}

TEST_P(Table, Profile) {
  if (row().paints()) return prove_profile_of_painter(row());
  if (row().tells()) return prove_profile_of_teller(row());
  for (const Profile& one : profiles()) {
    const Picture picture = smooth(one.bands);
    PngStyle style;
    style.icc = one.icc;
    const Carrier file = png_of(picture, style);
    const StepAnswer answer = run_row(row(), file);
    ASSERT_TRUE(answer.ok()) << one.name << answer.message << answer.misuse;
    const std::string& out = answer.outputs[0];
    if (cell(kProfile, "untouched") || cell(kProfile, "told")) {
      EXPECT_EQ(profile_in(out), one.icc) << one.name;
      EXPECT_EQ(worst_difference(decode_png(out), picture), 0) << one.name;
      if (cell(kProfile, "untouched")) continue;
      const std::string space = one.bands == 1 ? R"("space":"GRAY")" : R"("space":"RGB")";
      EXPECT_NE(answer.results.at("metadata").find(space), std::string::npos) << one.name;
    } else if (cell(kProfile, "as seen")) {
      EXPECT_LE(worst_difference(shown(out), shown(file.bytes)), 1) << one.name;
    } else if (cell(kProfile, "used")) {
      // Gray pictures keep theirs, coloured ones are converted and carry none. Luma knows no
      // primaries: of a profile with sRGB's curves it is taken as it is.
      EXPECT_EQ(profile_in(out), one.bands == 1 ? one.icc : "") << one.name;
      const StepAnswer light = run_row(row(), file, {{"method", "luminance"}});
      const Picture wanted = shown(
          run_row(row(), png_of(to_srgb(picture, one.icc)), {{"method", "luminance"}}).outputs[0]);
      EXPECT_LE(worst_difference(shown(light.outputs.at(0)), wanted), 2) << one.name;
    } else {
      no_proof_of(kProfile);
    }
  }
}

// ---- metadata

std::string talkative_jpeg() {
  JpegStyle style;
  style.exif = exif_with_location(6);
  style.markers = {
      {0xFE, "secret comment"},
      {0xED, "Photoshop 3.0 IPTC words"},
      {0xE1, std::string("http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation=\"6\"/>", 54)}};
  return encode_jpeg(scene(48, 40), style);
}

std::string talkative_heif(bool hevc) {
  HeifStyle style;
  style.hevc = hevc;
  style.orientation = 6;
  style.exif = exif_with_location(6);
  style.xmp = "<x tiff:Orientation=\"6\"/>" + std::string(40, ' ');
  return encode_heif(scene(48, 40), style);
}

// Which of the words a file may hold it does hold.
std::string words_in(const std::string& file) {
  std::string found;
  for (const char* word :
       {"Ann", "Maker \"X\"", "tiff:Orientation", "IPTC words", "secret comment"}) {
    if (file.find(word) != std::string::npos)
      found += std::string(found.empty() ? "" : "; ") + word;
  }
  return found;
}

bool has_place(const std::string& file) {
  const StepAnswer answer = run_picture_step("metadata", file, {{"location", "true"}});
  return answer.results.at("metadata").find(R"("has_location":true)") != std::string::npos;
}

struct Policy {
  const char* name;
  const char* words;
  bool place;
};

// Of the results in JPEG, PNG, WebP and TIFF, where the step can make them.
void prove_policies(const TableRow& row) {
  const Carrier file = {talkative_jpeg(), 40, 48};
  const Policy policies[] = {
      {"safe", "Ann", false},
      {"keep", "Ann; Maker \"X\"; tiff:Orientation", true},
      {"strip", "", false},
  };
  for (const Policy& policy : policies) {
    for (const bool hevc : {false, true}) {
      const StepAnswer answer =
          run_row(row, {talkative_heif(hevc), 40, 48}, {{"metadata", policy.name}});
      ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
      EXPECT_EQ(words_in(answer.outputs[0]), policy.words) << row.step << policy.name << hevc;
      EXPECT_EQ(has_place(answer.outputs[0]), policy.place) << row.step << policy.name << hevc;
    }
    for (const char* format : {"jpeg", "png", "webp", "tiff", "avif"}) {
      if (!row.paints() && format != std::string("jpeg")) continue;
      ParamTexts params = {{"metadata", policy.name}};
      if (row.paints()) params["format"] = format;
      const StepAnswer answer = run_row(row, file, params);
      ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
      const std::string what = fmt::format("{} {} in {}", row.step, policy.name, format);
      std::string words = policy.words;
      const bool keep = policy.name == std::string("keep");
      if (keep && format == std::string("tiff")) words = "Ann; tiff:Orientation";
      if (keep && format == std::string("jpeg")) words += "; IPTC words";
      // A step that leaves the file's frame alone keeps comments too.
      if (keep && row.step == "grayscale") words += "; secret comment";
      EXPECT_EQ(words_in(answer.outputs[0]), words) << what;
      EXPECT_EQ(has_place(answer.outputs[0]), policy.place && format != std::string("tiff"))
          << what;
      // The orientation is never lost: applied, or still there. (Of optimize: Table.Orientation.)
      if (row.step == "optimize") continue;
      const StepAnswer facts = upload(answer.outputs[0]);
      EXPECT_EQ(facts.results.at("orientation"), row.paints() ? "1" : "6") << what;
    }
  }
}

TEST_P(Table, Metadata) {
  if (cell(kMetadata, "safe, keep, strip")) return prove_policies(row());
  const Carrier file = {talkative_jpeg(), 40, 48};
  if (cell(kMetadata, "none")) {
    EXPECT_TRUE(run_row(row(), file).outputs.empty());
  } else if (cell(kMetadata, "untouched")) {
    EXPECT_TRUE(run_row(row(), file).forwarded);
  } else if (cell(kMetadata, "by remove")) {
    const Policy policies[] = {
        {"nothing", "Ann; Maker \"X\"; tiff:Orientation; IPTC words; secret comment", true},
        {"location", "Ann; Maker \"X\"; tiff:Orientation", false},
        {"unsafe", "Ann", false},
        {"everything", "", false},
    };
    for (const bool hevc : {false, true}) {
      for (const Policy& policy : policies) {
        const Carrier heif = {talkative_heif(hevc), 40, 48};
        const StepAnswer answer = run_row(row(), heif, {{"remove", policy.name}});
        ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
        std::string words = policy.words;
        words = words.substr(0, words.find("; IPTC"));  // there is none in them
        EXPECT_EQ(words_in(answer.outputs[0]), words) << policy.name;
        EXPECT_EQ(has_place(answer.outputs[0]), policy.place) << policy.name;
        EXPECT_EQ(upload(answer.outputs[0]).results.at("orientation"), "6") << policy.name;
      }
    }
    for (const Policy& policy : policies) {
      const StepAnswer answer = run_row(row(), file, {{"remove", policy.name}});
      ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
      EXPECT_EQ(words_in(answer.outputs[0]), policy.words) << policy.name;
      EXPECT_EQ(has_place(answer.outputs[0]), policy.place) << policy.name;
      EXPECT_EQ(upload(answer.outputs[0]).results.at("orientation"), "6") << policy.name;
    }
  } else {
    no_proof_of(kMetadata);
  }
}

}  // namespace
}  // namespace millrace::testing
