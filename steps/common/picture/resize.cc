// resize: the geometry of the five fits, and scaling in coded values or in light, with alpha
// multiplied in, so that what cannot be seen does not bleed.
#include <fmt/core.h>
#include <vips/vips.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "steps/common/gray.h"
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

struct ResizeOptions {
  int width = 0, height = 0;  // 0: follows from the other
  std::string fit, gravity, kernel;
  bool enlarge = false, linear = false;
};

// The size to scale to, before anything is cut off or added.
void scaled_size(const ResizeOptions& options, int width, int height, int* to_width,
                 int* to_height) {
  const double across = options.width > 0 ? options.width / static_cast<double>(width) : 0;
  const double down = options.height > 0 ? options.height / static_cast<double>(height) : 0;
  const double most = options.enlarge ? 1e9 : 1;
  if (options.fit == "fill" && across > 0 && down > 0) {
    *to_width = static_cast<int>(std::lround(width * std::min(across, most)));
    *to_height = static_cast<int>(std::lround(height * std::min(down, most)));
  } else {
    double scale = across > 0 ? across : down;
    if (across > 0 && down > 0) {
      const bool covers = options.fit == "cover" || options.fit == "outside";
      scale = covers ? std::max(across, down) : std::min(across, down);
    }
    scale = std::min(scale, most);
    *to_width = static_cast<int>(std::lround(std::min(width * scale, 1e9)));
    *to_height = static_cast<int>(std::lround(std::min(height * scale, 1e9)));
  }
  *to_width = std::max(1, *to_width);
  *to_height = std::max(1, *to_height);
}

// The picture in the middle (or elsewhere) of a canvas of the background, or of nothing where the
// result can be transparent and no background was given.
Problem embed(PictureJob* job, const ResizeOptions& options, const OutputOptions& output,
              VipsPicture* picture) {
  const Box box = place_box(options.gravity, options.width, options.height, width_of(*picture),
                            height_of(*picture));
  const bool alpha = has_alpha(*picture);
  const double unit = is_wide(*picture) ? 257 : 1;
  const uint8_t* colour = output.background;
  const bool gray = colour[0] == colour[1] && colour[1] == colour[2];
  if (colours_of(*picture) == 1 && !gray) {  // gray on a coloured canvas is a coloured picture
    const int bands = alpha ? 4 : 3;
    VipsImage* wide = nullptr;
    VipsImage* out = nullptr;
    VipsImage* first = nullptr;
    if (vips_extract_band(picture->get(), &first, 0, nullptr))
      return picture_problem(*job, "resized");
    VipsPicture one(first);
    VipsImage* parts[4] = {first, first, first, nullptr};
    VipsPicture cover;
    if (alpha) {
      if (vips_extract_band(picture->get(), &wide, 1, nullptr)) {
        return picture_problem(*job, "resized");
      }
      cover = VipsPicture(wide);
      parts[3] = wide;
    }
    if (vips_bandjoin(parts, &out, bands, nullptr)) return picture_problem(*job, "resized");
    out->Type = static_cast<VipsInterpretation>(shape_of(bands, is_wide(*picture)).interpretation);
    *picture = VipsPicture(out);
  }
  const int bands = bands_of(*picture);
  std::vector<double> values(static_cast<size_t>(bands));
  for (int band = 0; band < bands; ++band) {
    const bool is_alpha = alpha && band == bands - 1;
    const uint8_t value = is_alpha ? (output.has_background ? 255 : 0) : colour[band % 3];
    values[static_cast<size_t>(band)] = value * unit;
  }
  VipsArrayDouble* array = vips_array_double_new(values.data(), bands);
  VipsImage* out = nullptr;
  const int failed =
      vips_embed(picture->get(), &out, box.left, box.top, options.width, options.height, "extend",
                 VIPS_EXTEND_BACKGROUND, "background", array, nullptr);
  vips_area_unref(VIPS_AREA(array));
  if (failed) return picture_problem(*job, "resized");
  *picture = VipsPicture(out);
  return {};
}

