// Fuzzes what upload looks at: any bytes end in a header within the limits or in one problem, and
// every segment of it lies within the file; a PNG that passed is read to its end or left to libpng.
#include <cstdint>
#include <memory>

#include "engine/base/check.h"
#include "server/sniff.h"
#include "steps/common/image_header.h"
#include "steps/common/png/png_read.h"

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
    if (const std::unique_ptr<PngReader> reader = PngReader::open(file)) {
      CHECK(header.format == ImageFormat::kPng);
      CHECK(reader->shape().width == header.width && reader->shape().height == header.height);
      while (reader->read_row() != nullptr) CHECK(reader->next() <= header.height);
    }
  }
  return 0;
}
