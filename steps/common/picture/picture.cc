#include "steps/common/picture/picture.h"

#include <vips/vips.h>

#include "steps/common/icc.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

void on_eval(VipsImage* image, VipsProgress* progress, PictureJob* job) {
  const int percent = progress->percent < 100 ? progress->percent : 100;
  if (!job->progress(static_cast<uint32_t>(percent) * 9)) vips_image_set_kill(image, TRUE);
}

// Lab and floating-point RGB are defined without a profile: libvips' conversions of them are exact
// mathematics.
Problem absolute_to_rgb(const PictureJob& job, VipsPicture* picture) {
  const VipsInterpretation space = vips_image_get_interpretation(picture->get());
  const bool lab = space == VIPS_INTERPRETATION_LAB || space == VIPS_INTERPRETATION_LABS ||
                   space == VIPS_INTERPRETATION_XYZ;
  const bool light = space == VIPS_INTERPRETATION_scRGB &&
                     vips_image_get_format(picture->get()) == VIPS_FORMAT_FLOAT;
  if (!lab && !light) return {};
  VipsImage* out = nullptr;
  const VipsInterpretation to = space == VIPS_INTERPRETATION_LAB && !light
                                    ? VIPS_INTERPRETATION_sRGB
                                    : VIPS_INTERPRETATION_RGB16;
  if (vips_colourspace(picture->get(), &out, to, nullptr)) return picture_problem(job, "decoded");
  *picture = VipsPicture(out);
  vips_image_remove(picture->get(), VIPS_META_ICC_NAME);
  return {};
}

Problem check_samples(VipsImage* image) {
  const VipsBandFormat format = vips_image_get_format(image);
  if (vips_image_get_coding(image) == VIPS_CODING_NONE &&
      (format == VIPS_FORMAT_UCHAR || format == VIPS_FORMAT_USHORT)) {
    return {};
  }
  return {Fault::kUnsupported, std::string("the image has samples of type ") +
                                   vips_enum_nick(VIPS_TYPE_BAND_FORMAT, format) +
                                   "; 8 and 16 bits are taken: convert it first"};
}

// Through the profile into sRGB; empty: it does not work.
VipsPicture through_profile(VipsImage* image, bool embedded, bool wide) {
  VipsImage* out = nullptr;
  const int depth = wide ? 16 : 8;
  const int failed = embedded
                         ? vips_icc_transform(image, &out, "srgb", "embedded", TRUE, "depth", depth,
                                              "intent", VIPS_INTENT_PERCEPTUAL, nullptr)
                         : vips_icc_transform(image, &out, "srgb", "input_profile", "cmyk", "depth",
                                              depth, "intent", VIPS_INTENT_PERCEPTUAL, nullptr);
  return VipsPicture(failed ? nullptr : out);
}

// The first `bands` bands, tagged as the invariant wants them.
Problem take_bands(const PictureJob& job, int bands, int first_alpha, VipsPicture* picture) {
  const bool wide = is_wide(*picture);
  const int all = bands_of(*picture);
  const RowShape shape = shape_of(bands, wide);
  if (all == bands) {
    VipsImage* out = nullptr;
    if (vips_copy(picture->get(), &out, "interpretation",
                  static_cast<VipsInterpretation>(shape.interpretation), nullptr)) {
      return picture_problem(job, "decoded");
    }
    VipsPicture tagged(out);
    share_source(*picture, &tagged);
    *picture = std::move(tagged);
    return {};
  }
  const size_t bytes = wide ? 2 : 1;
  const bool alpha = bands == 2 || bands == 4;
  *picture = map_rows(std::move(*picture), shape, [=](const void* from, void* to, size_t pixels) {
    const auto* in = static_cast<const uint8_t*>(from);
    auto* out = static_cast<uint8_t*>(to);
    const size_t colours = static_cast<size_t>(alpha ? bands - 1 : bands) * bytes;
    for (size_t i = 0; i < pixels; ++i) {
      std::memcpy(out, in, colours);
      if (alpha) std::memcpy(out + colours, in + static_cast<size_t>(first_alpha) * bytes, bytes);
      in += static_cast<size_t>(all) * bytes;
      out += static_cast<size_t>(bands) * bytes;
    }
  });
  return picture->get() == nullptr ? picture_problem(job, "decoded") : Problem{};
}

