// resize: the geometry of the five fits. Scaling itself is scale.cc.
#include <fmt/core.h>
#include <vips/vips.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "steps/common/picture/kept_profile.h"
#include "steps/common/picture/operations.h"

namespace millrace {
namespace {

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
  Colour colour;
  if (Problem problem = fit_colour(job, output.background, picture, &colour)) return problem;
  if (colours_of(*picture) == 1 &&
      !is_gray(colour)) {  // gray on a coloured canvas is a coloured picture
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
    const uint8_t value =
        is_alpha ? (output.has_background ? 255 : 0) : colour[static_cast<size_t>(band % 3)];
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

const OperationKind kResize = {"resize", kResizePorts, make};

}  // namespace millrace
