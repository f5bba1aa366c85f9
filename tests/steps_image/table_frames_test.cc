// Goal: the columns Orientation, Animation, Pages and Damage of the table.
// Method: a turned file gives what the upright one gives; each frame and each page gives what it
// gives alone; cut files and files with holes.
#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "tests/steps_image/table.h"

namespace millrace::testing {
namespace {

constexpr int kRgbSpace = 2;  // J_COLOR_SPACE

Picture shown(const std::string& file) {
  return as_rgb(decoded(run_picture_step("convert", file, {{"format", "png"}})));
}

// ---- orientation

struct Turned {
  const char* name;
  std::string bytes;
  Picture stored;  // as a decoder of the file gives it
};

std::vector<Turned> turned_files(int orientation) {
  const Picture picture = scene(48, 40);
  const std::string exif = build_exif({orientation, "", ""});
  JpegStyle jpeg, odd;
  jpeg.exif = odd.exif = exif;
  odd.luma_h = odd.luma_v = 1;
  PngStyle png;
  png.exif = exif;
  TiffStyle tiff;
  tiff.orientation = orientation;
  const std::string blocks = encode_jpeg(picture, jpeg);
  const std::string ragged = encode_jpeg(scene(45, 39), odd);
  std::vector<Turned> files = {{"png", encode_png(picture, png), picture},
                               {"jpeg of odd sides", ragged, decode_jpeg(ragged, kRgbSpace)}};
  HeifStyle heif;
  heif.orientation = orientation;
  heif.exif = exif;
  files.push_back({"avif", encode_heif(picture, heif), picture});
  if (orientation % 3 != 0) return files;
  heif.hevc = true;
  heif.columns = 2;
  files.push_back({"heic of tiles", encode_heif(picture, heif), picture});
  // The other formats differ only in how the tag is read: a half and a quarter are enough.
  files.push_back({"jpeg", blocks, decode_jpeg(blocks, kRgbSpace)});
  files.push_back({"webp", encode_webp(picture, true, exif), picture});
  files.push_back({"tiff", encode_tiff({picture}, tiff), picture});
  return files;
}

TEST_P(Table, Orientation) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const Turned& file : turned_files(orientation)) {
      const std::string what = fmt::format("{}, {}", file.name, orientation);
      const Picture seen = upright(file.stored, orientation);
      const Carrier turned = {file.bytes, seen.width, seen.height};
      if (cell(kOrientation, "applied")) {
        const Seen got = see_row(row(), turned);
        expect_alike(row(), got, see_row(row(), png_of(seen)), 0, 0, what);
        if (!row().paints()) continue;
        const StepAnswer same = run_row(row(), turned);
        ASSERT_TRUE(same.ok()) << what << same.message << same.misuse;
        const StepAnswer facts = upload(same.outputs[0]);
        EXPECT_EQ(facts.results.at("orientation"), "1") << what;
        EXPECT_EQ(facts.results.at("width"), std::to_string(got.picture.width)) << what;
        continue;
      }
      const StepAnswer answer = run_row(row(), turned);
      ASSERT_TRUE(answer.ok()) << what << answer.message << answer.misuse;
      const StepAnswer facts = upload(answer.outputs[0]);
      if (cell(kOrientation, "as seen")) {
        EXPECT_LE(mean_difference(shown(answer.outputs[0]), seen), file.bytes[0] == '\xff' ? 8 : 0)
            << what;
        continue;
      }
      if (cell(kOrientation, "tag kept") && file.bytes.compare(4, 4, "ftyp") == 0) {
        EXPECT_EQ(facts.results.at("orientation"), "1") << what;
        const Picture gray = shown(run_row(row(), png_of(seen)).outputs.at(0));
        EXPECT_LE(mean_difference(shown(answer.outputs[0]), gray), 8) << what;
        continue;
      }
      EXPECT_EQ(facts.results.at("orientation"), std::to_string(orientation)) << what;
      EXPECT_EQ(facts.results.at("width"), std::to_string(file.stored.width)) << what;
      if (cell(kOrientation, "told")) {
        const std::string said = row().step == "metadata" ? answer.results.at("metadata")
                                                          : answer.results.at("orientation");
        const std::string words = row().step == "metadata"
                                      ? fmt::format("\"orientation\":{}", orientation)
                                      : std::to_string(orientation);
        EXPECT_NE(said.find(words), std::string::npos) << what << ": " << said;
        EXPECT_EQ(worst_difference(shown(answer.outputs[0]), seen), 0) << what;
      } else if (cell(kOrientation, "tag kept")) {
        const Picture gray = shown(run_row(row(), png_of(seen)).outputs.at(0));
        EXPECT_LE(mean_difference(shown(answer.outputs[0]), gray), 1) << what;
      } else {
        no_proof_of(kOrientation);
      }
    }
  }
}

