#include "steps/common/picture/resolution.h"

#include <vips/vips.h>

#include <cmath>

#include "steps/common/exif.h"

namespace millrace {
namespace {

constexpr double kMmPerInch = 25.4;
constexpr size_t kUnitAt = 11, kDensityEnd = 16;  // of a JFIF segment, counted from its marker
constexpr uint8_t kInch = 1, kCentimetre = 2;

double jfif_per_mm(ByteView segment) {
  if (!segment.has(0, kDensityEnd)) return 0;
  const double density = segment.be16(kUnitAt + 1);
  const uint8_t unit = segment.u8(kUnitAt);
  return unit == kInch ? density / kMmPerInch : unit == kCentimetre ? density / 10 : 0;
}

double jpeg_per_mm(const PictureJob& job) {
  constexpr uint64_t kHead = 4;  // marker and length
  for (const JpegSegment& segment : job.header.jpeg_segments) {
    if (segment.marker != 0xE0 || !job.file.is(segment.payload.at, "JFIF")) continue;
    return jfif_per_mm(job.file.sub({segment.payload.at - kHead, segment.payload.size + kHead}));
  }
  return 0;
}

double png_per_mm(ByteView file) {
  for (uint64_t at = 8; file.has(at, 12) && !file.is(at + 4, "IDAT");) {
    const uint64_t size = file.be32(at);
    const bool found = file.is(at + 4, "pHYs") && size == 9 && file.has(at + 8, size);
    if (found) return file.u8(at + 16) == 1 ? file.be32(at + 8) / 1000.0 : 0;
    at += 12 + size;
  }
  return 0;
}

}  // namespace

double stated_per_mm(const PictureJob& job) {
  const bool tiff = job.header.format == ImageFormat::kTiff;
  const ByteView block = tiff ? job.file : job.file.sub(job.header.exif);
  if (const double said = read_exif(block).per_mm; said > 0) return said;
  if (job.header.format == ImageFormat::kJpeg) return jpeg_per_mm(job);
  return job.header.format == ImageFormat::kPng ? png_per_mm(job.file) : 0;
}

double page_per_mm(VipsImage* page) {
  // Where the file says nothing libvips has a number all the same, but no unit.
  const double said = vips_image_get_xres(page);
  const bool unit = vips_image_get_typeof(page, VIPS_META_RESOLUTION_UNIT) != 0;
  return unit && said > 0 && said <= kPerMmMax ? said : 0;
}

int dots_per_inch(double per_mm) {
  const long dots = per_mm > 0 && per_mm <= kPerMmMax ? std::lround(per_mm * kMmPerInch) : 0;
  return dots <= 65535 ? static_cast<int>(dots) : 0;
}

int jfif_density(std::string_view segment) {
  return dots_per_inch(jfif_per_mm(view_of(segment)));
}

std::string with_density(std::string segment, int dots_per_inch) {
  if (segment.size() < kDensityEnd) segment.assign("\xff\xe0\0\x10JFIF\0\1\1\0\0\0\0\0\0\0", 18);
  segment[kUnitAt] = static_cast<char>(kInch);
  for (const size_t at : {kUnitAt + 1, kUnitAt + 3}) {
    segment[at] = static_cast<char>(dots_per_inch >> 8);
    segment[at + 1] = static_cast<char>(dots_per_inch);
  }
  return segment;
}

}  // namespace millrace
