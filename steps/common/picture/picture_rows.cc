#include "steps/common/picture/picture_rows.h"

#include <vips/vips.h>

#include <algorithm>
#include <memory>

#include "steps/common/jpeg_pixels/jpeg_reader.h"

namespace millrace {
namespace {

constexpr int kStripRows = 16;  // that are asked for at once

// Calls `next(y, count)` for strip after strip, until one fails or the host says stop.
template <typename Next>
bool each_strip(PictureJob* job, int height, const Next& next) {
  for (int y = 0; y < height; y += kStripRows) {
    if (!job->progress(static_cast<uint32_t>(int64_t{y} * 900 / height))) return true;
    if (!next(y, std::min(kStripRows, height - y))) return false;
  }
  return true;
}

bool read_regions(PictureJob* job, const VipsPicture& picture, const TakeRows& take) {
  const int width = width_of(picture);
  const std::unique_ptr<VipsRegion, void (*)(void*)> region(vips_region_new(picture.get()),
                                                            g_object_unref);
  return each_strip(job, height_of(picture), [&](int y, int count) {
    const VipsRect strip = {0, y, width, count};
    if (vips_region_prepare(region.get(), &strip)) return false;
    const uint8_t* rows[kStripRows];
    for (int row = 0; row < count; ++row) rows[row] = VIPS_REGION_ADDR(region.get(), 0, y + row);
    take(y, rows, count);
    return true;
  });
}

// Sides that do not divide are rounded up by the decoder and down by libvips.
bool fits(const JpegReader& reader, const VipsPicture& picture) {
  return reader.bands() == bands_of(picture) && reader.width() >= width_of(picture) &&
         reader.height() >= height_of(picture);
}

bool read_jpeg(PictureJob* job, JpegReader* reader, int height, const TakeRows& take) {
  const size_t step = static_cast<size_t>(reader->width()) * static_cast<size_t>(reader->bands());
  std::vector<uint8_t> strip(step * kStripRows);
  uint8_t* rows[kStripRows];
  for (size_t row = 0; row < kStripRows; ++row) rows[row] = strip.data() + row * step;
  return each_strip(job, height, [&](int y, int count) {
    if (!reader->read(rows, count)) return false;
    take(y, rows, count);
    return true;
  });
}

}  // namespace

Problem read_rows(PictureJob* job, const VipsPicture& picture, const char* what,
                  const TakeRows& take) {
  bool done = false;
  if (const JpegSource* source = untouched_jpeg(picture)) {
    JpegReader reader(source->file, source->shrink, source->strict);
    done = reader.start() && fits(reader, picture) &&
           read_jpeg(job, &reader, height_of(picture), take);
    // Where libvips' own reader would have said it: warnings are judged when all is done.
    if (!reader.words().empty()) vips_error("VipsJpeg", "%s", reader.words().c_str());
  } else {
    done = read_regions(job, picture, take);
  }
  return done ? Problem{} : picture_problem(*job, what);
}

}  // namespace millrace
