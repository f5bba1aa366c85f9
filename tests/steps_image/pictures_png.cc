// PNG through libpng, and GIF by hand.
#include <png.h>

#include <cstdlib>
#include <cstring>
#include <map>

#include "tests/steps_image/pictures.h"

namespace millrace::testing {
namespace {

[[noreturn]] void on_error(png_structp, png_const_charp text) {
  fprintf(stderr, "libpng in a test: %s\n", text);
  abort();
}
void on_warning(png_structp, png_const_charp) {}
void append(png_structp png, png_bytep data, size_t size) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<char*>(data), size);
}
struct Reader {
  const std::string* bytes;
  size_t at;
};
void fetch(png_structp png, png_bytep data, size_t size) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (reader->at + size > reader->bytes->size()) png_error(png, "end");
  std::memcpy(data, reader->bytes->data() + reader->at, size);
  reader->at += size;
}

int colour_type(const Picture& picture, bool palette) {
  if (palette) return PNG_COLOR_TYPE_PALETTE;
  constexpr int kTypes[] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                            PNG_COLOR_TYPE_RGB_ALPHA};
  return kTypes[picture.bands];
}

// Packs the palette's indices or the samples of a row.
std::vector<uint8_t> pack(const Picture& picture, uint32_t y, int stored_bits,
                          std::map<uint32_t, int>* palette) {
  std::vector<uint8_t> row;
  const int step = stored_bits == 0 || stored_bits >= 8 ? 1 : 255 / ((1 << stored_bits) - 1);
  for (uint32_t x = 0; x < picture.width; ++x) {
    if (palette != nullptr) {
      const uint32_t rgb = static_cast<uint32_t>(picture.at(x, y, 0) << 16 |
                                                 picture.at(x, y, 1) << 8 | picture.at(x, y, 2));
      row.push_back(static_cast<uint8_t>(
          palette->emplace(rgb, static_cast<int>(palette->size())).first->second));
      continue;
    }
    for (int band = 0; band < picture.bands; ++band) {
      const uint16_t sample = picture.at(x, y, band);
      if (picture.bits == 16) row.push_back(static_cast<uint8_t>(sample >> 8));
      row.push_back(static_cast<uint8_t>(sample / step));
    }
  }
  return row;
}

void write_extras(png_structp png, png_infop info, const PngStyle& style) {
  if (!style.icc.empty()) {
    png_set_iCCP(png, info, "icc", 0, reinterpret_cast<png_const_bytep>(style.icc.data()),
                 static_cast<png_uint_32>(style.icc.size()));
  }
  if (style.pixels_per_metre > 0) {
    png_set_pHYs(png, info, style.pixels_per_metre, style.pixels_per_metre, PNG_RESOLUTION_METER);
  }
  if (!style.exif.empty()) {
    std::string exif = style.exif;
    png_set_eXIf_1(png, info, static_cast<png_uint_32>(exif.size()),
                   reinterpret_cast<png_bytep>(exif.data()));
  }
  for (const auto& [key, text] : style.text) {
    png_text entry = {};
    entry.compression = PNG_TEXT_COMPRESSION_NONE;
    entry.key = const_cast<char*>(key.c_str());
    entry.text = const_cast<char*>(text.c_str());
    entry.text_length = text.size();
    png_set_text(png, info, &entry, 1);
  }
}

}  // namespace