template <typename Sample>
void flatten_row(const void* from, void* to, size_t pixels, int colours,
                 const uint8_t* background) {
  constexpr uint64_t kMax = static_cast<Sample>(~0);
  const auto* in = static_cast<const Sample*>(from);
  auto* out = static_cast<Sample*>(to);
  for (size_t i = 0; i < pixels; ++i) {
    const uint64_t alpha = in[colours == 1 ? 1 : 3];
    for (int band = 0; band < 3; ++band) {
      const uint64_t behind = uint64_t{background[band]} * (kMax / 255);
      out[band] = static_cast<Sample>(
          (in[colours == 1 ? 0 : band] * alpha + behind * (kMax - alpha) + kMax / 2) / kMax);
      if (colours == 1 && background[0] == background[1] && background[1] == background[2]) break;
    }
    in += colours == 1 ? 2 : 4;
    out += colours == 1 && background[0] == background[1] && background[1] == background[2] ? 1 : 3;
  }
}

}  // namespace

int width_of(const VipsPicture& picture) {
  return vips_image_get_width(picture.get());
}
int height_of(const VipsPicture& picture) {
  return vips_image_get_height(picture.get());
}
int bands_of(const VipsPicture& picture) {
  return vips_image_get_bands(picture.get());
}
bool is_wide(const VipsPicture& picture) {
  return vips_image_get_format(picture.get()) == VIPS_FORMAT_USHORT;
}

RowShape shape_of(int bands, bool wide) {
  const bool gray = bands < 3;
  return {bands, wide ? VIPS_FORMAT_USHORT : VIPS_FORMAT_UCHAR,
          wide ? (gray ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_RGB16)
               : (gray ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB)};
}

Problem picture_problem(const PictureJob& job, const char* what) {
  Problem problem = vips_problem(job.header.format, what);
  if (job.cancelled) problem.fault = Fault::kNone;
  return problem;
}

void watch(PictureJob* job, VipsImage* image) {
  vips_image_set_progress(image, TRUE);
  g_signal_connect(image, "eval", G_CALLBACK(on_eval), job);
}

Problem to_memory(PictureJob* job, VipsPicture* picture) {
  if (vips_image_get_typeof(picture->get(), "millrace-in-memory")) return {};
  watch(job, picture->get());
  VipsImage* memory = vips_image_copy_memory(picture->get());
  if (memory == nullptr) return picture_problem(*job, "decoded");
  VipsPicture owner(memory);
  VipsImage* copy = nullptr;  // metadata may be changed on a copy only
  if (vips_copy(memory, &copy, nullptr)) return picture_problem(*job, "decoded");
  *picture = VipsPicture(copy);
  vips_image_set_int(copy, "millrace-in-memory", 1);
  vips_image_remove(copy, VIPS_META_SEQUENTIAL);
  return {};
}

Problem import_colours(PictureJob* job, bool keep, VipsPicture* picture, std::string* profile) {
  if (Problem problem = absolute_to_rgb(*job, picture)) return problem;
  if (Problem problem = check_samples(picture->get())) return problem;
  const int bands = bands_of(*picture);
  const bool wide = is_wide(*picture);
  const bool cmyk =
      vips_image_get_interpretation(picture->get()) == VIPS_INTERPRETATION_CMYK && bands >= 4;
  const bool colour = bands >= 3;
  const bool alpha = cmyk ? bands > 4 : bands == 2 || bands > 3;
  const ByteView embedded = vips_profile(picture->get());
  const IccFacts icc = read_icc(embedded);
  const IccSpace expected = cmyk ? IccSpace::kCmyk : colour ? IccSpace::kRgb : IccSpace::kGray;
  const bool fits = icc.space == expected;
  if (embedded.size > 0 && !fits) {
    job->note("the colour profile does not fit the picture and was ignored");
  }
  const bool same = colour && icc.srgb_curve && icc.srgb_primaries;
  VipsPicture converted;
  if (fits && !same && keep && !cmyk) {
    profile->assign(reinterpret_cast<const char*>(embedded.data), embedded.size);
  } else if (fits && !same) {
    converted = through_profile(picture->get(), true, wide);
    if (converted.get() == nullptr) {
      job->note("the colour profile does not work and was ignored: " + take_vips_error());
    }
  }
  if (cmyk && converted.get() == nullptr) {
    converted = through_profile(picture->get(), false, wide);
    if (converted.get() == nullptr) return picture_problem(*job, "converted to RGB");
  }
  int first_alpha = colour ? 3 : 1;
  if (converted.get() != nullptr) {
    *picture = std::move(converted);
    first_alpha = 3;  // lcms writes three bands, and what lies behind the colours stays behind
  }
  const int wanted = (colour ? 3 : 1) + (alpha && bands_of(*picture) > first_alpha ? 1 : 0);
  return take_bands(*job, wanted, first_alpha, picture);
}

