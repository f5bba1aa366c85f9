// Pictures for tests: made and read with the codec libraries themselves (libjpeg, libpng, libwebp,
// libtiff), never with libvips, so that what the steps do is judged by somebody else.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace millrace::testing {

// Samples row after row. 8-bit samples are 0…255, 16-bit ones 0…65535.
struct Picture {
  uint32_t width = 0, height = 0;
  int bands = 3;  // 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA (or CMYK)
  int bits = 8;   // as stored; samples of fewer than 8 bits are scaled to 8
  std::vector<uint16_t> samples;
  uint16_t at(uint32_t x, uint32_t y, int band) const {
    return samples[(size_t{y} * width + x) * static_cast<size_t>(bands) +
                   static_cast<size_t>(band)];
  }
};

// A picture whose samples are a function of place and band.
Picture make_picture(uint32_t width, uint32_t height, int bands, int bits,
                     const std::function<int(int x, int y, int band)>& sample);
// Every hue somewhere, with dark and bright parts.
Picture gradient(uint32_t width, uint32_t height, int bands = 3, int bits = 8);
Picture flat(uint8_t red, uint8_t green, uint8_t blue, uint32_t side = 16);

struct JpegStyle {
  int quality = 90;
  bool progressive = false;
  bool arithmetic = false;
  bool rgb = false;            // stored as RGB (Adobe transform 0)
  bool cmyk = false;           // four bands in, stored as they are
  bool ycck = false;           // of the same: as luma and chroma of the inverted inks
  int luma_h = 2, luma_v = 2;  // sampling of the first component; of the others 1
  int restart = 0;
  int dots_per_inch = 0;
  std::string exif;                                  // block without prefix
  std::string icc;                                   // profile
  std::vector<std::pair<int, std::string>> markers;  // further ones
};
std::string encode_jpeg(const Picture& picture, const JpegStyle& style = {});

// A decoded JPEG: `space` is what to ask libjpeg for (a J_COLOR_SPACE).
struct JpegFacts {
  int components = 0, width = 0, height = 0;
  bool progressive = false, arithmetic = false;
  uint16_t quantisation[64] = {};                    // of the first component
  std::vector<std::pair<int, std::string>> markers;  // APPn and COM
  std::vector<int16_t> luma_coefficients;            // of the first component
};
Picture decode_jpeg(const std::string& bytes, int space);
JpegFacts jpeg_facts(const std::string& bytes);

struct PngStyle {
  bool interlaced = false;
  uint32_t pixels_per_metre = 0;
  std::string exif, icc;
  std::vector<std::pair<std::string, std::string>> text;
  bool palette = false;  // an RGB picture of at most 256 colours
  int stored_bits = 0;   // 1, 2, 4: gray levels that these hold, or a palette's indices; 0: all
  bool first_transparent = false;  // the palette's first entry, the pixel at 0, 0
};
std::string encode_png(const Picture& picture, const PngStyle& style = {});
// A PNG of which only the header is true.
std::string announced_png(uint32_t width, uint32_t height);
// `expand`: palette to RGB and colour keys to alpha; else as stored.
Picture decode_png(const std::string& bytes, bool expand = true);
std::string png_profile(const std::string& bytes);
// The chunks by name, in order, with their data.
std::vector<std::pair<std::string, std::string>> png_chunks(const std::string& bytes);

