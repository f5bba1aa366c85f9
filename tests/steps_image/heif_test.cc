// Goal: AVIF and HEIC are read as they are meant: turned once, cut, put together of tiles, their
// colours by their numbers, their depth and alpha kept; and what would harm is refused unread.
// Method: files put together here around what libheif's encoders made; without loss the pixels
// must be the same, elsewhere libheif's own reading is near.
#include <cmath>

#include "cmake/precompiled_test.h"
#include "steps/common/exif.h"
#include "tests/steps_image/table.h"

namespace millrace::testing {
namespace {

// What the steps see in it, as PNG.
Picture seen(const std::string& file, ParamTexts params = {}) {
  params.insert({{"format", "png"}});
  return decoded(run_picture_step("convert", file, std::move(params)));
}

std::string name_of(const HeifStyle& style) {
  return fmt::format("{} {} bits, {}x{} tiles, turned {}", style.hevc ? "HEIC" : "AVIF", style.bits,
                     style.columns, style.rows, style.orientation);
}

// Colours that half the chroma holds.
Picture soft(uint32_t width, uint32_t height) {
  return make_picture(width, height, 3, 8, [](int x, int y, int band) {
    return static_cast<int>(128 + 90 * std::sin(x * 0.05 + band * 2) * std::cos(y * 0.06 - band));
  });
}

TEST(Heif, APictureWithoutLossIsReadAsItWas) {
  for (const bool hevc : {false, true}) {
    for (const int bands : {1, 2, 3, 4}) {
      HeifStyle style;
      style.hevc = hevc;
      const Picture picture = scene(64, 48, bands);
      const Picture got = seen(encode_heif(picture, style));
      EXPECT_EQ(worst_difference(got, picture), 0) << name_of(style) << bands;
    }
  }
}

TEST(Heif, TenAndTwelveBitsBecomeSixteen) {
  for (const int bits : {10, 12}) {
    for (const int bands : {1, 3, 4}) {
      HeifStyle style;
      style.hevc = true;
      style.bits = bits;
      const int top = (1 << bits) - 1;
      const Picture picture = scene(48, 40, bands, 16);
      Picture wanted = picture;
      for (uint16_t& sample : wanted.samples) {
        const int coded = sample >> (16 - bits);
        sample = static_cast<uint16_t>((coded * 65535 + top / 2) / top);
      }
      const Picture got = seen(encode_heif(picture, style));
      EXPECT_EQ(got.bits, 16) << bits;
      EXPECT_LE(worst_difference(got, wanted), 1) << bits << " bits, bands " << bands;
    }
  }
  HeifStyle style;  // the one kind of 10 bits that libheif's encoder of AVIF can make
  style.bits = 10;
  style.chroma = "422";
  style.quality = 98;
  const Picture got = seen(encode_heif(deepened(soft(64, 48)), style));
  ASSERT_EQ(got.bits, 16);
  EXPECT_LE(mean_difference(got, deepened(soft(64, 48))), 2 * 257);
}

TEST(Heif, TheContainerTurnsThePictureAndExifDoesNot) {
  const Picture picture = scene(80, 64);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool hevc : {false, true}) {
      HeifStyle style;
      style.hevc = hevc;
      style.orientation = orientation;
      style.exif = build_exif({6, "", "(c) somebody"});  // as telephones repeat it, or not
      const std::string file = encode_heif(picture, style);
      const Picture wanted = upright(picture, orientation);
      EXPECT_EQ(worst_difference(seen(file), wanted), 0) << name_of(style);
      HeifStyle lossy = style;  // libheif does not read HEVC of whole chroma without a matrix
      lossy.quality = 95;
      EXPECT_LE(mean_difference(decode_heif(encode_heif(picture, lossy)), wanted), 6)
          << name_of(style) << ": the test itself";
      const StepAnswer facts = upload(file);
      EXPECT_EQ(facts.results.at("orientation"), std::to_string(orientation));
      EXPECT_EQ(facts.results.at("width"), "80");
      // What is written has neither turn left.
      const StepAnswer jpeg = run_picture_step("convert", file, {{"metadata", "keep"}});
      ASSERT_TRUE(jpeg.ok()) << jpeg.message;
      EXPECT_EQ(upload(jpeg.outputs[0]).results.at("orientation"), "1");
      EXPECT_EQ(decoded(jpeg).width, wanted.width) << name_of(style);
    }
  }
}

