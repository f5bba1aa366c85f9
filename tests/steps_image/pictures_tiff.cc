// TIFF through libtiff, WebP through libwebp.
#include <sys/mman.h>
#include <tiffio.h>
#include <unistd.h>
#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>
#include <webp/mux.h>

#include <cstdlib>

#include "tests/steps_image/pictures.h"

namespace millrace::testing {
namespace {

std::string slurp(int fd) {
  std::string bytes(static_cast<size_t>(lseek(fd, 0, SEEK_END)), '\0');
  if (pread(fd, bytes.data(), bytes.size(), 0) < 0) abort();
  return bytes;
}

void set_text(TIFF* tiff, uint32_t tag, const std::string& text) {
  if (!text.empty()) TIFFSetField(tiff, tag, text.c_str());
}

int photometric_of(const Picture& picture, const TiffStyle& style) {
  if (style.photometric >= 0) return style.photometric;
  return picture.bands <= 2 ? PHOTOMETRIC_MINISBLACK : PHOTOMETRIC_RGB;
}

void set_fields(TIFF* tiff, const Picture& picture, const TiffStyle& style, size_t number) {
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, picture.width);
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, picture.height);
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, picture.bits);
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, picture.bands);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, photometric_of(picture, style));
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, style.compression);
  TIFFSetField(tiff, TIFFTAG_ORIENTATION, style.orientation);
  const bool alpha =
      photometric_of(picture, style) <= 2 && (picture.bands == 2 || picture.bands == 4);
  const uint16_t extra[1] = {
      static_cast<uint16_t>(style.associated ? EXTRASAMPLE_ASSOCALPHA : EXTRASAMPLE_UNASSALPHA)};
  if (alpha) TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, extra);
  set_text(tiff, TIFFTAG_ARTIST, style.artist);
  set_text(tiff, TIFFTAG_COPYRIGHT, style.copyright);
  set_text(tiff, TIFFTAG_MAKE, style.make);
  const std::string& icc = number < style.iccs.size() ? style.iccs[number] : style.icc;
  if (!icc.empty()) {
    TIFFSetField(tiff, TIFFTAG_ICCPROFILE, static_cast<uint32_t>(icc.size()), icc.data());
  }
  if (number < style.dots_per_inch.size()) {
    TIFFSetField(tiff, TIFFTAG_RESOLUTIONUNIT, RESUNIT_INCH);
    TIFFSetField(tiff, TIFFTAG_XRESOLUTION, style.dots_per_inch[number]);
    TIFFSetField(tiff, TIFFTAG_YRESOLUTION, style.dots_per_inch[number]);
  }
  TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, 8);
}

std::vector<uint8_t> packed_row(const Picture& picture, uint32_t y) {
  std::vector<uint8_t> row;
  uint32_t bits = 0, count = 0;
  for (uint32_t x = 0; x < picture.width; ++x) {
    for (int band = 0; band < picture.bands; ++band) {
      const uint16_t sample = picture.at(x, y, band);
      if (picture.bits == 16) {
        row.push_back(static_cast<uint8_t>(sample));
        row.push_back(static_cast<uint8_t>(sample >> 8));
      } else if (picture.bits == 8) {
        row.push_back(static_cast<uint8_t>(sample));
      } else {
        bits = bits << 1 | (sample ? 1 : 0);
        if (++count == 8) row.push_back(static_cast<uint8_t>(bits)), bits = count = 0;
      }
    }
  }
  if (count > 0) row.push_back(static_cast<uint8_t>(bits << (8 - count)));
  return row;
}

std::string text_of(TIFF* tiff, uint32_t tag) {
  char* text = nullptr;
  return TIFFGetField(tiff, tag, &text) && text != nullptr ? text : "";
}

