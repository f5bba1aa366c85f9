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

// ---- damage in what is compressed

std::string spoilt(const std::string& file, size_t permille) {
  std::string bad = file;
  const size_t at = file.size() * permille / 1000;
  for (size_t i = 0; i < 24 && at + i < bad.size(); ++i) bad[at + i] = static_cast<char>(0xA5 ^ i);
  return bad;
}

std::string be32(uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}

// The PNG with a chunk's data changed, and a check sum that is right.
std::string changed_png(const std::string& png, const std::string& chunk,
                        const std::function<void(std::string*)>& change) {
  std::string out = png.substr(0, 8);
  for (auto [name, data] : png_chunks(png)) {
    if (name == chunk) change(&data);
    uint32_t crc = ~0u;
    for (const char c : name + data) {
      crc ^= static_cast<uint8_t>(c);
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    out += be32(static_cast<uint32_t>(data.size())) + name + data + be32(~crc);
  }
  return out;
}

// The whole WebP of one chunk of picture data, all of it but their first bytes nonsense.
std::string nonsense_webp(const Picture& picture) {
  std::string webp = encode_webp(picture, true);
  for (size_t at = 25; at < webp.size(); ++at) webp[at] = '\xff';
  return webp;
}

// A JPEG whose scan ends early, with an end marker.
std::string short_jpeg(const Picture& picture) {
  std::string jpeg = encode_jpeg(picture);
  return jpeg.substr(0, jpeg.size() * 3 / 4) + "\xff\xd9";
}

// A GIF whose one frame has half of its pixels.
std::string short_gif() {
  GifFilm film;
  film.width = 96, film.height = 80;
  film.table = {{1, 2, 3}, {250, 0, 0}, {0, 250, 0}, {7, 7, 7}};
  GifFrame frame;
  frame.width = 96, frame.height = 40;
  frame.indices.assign(96 * 40, 1);
  film.frames = {frame};
  std::string gif = encode_gif(film);
  const size_t descriptor = gif.find(std::string("\0\0\x60\0\x28\0", 6));
  gif[descriptor + 4] = 80;
  return gif;
}

struct Damaged {
  std::string name, bytes;
  std::string taken_by;  // the one step that needs no row of the damaged part
};

std::vector<Damaged> damaged_files() {
  const Picture picture = scene(96, 80);
  TiffStyle lzw, deflate;
  lzw.compression = 5;
  deflate.compression = 8;
  std::vector<Damaged> files = {
      {"tiff, LZW", spoilt(encode_tiff({picture}, lzw), 300), ""},
      {"tiff, Deflate", spoilt(encode_tiff({picture}, deflate), 300), ""},
      {"webp", nonsense_webp(picture), ""},
      {"jpeg", short_jpeg(picture), "crop"},
      {"gif", short_gif(), "grayscale"},
  };
  for (const bool interlaced : {false, true}) {
    PngStyle style;
    style.interlaced = interlaced;
    const std::string png = encode_png(picture, style);
    const std::string name = interlaced ? "interlaced png, " : "png, ";
    files.push_back({name + "spoilt",
                     changed_png(png, "IDAT",
                                 [](std::string* data) {
                                   const size_t at = data->size() / 3;
                                   data->replace(at, 24, std::string(24, '\xA5'));
                                 }),
                     interlaced ? "" : "crop"});
    files.push_back(
        {name + "cut",
         changed_png(png, "IDAT", [](std::string* data) { data->resize(data->size() / 3); }),
         interlaced ? "" : "crop"});
    files.push_back(
        {name + "higher",
         changed_png(png, "IHDR", [](std::string* data) { data->replace(4, 4, be32(200)); }),
         interlaced ? "" : "crop"});
    files.push_back(
        {name + "wider",
         changed_png(png, "IHDR", [](std::string* data) { data->replace(0, 4, be32(300)); }), ""});
  }
  // Of one that is not interlaced, rows too many are left alone, as by browsers.
  PngStyle interlaced;
  interlaced.interlaced = true;
  files.push_back({"interlaced png, lower",
                   changed_png(encode_png(picture, interlaced), "IHDR",
                               [](std::string* data) { data->replace(4, 4, be32(40)); }),
                   ""});
  return files;
}

void expect_our_words(const StepAnswer& answer, const std::string& what) {
  EXPECT_TRUE(answer.reason == "corrupt" || answer.reason == "truncated")
      << what << ": " << answer.reason << answer.misuse;
  EXPECT_EQ(answer.message.find("the "), 0u) << what << ": " << answer.message;
  EXPECT_NE(answer.message.find("; send"), std::string::npos) << what << ": " << answer.message;
  for (const char* words : {"no reason given", "target", "vips2", "2vips", "vipspng",
                            "millrace:", "source input", "read error"}) {
    EXPECT_EQ(answer.message.find(words), std::string::npos) << what << ": " << answer.message;
  }
}

TEST(Refusal, WhatCodecsSayOfDamageIsSaidInOurWords) {
  for (const TableRow& row : table_rows()) {
    if (row[kDamage] == "refused unread") continue;
    for (const Damaged& file : damaged_files()) {
      if (row.step == file.taken_by) continue;
      const StepAnswer answer = run_row(row, {file.bytes, 96, 80});
      EXPECT_FALSE(answer.ok()) << row.step << " " << file.name;
      expect_our_words(answer, row.step + " " + file.name);
    }
  }
}

// JPEG and lossy WebP have no check sums: what still decodes is a picture, of other pixels. Either
// is right, and nothing else.
TEST(Refusal, DamageThatCannotBeKnownGivesAPictureOrOurWords) {
  const Picture picture = scene(96, 80);
  for (const TableRow& row : table_rows()) {
    if (row[kDamage] == "refused unread") continue;
    for (const size_t permille : {300, 500, 700, 900}) {
      for (const bool webp : {false, true}) {
        const std::string file = webp ? encode_webp(picture, false) : encode_jpeg(picture);
        const StepAnswer answer = run_row(row, {spoilt(file, permille), 96, 80});
        const std::string what =
            fmt::format("{} {} {}", row.step, webp ? "webp" : "jpeg", permille);
        EXPECT_EQ(answer.misuse, "") << what;
        if (!answer.ok()) {
          expect_our_words(answer, what);
        } else if (!row.tells()) {
          EXPECT_TRUE(upload(answer.outputs.at(0)).ok()) << what;
        }
      }
    }
  }
}

}  // namespace
}  // namespace millrace::testing
