#include "steps/common/picture/filters.h"

#include <fmt/core.h>
#include <vips/vips.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "steps/common/picture/filter_picture.h"

namespace millrace {
namespace {

template <typename Sample>
void to_float(const void* from, void* to, size_t pixels, int bands) {
  const float top = static_cast<Sample>(~0);
  const auto* in = static_cast<const Sample*>(from);
  auto* out = static_cast<float*>(to);
  const bool alpha = bands == 2 || bands == 4;
  for (size_t i = 0; i < pixels; ++i, in += bands, out += bands) {
    const float cover = alpha ? static_cast<float>(in[bands - 1]) / top : 1;
    for (int band = 0; band < bands; ++band) out[band] = static_cast<float>(in[band]) * cover;
    if (alpha) out[bands - 1] = static_cast<float>(in[bands - 1]);
  }
}

template <typename Sample>
void from_float(const void* from, void* to, size_t pixels, int bands) {
  const float top = static_cast<Sample>(~0);
  const auto* in = static_cast<const float*>(from);
  auto* out = static_cast<Sample*>(to);
  const bool alpha = bands == 2 || bands == 4;
  for (size_t i = 0; i < pixels; ++i, in += bands, out += bands) {
    const float cover = alpha ? std::clamp(in[bands - 1] / top, 0.0f, 1.0f) : 1;
    const float factor = cover > 0 ? 1 / cover : 0;
    for (int band = 0; band < bands; ++band) {
      const float value = alpha && band == bands - 1 ? in[band] : in[band] * factor;
      out[band] = static_cast<Sample>(std::clamp(value, 0.0f, top) + 0.5f);
    }
  }
}

// With alpha multiplied in.
RowCodec codec_of(int bands, bool wide) {
  if (bands == 1 || bands == 3) return plain_codec(bands, wide);
  return {false,
          [=](const void* from, float* to, size_t pixels) {
            wide ? to_float<uint16_t>(from, to, pixels, bands)
                 : to_float<uint8_t>(from, to, pixels, bands);
          },
          [=](const float* from, void* to, size_t pixels) {
            wide ? from_float<uint16_t>(from, to, pixels, bands)
                 : from_float<uint8_t>(from, to, pixels, bands);
          }};
}

Problem make_blur(const Params& params, PictureJob*, OutputOptions*, Operation* operation) {
  const double sigma = params.number("sigma", 2);
  if (!(sigma >= 0.3 && sigma <= 200)) {
    return bad_parameter(fmt::format("blur: sigma is {}, it must be from 0.3 to 200", sigma));
  }
  operation->apply = [sigma](PictureJob* job, int, VipsPicture* picture) {
    const bool wide = is_wide(*picture);
    const int width = width_of(*picture), height = height_of(*picture), bands = bands_of(*picture);
    if (fits_memory(width, height, bands, wide)) {
      return filter_picture(job, AxisFilter::gaussian(sigma, height),
                            AxisFilter::gaussian(sigma, width), codec_of(bands, wide), picture);
    }
    if (Problem problem = premultiply(job, picture)) return problem;
    if (Problem problem = gauss(job, sigma, picture)) return problem;
    return unpremultiply(job, wide, picture);
  };
  return {};
}

struct SharpenOptions {
  double sigma = 1, amount = 1;
  int threshold = 2;
};

// out = in + amount (in - blurred), where the difference is at least the threshold; colours only.
// What is blurred is the mean colour of what is seen around: at a rim, colour differs from it only
// where colours differ, not because less is covered, which would darken or lighten the rim.
template <typename Sample>
void sharpen_row(const SharpenOptions& options, const void* from, void* to, size_t pixels,
                 int bands) {
  const float top = static_cast<Sample>(~0);
  const float threshold = static_cast<float>(options.threshold) * top / 255;
  const bool alpha = bands == 2 || bands == 4;
  const auto* in = static_cast<const float*>(from);  // the bands, then the same blurred
  auto* out = static_cast<Sample*>(to);
  for (size_t i = 0; i < pixels; ++i, in += 2 * bands, out += bands) {
    const float cover = alpha ? in[bands - 1] / top : 1;
    const float around = alpha ? in[2 * bands - 1] / top : 1;
    const float factor = cover > 0 ? 1 / cover : 0, mean = around > 0 ? 1 / around : 0;
    for (int band = 0; band < bands; ++band) {
      if (alpha && band == bands - 1) {
        out[band] = static_cast<Sample>(in[band] + 0.5f);
        continue;
      }
      const float colour = in[band] * factor;
      const float difference = colour - in[bands + band] * mean;
      const bool stays = cover <= 0 || std::fabs(difference) < threshold;
      const float value = colour + (stays ? 0 : static_cast<float>(options.amount) * difference);
      out[band] = static_cast<Sample>(std::clamp(value, 0.0f, top) + 0.5f);
    }
  }
}

Problem sharpen(PictureJob* job, const SharpenOptions& options, VipsPicture* picture) {
  const int bands = bands_of(*picture);
  const bool wide = is_wide(*picture);
  // Read twice, by the mask and by itself: libvips' sequential readers allow that only nearby.
  if (Problem problem = to_memory(job, picture)) return problem;
  VipsPicture plain = std::move(*picture);
  if (Problem problem = premultiply(job, &plain)) return problem;
  VipsPicture mask = plain.share();
  if (Problem problem = gauss(job, options.sigma, &mask)) return problem;
  VipsImage* both = nullptr;
  if (vips_bandjoin2(plain.get(), mask.get(), &both, nullptr)) {
    return picture_problem(*job, "sharpened");
  }
  *picture = map_rows(VipsPicture(both), shape_of(bands, wide),
                      [=](const void* from, void* to, size_t pixels) {
                        if (wide) {
                          sharpen_row<uint16_t>(options, from, to, pixels, bands);
                        } else {
                          sharpen_row<uint8_t>(options, from, to, pixels, bands);
                        }
                      });
  return picture->get() == nullptr ? picture_problem(*job, "sharpened") : Problem{};
}

Problem make_sharpen(const Params& params, PictureJob*, OutputOptions*, Operation* operation) {
  SharpenOptions options;
  options.sigma = params.number("sigma", 1);
  options.amount = params.number("amount", 1);
  options.threshold = static_cast<int>(params.integer("threshold", 2));
  if (!(options.sigma >= 0.3 && options.sigma <= 50)) {
    return bad_parameter(
        fmt::format("sharpen: sigma is {}, it must be from 0.3 to 50", options.sigma));
  }
  if (!(options.amount >= 0 && options.amount <= 10)) {
    return bad_parameter(
        fmt::format("sharpen: amount is {}, it must be from 0 to 10", options.amount));
  }
  operation->apply = [options](PictureJob* job, int, VipsPicture* picture) {
    return sharpen(job, options, picture);
  };
  return {};
}

}  // namespace

Problem premultiply(PictureJob* job, VipsPicture* picture) {
  const int bands = bands_of(*picture);
  const bool wide = is_wide(*picture);
  const RowShape shape = {bands, VIPS_FORMAT_FLOAT, VIPS_INTERPRETATION_MULTIBAND};
  *picture = map_rows(std::move(*picture), shape, [=](const void* from, void* to, size_t pixels) {
    if (wide) {
      to_float<uint16_t>(from, to, pixels, bands);
    } else {
      to_float<uint8_t>(from, to, pixels, bands);
    }
  });
  return picture->get() == nullptr ? picture_problem(*job, "filtered") : Problem{};
}

Problem unpremultiply(PictureJob* job, bool wide, VipsPicture* picture) {
  const int bands = bands_of(*picture);
  *picture = map_rows(std::move(*picture), shape_of(bands, wide),
                      [=](const void* from, void* to, size_t pixels) {
                        if (wide) {
                          from_float<uint16_t>(from, to, pixels, bands);
                        } else {
                          from_float<uint8_t>(from, to, pixels, bands);
                        }
                      });
  return picture->get() == nullptr ? picture_problem(*job, "filtered") : Problem{};
}

Problem gauss(PictureJob* job, double sigma, VipsPicture* picture) {
  std::vector<double> weights = gaussian_weights(sigma);
  const int taps = static_cast<int>(weights.size());
  VipsPicture mask(vips_image_new_matrix_from_array(taps, 1, weights.data(), taps));
  if (mask.get() == nullptr) return picture_problem(*job, "filtered");
  vips_image_set_double(mask.get(), "scale", std::accumulate(weights.begin(), weights.end(), 0.0));
  VipsImage* out = nullptr;
  if (vips_convsep(picture->get(), &out, mask.get(), "precision", VIPS_PRECISION_FLOAT, nullptr)) {
    return picture_problem(*job, "filtered");
  }
  *picture = VipsPicture(out);
  return {};
}

const OperationKind kBlur = {"blur", kBlurPorts, make_blur};
const OperationKind kSharpen = {"sharpen", kSharpenPorts, make_sharpen};

}  // namespace millrace