TiffPage read_page(TIFF* tiff) {
  TiffPage page;
  uint16_t bits = 1, bands = 1, orientation = 1, compression = 1;
  TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &page.picture.width);
  TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &page.picture.height);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &bands);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &orientation);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
  page.picture.bits = bits;
  page.picture.bands = bands;
  page.orientation = orientation;
  page.compression = compression;
  page.artist = text_of(tiff, TIFFTAG_ARTIST);
  page.copyright = text_of(tiff, TIFFTAG_COPYRIGHT);
  page.make = text_of(tiff, TIFFTAG_MAKE);
  uint16_t unit = RESUNIT_INCH;
  TIFFGetFieldDefaulted(tiff, TIFFTAG_RESOLUTIONUNIT, &unit);
  TIFFGetField(tiff, TIFFTAG_XRESOLUTION, &page.dots_per_inch);
  if (unit == RESUNIT_CENTIMETER) page.dots_per_inch *= 2.54F;
  uint32_t size = 0;
  void* profile = nullptr;
  if (TIFFGetField(tiff, TIFFTAG_ICCPROFILE, &size, &profile))
    page.icc.assign(static_cast<char*>(profile), size);
  std::vector<uint8_t> row(static_cast<size_t>(TIFFScanlineSize(tiff)));
  for (uint32_t y = 0; y < page.picture.height; ++y) {
    if (TIFFReadScanline(tiff, row.data(), y) < 0) abort();
    for (uint32_t i = 0; i < page.picture.width * bands; ++i) {
      page.picture.samples.push_back(
          bits == 16  ? static_cast<uint16_t>(row[i * 2] | row[i * 2 + 1] << 8)
          : bits == 8 ? row[i]
                      : static_cast<uint16_t>(row[i / 8] >> (7 - i % 8) & 1));
    }
  }
  return page;
}

}  // namespace

std::string encode_tiff(const std::vector<Picture>& pages, const TiffStyle& style) {
  const int fd = memfd_create("tiff", 0);
  TIFF* tiff = TIFFFdOpen(dup(fd), "test", style.big ? "w8" : "w");
  for (size_t number = 0; number < pages.size(); ++number) {
    const Picture& picture = pages[number];
    set_fields(tiff, picture, style, number);
    if (style.tiled) {
      TIFFSetField(tiff, TIFFTAG_TILEWIDTH, 16);
      TIFFSetField(tiff, TIFFTAG_TILELENGTH, 16);
      const size_t pixel = static_cast<size_t>(picture.bands);
      for (uint32_t y = 0; y < picture.height; y += 16) {
        for (uint32_t x = 0; x < picture.width; x += 16) {
          std::vector<uint8_t> tile(256 * pixel);
          for (uint32_t k = 0; k < 256; ++k) {
            for (int band = 0; band < picture.bands; ++band) {
              const uint32_t px = x + k % 16, py = y + k / 16;
              if (px < picture.width && py < picture.height) {
                tile[k * pixel + static_cast<size_t>(band)] =
                    static_cast<uint8_t>(picture.at(px, py, band));
              }
            }
          }
          TIFFWriteTile(tiff, tile.data(), x, y, 0, 0);
        }
      }
    } else {
      for (uint32_t y = 0; y < picture.height; ++y) {
        std::vector<uint8_t> row = packed_row(picture, y);
        TIFFWriteScanline(tiff, row.data(), y, 0);
      }
    }
    TIFFWriteDirectory(tiff);
  }
  TIFFClose(tiff);
  std::string bytes = slurp(fd);
  close(fd);
  return bytes;
}

std::vector<TiffPage> decode_tiff(const std::string& bytes) {
  const int fd = memfd_create("tiff", 0);
  if (write(fd, bytes.data(), bytes.size()) < 0) abort();
  lseek(fd, 0, SEEK_SET);
  TIFF* tiff = TIFFFdOpen(fd, "test", "r");
  std::vector<TiffPage> pages;
  if (tiff == nullptr) return pages;
  do pages.push_back(read_page(tiff));
  while (TIFFReadDirectory(tiff));
  TIFFClose(tiff);
  return pages;
}

namespace {

std::vector<uint8_t> narrow(const Picture& picture) {
  return {picture.samples.begin(), picture.samples.end()};
}

std::string mux(WebPMux* muxer) {
  WebPData data;
  if (WebPMuxAssemble(muxer, &data) != WEBP_MUX_OK) abort();
  std::string bytes(reinterpret_cast<const char*>(data.bytes), data.size);
  WebPDataClear(&data);
  WebPMuxDelete(muxer);
  return bytes;
}

}  // namespace