TEST(Heif, TilesMakeOnePictureWithoutWhatHangsOver) {
  for (const bool hevc : {false, true}) {
    for (const auto& [columns, rows] : {std::pair(2u, 2u), std::pair(3u, 1u), std::pair(1u, 2u)}) {
      HeifStyle style;
      style.hevc = hevc;
      style.columns = columns;
      style.rows = rows;
      style.orientation = columns == 3 ? 6 : 1;
      for (const int bands : {3, 4}) {
        const Picture picture = scene(134, 101, bands);
        const Picture got = seen(encode_heif(picture, style));
        EXPECT_EQ(worst_difference(got, upright(picture, style.orientation)), 0)
            << name_of(style) << ", bands " << bands;
      }
      // Half chroma is interpolated across the seams, as if there were none.
      style.quality = 95;
      const Picture smooth = soft(136, 104);
      HeifStyle whole = style;
      whole.columns = whole.rows = 1;
      const Picture tiled = seen(encode_heif(smooth, style)),
                    one = seen(encode_heif(smooth, whole));
      EXPECT_LE(mean_difference(tiled, one), 1.5) << name_of(style);
      EXPECT_LE(mean_difference(tiled, upright(smooth, style.orientation)), 3) << name_of(style);
    }
  }
}

TEST(Heif, TheCleanApertureIsWhatIsSeen) {
  const Picture picture = scene(64, 48);
  for (const int orientation : {1, 6}) {
    HeifStyle style;
    style.crop = 6;
    style.orientation = orientation;
    const std::string file = encode_heif(picture, style);
    const Picture cut = make_picture(58, 42, 3, 8, [&](int x, int y, int band) {
      return int{picture.at(static_cast<uint32_t>(x), static_cast<uint32_t>(y), band)};
    });
    EXPECT_EQ(worst_difference(seen(file), upright(cut, orientation)), 0) << orientation;
    EXPECT_EQ(upload(file).results.at("width"), "58");
  }
}

TEST(Heif, ColoursAreWhatTheirNumbersSay) {
  const Picture picture = soft(64, 48);
  for (const bool hevc : {false, true}) {
    for (const int matrix : {1, 6, 9}) {
      for (const char* chroma : {"420", "422", "444"}) {
        for (const bool said : {true, false}) {
          HeifStyle style;
          style.hevc = hevc;
          style.quality = 95;
          style.matrix = matrix;
          style.chroma = chroma;
          style.say_colour = said || hevc;  // x265 is not told by libheif
          const std::string file = encode_heif(picture, style);
          const double mean = mean_difference(seen(file), picture);
          EXPECT_LE(mean, 3) << name_of(style) << " " << chroma << ", matrix " << matrix;
        }
      }
    }
  }
}

// Samples of video range: black is 16, white 235.
TEST(Heif, TheRangeOfVideoIsWidened) {
  const Picture narrow = make_picture(32, 32, 1, 8, [](int x, int y, int) {
    return x < 16 ? 16 : y < 16 ? 235 : 126;
  });
  HeifStyle style;
  style.full_range = false;
  const Picture got = seen(encode_heif(narrow, style));
  ASSERT_EQ(got.bands, 1);
  EXPECT_EQ(got.at(3, 3, 0), 0);
  EXPECT_EQ(got.at(30, 3, 0), 255);
  EXPECT_NEAR(got.at(30, 30, 0), 128, 1);
}

TEST(Heif, PrimariesThatAreNotSrgbAreConvertedOrKeptAsAProfile) {
  const Picture picture = gradient(48, 40);
  PngStyle png;
  png.icc = icc_display_p3();
  const Picture wanted = seen(encode_png(picture, png));
  HeifStyle by_number, by_profile;
  by_number.primaries = 12;
  by_profile.icc = png.icc;
  const std::string numbers = encode_heif(picture, by_number);
  EXPECT_LE(worst_difference(seen(numbers), wanted), 2);
  EXPECT_EQ(worst_difference(seen(encode_heif(picture, by_profile)), wanted), 0);
  const ParamTexts keep = {{"colours", "keep"}, {"format", "png"}};
  const StepAnswer kept = run_picture_step("convert", numbers, keep);
  EXPECT_EQ(worst_difference(decoded(kept), picture), 0);
  EXPECT_LE(worst_difference(to_srgb(picture, profile_in(kept.outputs[0])), wanted), 2);
  const StepAnswer told = run_picture_step("metadata", numbers);
  EXPECT_NE(told.results.at("metadata").find("primaries 12"), std::string::npos);
  EXPECT_EQ(run_picture_step("metadata", encode_heif(picture)).results.at("metadata").find("ICC"),
            std::string::npos);
}

