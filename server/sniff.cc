#include "server/sniff.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace millrace {
namespace {

using namespace std::string_view_literals;  // NOLINT: only its suffix

struct Magic {
  std::string_view bytes;
  std::string_view media_type;
};

constexpr std::array<Magic, 15> kMagics = {{
    {"\xff\xd8\xff"sv, "image/jpeg"},
    {"\x89PNG\r\n\x1a\n"sv, "image/png"},
    {"GIF87a"sv, "image/gif"},
    {"GIF89a"sv, "image/gif"},
    {"II*\0"sv, "image/tiff"},
    {"MM\0*"sv, "image/tiff"},
    {"II+\0"sv, "image/tiff"},
    {"MM\0+"sv, "image/tiff"},
    {"\xff\x0a"sv, "image/jxl"},
    {"\0\0\0\x0cJXL \r\n\x87\n"sv, "image/jxl"},
    {"\0\0\0\x0cjP  \r\n\x87\n"sv, "image/jp2"},
    {"8BPS\0"sv, "image/vnd.adobe.photoshop"},
    {"\0\0\1\0"sv, "image/x-icon"},
    {"qoif"sv, "image/qoi"},
    {"\x76\x2f\x31\x01"sv, "image/x-exr"},
}};

struct Brand {
  std::string_view brand;
  std::string_view media_type;
};

constexpr std::array<Brand, 11> kBrands = {{
    {"avif", "image/avif"},
    {"avis", "image/avif"},
    {"heic", "image/heic"},
    {"heix", "image/heic"},
    {"heim", "image/heic"},
    {"heis", "image/heic"},
    {"hevc", "image/heic"},
    {"hevx", "image/heic"},
    {"mif1", "image/heif"},
    {"msf1", "image/heif"},
    {"miaf", "image/heif"},
}};

// An ISO base media file: the major brand decides, then the compatible ones.
std::string_view sniff_ftyp(std::string_view data) {
  if (data.size() < 16 || data.substr(4, 4) != "ftyp") return {};
  const auto at = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(data[i])); };
  const size_t box = at(0) << 24 | at(1) << 16 | at(2) << 8 | at(3);
  std::string_view general;
  for (size_t i = 8; i + 4 <= std::min({box, data.size(), size_t{128}}); i += 4) {
    if (i == 12) continue;  // the minor version
    for (const Brand& brand : kBrands) {
      if (data.substr(i, 4) != brand.brand) continue;
      if (brand.media_type != "image/heif") return brand.media_type;
      general = brand.media_type;
    }
  }
  return general;
}

}  // namespace

std::string_view sniff_image(std::string_view data) {
  for (const Magic& magic : kMagics) {
    if (data.starts_with(magic.bytes)) return magic.media_type;
  }
  if (data.size() >= 12 && data.starts_with("RIFF") && data.substr(8, 4) == "WEBP") {
    return "image/webp";
  }
  // "BM" alone would take many texts: the header's size field must be one that BMP has.
  if (data.size() >= 26 && data.starts_with("BM") && data[15] == '\0' && data[16] == '\0' &&
      data[17] == '\0') {
    const auto header = static_cast<uint8_t>(data[14]);
    if (header == 12 || header == 40 || header == 52 || header == 56 || header == 64 ||
        header == 108 || header == 124) {
      return "image/bmp";
    }
  }
  if (data.size() >= 3 && data[0] == 'P' && data[1] >= '1' && data[1] <= '7' &&
      (data[2] == '\n' || data[2] == '\r' || data[2] == ' ' || data[2] == '\t')) {
    return "image/x-portable-anymap";
  }
  return sniff_ftyp(data);
}

bool is_raster_image(std::string_view media_type) {
  for (const std::string_view known : {"image/jpeg"sv, "image/png"sv, "image/gif"sv, "image/webp"sv,
                                       "image/avif"sv, "image/bmp"sv, "image/tiff"sv}) {
    if (media_type == known) return true;
  }
  return false;
}

std::string_view extension_of(std::string_view media_type) {
  struct Row {
    std::string_view media_type, extension;
  };
  static constexpr std::array<Row, 11> kRows = {{{"image/jpeg", "jpg"},
                                                 {"image/png", "png"},
                                                 {"image/gif", "gif"},
                                                 {"image/webp", "webp"},
                                                 {"image/tiff", "tif"},
                                                 {"image/avif", "avif"},
                                                 {"image/heic", "heic"},
                                                 {"image/bmp", "bmp"},
                                                 {"application/json", "json"},
                                                 {"text/plain", "txt"},
                                                 {"application/pdf", "pdf"}}};
  for (const Row& row : kRows) {
    if (row.media_type == media_type) return row.extension;
  }
  return {};
}

}  // namespace millrace