std::string encode_webp(const Picture& picture, bool lossless, const std::string& exif = "");
Picture decode_webp(const std::string& bytes);
// An AVIF or HEIC, coded by libheif's encoders and put together here, since libheif writes neither
// grids nor turns.
struct HeifStyle {
  bool hevc = false;
  int bits = 8;                    // 10: of a picture of 16 bits, whose low bits go
  int quality = 0;                 // 0: without loss, all planes at full size, no matrix
  const char* chroma = "420";      // when there is loss
  uint32_t columns = 1, rows = 1;  // a grid
  bool alpha_of_tiles = false;     // each tile has its own, the grid has none
  int orientation = 1;             // as `irot` and `imir`
  uint32_t crop = 0;               // pixels of the right and of the bottom that `clap` cuts off
  bool premultiplied = false;      // what the file says of its samples
  int primaries = 1, transfer = 13, matrix = 6;
  bool full_range = true;
  bool say_colour = true;  // in the container; the stream says it always
  std::string exif, xmp, icc;
  std::string brand;                    // "": avif or heic
  bool in_idat = false, split = false;  // where the samples are: in `meta`; in two places
};
std::string encode_heif(const Picture& picture, const HeifStyle& style = {});
// By libheif. RGB or RGBA; samples of more than 8 bits are scaled to 16.
Picture decode_heif(const std::string& bytes);
struct WebpAnimation {
  uint32_t width = 0, height = 0, loop = 0;
  std::vector<uint32_t> durations;
  std::vector<Picture> frames;  // on the canvas, RGBA
};
std::string encode_webp_animation(const std::vector<Picture>& frames, uint32_t duration_ms,
                                  int loop);
WebpAnimation decode_webp_animation(const std::string& bytes);

struct TiffStyle {
  int photometric = -1;  // -1: by bands
  int compression = 1;
  int orientation = 1;
  bool tiled = false, big = false;
  std::vector<float> dots_per_inch;  // of each page
  std::vector<std::string> iccs;     // of each page, instead of `icc`; empty: none
  bool associated = false;           // the alpha is multiplied into the samples
  std::string artist, copyright, make, icc;
};
std::string encode_tiff(const std::vector<Picture>& pages, const TiffStyle& style = {});
struct TiffPage {
  Picture picture;
  int orientation = 1, compression = 1;
  float dots_per_inch = 0;
  std::string artist, copyright, make, icc;
};
std::vector<TiffPage> decode_tiff(const std::string& bytes);

// A GIF of solid frames, each of one palette entry.
struct GifStyle {
  std::vector<std::vector<uint8_t>> frame_colours;  // red, green, blue of each frame
  uint32_t width = 8, height = 6;
  int delay = 7;
  bool local_tables = false;
  std::string comment;
};
std::string encode_gif(const GifStyle& style);
// A GIF with all that frames can be.
using GifColours = std::vector<std::array<uint8_t, 3>>;
struct GifFrame {
  uint32_t left = 0, top = 0, width = 0, height = 0;
  std::vector<uint8_t> indices;  // row after row
  GifColours table;              // empty: the film's
  int transparent = -1;          // this index
  uint32_t disposal = 0;
  uint32_t delay = 7;  // hundredths of a second
  bool interlaced = false;
};
struct GifFilm {
  uint32_t width = 0, height = 0, loop = 5;
  GifColours table;
  uint8_t background = 0;
  std::string extensions;  // in front of the frames
  std::vector<GifFrame> frames;
};
std::string encode_gif(const GifFilm& film);
std::string gif_extension(char label, const std::vector<std::string>& blocks);
struct GifAnimation {
  uint32_t width = 0, height = 0;
  int loop = -1;                    // as stored; -1: no such block
  std::vector<uint32_t> durations;  // milliseconds
  std::vector<Picture> frames;      // on the canvas, RGBA
};
GifAnimation decode_gif(const std::string& bytes);

// The profile that a JPEG, PNG, WebP or TIFF carries; empty: none.
std::string profile_in(const std::string& file);
// What lcms makes of an 8-bit picture in this profile: sRGB, perceptual; alpha stays.
Picture to_srgb(const Picture& picture, const std::string& icc);

// ICC profiles by lcms: matrix and curve ones.
std::string icc_srgb();
std::string icc_with_gamma(double gamma);  // sRGB's primaries
std::string icc_display_p3();              // sRGB's curve, P3's primaries
std::string icc_adobe_rgb();               // gamma 563/256, its own primaries
std::string icc_gray(double gamma);
std::string icc_cmyk();  // a table: inks that swallow light by a simple formula

}  // namespace millrace::testing