std::string encode_webp(const Picture& picture, bool lossless, const std::string& exif) {
  const std::vector<uint8_t> data = narrow(picture);
  const int w = static_cast<int>(picture.width), h = static_cast<int>(picture.height);
  uint8_t* out = nullptr;
  size_t size = 0;
  if (picture.bands == 4) {
    size = lossless ? WebPEncodeLosslessRGBA(data.data(), w, h, w * 4, &out)
                    : WebPEncodeRGBA(data.data(), w, h, w * 4, 95, &out);
  } else {
    size = lossless ? WebPEncodeLosslessRGB(data.data(), w, h, w * 3, &out)
                    : WebPEncodeRGB(data.data(), w, h, w * 3, 95, &out);
  }
  std::string bytes(reinterpret_cast<char*>(out), size);
  WebPFree(out);
  if (exif.empty()) return bytes;
  const WebPData file = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  WebPMux* muxer = WebPMuxCreate(&file, 1);
  const WebPData block = {reinterpret_cast<const uint8_t*>(exif.data()), exif.size()};
  WebPMuxSetChunk(muxer, "EXIF", &block, 1);
  return mux(muxer);
}

Picture decode_webp(const std::string& bytes) {
  int width = 0, height = 0;
  uint8_t* data =
      WebPDecodeRGBA(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), &width, &height);
  Picture picture{static_cast<uint32_t>(width), static_cast<uint32_t>(height), 4, 8, {}};
  if (data != nullptr)
    picture.samples.assign(data, data + size_t{picture.width} * picture.height * 4);
  WebPFree(data);
  return picture;
}

std::string encode_webp_animation(const std::vector<Picture>& frames, uint32_t duration_ms,
                                  int loop) {
  WebPMux* muxer = WebPMuxNew();
  for (const Picture& frame : frames) {
    const std::string still = encode_webp(frame, true);
    WebPMuxFrameInfo info = {};
    info.bitstream = {reinterpret_cast<const uint8_t*>(still.data()), still.size()};
    info.duration = static_cast<int>(duration_ms);
    info.id = WEBP_CHUNK_ANMF;
    info.dispose_method = WEBP_MUX_DISPOSE_NONE;
    info.blend_method = WEBP_MUX_NO_BLEND;
    WebPMuxPushFrame(muxer, &info, 1);
  }
  const WebPMuxAnimParams parameters = {0xFF00FF00, loop};
  WebPMuxSetAnimationParams(muxer, &parameters);
  return mux(muxer);
}

WebpAnimation decode_webp_animation(const std::string& bytes) {
  const WebPData data = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  WebPAnimDecoderOptions options;
  WebPAnimDecoderOptionsInit(&options);
  options.color_mode = MODE_RGBA;
  WebPAnimDecoder* decoder = WebPAnimDecoderNew(&data, &options);
  WebpAnimation animation;
  if (decoder == nullptr) return animation;
  WebPAnimInfo info;
  WebPAnimDecoderGetInfo(decoder, &info);
  animation.width = info.canvas_width;
  animation.height = info.canvas_height;
  animation.loop = info.loop_count;
  uint32_t before = 0;
  while (WebPAnimDecoderHasMoreFrames(decoder)) {
    uint8_t* pixels = nullptr;
    int time = 0;
    if (!WebPAnimDecoderGetNext(decoder, &pixels, &time)) break;
    Picture frame{info.canvas_width, info.canvas_height, 4, 8, {}};
    frame.samples.assign(pixels, pixels + size_t{frame.width} * frame.height * 4);
    animation.frames.push_back(std::move(frame));
    animation.durations.push_back(static_cast<uint32_t>(time) - before);
    before = static_cast<uint32_t>(time);
  }
  WebPAnimDecoderDelete(decoder);
  return animation;
}

}  // namespace millrace::testing
