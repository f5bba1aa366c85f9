#include "steps/common/picture/encode.h"

#include <fmt/core.h>
#include <vips/vips.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "steps/common/jpeg_pixels/jpeg_writer.h"
#include "steps/common/picture/avif.h"
#include "steps/common/picture/container.h"
#include "steps/common/picture/exact_png.h"
#include "steps/common/picture/kept_profile.h"
#include "steps/common/picture/picture_rows.h"
#include "steps/common/png/png_write.h"

namespace millrace {
namespace {

constexpr int kJpegQuality = 82, kWebpQuality = 80;

uint32_t side_max(ImageFormat format) {
  switch (format) {
    case ImageFormat::kWebp:
      return 16383;
    case ImageFormat::kAvif:
      return kAvifSideMax;
    case ImageFormat::kJpeg:
      return 65500;
    case ImageFormat::kGif:
      return 65535;
    default:
      return 1'000'000;
  }
}

Problem check_sides(ImageFormat format, int width, int height) {
  const uint32_t most = side_max(format);
  const auto side = static_cast<uint32_t>(std::max(width, height));
  if (side <= most) return {};
  return {
      Fault::kUnsupported,
      fmt::format("the result would be {}x{}, a side of a {} may have at most {} pixels; resize "
                  "it, or choose another format",
                  width, height, extension_of(format), most)};
}

// Every field but what savers work with.
void drop_fields(VipsImage* image) {
  gchar** fields = vips_image_get_fields(image);
  for (gchar** field = fields; field != nullptr && *field != nullptr; ++field) {
    const std::string_view name = *field;
    if (name == VIPS_META_SEQUENTIAL) continue;
    vips_image_remove(image, *field);
  }
  g_strfreev(fields);
}

// Alpha goes where there is none.
Problem lay_over_background(PictureJob* job, const uint8_t background[3], VipsPicture* picture) {
  if (!has_alpha(*picture)) return {};
  Colour colour;
  if (Problem problem = fit_colour(job, background, picture, &colour)) return problem;
  return flatten(job, colour.data(), picture);
}

// Through what the format cannot hold.
Problem fit_format(PictureJob* job, ImageFormat format, const OutputOptions& options,
                   VipsPicture* picture) {
  const bool narrow = format != ImageFormat::kPng && format != ImageFormat::kTiff;
  if (narrow) {
    if (Problem problem = to_8_bits(job, picture)) return problem;
  }
  if (format != ImageFormat::kJpeg) return {};
  return lay_over_background(job, options.background, picture);
}

int png_compression(int effort) {
  return effort < 0 ? 6 : effort;
}

struct Saved {
  void* data = nullptr;
  size_t size = 0;
};

int save(ImageFormat format, const OutputOptions& options, bool lossless, bool deep,
         VipsImage* image, Saved* out) {
  const int effort = options.effort;
  switch (format) {
    case ImageFormat::kPng:
      return vips_pngsave_buffer(image, &out->data, &out->size, "compression",
                                 png_compression(effort), "interlace", options.progressive,
                                 "filter", VIPS_FOREIGN_PNG_FILTER_ALL, "bitdepth", deep ? 16 : 8,
                                 nullptr);
    case ImageFormat::kWebp:
      return vips_webpsave_buffer(image, &out->data, &out->size, "Q",
                                  options.quality > 0 ? options.quality : kWebpQuality, "lossless",
                                  lossless, "alpha_q", 100, "effort",
                                  effort < 0 ? 4 : std::min(effort, 6), nullptr);
    case ImageFormat::kGif:
      return vips_gifsave_buffer(image, &out->data, &out->size, "effort",
                                 effort < 0 ? 7 : effort + 1, nullptr);
    case ImageFormat::kTiff:
      return vips_tiffsave_buffer(image, &out->data, &out->size, "compression",
                                  VIPS_FOREIGN_TIFF_COMPRESSION_DEFLATE, "predictor",
                                  VIPS_FOREIGN_TIFF_PREDICTOR_HORIZONTAL, nullptr);
    default:
      vips_error("millrace", "no saver for this format");
      return -1;
  }
}

Problem encode_jpeg(PictureJob* job, const OutputOptions& options, const VipsPicture& picture,
                    std::string* file) {
  JpegShape shape;
  shape.width = width_of(picture);
  shape.height = height_of(picture);
  shape.bands = bands_of(picture);
  shape.quality = options.quality > 0 ? options.quality : kJpegQuality;
  shape.progressive = options.progressive;
  JpegWriter writer(shape, file);
  bool fine = writer.start();
  const auto add = [&](int, const uint8_t* const* rows, int count) {
    fine = fine && writer.add(rows, count);
  };
  if (Problem problem = read_rows(job, picture, "decoded or encoded", add)) return problem;
  if (job->cancelled || (fine && writer.finish())) return {};
  vips_error("VipsJpeg", "%s", writer.words().c_str());
  return picture_problem(*job, "encoded");
}

// Not interlaced, whose rows can be written as they come.
Problem write_png(PictureJob* job, int effort, const Extras& extras, const VipsPicture& picture,
                  std::string* file) {
  PngHeader header;
  header.width = static_cast<uint32_t>(width_of(picture));
  header.height = static_cast<uint32_t>(height_of(picture));
  header.bands = bands_of(picture);
  header.wide = is_wide(picture);
  header.pixels_per_metre =
      static_cast<uint32_t>(std::lround(vips_image_get_xres(picture.get()) * 1000));
  header.chunks = png_chunks(extras);
  PngWriter writer(header, png_compression(effort), file);
  const auto add = [&](int, const uint8_t* const* rows, int count) {
    for (int row = 0; row < count; ++row) writer.add(rows[row]);
  };
  if (Problem problem = read_rows(job, picture, "decoded or encoded", add)) return problem;
  if (!job->cancelled) writer.finish();
  return {};
}

// A copy whose metadata are exactly what the saver should see.
Problem prepare(const PictureJob& job, ImageFormat format, const PictureFacts& facts,
                VipsPicture* picture) {
  const int height = height_of(*picture);
  const double resolution = facts.per_mm > 0 ? facts.per_mm : 72 / 25.4;
  VipsImage* copy = nullptr;
  if (vips_copy(picture->get(), &copy, "xres", resolution, "yres", resolution, nullptr)) {
    return picture_problem(job, "encoded");
  }
  *picture = VipsPicture(copy);
  drop_fields(copy);
  if (facts.pages > 1) {
    vips_image_set_int(copy, VIPS_META_PAGE_HEIGHT, height / facts.pages);
    vips_image_set_array_int(copy, "delay", facts.delays.data(),
                             static_cast<int>(facts.delays.size()));
    vips_image_set_int(copy, "loop", facts.loop);
  }
  if (format == ImageFormat::kTiff && !job.profile.empty()) {
    vips_image_set_blob_copy(copy, VIPS_META_ICC_NAME, job.profile.data(), job.profile.size());
  }
  return {};
}

// By a saver of libvips.
Problem save_picture(PictureJob* job, ImageFormat format, const OutputOptions& options,
                     const VipsPicture& picture, std::string* file) {
  const bool same = format == job->header.format;
  const bool lossless =
      options.lossless < 0 ? same && job->header.webp_lossless : options.lossless == 1;
  Saved saved;
  watch(job, picture.get());
  const int failed = save(format, options, lossless, is_wide(picture), picture.get(), &saved);
  const std::unique_ptr<void, void (*)(void*)> owner(saved.data, g_free);
  if (failed) return picture_problem(*job, "decoded or encoded");
  file->assign(static_cast<const char*>(saved.data), saved.size);
  return {};
}

// With its metadata.
Problem encode_png(PictureJob* job, const OutputOptions& options, const Extras& extras,
                   VipsPicture* picture, std::string* file) {
  bool done = false;
  if (options.exact_palette && !is_wide(*picture)) {
    if (Problem problem = encode_exact_png(job, options.progressive, picture, file, &done)) {
      return problem;
    }
  }
  if (!done && !options.progressive) return write_png(job, options.effort, extras, *picture, file);
  if (!done) {
    if (Problem problem = save_picture(job, ImageFormat::kPng, options, *picture, file)) {
      return problem;
    }
  }
  if (!job->cancelled) *file = replace_metadata(ImageFormat::kPng, *file, extras);
  return {};
}

ImageFormat format_of(const std::string& name) {
  for (const ImageFormat format : {ImageFormat::kJpeg, ImageFormat::kPng, ImageFormat::kGif,
                                   ImageFormat::kWebp, ImageFormat::kTiff, ImageFormat::kAvif}) {
    if (name == extension_of(format)) return format;
  }
  return name == "jpeg" ? ImageFormat::kJpeg : ImageFormat::kUnknown;
}

}  // namespace

Problem read_output(const Params& params, OutputOptions* options) {
  options->format = format_of(params.text("format"));
  options->quality = static_cast<int>(params.integer("quality"));
  options->lossless = params.has("lossless") ? (params.flag("lossless") ? 1 : 0) : -1;
  options->progressive = params.flag("progressive");
  options->effort = static_cast<int>(params.integer("effort", -1));
  options->has_background = params.has("background");
  const std::string background = params.text("background", "#ffffff");
  if (!parse_colour(background, options->background)) {
    return bad_parameter("background is '" + background.substr(0, 64) +
                         "', it must be a colour such as #fff or #ffffff");
  }
  const std::string metadata = params.text("metadata", "safe");
  options->metadata = metadata == "keep"    ? Metadata::kKeep
                      : metadata == "strip" ? Metadata::kStrip
                                            : Metadata::kSafe;
  options->keep_profile = params.text("colours", "srgb") == "keep";
  return {};
}

ImageFormat output_format(const PictureJob& job, const OutputOptions& options) {
  if (options.format != ImageFormat::kUnknown) return options.format;
  if (job.header.format != ImageFormat::kHeic) return job.header.format;
  return job.header.alpha ? ImageFormat::kPng : ImageFormat::kJpeg;  // HEVC is not written
}

bool can_animate(ImageFormat format) {
  return format == ImageFormat::kGif || format == ImageFormat::kWebp;
}

Problem encode_picture(PictureJob* job, const OutputOptions& options, const PictureFacts& facts,
                       VipsPicture picture, std::string* file) {
  const ImageFormat format = output_format(*job, options);
  const int page_height = height_of(picture) / facts.pages;
  if (Problem problem = check_sides(format, width_of(picture), page_height)) return problem;
  if (Problem problem = fit_format(job, format, options, &picture)) return problem;
  if (format == ImageFormat::kAvif) return encode_avif(job, options, picture, file);
  Extras extras = select_extras(*job, options.metadata);
  extras.icc = job->profile;
  extras.per_mm = facts.per_mm;
  if (format == ImageFormat::kJpeg) {
    if (Problem problem = encode_jpeg(job, options, picture, file)) return problem;
  } else {
    if (Problem problem = prepare(*job, format, facts, &picture)) return problem;
    if (format == ImageFormat::kPng) return encode_png(job, options, extras, &picture, file);
    if (Problem problem = save_picture(job, format, options, picture, file)) return problem;
    // Into a TIFF they are put elsewhere, and libvips' saver of GIFs writes none.
    if (format == ImageFormat::kTiff || format == ImageFormat::kGif) return {};
  }
  if (!job->cancelled) *file = replace_metadata(format, *file, extras);
  return {};
}

}  // namespace millrace
