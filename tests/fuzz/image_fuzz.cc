// Fuzzes what the server looks at by itself, outside of every sandbox, and what upload looks at:
// any bytes have a media type or none, and end in a header within the limits or in one problem;
// every segment of it lies within the file, and so does all that a decoder of AVIF or HEIC is
// given; a PNG that passed is read to its end or left to libpng; the rows of a JPEG, AVIF or HEIC
// are there or its decoder says why not, and a JPEG's can be written again; the frames of a GIF are
// those that were counted.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/check.h"
#include "server/sniff.h"
#include "steps/common/gif_frames.h"
#include "steps/common/heif/heif_read.h"
#include "steps/common/heif_file.h"
#include "steps/common/image_header.h"
#include "steps/common/jpeg_pixels/jpeg_reader.h"
#include "steps/common/jpeg_pixels/jpeg_writer.h"
#include "steps/common/png/png_read.h"

namespace {

// What decoders are given lies in the file.
void read_tiles(millrace::ByteView file) {
  using namespace millrace;
  ImageHeader header;
  HeifPicture picture;
  const Problem problem = read_heif(file, {1'000'000, 50, 10'000}, &header, &picture);
  CHECK(problem.fault == Fault::kNone);
  for (const HeifLayer* layer : {&picture.colour, &picture.alpha}) {
    CHECK(layer->tiles.size() == uint64_t{layer->columns} * layer->rows || !picture.has_alpha);
    for (const HeifTile& tile : layer->tiles) {
      for (const Span& span : tile.data) CHECK(file.has(span.at, span.size));
    }
  }
  CHECK(picture.crop.left + picture.crop.width <= picture.colour.width);
  CHECK(picture.crop.top + picture.crop.height <= picture.colour.height);
  for (const Span& span : picture.exif) CHECK(file.has(span.at, span.size));
  for (const Span& span : picture.xmp) CHECK(file.has(span.at, span.size));
  for (const HeifBox& box : picture.free_text) CHECK(file.has(box.whole.at, box.whole.size));
  read_heif_profile(file);
}

// So is what they make of it: tiles that do not fit what the header says.
void read_heif_rows(millrace::ByteView file, bool strict) {
  using namespace millrace;
  HeifPixels pixels;
  if (!read_heif_pixels(file, strict, &pixels).empty()) return;
  const HeifRows& rows = pixels.rows;
  std::vector<uint8_t> row(size_t{rows.width()} * static_cast<size_t>(rows.bands()) *
                           (rows.wide() ? 2 : 1));
  for (uint32_t y = 0; y < rows.height(); ++y) rows.read(0, y, rows.width(), row.data());
}

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

void read_gif_frames(millrace::ByteView file, bool strict, const millrace::ImageHeader& header) {
  using namespace millrace;
  GifFrames frames(file, strict);
  CHECK(frames.count() == header.pages && frames.alpha() == header.alpha);
  CHECK(frames.width() == header.width && frames.height() == header.height);
  for (size_t i = 0; i < frames.count(); ++i) {
    if (!frames.show(i).empty()) return CHECK(strict);
    for (uint32_t x = 0; x < header.width; ++x) {
      const uint8_t* pixel = frames.row(header.height - 1) + size_t{4} * x;
      CHECK(!strict || pixel[3] == 255 || (pixel[3] == 0 && header.alpha));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  const ByteView file{data, size};
  const ProbeLimits limits{1'000'000, 50, 10'000};
  const std::string_view sniffed = sniff_image({reinterpret_cast<const char*>(data), size});
  CHECK(sniffed.empty() || sniffed.starts_with("image/"));
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
    CHECK(is_heif(header.format)
              ? sniffed == "image/avif" || sniffed == "image/heic" || sniffed == "image/heif"
              : sniffed == media_type_of(header.format));
    if (is_heif(header.format)) {
      read_tiles(file);
      read_heif_rows(file, true);
      read_heif_rows(file, false);
    }
    if (header.format == ImageFormat::kJpeg && header.bits == 8) {
      read_and_write_jpeg(file, true);
      read_and_write_jpeg(file, false);
    }
    if (header.format == ImageFormat::kGif) {
      read_gif_frames(file, true, header);
      read_gif_frames(file, false, header);
    }
    if (const std::unique_ptr<PngReader> reader = PngReader::open(file)) {
      CHECK(header.format == ImageFormat::kPng);
      CHECK(reader->shape().width == header.width && reader->shape().height == header.height);
      while (reader->read_row() != nullptr) CHECK(reader->next() <= header.height);
    }
  }
  return 0;
}