// ---- animations

// Frames that are told from each other by their colours, with structure inside.
std::vector<Picture> reel() {
  std::vector<Picture> frames;
  for (int i = 0; i < 4; ++i) {
    frames.push_back(make_picture(48, 40, 4, 8, [=](int x, int y, int band) {
      if (band == 3) return (x - 24) * (x - 24) + (y - 20) * (y - 20) < 300 ? 255 : 0;
      return band == i % 3 ? 120 + x * 2 : y * 2 + i * 10;
    }));
  }
  return frames;
}

std::string gif_reel() {
  GifStyle style;
  style.width = 48, style.height = 40;
  style.frame_colours = {{250, 0, 0}, {0, 250, 0}, {0, 0, 250}, {90, 90, 90}};
  style.delay = 9;
  return encode_gif(style);
}

void expect_frames(const TableRow& row, const std::vector<Picture>& frames,
                   const std::vector<Picture>& sources, double mean, const std::string& what) {
  ASSERT_EQ(frames.size(), sources.size()) << what;
  for (size_t i = 0; i < frames.size(); ++i) {
    const Seen alone = see_row(row, png_of(sources[i]));
    Picture wanted = alone.picture;
    if (wanted.bands < 4) wanted = with_alpha(as_rgb(wanted));
    ASSERT_EQ(wanted.width, frames[i].width) << what;
    ASSERT_EQ(wanted.height, frames[i].height) << what;
    double sum = 0;  // of what is seen
    for (size_t k = 0; k < wanted.samples.size(); ++k) {
      const int cover = wanted.samples[k / 4 * 4 + 3];
      const int difference = std::abs(int{wanted.samples[k]} - int{frames[i].samples[k]});
      sum += k % 4 == 3 ? difference : difference * cover / 255.0;
    }
    EXPECT_LE(sum / static_cast<double>(wanted.samples.size()), mean) << what << ", frame " << i;
  }
}

void prove_frames_of_painter(const TableRow& row) {
  const std::vector<Picture> frames = reel();
  const std::string webp = encode_webp_animation(frames, 70, 3), gif = gif_reel();
  const std::vector<Picture> gif_frames = decode_gif(gif).frames;
  const ParamTexts to_webp = {{"format", "webp"}, {"lossless", "true"}};
  const StepAnswer answer = run_row(row, {webp, 48, 40}, to_webp);
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  const WebpAnimation after = decode_webp_animation(answer.outputs[0]);
  EXPECT_EQ(after.loop, 3u);
  EXPECT_EQ(after.durations, (std::vector<uint32_t>{70, 70, 70, 70}));
  expect_frames(row, after.frames, frames, 0.5, "webp to webp");
  for (const char* format : {"gif", "webp"}) {
    ParamTexts params = {{"format", format}};
    if (format == std::string("webp")) params = to_webp;
    const StepAnswer made = run_row(row, {gif, 48, 40}, params);
    ASSERT_TRUE(made.ok()) << format << made.message << made.misuse;
    EXPECT_EQ(made.results.at("pages"), "4") << format;
    if (format == std::string("gif")) {
      const GifAnimation reread = decode_gif(made.outputs[0]);
      EXPECT_EQ(reread.loop, 5);
      EXPECT_EQ(reread.durations, (std::vector<uint32_t>{90, 90, 90, 90}));
      expect_frames(row, reread.frames, gif_frames, row.step == "watermark" ? 3 : 1, "gif to gif");
    } else {
      const WebpAnimation reread = decode_webp_animation(made.outputs[0]);
      EXPECT_EQ(reread.durations, (std::vector<uint32_t>{90, 90, 90, 90}));
      expect_frames(row, reread.frames, gif_frames, 0.5, "gif to webp");
    }
  }
  // Elsewhere the first frame, or all as pages.
  const StepAnswer still = run_row(row, {webp, 48, 40}, {{"format", "png"}});
  expect_frames(row, {decoded(still)}, {frames[0]}, 0, "webp to png");
  const StepAnswer pages = run_row(row, {webp, 48, 40}, {{"format", "tiff"}});
  EXPECT_EQ(pages.results.at("pages"), "4");
}

