// Goal: what `metadata` removes is gone from the bytes, of GIF and TIFF as well, and the picture is
// what it was; what it cannot remove is refused; and each format's frames and pages are counted
// before anything is decoded. Method: files put together here byte by byte, with words that are
// looked for afterwards.
#include "cmake/precompiled_test.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

StepAnswer metadata(const std::string& image, const char* remove) {
  return run_picture_step("metadata", image, {{"remove", remove}});
}

bool holds(const std::string& bytes, const std::string& words) {
  return bytes.find(words) != std::string::npos;
}

// ---- GIF

GifFilm told_film() {
  GifFilm film;
  film.width = 12, film.height = 9;
  film.table = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {9, 9, 9}};
  film.extensions =
      gif_extension('\xFE', {"taken at home"}) +
      gif_extension('\xFF', {"XMP DataXMP", "<x>GPSLatitude</x>", std::string(1, '\1')}) +
      gif_extension('\xFF', {"ICCRGBG1012", "a profile"}) +
      gif_extension('\xFF', {"MAKERNOTE01", "serial 4711"});
  for (uint8_t i = 0; i < 3; ++i) {
    GifFrame frame;
    frame.left = i, frame.width = 9, frame.height = 9;
    frame.indices.assign(81, i);
    frame.disposal = i;
    frame.transparent = i == 1 ? 3 : -1;
    film.frames.push_back(frame);
  }
  return film;
}

TEST(MetadataRemoved, AGifLosesCommentsAndXmpAndNoFrame) {
  const std::string gif = encode_gif(told_film());
  EXPECT_EQ(metadata(gif, "nothing").outputs.at(0), gif);
  GifFilm bare = told_film();
  bare.extensions = gif_extension('\xFF', {"ICCRGBG1012", "a profile"});
  for (const char* remove : {"location", "unsafe", "everything"}) {
    const StepAnswer answer = metadata(gif, remove);
    ASSERT_TRUE(answer.ok()) << remove << answer.message << answer.misuse;
    EXPECT_TRUE(answer.outputs[0] == encode_gif(bare)) << remove;
    for (const char* words : {"taken at home", "GPSLatitude", "4711"}) {
      EXPECT_FALSE(holds(answer.outputs[0], words)) << remove << words;
    }
  }
}

// ---- TIFF

struct TiffKind {
  bool big = false, little = true;
};

// Pages of 4x4 gray pixels, each with places of all kinds, written as the kind wants it.
class PlacedTiff {
 public:
  explicit PlacedTiff(TiffKind kind) : kind_(kind) {}

  std::string make(size_t pages) {
    out_ = kind_.little ? "II" : "MM";
    put(kind_.big ? 43 : 42, 2);
    if (kind_.big) put(8, 2), put(0, 2);
    size_t link = out_.size();
    put(0, word());
    for (size_t i = 0; i < pages; ++i) {
      const uint64_t at = add_page(static_cast<uint8_t>(i));
      std::string all = std::exchange(out_, "");
      put(at, word());
      all.replace(link, word(), out_);
      out_ = std::move(all);
      link = out_.size() - word();
    }
    return out_;
  }

 private:
  struct Entry {
    uint16_t tag, type;
    uint64_t count;
    uint64_t value;  // or where the values are
  };

  size_t word() const { return kind_.big ? 8 : 4; }

  void put(uint64_t value, size_t size) {
    for (size_t i = 0; i < size; ++i) {
      const size_t shift = 8 * (kind_.little ? i : size - 1 - i);
      out_.push_back(static_cast<char>(value >> shift));
    }
  }

  uint64_t add(const std::string& bytes) {
    out_.resize(out_.size() + out_.size() % 2);
    const uint64_t at = out_.size();
    out_ += bytes;
    return at;
  }

  uint64_t add_directory(const std::vector<Entry>& entries) {
    const uint64_t at = add("");
    put(entries.size(), kind_.big ? 8 : 2);
    for (const Entry& entry : entries) {
      put(entry.tag, 2);
      put(entry.type, 2);
      put(entry.count, word());
      // A short stands at the left of its field.
      const bool is_short = entry.type == 3;
      put(entry.value, is_short ? 2 : word());
      if (is_short) put(0, word() - 2);
    }
    put(0, word());
    return at;
  }

