#include "steps/grayscale/vips_gray.h"

#include <vips/vips.h>

#include <memory>

#include "steps/common/icc.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

constexpr int kWebpQualityDefault = 90;

// A host that said stop ends libvips' work with an error of no interest.
Problem problem_of(const Job& job, ImageFormat format, const char* what) {
  Problem problem = vips_problem(format, what);
  if (job.cancelled) problem.fault = Fault::kNone;
  return problem;
}

// How a picture is laid out once it is RGB or gray.
struct Layout {
  bool colour = false, alpha = false, wide = false, cmyk = false;
};

Problem read_layout(VipsImage* image, Layout* layout) {
  const VipsBandFormat format = vips_image_get_format(image);
  if (vips_image_get_coding(image) != VIPS_CODING_NONE ||
      (format != VIPS_FORMAT_UCHAR && format != VIPS_FORMAT_USHORT)) {
    return {Fault::kUnsupported, std::string("the image has samples of type ") +
                                     vips_enum_nick(VIPS_TYPE_BAND_FORMAT, format) +
                                     "; 8 and 16 bits are taken: convert it first"};
  }
  const int bands = vips_image_get_bands(image);
  layout->wide = format == VIPS_FORMAT_USHORT;
  layout->cmyk = vips_image_get_interpretation(image) == VIPS_INTERPRETATION_CMYK && bands >= 4;
  layout->colour = bands >= 3;
  layout->alpha = layout->cmyk ? bands > 4 : bands == 2 || bands > 3;
  return {};
}

// Lab and floating-point RGB are defined without a profile: libvips' conversions of them are exact
// mathematics.
Problem absolute_to_rgb(const Job& job, ImageFormat format, VipsPicture* picture) {
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
  if (vips_colourspace(picture->get(), &out, to, nullptr))
    return problem_of(job, format, "decoded");
  *picture = VipsPicture(out);
  return {};
}

bool needs_conversion(const GrayOptions& options, const Layout& layout, const IccFacts& icc) {
  if (layout.cmyk) return true;
  if (!layout.colour || icc.space != IccSpace::kRgb) return false;
  return !(icc.srgb_curve && (options.method == GrayMethod::kLuma || icc.srgb_primaries));
}

// To sRGB through the embedded profile. One that does not fit or does not work is ignored, with a
// note: RGB is then taken for sRGB, CMYK goes through libvips' built-in profile.
Problem convert_colours(Job* job, ImageFormat format, const Layout& layout, VipsPicture* picture,
                        bool* converted) {
  const ByteView profile = vips_profile(picture->get());
  const IccFacts icc = read_icc(profile);
  const IccSpace expected = layout.cmyk     ? IccSpace::kCmyk
                            : layout.colour ? IccSpace::kRgb
                                            : IccSpace::kGray;
  if (profile.size > 0 && icc.space != expected) {
    job->note("the colour profile does not fit the picture and was ignored");
  }
  if (!needs_conversion(job->options, layout, icc)) return {};
  VipsImage* out = nullptr;
  const int depth = layout.wide ? 16 : 8;
  if (icc.space == expected &&
      vips_icc_transform(picture->get(), &out, "srgb", "embedded", TRUE, "depth", depth, "intent",
                         VIPS_INTENT_PERCEPTUAL, nullptr) != 0) {
    job->note("the colour profile does not work and was ignored: " + take_vips_error());
    out = nullptr;
  }
  if (out == nullptr && layout.cmyk &&
      vips_icc_transform(picture->get(), &out, "srgb", "input_profile", "cmyk", "depth", depth,
                         "intent", VIPS_INTENT_PERCEPTUAL, nullptr) != 0) {
    return problem_of(*job, format, "converted to RGB");
  }
  if (out != nullptr) *converted = true, *picture = VipsPicture(out);
  return {};
}

void on_eval(VipsImage* image, VipsProgress* progress, Job* job) {
  const int percent = progress->percent < 100 ? progress->percent : 100;
  if (!job->progress(static_cast<uint32_t>(percent) * 9)) vips_image_set_kill(image, TRUE);
}

// Every field but what libvips itself works with, and the profile when it is a gray one.
void drop_metadata(VipsImage* image, bool keep_profile) {
  gchar** fields = vips_image_get_fields(image);
  for (gchar** field = fields; field != nullptr && *field != nullptr; ++field) {
    const std::string_view name = *field;
    if (name == VIPS_META_SEQUENTIAL || (keep_profile && name == VIPS_META_ICC_NAME)) continue;
    vips_image_remove(image, *field);
  }
  g_strfreev(fields);
}

Problem apply_formula(Job* job, ImageFormat format, VipsPicture in, const Layout& layout,
                      VipsPicture* out) {
  const bool keep_alpha = layout.alpha && format != ImageFormat::kJpeg;
  const bool keep_profile =
      !layout.colour && read_icc(vips_profile(in.get())).space == IccSpace::kGray;
  GrayRow row;
  row.method = job->options.method;
  row.bands = vips_image_get_bands(in.get());
  row.bands_used = (layout.colour ? 3 : 1) + (layout.alpha ? 1 : 0);
  row.out_bands = keep_alpha ? 2 : 1;
  row.flatten = layout.alpha && !keep_alpha;
  for (int i = 0; i < 3; ++i) {
    row.background[i] = static_cast<uint16_t>(job->options.background[i] * (layout.wide ? 257 : 1));
  }
  const bool wide = layout.wide;
  const RowShape shape = {row.out_bands, wide ? VIPS_FORMAT_USHORT : VIPS_FORMAT_UCHAR,
                          wide ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_B_W};
  VipsPicture owner =
      map_rows(std::move(in), shape, [row, wide](const void* from, void* to, size_t pixels) {
        if (wide) {
          gray_row16(row, static_cast<const uint16_t*>(from), static_cast<uint16_t*>(to), pixels);
        } else {
          gray_row8(row, static_cast<const uint8_t*>(from), static_cast<uint8_t*>(to), pixels);
        }
      });
  VipsImage* image = owner.get();
  if (image == nullptr) return problem_of(*job, format, "decoded");
  drop_metadata(image, keep_profile);
  vips_image_set_progress(image, TRUE);
  g_signal_connect(image, "eval", G_CALLBACK(on_eval), job);
  *out = std::move(owner);
  return {};
}