// Encoders may change what cannot be seen.
Picture only_seen(Picture picture) {
  for (size_t i = 0; i < picture.samples.size(); ++i) {
    if (picture.samples[i / 4 * 4 + 3] == 0) picture.samples[i] = 0;
  }
  return picture;
}

// What the step makes of the frame alone, in gray, with the frame's alpha.
Picture gray_alone(const TableRow& row, const Picture& frame) {
  const Picture gray = shown(run_row(row, png_of(without_alpha(frame))).outputs.at(0));
  return only_seen(make_picture(frame.width, frame.height, 4, 8, [&](int x, int y, int band) {
    const auto column = static_cast<uint32_t>(x), line = static_cast<uint32_t>(y);
    return int{band == 3 ? frame.at(column, line, 3) : gray.at(column, line, band)};
  }));
}

TEST_P(Table, Animation) {
  const std::string webp = encode_webp_animation(reel(), 70, 3), gif = gif_reel();
  // The encoder changes what cannot be seen, so as they are stored.
  const std::vector<Picture> frames = decode_webp_animation(webp).frames;
  if (row().paints()) return prove_frames_of_painter(row());
  if (cell(kAnimation, "first")) {
    expect_alike(row(), see_row(row(), {webp, 48, 40}), see_row(row(), png_of(frames[0])), 0, 0,
                 "webp");
    const Picture first = without_alpha(decode_gif(gif).frames[0]);
    expect_alike(row(), see_row(row(), {gif, 48, 40}), see_row(row(), png_of(first)), 0, 0, "gif");
    return;
  }
  const StepAnswer of_webp = run_row(row(), {webp, 48, 40}), of_gif = run_row(row(), {gif, 48, 40});
  ASSERT_TRUE(of_webp.ok() && of_gif.ok()) << of_webp.message << of_gif.message;
  const WebpAnimation film = decode_webp_animation(of_webp.outputs[0]);
  const GifAnimation reread = decode_gif(of_gif.outputs[0]), before = decode_gif(gif);
  EXPECT_EQ(film.loop, 3u);
  EXPECT_EQ(film.durations, (std::vector<uint32_t>{70, 70, 70, 70}));
  EXPECT_EQ(reread.loop, 5);
  EXPECT_EQ(reread.durations, before.durations);
  ASSERT_EQ(film.frames.size(), 4u);
  ASSERT_EQ(reread.frames.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    if (cell(kAnimation, "untouched")) {
      EXPECT_EQ(worst_difference(film.frames[i], frames[i]), 0) << i;
      EXPECT_EQ(worst_difference(reread.frames[i], before.frames[i]), 0) << i;
    } else if (cell(kAnimation, "kept")) {
      EXPECT_EQ(worst_difference(only_seen(film.frames[i]), gray_alone(row(), frames[i])), 0) << i;
      EXPECT_EQ(worst_difference(reread.frames[i], gray_alone(row(), before.frames[i])), 0) << i;
    } else {
      no_proof_of(kAnimation);
    }
  }
}