  uint64_t add_page(uint8_t number) {
    const uint64_t strip = add(std::string(16, static_cast<char>(40 + number)));
    const std::string xmp = "<x>GPSLatitude=\"64,8N\"</x>", iptc = "IPTC: Reykjavik, Iceland";
    const std::string photoshop = "8BIM: Keflavik, Iceland";
    const uint64_t xmp_at = add(xmp), iptc_at = add(iptc), photoshop_at = add(photoshop);
    const auto rationals = [&] {
      const uint64_t at = add("");
      for (const uint64_t value : {64u, 1u, 8u, 1u, 0x5EC0DDu, 1u}) put(value, 4);
      return at;
    };
    const uint64_t north = rationals(), west = rationals();
    const uint64_t gps = add_directory({{2, 5, 3, north}, {4, 5, 3, west}});
    return add_directory({{256, 3, 1, 4},
                          {257, 3, 1, 4},
                          {258, 3, 1, 8},
                          {259, 3, 1, 1},
                          {262, 3, 1, 1},
                          {273, 4, 1, left(strip)},
                          {277, 3, 1, 1},
                          {278, 3, 1, 4},
                          {279, 4, 1, left(16)},
                          {700, 1, xmp.size(), xmp_at},
                          {33723, 7, iptc.size(), iptc_at},
                          {34377, 7, photoshop.size(), photoshop_at},
                          {34853, 4, 1, left(gps)}});
  }

  // A long stands at the left of a field of eight bytes.
  uint64_t left(uint64_t value) const { return kind_.big && !kind_.little ? value << 32 : value; }

  TiffKind kind_;
  std::string out_;
};

TEST(MetadataRemoved, ATiffLosesItsPlacesOnEveryPage) {
  for (const TiffKind kind : {TiffKind{false, true}, TiffKind{false, false}, TiffKind{true, true},
                              TiffKind{true, false}}) {
    const std::string what = fmt::format("big {} little {}", kind.big, kind.little);
    const std::string tiff = PlacedTiff(kind).make(3);
    const StepAnswer before = metadata(tiff, "nothing");
    ASSERT_TRUE(before.ok()) << what << before.message << before.misuse;
    EXPECT_TRUE(before.outputs[0] == tiff) << what;
    EXPECT_TRUE(holds(before.results.at("metadata"), "\"has_location\":true")) << what;
    const StepAnswer answer = metadata(tiff, "location");
    ASSERT_TRUE(answer.ok()) << what << answer.message << answer.misuse;
    const std::string& out = answer.outputs[0];
    EXPECT_EQ(out.size(), tiff.size()) << what;
    for (const std::string words :
         {"GPSLatitude", "Reykjavik", "Keflavik", "\x5E\xC0\xDD", "\xDD\xC0\x5E"}) {
      EXPECT_FALSE(holds(out, words)) << what << words;
    }
    EXPECT_TRUE(holds(metadata(out, "nothing").results.at("metadata"), "\"has_location\":false"));
    EXPECT_EQ(upload(out).results.at("pages"), "3") << what;
    const std::vector<TiffPage> pages = decode_tiff(out);
    ASSERT_EQ(pages.size(), 3u) << what;
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(pages[i].picture.samples, std::vector<uint16_t>(16, 40 + i)) << what;
    }
  }
}

TEST(MetadataRemoved, ATiffWithoutPlacesStaysAsItIs) {
  TiffStyle style;
  style.artist = "Ann";
  for (const bool big : {false, true}) {
    style.big = big;
    const std::string tiff = encode_tiff({scene(20, 16), scene(9, 9, 1)}, style);
    EXPECT_TRUE(metadata(tiff, "location").outputs.at(0) == tiff);
    for (const char* remove : {"unsafe", "everything"}) {
      const StepAnswer answer = metadata(tiff, remove);
      EXPECT_EQ(answer.reason, "unsupported") << remove << answer.misuse;
      EXPECT_TRUE(holds(answer.message, "remove to location")) << answer.message;
    }
  }
}

// ---- how many frames

constexpr uint32_t kMost = 10'000;

std::string number(uint32_t value, int size, bool little) {
  std::string out;
  for (int i = 0; i < size; ++i) {
    out += static_cast<char>(value >> (8 * (little ? i : size - 1 - i)));
  }
  return out;
}

