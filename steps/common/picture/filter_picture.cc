#include "steps/common/picture/filter_picture.h"

#include <vips/vips.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace millrace {
namespace {

constexpr int64_t kInMemoryBytesMax = int64_t{64} << 20;
constexpr int kStripRows = 4 * RowFilter::kRowsMax;  // that are asked of libvips at once

// A picture in memory that is filled row by row.
VipsPicture canvas(int width, int height, int bands, bool wide) {
  const RowShape shape = shape_of(bands, wide);
  VipsImage* image = vips_image_new_memory();
  vips_image_init_fields(image, width, height, bands, static_cast<VipsBandFormat>(shape.format),
                         VIPS_CODING_NONE, static_cast<VipsInterpretation>(shape.interpretation), 1,
                         1);
  return VipsPicture(image);
}

// Feeds the picture's rows, from above, each once.
Problem feed(PictureJob* job, const VipsPicture& picture, const RowCodec& codec, bool bytes,
             RowFilter* filter) {
  const int width = width_of(picture), height = height_of(picture);
  const std::unique_ptr<VipsRegion, void (*)(void*)> region(vips_region_new(picture.get()),
                                                            g_object_unref);
  for (int y = 0; y < height; y += kStripRows) {
    if (!job->progress(static_cast<uint32_t>(int64_t{y} * 900 / height))) return {};
    const VipsRect strip = {0, y, width, std::min(kStripRows, height - y)};
    if (vips_region_prepare(region.get(), &strip)) return picture_problem(*job, "decoded");
    const auto at = [&](int row) { return VIPS_REGION_ADDR(region.get(), 0, y + row); };
    for (int row = 0; bytes && row < strip.height; row += 2) {
      filter->take_bytes(at(row), row + 1 < strip.height ? at(row + 1) : nullptr);
    }
    for (int row = 0; !bytes && row < strip.height; row += RowFilter::kRowsMax) {
      const int count = std::min(RowFilter::kRowsMax, strip.height - row);
      for (int i = 0; i < count; ++i) {
        codec.read(at(row + i), filter->row(i), static_cast<size_t>(width));
      }
      filter->take(count);
    }
  }
  return {};
}

}  // namespace

RowCodec plain_codec(int bands, bool wide) {
  const auto step = static_cast<size_t>(bands);
  if (wide) {
    return {false,
            [=](const void* from, float* to, size_t pixels) {
              widen16(static_cast<const uint16_t*>(from), to, pixels * step);
            },
            [=](const float* from, void* to, size_t pixels) {
              narrow16(from, static_cast<uint16_t*>(to), pixels * step);
            }};
  }
  return {true,
          [=](const void* from, float* to, size_t pixels) {
            widen8(static_cast<const uint8_t*>(from), to, pixels * step);
          },
          [=](const float* from, void* to, size_t pixels) {
            narrow8(from, static_cast<uint8_t*>(to), pixels * step);
          }};
}

bool fits_memory(int64_t width, int64_t height, int bands, bool wide) {
  return width * height * bands * (wide ? 2 : 1) <= kInMemoryBytesMax;
}

Problem filter_picture(PictureJob* job, AxisFilter down, AxisFilter across, const RowCodec& codec,
                       VipsPicture* picture) {
  const int bands = bands_of(*picture), width = across.outputs();
  const bool wide = is_wide(*picture);
  const bool bytes = codec.bytes && down.taps() <= BytesDown::kTapsMax;
  VipsPicture out = canvas(width, down.outputs(), bands, wide);
  std::vector<uint8_t> line(static_cast<size_t>(width) * static_cast<size_t>(bands) *
                            (wide ? 2 : 1));
  bool failed = false;
  const auto put = [&](int y, const float* row) {
    codec.write(row, line.data(), static_cast<size_t>(width));
    failed = vips_image_write_line(out.get(), y, line.data()) != 0 || failed;
  };
  RowFilter filter(std::move(down), std::move(across),
                   bytes ? RowFilter::Samples::kBytes : RowFilter::Samples::kFloats, bands,
                   width_of(*picture), put);
  if (Problem problem = feed(job, *picture, codec, bytes, &filter)) return problem;
  if (job->cancelled) return {};
  if (failed) return picture_problem(*job, "filtered");
  vips_image_set_int(out.get(), "millrace-in-memory", 1);
  *picture = std::move(out);
  return {};
}

}  // namespace millrace