// Takes what a saver made.
Problem take(Job* job, ImageFormat format, int failed, void* data, size_t size, std::string* out) {
  if (failed) return problem_of(*job, format, "decoded or encoded");
  const std::unique_ptr<void, void (*)(void*)> owner(data, g_free);
  out->assign(static_cast<const char*>(data), size);
  return {};
}

VipsForeignTiffCompression tiff_compression(uint64_t tag) {
  switch (tag) {
    case 1:
      return VIPS_FOREIGN_TIFF_COMPRESSION_NONE;
    case 5:
      return VIPS_FOREIGN_TIFF_COMPRESSION_LZW;
    case 32773:
      return VIPS_FOREIGN_TIFF_COMPRESSION_PACKBITS;
    default:
      return VIPS_FOREIGN_TIFF_COMPRESSION_DEFLATE;
  }
}

}  // namespace

Problem vips_gray(Job* job, ImageFormat format, ByteView bytes, int page, ByteView profile,
                  GrayPicture* gray) {
  vips_error_clear();
  VipsPicture picture = load_vips(format, bytes, {.page = page});
  if (picture.get() == nullptr) return problem_of(*job, format, "decoded");
  if (profile.size > 0) {
    vips_image_set_blob_copy(picture.get(), VIPS_META_ICC_NAME, profile.data, profile.size);
  }
  if (Problem problem = absolute_to_rgb(*job, format, &picture)) return problem;
  Layout layout;
  if (Problem problem = read_layout(picture.get(), &layout)) return problem;
  if (Problem problem = convert_colours(job, format, layout, &picture, &gray->converted))
    return problem;
  return apply_formula(job, format, std::move(picture), layout, &gray->image);
}

Problem vips_gray_pixels(Job* job, std::vector<uint8_t>* pixels) {
  GrayPicture gray;
  if (Problem problem = vips_gray(job, ImageFormat::kJpeg, job->file, 0, {}, &gray)) return problem;
  pixels->resize(uint64_t{job->header.width} * job->header.height);
  VipsImage* memory = vips_image_new_from_memory(
      pixels->data(), pixels->size(), static_cast<int>(job->header.width),
      static_cast<int>(job->header.height), 1, VIPS_FORMAT_UCHAR);
  const VipsPicture owner(memory);
  if (memory == nullptr || vips_image_write(gray.image.get(), memory)) {
    return problem_of(*job, ImageFormat::kJpeg, "decoded");
  }
  return {};
}

Problem save_png(Job* job, const GrayPicture& gray, int bits, bool interlaced, std::string* out) {
  void* data = nullptr;
  size_t size = 0;
  const int filter = bits < 8 ? VIPS_FOREIGN_PNG_FILTER_NONE : VIPS_FOREIGN_PNG_FILTER_ALL;
  const int failed =
      vips_pngsave_buffer(gray.image.get(), &data, &size, "compression", 6, "interlace",
                          interlaced ? TRUE : FALSE, "filter", filter, "bitdepth", bits, nullptr);
  return take(job, ImageFormat::kPng, failed, data, size, out);
}

Problem save_webp(Job* job, const GrayPicture& gray, bool lossless, std::string* out) {
  void* data = nullptr;
  size_t size = 0;
  const int quality = job->options.quality > 0 ? job->options.quality : kWebpQualityDefault;
  const int failed =
      vips_webpsave_buffer(gray.image.get(), &data, &size, "lossless", lossless ? TRUE : FALSE, "Q",
                           quality, "alpha_q", 100, nullptr);
  return take(job, ImageFormat::kWebp, failed, data, size, out);
}

Problem save_tiff(Job* job, const GrayPicture& gray, uint64_t compression, bool bilevel,
                  std::string* out) {
  void* data = nullptr;
  size_t size = 0;
  const auto kind = bilevel && (compression == 3 || compression == 4)
                        ? VIPS_FOREIGN_TIFF_COMPRESSION_CCITTFAX4
                        : tiff_compression(compression);
  const auto predictor =
      bilevel ? VIPS_FOREIGN_TIFF_PREDICTOR_NONE : VIPS_FOREIGN_TIFF_PREDICTOR_HORIZONTAL;
  const int failed = bilevel
                         ? vips_tiffsave_buffer(gray.image.get(), &data, &size, "compression", kind,
                                                "predictor", predictor, "bitdepth", 1, nullptr)
                         : vips_tiffsave_buffer(gray.image.get(), &data, &size, "compression", kind,
                                                "predictor", predictor, nullptr);
  return take(job, ImageFormat::kTiff, failed, data, size, out);
}

}  // namespace millrace
