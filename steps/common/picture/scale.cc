// scale_to: another size, in coded values or in light, with alpha multiplied in, so that what
// cannot be seen does not bleed. Smaller sizes go through row_filter.h into memory, others through
// libvips.
#include <vips/vips.h>

#include <algorithm>
#include <memory>

#include "steps/common/gray.h"
#include "steps/common/picture/filter_picture.h"
#include "steps/common/picture/operations.h"

namespace millrace {
namespace {

// Coded samples to light and back, as 0…1.
struct Curves {
  std::vector<float> decode;  // of each 8- or 16-bit code
  bool linear, wide;
  float top;

  Curves(bool in_light, bool wide_samples)
      : linear(in_light), wide(wide_samples), top(wide_samples ? 65535.0f : 255.0f) {
    const size_t codes = wide ? 65536 : 256;
    decode.resize(codes);
    for (size_t i = 0; i < codes; ++i) {
      const double coded = static_cast<double>(i) / static_cast<double>(codes - 1);
      decode[i] = static_cast<float>(linear ? srgb_decode(coded) : coded);
    }
  }
  float encode(float light) const {
    const float inside = std::clamp(light, 0.0f, 1.0f);
    return top * (linear ? static_cast<float>(srgb_encode(inside)) : inside) + 0.5f;
  }
};

template <typename Sample>
void to_light(const Curves& curves, const void* from, void* to, size_t pixels, int bands) {
  const auto* in = static_cast<const Sample*>(from);
  auto* out = static_cast<float*>(to);
  const bool alpha = bands == 2 || bands == 4;
  for (size_t i = 0; i < pixels; ++i, in += bands, out += bands) {
    const float cover = alpha ? static_cast<float>(in[bands - 1]) / curves.top : 1;
    for (int band = 0; band < bands - (alpha ? 1 : 0); ++band) {
      out[band] = curves.decode[in[band]] * cover;
    }
    if (alpha) out[bands - 1] = cover;
  }
}

template <typename Sample>
void from_light(const Curves& curves, const void* from, void* to, size_t pixels, int bands) {
  const auto* in = static_cast<const float*>(from);
  auto* out = static_cast<Sample*>(to);
  const bool alpha = bands == 2 || bands == 4;
  for (size_t i = 0; i < pixels; ++i, in += bands, out += bands) {
    // The filter rings: where it makes more than 1 of alpha, it makes as much more of the colours.
    const float rung = alpha ? in[bands - 1] : 1;
    const float cover = std::clamp(rung, 0.0f, 1.0f);
    const float factor = rung > 0 ? 1 / rung : 0;
    for (int band = 0; band < bands - (alpha ? 1 : 0); ++band) {
      out[band] = static_cast<Sample>(curves.encode(in[band] * factor));
    }
    if (alpha) out[bands - 1] = static_cast<Sample>(cover * curves.top + 0.5f);
  }
}

VipsKernel kernel_of(const std::string& name) {
  if (name == "mitchell") return VIPS_KERNEL_MITCHELL;
  if (name == "cubic") return VIPS_KERNEL_CUBIC;
  if (name == "linear") return VIPS_KERNEL_LINEAR;
  return name == "nearest" ? VIPS_KERNEL_NEAREST : VIPS_KERNEL_LANCZOS3;
}

// Samples of a row as the filter takes them, and back.
RowCodec codec_of(const std::shared_ptr<Curves>& curves, bool wide, int bands) {
  if (!curves) return plain_codec(bands, wide);
  return {false,
          [=](const void* from, float* to, size_t pixels) {
            wide ? to_light<uint16_t>(*curves, from, to, pixels, bands)
                 : to_light<uint8_t>(*curves, from, to, pixels, bands);
          },
          [=](const float* from, void* to, size_t pixels) {
            wide ? from_light<uint16_t>(*curves, from, to, pixels, bands)
                 : from_light<uint8_t>(*curves, from, to, pixels, bands);
          }};
}

// Larger, or too large to be held: through libvips, whose integer filters are off by up to 75 of
// 65535.
Problem stretch(PictureJob* job, int width, int height, const std::string& kernel,
                const std::shared_ptr<Curves>& curves, VipsPicture* picture) {
  const int bands = bands_of(*picture);
  const bool wide = is_wide(*picture);
  const double across = width / static_cast<double>(width_of(*picture));
  const double down = height / static_cast<double>(height_of(*picture));
  const RowCodec codec = codec_of(curves, wide, bands);
  if (curves) {
    const RowShape shape = {bands, VIPS_FORMAT_FLOAT, VIPS_INTERPRETATION_MULTIBAND};
    *picture = map_rows(std::move(*picture), shape, [=](const void* from, void* to, size_t pixels) {
      codec.read(from, static_cast<float*>(to), pixels);
    });
    if (picture->get() == nullptr) return picture_problem(*job, "resized");
  }
  VipsImage* out = nullptr;
  if (vips_resize(picture->get(), &out, across, "vscale", down, "kernel", kernel_of(kernel), "gap",
                  2.0, nullptr)) {
    return picture_problem(*job, "resized");
  }
  *picture = VipsPicture(out);
  if (!curves) return {};
  *picture = map_rows(std::move(*picture), shape_of(bands, wide),
                      [=](const void* from, void* to, size_t pixels) {
                        codec.write(static_cast<const float*>(from), to, pixels);
                      });
  return picture->get() == nullptr ? picture_problem(*job, "resized") : Problem{};
}

}  // namespace

Problem scale_to(PictureJob* job, int width, int height, const std::string& kernel, bool linear,
                 VipsPicture* picture) {
  if (width == width_of(*picture) && height == height_of(*picture)) return {};
  const bool wide = is_wide(*picture), mixes = kernel != "nearest";
  const bool own = mixes && width <= width_of(*picture) && height <= height_of(*picture) &&
                   fits_memory(width, height, bands_of(*picture), wide);
  std::shared_ptr<Curves> curves;
  if (mixes && (linear || has_alpha(*picture) || (wide && !own))) {
    curves = std::make_shared<Curves>(linear, wide);
  }
  if (!own) return stretch(job, width, height, kernel, curves, picture);
  return filter_picture(job, AxisFilter::shrinking(kernel, height_of(*picture), height),
                        AxisFilter::shrinking(kernel, width_of(*picture), width),
                        codec_of(curves, wide, bands_of(*picture)), picture);
}

}  // namespace millrace