std::string encode_png(const Picture& picture, const PngStyle& style) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, on_error, on_warning);
  png_infop info = png_create_info_struct(png);
  std::string bytes;
  png_set_write_fn(png, &bytes, append, nullptr);
  std::map<uint32_t, int> colours;
  std::vector<std::vector<uint8_t>> rows;
  std::vector<png_bytep> pointers;
  for (uint32_t y = 0; y < picture.height; ++y)
    rows.push_back(pack(picture, y, style.stored_bits, style.palette ? &colours : nullptr));
  for (auto& row : rows) pointers.push_back(row.data());
  const bool few = style.stored_bits != 0 && style.stored_bits < 8;
  png_set_IHDR(png, info, picture.width, picture.height, few ? style.stored_bits : picture.bits,
               colour_type(picture, style.palette),
               style.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
  png_color palette[256] = {};
  for (const auto& [rgb, index] : colours) {
    palette[index] = {static_cast<png_byte>(rgb >> 16), static_cast<png_byte>(rgb >> 8),
                      static_cast<png_byte>(rgb)};
  }
  if (style.palette) png_set_PLTE(png, info, palette, static_cast<int>(colours.size()));
  const png_byte transparent[1] = {0};
  if (style.first_transparent) png_set_tRNS(png, info, transparent, 1, nullptr);
  write_extras(png, info, style);
  png_write_info(png, info);
  if (few) png_set_packing(png);
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

Picture decode_png(const std::string& bytes, bool expand) {
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, on_error, on_warning);
  png_infop info = png_create_info_struct(png);
  Reader reader = {&bytes, 0};
  png_set_read_fn(png, &reader, fetch);
  png_read_info(png, info);
  Picture picture;
  picture.bits = png_get_bit_depth(png, info);
  if (expand) png_set_expand(png);
  if (!expand) png_set_packing(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  picture.width = png_get_image_width(png, info);
  picture.height = png_get_image_height(png, info);
  picture.bands = png_get_channels(png, info);
  std::vector<uint8_t> data(png_get_rowbytes(png, info) * picture.height);
  std::vector<png_bytep> rows;
  for (uint32_t y = 0; y < picture.height; ++y)
    rows.push_back(data.data() + y * png_get_rowbytes(png, info));
  png_read_image(png, rows.data());
  png_read_end(png, nullptr);
  const size_t step = picture.bits == 16 ? 2 : 1;
  for (size_t i = 0; i + step <= data.size(); i += step) {
    picture.samples.push_back(step == 2 ? static_cast<uint16_t>(data[i] << 8 | data[i + 1])
                                        : data[i]);
  }
  png_destroy_read_struct(&png, &info, nullptr);
  return picture;
}

std::string png_profile(const std::string& bytes) {
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, on_error, on_warning);
  png_infop info = png_create_info_struct(png);
  Reader reader = {&bytes, 0};
  png_set_read_fn(png, &reader, fetch);
  png_read_info(png, info);
  png_charp name = nullptr;
  png_bytep data = nullptr;
  png_uint_32 size = 0;
  int method = 0;
  std::string profile;
  if (png_get_iCCP(png, info, &name, &method, &data, &size) != 0) {
    profile.assign(reinterpret_cast<char*>(data), size);
  }
  png_destroy_read_struct(&png, &info, nullptr);
  return profile;
}

std::vector<std::pair<std::string, std::string>> png_chunks(const std::string& bytes) {
  std::vector<std::pair<std::string, std::string>> chunks;
  for (size_t at = 8; at + 12 <= bytes.size();) {
    const auto byte = [&](size_t i) {
      return static_cast<uint32_t>(static_cast<uint8_t>(bytes[at + i]));
    };
    const size_t length = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
    chunks.emplace_back(bytes.substr(at + 4, 4), bytes.substr(at + 8, length));
    at += 12 + length;
  }
  return chunks;
}

std::string announced_png(uint32_t width, uint32_t height) {
  std::string png = encode_png(flat(1, 2, 3, 8));
  for (size_t i = 0; i < 4; ++i) {
    png[16 + i] = static_cast<char>(width >> (24 - 8 * i));
    png[20 + i] = static_cast<char>(height >> (24 - 8 * i));
  }
  uint32_t crc = ~0u;
  for (size_t i = 12; i < 29; ++i) {
    crc ^= static_cast<uint8_t>(png[i]);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  for (size_t i = 0; i < 4; ++i) png[29 + i] = static_cast<char>(~crc >> (24 - 8 * i));
  return png;
}

}  // namespace millrace::testing
