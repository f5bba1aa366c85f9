// watermark: lays the picture of the second input over the first.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "steps/common/picture/kept_profile.h"
#include "steps/common/picture/operations.h"
#include "steps/common/step_call.h"

namespace millrace {
namespace {

struct Mark {
  std::string gravity;
  int margin = 0;
  float opacity = 1;
  double scale = 0;
  bool tile = false;
  VipsPicture picture;  // in memory, 8 bits
};

// The mark as it lies on pictures of one size.
struct Placed {
  std::vector<uint8_t> samples;
  int width = 0, height = 0, bands = 0;
  Box box;
  bool tile = false;
  int margin = 0;
  float opacity = 1;

  // The mark's pixel that lies here; null: none does.
  const uint8_t* at(int x, int y) const {
    int column = x - box.left, row = y - box.top;
    if (tile) {
      column = ((column % (width + margin)) + width + margin) % (width + margin);
      row = ((row % (height + margin)) + height + margin) % (height + margin);
    }
    if (column < 0 || row < 0 || column >= width || row >= height) return nullptr;
    return samples.data() +
           (static_cast<size_t>(row) * static_cast<size_t>(width) + static_cast<size_t>(column)) *
               static_cast<size_t>(bands);
  }
};

Problem load_mark(PictureJob* job, VipsPicture* picture) {
  PictureJob mark;
  mark.call = job->call;
  mark.file = view_of(job->call->inputs[1]);
  Problem problem = open_picture(&mark, picture);
  if (!problem) problem = to_8_bits(&mark, picture);
  if (!problem) problem = to_memory(&mark, picture);
  if (!problem) problem = check_decoded(mark);
  job->cancelled = job->cancelled || mark.cancelled;
  if (problem) problem.message = "the mark: " + problem.message;
  return problem;
}

Problem place(PictureJob* job, const Mark& mark, int width, int height, Placed* placed) {
  VipsPicture picture;
  if (Problem problem =
          picture_of(placed->samples, placed->width, placed->height, placed->bands, &picture)) {
    return problem;
  }
  const double room_x = std::max(1, width - 2 * mark.margin);
  const double room_y = std::max(1, height - 2 * mark.margin);
  double factor = mark.scale > 0 ? mark.scale * width / placed->width : 1;
  factor = std::min({factor, room_x / placed->width, room_y / placed->height});
  const int to_width = std::max(1, static_cast<int>(std::lround(placed->width * factor)));
  const int to_height = std::max(1, static_cast<int>(std::lround(placed->height * factor)));
  if (Problem problem = scale_to(job, to_width, to_height, "lanczos3", false, &picture)) {
    return problem;
  }
  if (Problem problem = read_samples(job, picture, &placed->samples)) return problem;
  placed->width = to_width;
  placed->height = to_height;
  placed->box = place_box(mark.gravity, width - 2 * mark.margin, height - 2 * mark.margin, to_width,
                          to_height);
  placed->box.left += mark.margin;
  placed->box.top += mark.margin;
  return {};
}

// The mark's colours, as the samples that it is laid over mean theirs. A part at a time: only the
// result is as large as the mark.
Problem fit_mark(PictureJob* job, VipsPicture* picture, Placed* placed) {
  constexpr size_t kPart = size_t{1} << 18;
  if (placed->bands >= 3 && bands_of(*picture) < 3) {
    if (Problem problem = make_room_for_colours(job, picture)) return problem;
  }
  if (job->profile.empty()) return {};
  const bool alpha = placed->bands == 2 || placed->bands == 4;
  const auto from = static_cast<size_t>(placed->bands);
  const size_t kept = bands_of(*picture) >= 3 ? 3 : 1, to = kept + (alpha ? 1 : 0);
  const size_t count = placed->samples.size() / from;
  std::vector<uint8_t> samples(count * to), colours;
  for (size_t first = 0; first < count; first += kPart) {
    const size_t part = std::min(kPart, count - first);
    const uint8_t* in = placed->samples.data() + first * from;
    uint8_t* out = samples.data() + first * to;
    colours.resize(part * 3);
    for (size_t i = 0; i < part * 3; ++i) colours[i] = in[i / 3 * from + (from < 3 ? 0 : i % 3)];
    if (Problem problem = fit_colours(job, picture, &colours)) return problem;
    if (job->cancelled) return {};
    for (size_t i = 0; i < part; ++i) {
      std::copy_n(colours.data() + i * 3, kept, out + i * to);
      if (alpha) out[i * to + kept] = in[i * from + from - 1];
    }
  }
  placed->samples = std::move(samples);
  placed->bands = static_cast<int>(to);
  return {};
}

// over: colours weighted by what is seen of each. The picture has `in_bands`, the result `bands`:
// more where a coloured mark lies on gray.
template <typename Sample>
void blend_row(const Placed& mark, const void* from, void* to, size_t pixels, int x, int y,
               int in_bands, int bands) {
  const float top = static_cast<Sample>(~0);
  const bool alpha = in_bands == 2 || in_bands == 4,
             mark_alpha = mark.bands == 2 || mark.bands == 4;
  const int colours = bands >= 3 ? 3 : 1;
  const auto* in = static_cast<const Sample*>(from);
  auto* out = static_cast<Sample*>(to);
  for (size_t i = 0; i < pixels; ++i, in += in_bands, out += bands) {
    const uint8_t* over = mark.at(x + static_cast<int>(i), y);
    const float cover =
        over == nullptr ? 0 : mark.opacity * (mark_alpha ? over[mark.bands - 1] / 255.0f : 1);
    const float under = alpha ? static_cast<float>(in[in_bands - 1]) / top : 1;
    const float both = cover + under * (1 - cover);
    for (int band = 0; band < colours; ++band) {
      const Sample below = in[in_bands >= 3 ? band : 0];
      out[band] = below;
      if (cover <= 0) continue;
      const float above = static_cast<float>(over[mark.bands >= 3 ? band : 0]) / 255 * top;
      out[band] = static_cast<Sample>(
          (above * cover + static_cast<float>(below) * under * (1 - cover)) / both + 0.5f);
    }
    if (alpha) out[bands - 1] = static_cast<Sample>(both * top + 0.5f);
  }
}

Problem lay_over(PictureJob* job, const Mark& mark, VipsPicture* picture) {
  const auto placed = std::make_shared<Placed>();
  placed->width = width_of(mark.picture);
  placed->height = height_of(mark.picture);
  placed->bands = bands_of(mark.picture);
  placed->tile = mark.tile;
  placed->margin = mark.margin;
  placed->opacity = mark.opacity;
  if (Problem problem = read_samples(job, mark.picture, &placed->samples)) return problem;
  if (job->cancelled) return {};
  if (Problem problem = place(job, mark, width_of(*picture), height_of(*picture), placed.get())) {
    return problem;
  }
  if (Problem problem = fit_mark(job, picture, placed.get())) return problem;
  if (job->cancelled) return {};
  const int in_bands = bands_of(*picture);
  const bool coloured = placed->bands >= 3 && in_bands < 3;
  const int bands = coloured ? in_bands + 2 : in_bands;
  const bool wide = is_wide(*picture);
  *picture =
      map_placed_rows(std::move(*picture), shape_of(bands, wide),
                      [=](const void* from, void* to, size_t pixels, int x, int y) {
                        if (wide) {
                          blend_row<uint16_t>(*placed, from, to, pixels, x, y, in_bands, bands);
                        } else {
                          blend_row<uint8_t>(*placed, from, to, pixels, x, y, in_bands, bands);
                        }
                      });
  return picture->get() == nullptr ? picture_problem(*job, "marked") : Problem{};
}

Problem make(const Params& params, PictureJob* job, OutputOptions*, Operation* operation) {
  if (!job->call->inputs[1].present) {
    return bad_parameter("watermark needs a second picture: give the step its input 'mark'");
  }
  const auto mark = std::make_shared<Mark>();
  mark->gravity = params.text("gravity", "southeast");
  mark->margin = static_cast<int>(params.integer("margin", 16));
  mark->opacity = static_cast<float>(params.number("opacity", 1));
  mark->scale = params.number("scale", 0);
  mark->tile = params.flag("tile");
  if (!(mark->opacity >= 0 && mark->opacity <= 1)) {
    return bad_parameter(
        fmt::format("watermark: opacity is {}, it must be from 0 to 1", mark->opacity));
  }
  if (params.has("scale") && !(mark->scale > 0 && mark->scale <= 1)) {
    return bad_parameter(
        fmt::format("watermark: scale is {}, it must be above 0 and at most 1", mark->scale));
  }
  if (Problem problem = load_mark(job, &mark->picture)) return problem;
  operation->apply = [mark](PictureJob* at, int, VipsPicture* picture) {
    return lay_over(at, *mark, picture);
  };
  return {};
}

}  // namespace

const OperationKind kWatermark = {"watermark", kWatermarkPorts, make};

}  // namespace millrace
