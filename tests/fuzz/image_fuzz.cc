// Fuzzes what upload looks at: any bytes end in a header within the limits or in one problem, and
// every segment of it lies within the file; a PNG that passed is read at once or left to libpng;
// the rows of a JPEG are there or its decoder says why not, and can be written again.
#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/check.h"
#include "server/sniff.h"
#include "steps/common/image_header.h"
#include "steps/common/jpeg_pixels/jpeg_reader.h"
#include "steps/common/jpeg_pixels/jpeg_writer.h"
#include "steps/common/png/png_read.h"

namespace {

void read_and_write_jpeg(millrace::ByteView file, bool strict) {
  using namespace millrace;
  JpegReader reader(file, 1, strict);
  if (!reader.start()) return CHECK(!reader.words().empty());
  const bool fits = reader.bands() == 1 || reader.bands() == 3;
  std::string again;
  JpegWriter writer({reader.width(), reader.height(), reader.bands(), 80, false}, &again);
  CHECK(!fits || writer.start());
  std::vector<uint8_t> row(static_cast<size_t>(reader.width() * reader.bands()));
  uint8_t* const rows[1] = {row.data()};
  for (int y = 0; y < reader.height(); ++y) {
    if (!reader.read(rows, 1)) return CHECK(!reader.words().empty());
    CHECK(!fits || writer.add(rows, 1));
  }
  CHECK(!fits || writer.finish());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  const ByteView file{data, size};
  const ProbeLimits limits{1'000'000, 50, 10'000};
  ImageHeader header;
  const Problem problem = probe_image(file, limits, &header);
  CHECK(problem.message.empty() == (problem.fault == Fault::kNone));
  CHECK(header.jpeg_segments.size() <= kJpegSegmentsMax);
  for (const JpegSegment& segment : header.jpeg_segments) {
    CHECK(segment.payload.at <= size && segment.payload.size <= size - segment.payload.at);
  }
  CHECK(header.orientation >= 1 && header.orientation <= 8);
  if (!problem) {
    CHECK(header.format != ImageFormat::kUnknown && header.width > 0 && header.height > 0);
    CHECK(header.pages >= 1 && header.pages <= limits.frames_max);
    CHECK(header.pixels <= limits.pixels_max);
    CHECK(header.exif.at <= size && header.exif.size <= size - header.exif.at);
    // The server's own look at the first bytes must not refuse what the step would take.
    CHECK(sniff_image({reinterpret_cast<const char*>(data), size}) == media_type_of(header.format));
    if (header.format == ImageFormat::kJpeg && header.bits == 8) {
      read_and_write_jpeg(file, true);
      read_and_write_jpeg(file, false);
    }
    PngPixels pixels;
    if (read_png(file, &pixels)) {
      CHECK(header.format == ImageFormat::kPng);
      CHECK(pixels.width == header.width && pixels.height == header.height);
    }
  }
  return 0;
}
