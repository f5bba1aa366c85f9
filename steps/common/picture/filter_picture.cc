#include "steps/common/picture/filter_picture.h"

#include <vips/vips.h>

#include <algorithm>
#include <utility>

#include "steps/common/picture/picture_rows.h"

namespace millrace {
namespace {

constexpr int64_t kInMemoryBytesMax = int64_t{64} << 20;

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
  const auto width = static_cast<size_t>(width_of(picture));
  return read_rows(job, picture, "decoded", [&](int, const uint8_t* const* rows, int count) {
    for (int row = 0; bytes && row < count; row += 2) {
      filter->take_bytes(rows[row], row + 1 < count ? rows[row + 1] : nullptr);
    }
    for (int row = 0; !bytes && row < count; row += RowFilter::kRowsMax) {
      const int some = std::min(RowFilter::kRowsMax, count - row);
      for (int i = 0; i < some; ++i) codec.read(rows[row + i], filter->row(i), width);
      filter->take(some);
    }
  });
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
