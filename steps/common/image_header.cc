#include "steps/common/image_header.h"

#include <fmt/core.h>

#include "steps/common/exif.h"
#include "steps/common/heif_file.h"

namespace millrace {
namespace {

struct Foreign {
  uint64_t at;
  std::string_view magic;
  const char* name;
};

// Images that we know and do not take. What is in neither list is no image.
constexpr Foreign kForeign[] = {
    {0, "BM", "BMP"},
    {4, "ftypcrx ", "Canon raw"},
    {0, std::string_view("\0\0\0\x0cJXL ", 8), "JPEG XL"},
    {0, std::string_view("\xff\x0a", 2), "JPEG XL"},
    {0, std::string_view("\0\0\0\x0cjP  ", 8), "JPEG 2000"},
    {0, std::string_view("\xff\x4f\xff\x51", 4), "JPEG 2000"},
    {0, "8BPS", "Photoshop"},
    {0, std::string_view("\0\0\1\0", 4), "ICO"},
    {0, "<svg", "SVG"},
    {0, "qoif", "QOI"},
    {0, "\x76\x2f\x31\x01", "OpenEXR"},
};

std::string sniff_foreign(ByteView file) {
  for (const Foreign& foreign : kForeign) {
    if (file.is(foreign.at, foreign.magic)) return foreign.name;
  }
  // An SVG may begin with a byte order mark, a declaration and comments.
  const ByteView head = file.sub({0, 1024});
  const std::string_view text(reinterpret_cast<const char*>(head.data), head.size);
  if (text.find("<svg") != text.npos && text.find('<') <= 3) return "SVG";
  return "";
}

std::string first_bytes(ByteView file) {
  std::string text;
  for (uint64_t i = 0; i < file.size && i < 8; ++i) {
    text += fmt::format("{}{:02x}", i ? " " : "", file.data[i]);
  }
  return text;
}

Problem unknown_format(ByteView file) {
  const std::string foreign = sniff_foreign(file);
  if (!foreign.empty()) {
    return {Fault::kUnsupported, fmt::format("the file is an image in {}, which is not read; send "
                                             "JPEG, PNG, WebP, GIF, TIFF, AVIF or HEIC",
                                             foreign)};
  }
  if (file.size == 0) return {Fault::kNotAnImage, "the file is empty; send an image"};
  return {Fault::kNotAnImage, fmt::format("the file's {} bytes begin with {}, which is no image; "
                                          "send JPEG, PNG, WebP, GIF, TIFF, AVIF or HEIC",
                                          file.size, first_bytes(file))};
}

}  // namespace

ImageFormat sniff_format(ByteView file) {
  if (file.is(0, "\xff\xd8\xff")) return ImageFormat::kJpeg;
  if (file.is(0, "\x89PNG\r\n\x1a\n")) return ImageFormat::kPng;
  if (file.is(0, "GIF87a") || file.is(0, "GIF89a")) return ImageFormat::kGif;
  if (file.is(0, "RIFF") && file.is(8, "WEBP")) return ImageFormat::kWebp;
  for (std::string_view magic :
       {std::string_view("II*\0", 4), std::string_view("MM\0*", 4),
        std::string_view("II+\0\x08\0\0\0", 8), std::string_view("MM\0+\0\x08\0\0", 8)}) {
    if (file.is(0, magic)) return ImageFormat::kTiff;
  }
  if (has_heif_brand(file)) {
    return file.is(8, "avif") || file.is(8, "avis") ? ImageFormat::kAvif : ImageFormat::kHeic;
  }
  return ImageFormat::kUnknown;
}

Problem probe_image(ByteView file, const ProbeLimits& limits, ImageHeader* header) {
  *header = ImageHeader();
  header->format = sniff_format(file);
  Problem problem;
  switch (header->format) {
    case ImageFormat::kUnknown:
      return unknown_format(file);
    case ImageFormat::kJpeg:
      problem = parse_jpeg(file, limits, header);
      break;
    case ImageFormat::kPng:
      problem = parse_png(file, limits, header);
      break;
    case ImageFormat::kGif:
      problem = parse_gif(file, limits, header);
      break;
    case ImageFormat::kWebp:
      problem = parse_webp(file, limits, header);
      break;
    case ImageFormat::kTiff:
      problem = parse_tiff(file, limits, header);
      break;
    case ImageFormat::kAvif:
    case ImageFormat::kHeic:
      return parse_heif(file, limits, header);
  }
  if (problem) return problem;
  if (header->exif.size > 0) header->orientation = read_exif(file.sub(header->exif)).orientation;
  return {};
}

Problem count_page(uint64_t width, uint64_t height, const ProbeLimits& limits,
                   ImageHeader* header) {
  if (width == 0 || height == 0) {
    return {Fault::kCorrupt, fmt::format("the image says it is {}x{} pixels; both sides must be "
                                         "at least 1",
                                         width, height)};
  }
  if (width > limits.side_max || height > limits.side_max) {
    return {Fault::kTooManyPixels, fmt::format("the image is {}x{} pixels, a side may have at most "
                                               "{}; send a smaller one",
                                               width, height, limits.side_max)};
  }
  if (header->pages >= limits.frames_max) {
    return {Fault::kTooManyFrames, fmt::format("the image has more than {} frames or pages, which "
                                               "is the limit; send fewer",
                                               limits.frames_max)};
  }
  header->pages += 1;
  header->pixels += width * height;  // sides and pages are bounded: cannot overflow
  if (header->pixels > limits.pixels_max) {
    const std::string frames = header->pages > 1
                                   ? fmt::format(", {} pixels in its first {} frames or pages",
                                                 header->pixels, header->pages)
                                   : fmt::format(" = {} pixels", header->pixels);
    return {Fault::kTooManyPixels,
            fmt::format("the image is {}x{}{}; all frames together may have at most {} "
                        "(limits.pixels); send a smaller one",
                        width, height, frames, limits.pixels_max)};
  }
  return {};
}

Problem truncated(const char* format, const std::string& where, ByteView file) {
  return {Fault::kTruncated, fmt::format("the {} ends too early: {} bytes, {}; send the whole file",
                                         format, file.size, where)};
}

Problem corrupt(const char* format, const std::string& what) {
  return {Fault::kCorrupt, fmt::format("the {} is damaged: {}; send it again", format, what)};
}

const char* media_type_of(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "image/jpeg";
    case ImageFormat::kPng:
      return "image/png";
    case ImageFormat::kGif:
      return "image/gif";
    case ImageFormat::kWebp:
      return "image/webp";
    case ImageFormat::kTiff:
      return "image/tiff";
    case ImageFormat::kAvif:
      return "image/avif";
    case ImageFormat::kHeic:
      return "image/heic";
    case ImageFormat::kUnknown:
      break;
  }
  return "application/octet-stream";
}