// ---- pages

TEST_P(Table, Pages) {
  const std::vector<Picture> pages = {scene(48, 40), scene(44, 60, 1), scene(50, 42, 3, 16)};
  TiffStyle lzw;
  lzw.compression = 5;
  const std::string tiff = encode_tiff(pages, lzw);
  const Carrier file = {tiff, 48, 40};
  if (cell(kPages, "first")) {
    return expect_alike(row(), see_row(row(), file), see_row(row(), png_of(pages[0])), 0, 0, "");
  }
  const StepAnswer answer = run_row(row(), file);
  ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
  const std::vector<TiffPage> after = decode_tiff(answer.outputs[0]);
  ASSERT_EQ(after.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    if (cell(kPages, "untouched")) {
      EXPECT_EQ(worst_difference(after[i].picture, pages[i]), 0) << i;
      continue;
    }
    if (!cell(kPages, "kept")) return no_proof_of(kPages);
    const StepAnswer alone = run_row(row(), {encode_tiff({pages[i]}, lzw), 48, 40});
    ASSERT_TRUE(alone.ok()) << alone.message << alone.misuse;
    EXPECT_EQ(worst_difference(after[i].picture, decode_tiff(alone.outputs[0])[0].picture), 0) << i;
  }
  if (!row().paints()) return;
  const Seen first = see_row(row(), file);
  expect_alike(row(), first, see_row(row(), png_of(pages[0])), 0, 0, "the first page as PNG");
  EXPECT_EQ(first.answer.results.at("pages"), "1");
}

// ---- damage

std::vector<Turned> whole_files() {
  const Picture picture = scene(48, 40);
  JpegStyle progressive;
  progressive.progressive = true;
  HeifStyle tiles;
  tiles.hevc = true;
  tiles.columns = 2;
  return {{"jpeg", encode_jpeg(picture), picture},
          {"progressive jpeg", encode_jpeg(picture, progressive), picture},
          {"png", encode_png(picture), picture},
          {"webp", encode_webp(picture, true), picture},
          {"lossy webp", encode_webp(picture, false), picture},
          {"gif", gif_reel(), picture},
          {"tiff", encode_tiff({picture}), picture},
          {"avif", encode_heif(picture), picture},
          {"heic of tiles", encode_heif(picture, tiles), picture}};
}

// A JPEG whose end marker stands after 60 % of its data.
std::string holed(bool progressive) {
  JpegStyle style;
  style.progressive = progressive;
  const std::string jpeg = encode_jpeg(scene(48, 40), style);
  return jpeg.substr(0, jpeg.size() * 6 / 10) + "\xff\xd9";
}

// Where a step puts what was in the upper half of a picture of 48 x 160: columns and lines from
// `left`, `top` on, before `right`, `bottom`. What filters mix in from below is left out.
struct Part {
  const char* step;
  uint32_t left, top, right, bottom;
};
constexpr Part kUpperHalf[] = {
    {"transform", 19, 0, 25, 30},  // 25 columns, the first line the last of them
    {"resize", 0, 0, 31, 11},      // 29 lines
    {"crop", 0, 0, 30, 21},        // all of it
    {"rotate", 0, 0, 80, 48},      // lines are columns
    {"convert", 0, 0, 48, 80},    {"blur", 0, 0, 48, 70},   {"sharpen", 0, 0, 48, 70},
    {"watermark", 0, 0, 48, 80},  {"dither", 0, 0, 48, 80},
};

