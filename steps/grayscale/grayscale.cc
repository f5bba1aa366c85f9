// grayscale: one gray band where there were colours, in the same format, losing nothing that need
// not be lost.
//
// This file declares the step and chooses the path; README.md has the definitions.
#include "steps/common/image_step.h"
#include "steps/common/step_call.h"
#include "steps/common/vips/vips_start.h"
#include "steps/grayscale/job.h"

namespace millrace {
namespace {

enum Param : uint32_t { kMethod, kQuality, kBackground, kMetadata };
enum Result : uint32_t { kExtension, kMediaType };

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// #rgb or #rrggbb.
bool parse_colour(const std::string& text, uint8_t colour[3]) {
  const bool brief = text.size() == 4;
  if ((!brief && text.size() != 7) || text[0] != '#') return false;
  for (size_t i = 0; i < 3; ++i) {
    const int high = hex_digit(text[brief ? 1 + i : 1 + 2 * i]);
    const int low = hex_digit(text[brief ? 1 + i : 2 + 2 * i]);
    if (high < 0 || low < 0) return false;
    colour[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return true;
}

Problem read_options(const mr_call* call, GrayOptions* options) {
  const std::string method = text_of(call->params[kMethod], "luma");
  options->method = method == "luminance" ? GrayMethod::kLuminance : GrayMethod::kLuma;
  const mr_value& quality = call->params[kQuality];
  options->quality = quality.kind == MR_VALUE_INT ? static_cast<int>(quality.i) : 0;
  const std::string metadata = text_of(call->params[kMetadata], "safe");
  options->metadata = metadata == "keep"    ? Metadata::kKeep
                      : metadata == "strip" ? Metadata::kStrip
                                            : Metadata::kSafe;
  const std::string background = text_of(call->params[kBackground], "#ffffff");
  if (!parse_colour(background, options->background)) {
    return {Fault::kUnsupported,
            "background is '" + background + "', it must be a colour such as #fff or #ffffff"};
  }
  return {};
}

Problem make_gray(Job* job) {
  if (Problem problem = probe_image(job->file, limits_of(job->call), &job->header)) return problem;
  switch (job->header.format) {
    case ImageFormat::kJpeg:
      return gray_jpeg(job);
    case ImageFormat::kPng:
      return gray_png(job);
    case ImageFormat::kGif:
      return gray_gif(job);
    case ImageFormat::kWebp:
      return gray_webp(job);
    case ImageFormat::kTiff:
      return gray_tiff(job);
    case ImageFormat::kAvif:
    case ImageFormat::kHeic:
      return gray_heif(job);
    case ImageFormat::kUnknown:
      break;
  }
  return {Fault::kUnsupported, "no path for this format"};  // probe_image() has refused it
}

int32_t finish(const Job& job) {
  const mr_call* call = job.call;
  const ImageHeader& header = job.header;
  const char* media_type = media_type_of(header.format);
  int32_t answer =
      describe_image(call, 0, header.format, header.width, header.height, header.pixels);
  if (answer == MR_OK) answer = set_result(call, kExtension, extension_of(header.format));
  if (answer == MR_OK) answer = set_result(call, kMediaType, media_type);
  return answer;
}

int32_t run(const mr_call* call) {
  return run_guarded(call, [call] {
    Job job;
    job.call = call;
    job.file = view_of(call->inputs[0]);
    Problem problem = read_options(call, &job.options);
    if (!problem) problem = make_gray(&job);
    if (job.cancelled) return MR_CANCELLED;
    return problem ? fail_step(call, problem) : finish(job);
  });
}

constexpr mr_port kInputs[] = {
    {.size = sizeof(mr_port),
     .name = "image",
     .type = "image",
     .doc = "JPEG, PNG, WebP, GIF, TIFF, AVIF or HEIC."},
};
constexpr mr_port kParams[] = {
    {.size = sizeof(mr_port),
     .name = "method",
     .type = "enum<luma,luminance>",
     .doc = "luma: BT.601 on the coded values, as JPEG, Pillow and OpenCV; luminance: linear-light "
            "BT.709.",
     .default_value = "luma"},
    {.size = sizeof(mr_port),
     .name = "quality",
     .type = "int?",
     .doc = "Of a lossy result (JPEG, lossy WebP); absent: as good as the original, lossless for "
            "most JPEGs.",
     .min = 1,
     .max = 100},
    {.size = sizeof(mr_port),
     .name = "background",
     .type = "string?",
     .doc = "What shows through transparent pixels where the result cannot be transparent: #rgb or "
            "#rrggbb; absent: white."},
    {.size = sizeof(mr_port),
     .name = "metadata",
     .type = "enum<safe,keep,strip>",
     .doc = "safe keeps orientation, artist and copyright and drops places, serial numbers and "
            "thumbnails; keep keeps all; strip keeps "
            "the orientation alone.",
     .default_value = "safe"},
};
constexpr mr_port kOutputs[] = {
    {.size = sizeof(mr_port),
     .name = "image",
     .type = "image",
     .doc = "The gray image, in the format of the input (HEIC: JPEG, or PNG with alpha)."},
};
constexpr mr_port kResults[] = {
    {.size = sizeof(mr_port),
     .name = "extension",
     .type = "string",
     .doc = "jpg, png, gif, webp, tiff or avif."},
    {.size = sizeof(mr_port), .name = "media_type", .type = "string", .doc = "Such as image/jpeg."},
};
constexpr mr_memory kMoreMemory[] = {
    {sizeof(mr_memory), "image", "image/png", 24, 0},
    {sizeof(mr_memory), "image", "image/tiff", 24, 0},
    {sizeof(mr_memory), "image", "image/webp", 112, 0},
    {sizeof(mr_memory), "image", "image/avif", 56, 0},
    {sizeof(mr_memory), "image", "image/heic", 32, 0},
    {sizeof(mr_memory), "image", "image/heif", 56, 0},
};
constexpr Memory kMemory = {.base = 16 << 20,
                            .per_pixel = 12,
                            .more = kMoreMemory,
                            .more_count = sizeof kMoreMemory / sizeof *kMoreMemory};
constexpr mr_step kGrayscale = declare_step({
    .name = "grayscale",
    .doc = "Makes an image gray and leaves it what it is: format, size, depth, frames, orientation "
           "and alpha stay. A YCbCr JPEG "
           "loses its chroma without being decoded, so its luma is bit for bit the original's.",
    .inputs = kInputs,
    .params = kParams,
    .outputs = kOutputs,
    .results = kResults,
    .run = run,
    .memory = kMemory,
});
constexpr const mr_step* kSteps[] = {&kGrayscale};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("grayscale", millrace::kSteps, millrace::start_vips);
