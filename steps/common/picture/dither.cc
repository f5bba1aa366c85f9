// dither as an operation: the samples out of libvips, dithered, and back.
#include <fmt/core.h>

#include "steps/common/picture/dither_rows.h"
#include "steps/common/picture/kept_profile.h"
#include "steps/common/picture/operations.h"

namespace millrace {
namespace {

DitherMethod method_of(const std::string& name) {
  if (name == "atkinson") return DitherMethod::kAtkinson;
  if (name == "bayer2") return DitherMethod::kBayer2;
  if (name == "bayer4") return DitherMethod::kBayer4;
  if (name == "bayer8") return DitherMethod::kBayer8;
  if (name == "blue_noise") return DitherMethod::kBlueNoise;
  return name == "none" ? DitherMethod::kNone : DitherMethod::kFloydSteinberg;
}

bool is_gray(const std::vector<uint8_t>& palette) {
  for (size_t i = 0; i < palette.size(); i += 3) {
    if (palette[i] != palette[i + 1] || palette[i + 1] != palette[i + 2]) return false;
  }
  return true;
}

// Gray to three equal bands, or back; alpha stays behind.
std::vector<uint8_t> change_bands(const std::vector<uint8_t>& samples, int from, int to) {
  const bool alpha = from == 2 || from == 4;
  const auto step = static_cast<size_t>(from);
  std::vector<uint8_t> out;
  out.reserve(samples.size() / step * static_cast<size_t>(to));
  for (size_t i = 0; i < samples.size(); i += step) {
    for (int band = 0; band < to - (alpha ? 1 : 0); ++band) out.push_back(samples[i]);
    if (alpha) out.push_back(samples[i + step - 1]);
  }
  return out;
}

struct Watcher {
  PictureJob* job;
  int height;
};

bool row_done(void* context, int row) {
  const auto* watcher = static_cast<const Watcher*>(context);
  return watcher->job->progress(static_cast<uint32_t>(int64_t{row} * 900 / watcher->height));
}

Problem apply(PictureJob* job, DitherOptions options, VipsPicture* picture) {
  if (Problem problem = to_8_bits(job, picture)) return problem;
  const bool palette = !options.palette.empty();
  const bool gray_palette = palette && is_gray(options.palette);
  if (palette) {
    const auto make_room = gray_palette ? make_room_for_gray : make_room_for_colours;
    if (Problem problem = make_room(job, picture)) return problem;
  }
  if (Problem problem = fit_colours(job, picture, &options.palette)) return problem;
  const int width = width_of(*picture), height = height_of(*picture);
  int bands = bands_of(*picture);
  std::vector<uint8_t> samples;
  if (Problem problem = read_samples(job, *picture, &samples)) return problem;
  if (job->cancelled) return {};
  if (palette && bands < 3) {
    samples = change_bands(samples, bands, bands + 2);
    bands += 2;
  }
  Watcher watcher = {job, height};
  dither(options, width, height, bands, samples.data(), row_done, &watcher);
  if (gray_palette) {
    samples = change_bands(samples, bands, bands - 2);
    bands -= 2;
  }
  return picture_of(samples, width, height, bands, picture);
}

Problem make(const Params& params, PictureJob*, OutputOptions*, Operation* operation) {
  DitherOptions options;
  options.method = method_of(params.text("method"));
  options.levels = static_cast<int>(params.integer("channels", 2));
  options.serpentine = params.flag("serpentine");
  options.linear = params.flag("linear");
  if (params.has("palette")) {
    options.palette = parse_palette(params.text("palette"));
    if (options.palette.empty()) {
      return bad_parameter("dither: palette is '" + params.text("palette").substr(0, 64) +
                           "', it must be gameboy, cga, ega, c64, pico8, bw, or 2 to 256 colours "
                           "such as \"#000 #fff #f00\"");
    }
    if (params.has("channels")) {
      return bad_parameter("dither: give channels or a palette, not both");
    }
  }
  operation->apply = [options](PictureJob* job, int, VipsPicture* picture) {
    return apply(job, options, picture);
  };
  return {};
}

}  // namespace

const OperationKind kDither = {"dither", kDitherPorts, make};

}  // namespace millrace
