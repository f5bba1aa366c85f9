// crop: a box, or the largest box of a shape.
#include "steps/common/picture/crop.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>

namespace millrace {
namespace {

// "16:9"; 0: it is no such thing.
double parse_aspect(const std::string& text) {
  char* end = nullptr;
  const double width = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != ':') return 0;
  const char* behind = end + 1;
  const double height = std::strtod(behind, &end);
  const bool whole = end != behind && *end == '\0';
  const bool sane = width >= 0.01 && height >= 0.01 && width <= 10000 && height <= 10000;
  return whole && sane ? width / height : 0;
}

Problem crop(PictureJob* job, const CropOptions& options, ChosenBox* chosen, VipsPicture* picture) {
  Box box;
  if (Problem problem = crop_box(options, width_of(*picture), height_of(*picture), &box)) {
    return problem;
  }
  if (options.looks()) {
    if (Problem problem =
            choose_box(job, options.gravity, box.width, box.height, picture, chosen)) {
      return problem;
    }
    box = chosen->box;
  }
  return cut_box(job, box, picture);
}

Problem make(const Params& params, PictureJob*, OutputOptions*, Operation* operation) {
  CropOptions options;
  if (Problem problem = read_crop(params, &options)) return problem;
  const auto chosen = std::make_shared<ChosenBox>();
  operation->apply = [=](PictureJob* job, int, VipsPicture* picture) {
    return crop(job, options, chosen.get(), picture);
  };
  return {};
}

}  // namespace

Problem crop_box(const CropOptions& options, int width, int height, Box* box) {
  int box_width = options.width > 0 ? std::min(options.width, width) : width;
  int box_height = options.height > 0 ? std::min(options.height, height) : height;
  if (options.aspect > 0) {
    box_width = std::clamp(static_cast<int>(std::lround(height * options.aspect)), 1, width);
    box_height = std::clamp(static_cast<int>(std::lround(width / options.aspect)), 1, height);
  }
  if (options.left < 0) {
    *box = place_box(options.gravity, width, height, box_width, box_height);
    return {};
  }
  if (options.left >= width || options.top >= height) {
    return bad_parameter(fmt::format("crop: the box begins at {},{}, the picture is {}x{}",
                                     options.left, options.top, width, height));
  }
  *box = {options.left, options.top, std::min(box_width, width - options.left),
          std::min(box_height, height - options.top)};
  return {};
}

Problem read_crop(const Params& params, CropOptions* options) {
  const bool placed = params.has("left") || params.has("top");
  if (placed) {
    options->left = static_cast<int>(params.integer("left"));
    options->top = static_cast<int>(params.integer("top"));
  }
  options->width = static_cast<int>(params.integer("width"));
  options->height = static_cast<int>(params.integer("height"));
  options->gravity = params.text("gravity", "centre");
  if (params.has("aspect")) {
    const std::string aspect = params.text("aspect");
    options->aspect = parse_aspect(aspect);
    if (options->aspect == 0) {
      return bad_parameter("crop: aspect is '" + aspect.substr(0, 64) +
                           "', it must be WIDTH:HEIGHT, such as 1:1 or 16:9");
    }
    if (placed || options->width > 0 || options->height > 0) {
      return bad_parameter("crop: give aspect or a box (left, top, width, height), not both");
    }
  } else if (!placed && options->width == 0 && options->height == 0) {
    return bad_parameter("crop needs a box (left, top, width, height) or an aspect");
  }
  return {};
}

const OperationKind kCrop = {"crop", kCropPorts, make};

}  // namespace millrace