const char* extension_of(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "jpg";
    case ImageFormat::kPng:
      return "png";
    case ImageFormat::kGif:
      return "gif";
    case ImageFormat::kWebp:
      return "webp";
    case ImageFormat::kTiff:
      return "tiff";
    case ImageFormat::kAvif:
      return "avif";
    case ImageFormat::kHeic:
      return "heic";
    case ImageFormat::kUnknown:
      break;
  }
  return "bin";
}

const char* colour_name(ImageColour colour) {
  switch (colour) {
    case ImageColour::kGray:
      return "gray";
    case ImageColour::kRgb:
      return "rgb";
    case ImageColour::kCmyk:
      return "cmyk";
    case ImageColour::kPalette:
      return "palette";
    case ImageColour::kLab:
      return "lab";
    case ImageColour::kOther:
      break;
  }
  return "other";
}

const char* fault_reason(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return "";
    case Fault::kNotAnImage:
      return "not_an_image";
    case Fault::kTruncated:
      return "truncated";
    case Fault::kCorrupt:
      return "corrupt";
    case Fault::kTooManyPixels:
      return "too_many_pixels";
    case Fault::kTooManyFrames:
      return "too_many_frames";
    case Fault::kUnsupported:
      return "unsupported";
    case Fault::kTooLarge:
      return "too_large";
    case Fault::kBadParameter:
      return "bad_parameter";
    case Fault::kDifferent:
      return "different";
  }
  return "";
}

}  // namespace millrace