Problem resize(PictureJob* job, const ResizeOptions& options, const OutputOptions& output,
               ChosenBox* chosen, VipsPicture* picture) {
  int width = 0, height = 0;
  scaled_size(options, width_of(*picture), height_of(*picture), &width, &height);
  if (Problem problem = check_size(*job, width, height)) return problem;
  if (Problem problem = scale_to(job, width, height, options.kernel, options.linear, picture)) {
    return problem;
  }
  if (options.width == 0 || options.height == 0) return {};
  if (options.fit == "cover") {
    const int box_width = std::min(options.width, width);
    const int box_height = std::min(options.height, height);
    if (Problem problem =
            choose_box(job, options.gravity, box_width, box_height, picture, chosen)) {
      return problem;
    }
    return cut_box(job, chosen->box, picture);
  }
  if (options.fit == "contain" && (width != options.width || height != options.height)) {
    if (Problem problem = check_size(*job, options.width, options.height)) return problem;
    return embed(job, options, output, picture);
  }
  return {};
}

// How much the decoder may shrink: what remains is at least a factor of two, so that the filter,
// and not the decoder, decides what is seen.
int shrink_of(const ResizeOptions& options, int width, int height) {
  if (options.linear || options.kernel == "nearest") return 1;
  int to_width = 0, to_height = 0;
  scaled_size(options, width, height, &to_width, &to_height);
  const double factor =
      std::min(width / static_cast<double>(to_width), height / static_cast<double>(to_height));
  return factor >= 16 ? 8 : factor >= 8 ? 4 : factor >= 4 ? 2 : 1;
}

Problem make(const Params& params, PictureJob*, OutputOptions* output, Operation* operation) {
  ResizeOptions options;
  options.width = static_cast<int>(params.integer("width"));
  options.height = static_cast<int>(params.integer("height"));
  options.fit = params.text("fit", "cover");
  options.gravity = params.text("gravity", "centre");
  options.kernel = params.text("kernel", "lanczos3");
  options.enlarge = params.flag("enlarge");
  options.linear = params.flag("linear");
  if (options.width == 0 && options.height == 0) {
    return bad_parameter("resize needs width or height, or both");
  }
  const bool looks = options.gravity == "attention" || options.gravity == "entropy";
  if (looks && options.fit != "cover") {
    return bad_parameter("resize: gravity '" + options.gravity +
                         "' chooses what cover keeps; fit is '" + options.fit + "'");
  }
  const auto chosen = std::make_shared<ChosenBox>();
  operation->apply = [=](PictureJob* job, int, VipsPicture* picture) {
    return resize(job, options, *output, chosen.get(), picture);
  };
  operation->shrink = [=](int width, int height) { return shrink_of(options, width, height); };
  return {};
}

}  // namespace

Problem scale_to(PictureJob* job, int width, int height, const std::string& kernel, bool linear,
                 VipsPicture* picture) {
  if (width == width_of(*picture) && height == height_of(*picture)) return {};
  const int bands = bands_of(*picture);
  const bool wide = is_wide(*picture);
  // libvips' integer filters are off by up to 75 of 65535.
  const bool in_light = (linear || wide || has_alpha(*picture)) && kernel != "nearest";
  std::shared_ptr<Curves> curves;
  if (in_light) {
    curves = std::make_shared<Curves>(linear, wide);
    const RowShape shape = {bands, VIPS_FORMAT_FLOAT, VIPS_INTERPRETATION_MULTIBAND};
    *picture = map_rows(std::move(*picture), shape, [=](const void* from, void* to, size_t pixels) {
      if (wide) {
        to_light<uint16_t>(*curves, from, to, pixels, bands);
      } else {
        to_light<uint8_t>(*curves, from, to, pixels, bands);
      }
    });
    if (picture->get() == nullptr) return picture_problem(*job, "resized");
  }
  VipsImage* out = nullptr;
  const double across = width / static_cast<double>(width_of(*picture));
  const double down = height / static_cast<double>(height_of(*picture));
  if (vips_resize(picture->get(), &out, across, "vscale", down, "kernel", kernel_of(kernel), "gap",
                  2.0, nullptr)) {
    return picture_problem(*job, "resized");
  }
  *picture = VipsPicture(out);
  if (in_light) {
    *picture = map_rows(std::move(*picture), shape_of(bands, wide),
                        [=](const void* from, void* to, size_t pixels) {
                          if (wide) {
                            from_light<uint16_t>(*curves, from, to, pixels, bands);
                          } else {
                            from_light<uint8_t>(*curves, from, to, pixels, bands);
                          }
                        });
    if (picture->get() == nullptr) return picture_problem(*job, "resized");
  }
  return {};
}

const OperationKind kResize = {"resize", kResizePorts, make};

}  // namespace millrace