// Two thirds of the data are there, so the upper half is what it was.
void prove_that_the_rest_is_whole(const TableRow& row, const char* name, const std::string& whole) {
  const ParamTexts accept = {{"damaged", "accept"}};
  const std::string cut = whole.substr(0, whole.size() * 7 / 10);
  const Seen seen = see_row(row, {cut, 48, 160}, accept);
  const Seen wanted = see_row(row, {whole, 48, 160});
  ASSERT_EQ(seen.picture.width, wanted.picture.width) << name;
  ASSERT_EQ(seen.picture.height, wanted.picture.height) << name;
  ASSERT_EQ(seen.picture.bands, wanted.picture.bands) << name;
  const Part* part = std::find_if(std::begin(kUpperHalf), std::end(kUpperHalf),
                                  [&](const Part& one) { return row.step == one.step; });
  ASSERT_NE(part, std::end(kUpperHalf)) << row.step;
  int worst = 0;
  for (uint32_t y = part->top; y < part->bottom; ++y) {
    for (uint32_t x = part->left; x < part->right; ++x) {
      for (int band = 0; band < wanted.picture.bands; ++band) {
        worst = std::max(
            worst, std::abs(int{seen.picture.at(x, y, band)} - int{wanted.picture.at(x, y, band)}));
      }
    }
  }
  EXPECT_EQ(worst, 0) << name;
  // The proof is one of a cut: below, what is missing is missed. (The box of crop is above it.)
  EXPECT_EQ(worst_difference(seen.picture, wanted.picture) > 0, row.step != "crop") << name;
}

void prove_acceptance(const TableRow& row) {
  const ParamTexts accept = {{"damaged", "accept"}};
  for (const Turned& file : whole_files()) {
    const size_t part = file.bytes.size() * 7 / 10;
    const StepAnswer answer = run_row(row, {file.bytes.substr(0, part), 48, 40}, accept);
    if (!answer.ok()) {  // where too little is left for its decoder
      EXPECT_EQ(answer.misuse, "") << file.name;
      EXPECT_FALSE(answer.message.empty()) << file.name;
      continue;
    }
    EXPECT_FALSE(answer.notes.empty()) << file.name << " says nothing of the damage";
    EXPECT_EQ(upload(answer.outputs[0]).code, MR_OK) << file.name;
  }
  for (const bool progressive : {false, true}) {
    EXPECT_TRUE(run_row(row, {holed(progressive), 48, 40}, accept).ok()) << progressive;
  }
  const Picture picture = scene(48, 160);
  prove_that_the_rest_is_whole(row, "jpeg", encode_jpeg(picture));
  prove_that_the_rest_is_whole(row, "png", encode_png(picture));
  // Of a still WebP that is cut nothing is had.
  for (const bool lossless : {false, true}) {
    const std::string webp = encode_webp(picture, lossless);
    const StepAnswer answer = run_row(row, {webp.substr(0, webp.size() * 7 / 10), 48, 160}, accept);
    EXPECT_EQ(answer.reason, "truncated") << answer.message << answer.misuse;
  }
}

TEST_P(Table, Damage) {
  for (const Turned& file : whole_files()) {
    for (const int percent : {30, 60, 90, 99}) {
      const size_t part = file.bytes.size() * static_cast<size_t>(percent) / 100;
      const StepAnswer answer = run_row(row(), {file.bytes.substr(0, part), 48, 40});
      EXPECT_EQ(answer.misuse, "") << file.name << " " << percent;
      EXPECT_EQ(answer.reason, "truncated") << file.name << " " << percent;
      EXPECT_NE(answer.message.find("send"), std::string::npos) << answer.message;
    }
  }
  for (const bool progressive : {false, true}) {
    const StepAnswer answer = run_row(row(), {holed(progressive), 48, 40});
    EXPECT_EQ(answer.misuse, "");
    if (cell(kDamage, "refused unread")) {
      EXPECT_TRUE(answer.ok()) << answer.message;
    } else {
      EXPECT_EQ(answer.reason, "corrupt") << progressive;
    }
  }
  if (cell(kDamage, "refused or accepted")) return prove_acceptance(row());
  if (!cell(kDamage, "refused") && !cell(kDamage, "refused unread")) no_proof_of(kDamage);
}

}  // namespace
}  // namespace millrace::testing