std::string webp_of(uint32_t frames) {
  const std::string one = encode_webp(flat(1, 2, 3, 1), true);
  const std::string picture = one.substr(12);  // the chunk of the picture
  const auto chunk = [](const char* name, const std::string& data) {
    return name + number(static_cast<uint32_t>(data.size()), 4, true) + data;
  };
  std::string body = "WEBP" + chunk("VP8X", std::string("\x02\0\0\0\0\0\0\0\0\0", 10)) +
                     chunk("ANIM", std::string(6, '\0'));
  const std::string frame =
      chunk("ANMF", std::string(12, '\0') + number(50, 3, true) + std::string(1, '\0') + picture);
  for (uint32_t i = 0; i < frames; ++i) body += frame;
  return "RIFF" + number(static_cast<uint32_t>(body.size()), 4, true) + body;
}

// An APNG of one pixel: what counts is each fcTL. The data of all frames but the first are the
// same.
std::string apng_of(uint32_t frames) {
  const std::string still = encode_png(flat(1, 2, 3, 1));
  const auto chunk = [](const std::string& name, const std::string& data) {
    uint32_t crc = ~0u;
    for (const char c : name + data) {
      crc ^= static_cast<uint8_t>(c);
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return number(static_cast<uint32_t>(data.size()), 4, false) + name + data +
           number(~crc, 4, false);
  };
  std::string out =
      still.substr(0, 33) + chunk("acTL", number(frames, 4, false) + number(0, 4, false));
  uint32_t sequence = 0;
  const auto control = [&] {
    return chunk("fcTL", number(sequence++, 4, false) + number(1, 4, false) + number(1, 4, false) +
                             std::string(8, '\0') + std::string("\0\1\0\12\0\0", 6));
  };
  for (const auto& [name, data] : png_chunks(still)) {
    if (name == "IHDR" || name == "IEND") continue;
    if (name == "IDAT") out += control();
    out += chunk(name, data);
    if (name != "IDAT") continue;
    for (uint32_t i = 1; i < frames; ++i) {
      out += control();
      out += chunk("fdAT", number(sequence++, 4, false) + data);
    }
  }
  return out + chunk("IEND", "");
}

TEST(Frames, OfEveryFormatAreCountedBeforeAnythingIsDecoded) {
  const std::pair<const char*, std::function<std::string(uint32_t)>> kinds[] = {
      {"tiff",
       [](uint32_t pages) {
         return PlacedTiff({false, true}).make(pages);
       }},
      {"webp", webp_of},
      {"apng", apng_of},
  };
  for (const auto& [name, make] : kinds) {
    const std::string fits = make(kMost), more = make(kMost + 1);
    const StepAnswer taken = upload(fits);
    ASSERT_TRUE(taken.ok()) << name << taken.message << taken.misuse;
    EXPECT_EQ(taken.results.at("pages"), std::to_string(kMost)) << name;
    for (const char* step :
         {"upload", "convert", "grayscale", "metadata", "placeholder", "optimize"}) {
      const StepAnswer refused = run_picture_step(step, more);
      EXPECT_EQ(refused.reason, "too_many_frames") << name << step << refused.message;
      EXPECT_TRUE(holds(refused.message, "10000")) << name << refused.message;
    }
  }
}

// Its default image, of which all that is not upload and metadata make a still picture.
TEST(Frames, OfAnApngOnlyTheDefaultImageIsTaken) {
  const std::string apng = apng_of(3);
  EXPECT_EQ(upload(apng).results.at("pages"), "3");
  const StepAnswer still = run_picture_step("convert", apng, {{"format", "png"}});
  ASSERT_TRUE(still.ok()) << still.message << still.misuse;
  EXPECT_EQ(still.results.at("pages"), "1");
  EXPECT_EQ(upload(still.outputs[0]).results.at("pages"), "1");
  EXPECT_EQ(worst_difference(decoded(still), flat(1, 2, 3, 1)), 0);
  const StepAnswer film = run_picture_step("convert", apng, {{"format", "webp"}});
  ASSERT_TRUE(film.ok()) << film.message << film.misuse;
  EXPECT_EQ(film.results.at("pages"), "1");
}

}  // namespace
}  // namespace millrace::testing