TEST(Heif, HdrIsRefusedByWhatWouldDullIt) {
  HeifStyle style;
  style.primaries = 9;
  style.transfer = 16;
  const std::string file = encode_heif(gradient(48, 40), style);
  const StepAnswer answer = run_picture_step("convert", file);
  EXPECT_EQ(answer.reason, "unsupported");
  EXPECT_NE(answer.message.find("PQ or HLG"), std::string::npos) << answer.message;
  EXPECT_TRUE(upload(file).ok());
  EXPECT_TRUE(run_picture_step("metadata", file).ok());
}

TEST(Heif, ColoursMultipliedByAlphaAreDivided) {
  const Picture plain = make_picture(48, 40, 4, 8, [](int x, int y, int band) {
    return band == 3 ? 40 + x * 4 : band == 0 ? 200 : y * 4;
  });
  Picture multiplied = plain;
  for (size_t i = 0; i < plain.samples.size(); ++i) {
    if (i % 4 == 3) continue;
    multiplied.samples[i] =
        static_cast<uint16_t>((plain.samples[i] * plain.samples[i / 4 * 4 + 3] + 127) / 255);
  }
  HeifStyle style;
  style.premultiplied = true;
  EXPECT_LE(worst_difference(seen(encode_heif(multiplied, style)), plain), 4);
}

TEST(Heif, AlphaMayBeThatOfEachTile) {
  const Picture picture = scene(80, 64, 4);
  for (const bool hevc : {false, true}) {
    HeifStyle style;
    style.hevc = hevc;
    style.columns = style.rows = 2;
    style.alpha_of_tiles = true;
    const std::string file = encode_heif(picture, style);
    EXPECT_EQ(worst_difference(seen(file), picture), 0) << name_of(style);
    // One of them is no alpha: it is not guessed what was meant.
    std::string other = file;
    other.replace(other.find("auxiliary:alpha"), 15, "auxiliary:depth");
    EXPECT_EQ(run_picture_step("convert", other, {{"format", "png"}}).reason, "unsupported");
  }
}

// Not to be left out in silence.
TEST(Heif, AlphaThatCannotBeReadRefusesThePicture) {
  std::string file = encode_heif(scene(64, 48, 4));
  const size_t last = file.rfind("av1C");  // that of the alpha
  ASSERT_NE(last, std::string::npos);
  file.replace(last, 4, "av1X");
  const StepAnswer answer = run_picture_step("convert", file, {{"format", "png"}});
  EXPECT_EQ(answer.reason, "unsupported") << answer.message;
  EXPECT_NE(answer.message.find("av1X"), std::string::npos) << answer.message;
}

TEST(Heif, SamplesMayStandAnywhereInTheFile) {
  const Picture picture = scene(64, 48);
  for (const auto& [in_idat, split] : {std::pair(true, false), {false, true}, {true, true}}) {
    for (const bool hevc : {false, true}) {
      HeifStyle style;
      style.hevc = hevc;
      style.in_idat = in_idat;
      style.split = split;
      EXPECT_EQ(worst_difference(seen(encode_heif(picture, style)), picture), 0) << name_of(style);
    }
  }
}

TEST(Heif, TheFormatIsWhatCodesThePictureNotTheBrand) {
  HeifStyle style;
  for (const char* brand : {"mif1", "heic", "avis", "msf1"}) {
    style.brand = brand;
    EXPECT_EQ(upload(encode_heif(flat(9, 8, 7), style)).media_type, "image/avif") << brand;
  }
  style.hevc = true;
  for (const char* brand : {"mif1", "heix", "hevc", "avif"}) {
    style.brand = brand;
    EXPECT_EQ(upload(encode_heif(flat(9, 8, 7, 64), style)).media_type, "image/heic") << brand;
  }
}

