#include "steps/common/picture/exact_png.h"

#include <vips/vips.h>

#include <algorithm>
#include <memory>
#include <unordered_map>

#include "steps/common/crc32.h"

namespace millrace {
namespace {

constexpr size_t kColoursMax = 256;

void append32(std::string* out, uint64_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

void append_chunk(std::string* out, std::string_view name, std::string_view data) {
  append32(out, data.size());
  const size_t at = out->size();
  out->append(name);
  out->append(data);
  append32(out, crc32(reinterpret_cast<const uint8_t*>(out->data()) + at, out->size() - at));
}

struct Palette {
  std::vector<uint32_t> colours;  // alpha, red, green, blue, from the highest byte down
  std::vector<uint8_t> indices;   // of each pixel
  bool gray = true, opaque = true;
};

// False: more than 256 colours.
bool count_colours(const std::vector<uint8_t>& samples, int bands, Palette* palette) {
  const bool alpha = bands == 2 || bands == 4;
  const size_t step = static_cast<size_t>(bands);
  std::unordered_map<uint32_t, uint8_t> known;
  palette->indices.resize(samples.size() / step);
  uint32_t last = 0;
  uint8_t last_index = 0;
  for (size_t i = 0; i < palette->indices.size(); ++i) {
    const uint8_t* pixel = samples.data() + i * step;
    const uint32_t red = pixel[0], green = bands >= 3 ? pixel[1] : red;
    const uint32_t blue = bands >= 3 ? pixel[2] : red, a = alpha ? pixel[bands - 1] : 255;
    const uint32_t colour = a << 24 | red << 16 | green << 8 | blue;
    if (known.empty() || colour != last) {
      const auto found = known.find(colour);
      if (found != known.end()) {
        last_index = found->second;
      } else {
        if (known.size() == kColoursMax) return false;
        last_index = static_cast<uint8_t>(known.size());
        known.emplace(colour, last_index);
        palette->colours.push_back(colour);
        palette->gray = palette->gray && red == green && green == blue;
        palette->opaque = palette->opaque && a == 255;
      }
      last = colour;
    }
    palette->indices[i] = last_index;
  }
  return true;
}

// The bits of a gray depth that holds all these values; 0: none below 8.
int gray_bits(const Palette& palette) {
  if (!palette.gray || !palette.opaque) return 0;
  for (const int bits : {1, 2, 4}) {
    const uint32_t unit = 255u / ((1u << bits) - 1);
    const auto fits = [unit](uint32_t colour) { return (colour & 255) % unit == 0; };
    if (std::all_of(palette.colours.begin(), palette.colours.end(), fits)) return bits;
  }
  return 0;
}

int index_bits(size_t colours) {
  return colours <= 2 ? 1 : colours <= 4 ? 2 : colours <= 16 ? 4 : 8;
}

// Sorted, transparent ones first, so that the same picture always gives the same file and tRNS is
// short.
void sort_palette(Palette* palette) {
  std::vector<uint32_t> sorted = palette->colours;
  std::sort(sorted.begin(), sorted.end());
  std::vector<uint8_t> to(palette->colours.size());
  for (size_t i = 0; i < to.size(); ++i) {
    const auto place = std::lower_bound(sorted.begin(), sorted.end(), palette->colours[i]);
    to[i] = static_cast<uint8_t>(place - sorted.begin());
  }
  for (uint8_t& index : palette->indices) index = to[index];
  palette->colours = std::move(sorted);
}

// The gray PNG that libvips wrote becomes one with a palette: its samples are the indices.
std::string with_palette(const std::string& gray, const Palette& palette) {
  constexpr size_t kHeader = 8, kHeaderEnd = 33;
  std::string out(gray, 0, kHeader);
  std::string header(gray, kHeader + 8, 13), table, alpha;
  header[9] = 3;
  for (const uint32_t colour : palette.colours) {
    for (const int shift : {16, 8, 0}) table.push_back(static_cast<char>(colour >> shift));
    if (colour >> 24 != 255) alpha.push_back(static_cast<char>(colour >> 24));
  }
  append_chunk(&out, "IHDR", header);
  append_chunk(&out, "PLTE", table);
  if (!alpha.empty()) append_chunk(&out, "tRNS", alpha);
  // Only the picture: what else the saver wrote was meant for gray.
  const ByteView view{reinterpret_cast<const uint8_t*>(gray.data()), gray.size()};
  for (uint64_t at = kHeaderEnd; view.has(at, 12);) {
    const uint64_t whole = 12 + uint64_t{view.be32(at)};
    if (view.is(at + 4, "IDAT") || view.is(at + 4, "IEND") || view.is(at + 4, "pHYs")) {
      out.append(gray, at, whole);
    }
    at += whole;
  }
  return out;
}

}  // namespace

Problem encode_exact_png(PictureJob* job, bool interlaced, VipsPicture* picture, std::string* file,
                         bool* done) {
  *done = false;
  const int width = width_of(*picture), height = height_of(*picture), bands = bands_of(*picture);
  const double per_mm = vips_image_get_xres(picture->get());
  std::vector<uint8_t> samples;
  if (Problem problem = read_samples(job, *picture, &samples)) return problem;
  Palette palette;
  if (job->cancelled) return {};
  if (!count_colours(samples, bands, &palette)) {
    return picture_of(samples, width, height, bands, picture);  // it may have been read only once
  }
  const int gray = gray_bits(palette);
  // Gray of 8 bits needs no palette, and gray with alpha has no smaller depth and stays gray.
  const bool plain = gray == 0 && (bands == 2 || (bands == 1 && palette.colours.size() > 16));
  if (plain) return picture_of(samples, width, height, bands, picture);
  const int bits = gray != 0 ? gray : index_bits(palette.colours.size());
  if (gray == 0) sort_palette(&palette);
  // The saver scales samples of 8 bits down.
  for (uint8_t& index : palette.indices) {
    const uint32_t unit = 255u / ((1u << bits) - 1);
    const uint32_t value = gray != 0 ? palette.colours[index] & 255 : index * unit;
    index = static_cast<uint8_t>(value);
  }
  VipsPicture indices;
  if (Problem problem = picture_of(palette.indices, width, height, 1, &indices)) return problem;
  vips_image_remove(indices.get(), "millrace-in-memory");
  indices.get()->Xres = indices.get()->Yres = per_mm;
  void* data = nullptr;
  size_t size = 0;
  const int failed = vips_pngsave_buffer(indices.get(), &data, &size, "compression", 9, "filter",
                                         VIPS_FOREIGN_PNG_FILTER_NONE, "interlace", interlaced,
                                         "bitdepth", bits, nullptr);
  const std::unique_ptr<void, void (*)(void*)> owner(data, g_free);
  if (failed) return picture_problem(*job, "encoded");
  file->assign(static_cast<const char*>(data), size);
  if (gray == 0) *file = with_palette(*file, palette);
  *done = true;
  return {};
}

}  // namespace millrace
