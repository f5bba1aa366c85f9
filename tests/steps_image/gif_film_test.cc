// Goal: each step that handles frames works on what a browser shows of a GIF, whatever its frames
// are: parts of the canvas, with holes, interlaced, with tables of their own, disposed of in each
// way. Method: three films; their frames as a straightforward compositor puts them together
// (pictures_gif.cc); what the step makes of each alone.
#include "cmake/precompiled_test.h"
#include "tests/steps_image/table.h"

namespace millrace::testing {
namespace {

class GifFrames : public Table {};

INSTANTIATE_TEST_SUITE_P(Steps, GifFrames, ::testing::ValuesIn(table_rows()),
                         [](const auto& one) { return one.param.step; });

constexpr uint32_t kWidth = 48, kHeight = 40;

// Twelve colours. The second, the films' background, is in no picture.
GifColours table_of(int turn) {
  GifColours table;
  for (int i = 0; i < 12; ++i) {
    table.push_back({static_cast<uint8_t>(20 * i + turn), static_cast<uint8_t>(240 - 17 * i),
                     static_cast<uint8_t>((i * 90 + turn * 40) % 256)});
  }
  table[1] = {255, 0, 255};
  return table;
}

enum class Holes { kNone, kSome };

// Diagonal stripes; some of them are the first index.
GifFrame part(uint32_t left, uint32_t top, uint32_t width, uint32_t height, Holes holes) {
  GifFrame frame;
  frame.left = left, frame.top = top, frame.width = width, frame.height = height;
  if (holes == Holes::kSome) frame.transparent = 0;
  for (uint32_t y = 0; y < height; ++y) {
    for (uint32_t x = 0; x < width; ++x) {
      const uint32_t stripe = (x + y * 2 + left) / 3 % 12;
      frame.indices.push_back(static_cast<uint8_t>(stripe == 1 ? 2 : stripe));
    }
  }
  return frame;
}

GifFrame with(GifFrame frame, uint32_t disposal, uint32_t delay, bool interlaced = false,
              GifColours table = {}) {
  frame.disposal = disposal;
  frame.delay = delay;
  frame.interlaced = interlaced;
  frame.table = std::move(table);
  return frame;
}

GifFilm film_of(std::vector<GifFrame> frames) {
  GifFilm film;
  film.width = kWidth, film.height = kHeight;
  film.table = table_of(0);
  film.background = 1;
  film.frames = std::move(frames);
  return film;
}

constexpr Holes kNone = Holes::kNone, kSome = Holes::kSome;

struct NamedFilm {
  const char* name;
  GifFilm film;
};

std::vector<NamedFilm> films() {
  return {
      {"parts with holes over a whole picture",
       film_of({with(part(0, 0, 48, 40, kNone), 1, 2), with(part(5, 3, 20, 17, kSome), 2, 7),
                with(part(2, 10, 31, 22, kNone), 3, 13, true),
                with(part(20, 6, 24, 30, kNone), 2, 5, false, table_of(3)),
                with(part(11, 15, 30, 9, kSome), 0, 20, true, table_of(7)),
                with(part(0, 0, 48, 40, kSome), 3, 11, true),
                with(part(40, 33, 8, 7, kNone), 1, 4)})},
      {"parts without holes that do not fill the canvas",
       film_of({with(part(4, 4, 30, 30, kNone), 2, 3), with(part(10, 8, 30, 20, kNone), 1, 6),
                with(part(20, 20, 20, 20, kNone), 2, 9), with(part(0, 0, 9, 9, kNone), 0, 8)})},
      {"a first frame that is taken back",
       film_of({with(part(0, 0, 48, 40, kSome), 3, 10), with(part(8, 8, 20, 20, kNone), 3, 10),
                with(part(12, 20, 30, 15, kSome), 1, 10)})},
  };
}

std::vector<uint32_t> times_of(const GifFilm& film) {
  std::vector<uint32_t> times;
  for (const GifFrame& frame : film.frames) times.push_back(frame.delay * 10);
  return times;
}

Picture with_cover(const Picture& picture) {
  return picture.bands < 4 ? with_alpha(as_rgb(picture)) : picture;
}

// Alpha, and colours as far as they are seen.
int seen_difference(const Picture& a, const Picture& b) {
  if (a.width != b.width || a.height != b.height || a.bands != b.bands) return 1'000'000;
  int worst = 0;
  for (size_t i = 0; i < a.samples.size(); ++i) {
    const int difference = std::abs(int{a.samples[i]} - int{b.samples[i]});
    const int cover = i % 4 == 3 ? 255 : b.samples[i / 4 * 4 + 3];
    worst = std::max(worst, difference * cover / 255);
  }
  return worst;
}

// A GIF is seen through or not, and has chosen its colours anew.
void expect_as_gif(const Picture& got, const Picture& wanted, const std::string& what) {
  ASSERT_EQ(got.width, wanted.width) << what;
  ASSERT_EQ(got.height, wanted.height) << what;
  int otherwise = 0, seen = 0;
  double sum = 0;
  for (size_t i = 0; i < wanted.samples.size(); i += 4) {
    const bool here = wanted.samples[i + 3] >= 128;
    otherwise += here != (got.samples[i + 3] == 255);
    if (!here) continue;
    seen += 3;
    for (size_t k = i; k < i + 3; ++k) sum += std::abs(int{got.samples[k]} - wanted.samples[k]);
  }
  EXPECT_EQ(otherwise, 0) << what;
  EXPECT_LE(sum / seen, 4) << what;
}

TEST(GifFilms, AreWhatTheyAreCalled) {
  const std::vector<Picture> first = decode_gif(encode_gif(films()[0].film)).frames;
  EXPECT_EQ(first[2].at(24, 4, 3), 0) << "the place of the second frame is transparent";
  EXPECT_EQ(first[3].at(24, 4, 3), 0) << "the third was taken back";
  EXPECT_EQ(first[4].at(30, 30, 3), 0) << "the place of the fourth, which has no holes";
  const std::vector<Picture> second = decode_gif(encode_gif(films()[1].film)).frames;
  EXPECT_EQ(second[0].at(0, 0, 3), 0);
  const std::vector<Picture> third = decode_gif(encode_gif(films()[2].film)).frames;
  EXPECT_EQ(third[1].at(40, 2, 3), 0);
}

void prove_painter(const TableRow& row, const NamedFilm& one, const std::vector<Picture>& frames) {
  const Carrier file = {encode_gif(one.film), kWidth, kHeight};
  const StepAnswer webp = run_row(row, file, {{"format", "webp"}, {"lossless", "true"}});
  const StepAnswer gif = run_row(row, file, {{"format", "gif"}});
  ASSERT_TRUE(webp.ok() && gif.ok()) << webp.message << gif.message << webp.misuse << gif.misuse;
  const WebpAnimation film = decode_webp_animation(webp.outputs[0]);
  const GifAnimation reread = decode_gif(gif.outputs[0]);
  EXPECT_EQ(film.durations, times_of(one.film)) << one.name;
  EXPECT_EQ(reread.durations, times_of(one.film)) << one.name;
  EXPECT_EQ(film.loop, 6u) << one.name << ": a GIF says how often it is repeated";
  EXPECT_EQ(reread.loop, 5) << one.name;
  ASSERT_EQ(film.frames.size(), frames.size()) << one.name;
  ASSERT_EQ(reread.frames.size(), frames.size()) << one.name;
  for (size_t i = 0; i < frames.size(); ++i) {
    const Picture alone = with_cover(see_row(row, png_of(frames[i])).picture);
    EXPECT_LE(seen_difference(film.frames[i], alone), 1) << one.name << ", frame " << i;
    expect_as_gif(reread.frames[i], alone, one.name + std::string(", frame ") + std::to_string(i));
  }
  const Seen still = see_row(row, file);
  const Picture first = with_cover(see_row(row, png_of(frames[0])).picture);
  EXPECT_LE(seen_difference(with_cover(still.picture), first), 1) << one.name;
}

TEST_P(GifFrames, AreThoseThatABrowserShows) {
  for (const NamedFilm& one : films()) {
    const std::string gif = encode_gif(one.film);
    const std::vector<Picture> frames = decode_gif(gif).frames;
    if (row().paints()) {
      prove_painter(row(), one, frames);
      continue;
    }
    if (row().tells()) {
      expect_alike(row(), see_row(row(), {gif, kWidth, kHeight}), see_row(row(), png_of(frames[0])),
                   0, 0, one.name);
      continue;
    }
    const StepAnswer answer = run_row(row(), {gif, kWidth, kHeight});
    ASSERT_TRUE(answer.ok()) << one.name << answer.message << answer.misuse;
    const GifAnimation after = decode_gif(answer.outputs[0]);
    EXPECT_EQ(after.durations, times_of(one.film)) << one.name;
    EXPECT_EQ(after.loop, 5) << one.name;
    ASSERT_EQ(after.frames.size(), frames.size()) << one.name;
    for (size_t i = 0; i < frames.size(); ++i) {
      Picture wanted = frames[i];
      if (row().step == "grayscale") {
        const Picture gray = as_rgb(decode_png(grayscale(encode_png(frames[i])).outputs.at(0)));
        for (size_t k = 0; k < wanted.samples.size(); ++k) {
          if (k % 4 != 3) wanted.samples[k] = gray.samples[k / 4 * 3 + k % 4];
        }
      }
      EXPECT_EQ(seen_difference(after.frames[i], wanted), 0) << one.name << ", frame " << i;
    }
  }
}

// A frame that reaches beyond the canvas is cut off by it.
TEST_P(GifFrames, StayWithinTheCanvas) {
  if (!row().paints()) return;
  const NamedFilm one = {
      "frames that reach beyond the canvas",
      film_of({with(part(0, 0, 48, 40, kNone), 1, 2), with(part(20, 20, 40, 35, kSome), 2, 3),
               with(part(1, 1, 5, 5, kNone), 1, 4)})};
  prove_painter(row(), one, decode_gif(encode_gif(one.film)).frames);
}

// The second of three frames has fewer pixels than its place.
TEST(GifFilms, ADamagedFrameIsRefusedOrTakenAsFarAsItGoes) {
  GifFilm film = film_of({with(part(0, 0, 48, 40, kNone), 1, 2),
                          with(part(0, 0, 48, 20, kNone), 1, 3, false, table_of(5)),
                          with(part(1, 1, 5, 5, kNone), 1, 4)});
  const std::vector<Picture> whole = decode_gif(encode_gif(film)).frames;
  std::string gif = encode_gif(film);
  const size_t height = gif.find(std::string("\0\0\0\0\x30\0\x14\0", 8));
  ASSERT_NE(height, std::string::npos);
  gif[height + 6] = 40;
  const ParamTexts to_webp = {{"format", "webp"}, {"lossless", "true"}};
  const StepAnswer refused = run_picture_step("convert", gif, to_webp);
  EXPECT_EQ(refused.reason, "corrupt");
  EXPECT_NE(refused.message.find("frame 2 has 960 of its 1920 pixels"), std::string::npos)
      << refused.message;
  ParamTexts accept = to_webp;
  accept["damaged"] = "accept";
  const StepAnswer taken = run_picture_step("convert", gif, accept);
  ASSERT_TRUE(taken.ok()) << taken.message << taken.misuse;
  const WebpAnimation after = decode_webp_animation(taken.outputs[0]);
  ASSERT_EQ(after.frames.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(worst_difference(after.frames[i], whole[i]), 0) << "frame " << i;
  }
}

}  // namespace
}  // namespace millrace::testing