// HEVC is not written: what would stay a HEIC becomes what everybody can show.
TEST(Heif, AHeicBecomesJpegOrPngWhereTheFormatShouldStay) {
  HeifStyle style;
  style.hevc = true;
  const Picture picture = scene(64, 48), clear = scene(64, 48, 4);
  for (const char* step : {"convert", "grayscale"}) {
    const StepAnswer jpeg = run_picture_step(step, encode_heif(picture, style));
    EXPECT_EQ(jpeg.media_type, "image/jpeg") << step << jpeg.message << jpeg.misuse;
    EXPECT_EQ(jpeg.results.at("extension"), "jpg") << step;
    const StepAnswer png = run_picture_step(step, encode_heif(clear, style));
    EXPECT_EQ(png.media_type, "image/png") << step << png.message << png.misuse;
    const StepAnswer avif = run_picture_step(step, encode_heif(picture));
    EXPECT_EQ(avif.media_type, "image/avif") << step << avif.message << avif.misuse;
  }
}

// ---- what is refused

// The first `from` in the file, replaced.
std::string with(std::string file, const std::string& from, const std::string& to) {
  const size_t at = file.find(from);
  EXPECT_NE(at, std::string::npos);
  if (at != std::string::npos) file.replace(at, from.size(), to);
  return file;
}

std::string announced(uint32_t width, uint32_t height) {
  std::string text;
  for (const uint32_t side : {width, height}) {
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(side >> shift);
  }
  return text;
}

void expect_refused(const std::string& file, const std::string& reason, const std::string& what) {
  for (const char* step : {"convert", "grayscale", "placeholder", "optimize"}) {
    const StepAnswer answer = run_picture_step(step, file);
    EXPECT_EQ(answer.reason, reason) << step << ", " << what << ": " << answer.message;
    EXPECT_EQ(answer.misuse, "") << step << ", " << what;
    EXPECT_NE(answer.message.find("; "), std::string::npos) << answer.message;
  }
}

TEST(Heif, AStreamMayNotHoldALargerPictureThanItsHeader) {
  const Picture picture = scene(256, 192);
  for (const bool hevc : {false, true}) {
    HeifStyle style;
    style.hevc = hevc;
    const std::string file = encode_heif(picture, style);
    const std::string small = with(file, announced(256, 192), announced(64, 48));
    expect_refused(small, hevc ? "unsupported" : "corrupt", name_of(style));
    // Who accepts damage does not accept that, nor of a file that is cut as well.
    for (const std::string& one : {small, small.substr(0, small.size() - 20)}) {
      const StepAnswer answer = run_picture_step("convert", one, {{"damaged", "accept"}});
      EXPECT_FALSE(answer.ok()) << name_of(style);
      EXPECT_EQ(answer.misuse, "") << name_of(style);
    }
    expect_refused(with(file, announced(256, 192), announced(512, 192)), "corrupt", name_of(style));
    const std::string huge = with(file, announced(256, 192), announced(30'000, 30'000));
    expect_refused(huge, "too_many_pixels", name_of(style));
    EXPECT_EQ(upload(huge).reason, "too_many_pixels");
    expect_refused(with(file, announced(256, 192), announced(0, 192)), "corrupt", name_of(style));
  }
}

TEST(Heif, TilesOfAGridAreNearWhatIsSeen) {
  HeifStyle style;
  style.columns = 2;
  const std::string file = encode_heif(scene(128, 64), style);
  // The grid says less than its tiles, or more.
  for (const uint32_t width : {60u, 140u}) {
    std::string other = with(file, announced(128, 64), announced(width, 64));
    const std::string small = {0, static_cast<char>(128), 0, 64};
    other = with(other, small, {0, static_cast<char>(width), 0, 64});
    expect_refused(other, "corrupt", std::to_string(width));
  }
  expect_refused(with(file, announced(128, 64), announced(126, 64)), "corrupt", "two sizes");
}