Problem apply_orientation(PictureJob* job, int orientation, VipsPicture* picture) {
  if (orientation <= 1 || orientation > 8) return {};
  if (orientation != 2) {
    if (Problem problem = to_memory(job, picture)) return problem;
  }
  constexpr VipsAngle kTurn[] = {VIPS_ANGLE_D0,   VIPS_ANGLE_D0,   VIPS_ANGLE_D0,
                                 VIPS_ANGLE_D180, VIPS_ANGLE_D180, VIPS_ANGLE_D90,
                                 VIPS_ANGLE_D90,  VIPS_ANGLE_D270, VIPS_ANGLE_D270};
  const bool mirror = orientation == 2 || orientation == 4 || orientation == 5 || orientation == 7;
  VipsImage* turned = nullptr;
  if (vips_rot(picture->get(), &turned, kTurn[orientation], nullptr)) {
    return picture_problem(*job, "turned");
  }
  VipsPicture owner(turned);
  if (mirror) {
    VipsImage* mirrored = nullptr;
    if (vips_flip(turned, &mirrored, VIPS_DIRECTION_HORIZONTAL, nullptr)) {
      return picture_problem(*job, "turned");
    }
    owner = VipsPicture(mirrored);
  }
  *picture = std::move(owner);
  return {};
}

Problem to_8_bits(PictureJob* job, VipsPicture* picture) {
  if (!is_wide(*picture)) return {};
  const auto bands = static_cast<size_t>(bands_of(*picture));
  *picture = map_rows(std::move(*picture), shape_of(static_cast<int>(bands), false),
                      [bands](const void* from, void* to, size_t pixels) {
                        const auto* in = static_cast<const uint16_t*>(from);
                        auto* out = static_cast<uint8_t*>(to);
                        for (size_t i = 0; i < pixels * bands; ++i) {
                          out[i] = static_cast<uint8_t>((in[i] + 128u) / 257u);
                        }
                      });
  return picture->get() == nullptr ? picture_problem(*job, "converted to 8 bits") : Problem{};
}

Problem flatten(PictureJob* job, const uint8_t background[3], VipsPicture* picture) {
  if (!has_alpha(*picture)) return {};
  const bool wide = is_wide(*picture);
  const int colours = colours_of(*picture);
  const bool gray = background[0] == background[1] && background[1] == background[2];
  const int bands = colours == 1 && gray ? 1 : 3;
  const std::array<uint8_t, 3> behind = {background[0], background[1], background[2]};
  *picture = map_rows(std::move(*picture), shape_of(bands, wide),
                      [=](const void* from, void* to, size_t pixels) {
                        if (wide) {
                          flatten_row<uint16_t>(from, to, pixels, colours, behind.data());
                        } else {
                          flatten_row<uint8_t>(from, to, pixels, colours, behind.data());
                        }
                      });
  return picture->get() == nullptr ? picture_problem(*job, "laid over the background") : Problem{};
}

Problem read_samples(PictureJob* job, const VipsPicture& picture, std::vector<uint8_t>* samples) {
  const auto size = static_cast<uint64_t>(width_of(picture)) *
                    static_cast<uint64_t>(height_of(picture)) *
                    static_cast<uint64_t>(bands_of(picture));
  samples->resize(size);
  const VipsPicture memory(vips_image_new_from_memory(samples->data(), size, width_of(picture),
                                                      height_of(picture), bands_of(picture),
                                                      VIPS_FORMAT_UCHAR));
  watch(job, picture.get());
  if (memory.get() == nullptr || vips_image_write(picture.get(), memory.get())) {
    return picture_problem(*job, "decoded");
  }
  return {};
}

Problem picture_of(const std::vector<uint8_t>& samples, int width, int height, int bands,
                   VipsPicture* picture) {
  const RowShape shape = shape_of(bands, false);
  VipsImage* image = vips_image_new_from_memory_copy(samples.data(), samples.size(), width, height,
                                                     bands, VIPS_FORMAT_UCHAR);
  if (image == nullptr) return vips_problem(ImageFormat::kUnknown, "held in memory");
  image->Type = static_cast<VipsInterpretation>(shape.interpretation);
  vips_image_set_int(image, "millrace-in-memory", 1);
  *picture = VipsPicture(image);
  return {};
}

}  // namespace millrace