TEST(Heif, KindsOfPicturesThatAreNotReadAreNamed) {
  const std::string file = encode_heif(scene(64, 48));
  for (const char* type : {"iden", "iovl", "unci", "jpeg", "j2k1", "vvc1"}) {
    const StepAnswer answer = upload(with(file, "av01", type));
    EXPECT_EQ(answer.reason, "unsupported") << type;
    EXPECT_NE(answer.message.find(type), std::string::npos) << answer.message;
  }
  // A sequence without a still picture, and a property that must be understood.
  const StepAnswer sequence = upload(with(file, "meta", "moov"));
  EXPECT_EQ(sequence.reason, "unsupported");
  EXPECT_NE(sequence.message.find("sequence"), std::string::npos) << sequence.message;
  const StepAnswer property = upload(with(file, "colr", "zzzz"));
  EXPECT_EQ(property.reason, "unsupported");
  EXPECT_NE(property.message.find("zzzz"), std::string::npos) << property.message;
}

TEST(Heif, AnyByteMayBeWrongAndNothingHappens) {
  for (const bool hevc : {false, true}) {
    HeifStyle style;
    style.hevc = hevc;
    style.columns = 2;
    style.orientation = 6;
    style.exif = exif_with_location(6);
    style.xmp = "<x:xmpmeta/>";
    const std::string file = encode_heif(scene(64, 48, 4), style);
    const size_t end = file.find("mdat") + 40;
    for (size_t at = 4; at < end; at += 3) {
      std::string other = file;
      other[at] = static_cast<char>(other[at] ^ (at % 2 == 0 ? 0xFF : 1));
      StepRequest request{"metadata", "metadata", other, {{"remove", "everything"}}};
      const StepRun run = run_step_apart(request);
      EXPECT_EQ(run.died, "") << name_of(style) << " at " << at;
      EXPECT_EQ(run.answer.misuse, "") << name_of(style) << " at " << at;
    }
  }
}

// ---- what is said besides the picture

TEST(Heif, WhatIsSaidOfSomebodyIsTakenOutAndThePictureStaysBitForBit) {
  const Picture picture = soft(80, 64);
  const auto judge = [&](const std::string& file) {
    return mean_difference(decode_heif(file), picture);
  };
  for (const bool hevc : {false, true}) {
    HeifStyle style;
    style.hevc = hevc;
    style.quality = 90;  // which libheif reads, too
    style.exif = exif_with_location(3);
    style.xmp = "<x:xmpmeta exif:GPSLatitude=\"48,12N\" tiff:Orientation=\"3\"/>";
    std::string file = encode_heif(picture, style);
    const Picture whole = seen(file);
    EXPECT_LE(judge(file), 6) << name_of(style);
    const std::string secret = "somewhere near the river";
    for (const char* type : {"udta", "uuid", "mpvd"}) {
      file += std::string("\0\0\0\x20", 4) + type + secret;
    }
    const size_t end = file.size();
    file += "appended: " + secret;
    const StepAnswer before = run_picture_step("metadata", file, {{"location", "true"}});
    ASSERT_TRUE(before.ok()) << before.message;
    EXPECT_NE(before.results.at("metadata").find(R"("latitude":48.21)"), std::string::npos);
    for (const char* remove : {"location", "unsafe", "everything"}) {
      const StepAnswer answer = run_picture_step("metadata", file, {{"remove", remove}});
      ASSERT_TRUE(answer.ok()) << answer.message << answer.misuse;
      const std::string& after = answer.outputs[0];
      EXPECT_EQ(after.size(), end) << remove;
      EXPECT_EQ(after.find("GPSLatitude"), std::string::npos) << remove;
      EXPECT_EQ(after.find(secret), std::string::npos) << remove;
      EXPECT_EQ(after.find("Maker") != std::string::npos, remove == std::string("location"));
      EXPECT_EQ(after.find("Ann") != std::string::npos, remove != std::string("everything"));
      EXPECT_EQ(worst_difference(seen(after), whole), 0) << remove;
      EXPECT_LE(judge(after), 6) << remove;
      const StepAnswer told = run_picture_step("metadata", after, {{"location", "true"}});
      EXPECT_NE(told.results.at("metadata").find(R"("has_location":false)"), std::string::npos);
    }
    // Into a result it goes as from every other format.
    const StepAnswer kept =
        run_picture_step("convert", file, {{"format", "jpeg"}, {"metadata", "keep"}});
    ASSERT_TRUE(kept.ok()) << kept.message;
    EXPECT_NE(kept.outputs[0].find("GPSLatitude"), std::string::npos);
    EXPECT_NE(kept.outputs[0].find("Maker"), std::string::npos);
  }
}

}  // namespace
}  // namespace millrace::testing
