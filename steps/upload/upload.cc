// upload: says what an image truly is, and refuses what is none, before anything is decoded.
//
// The bytes are passed on untouched. No codec is linked: steps/common walks the container.
#include "steps/common/image_step.h"
#include "steps/common/step_call.h"

namespace millrace {
namespace {

enum Result : uint32_t {
  kExtension,
  kMediaType,
  kWidth,
  kHeight,
  kPages,
  kOrientation,
  kColour,
};

int32_t describe(const mr_call* call, const ImageHeader& header) {
  const mr_host* host = call->host;
  const char* media_type = media_type_of(header.format);
  const int32_t answers[] = {
      host->forward(call, 0, 0),
      describe_image(call, 0, header.format, header.width, header.height, header.pixels),
      set_result(call, kExtension, extension_of(header.format)),
      set_result(call, kMediaType, media_type),
      host->result_int(call, kWidth, header.width),
      host->result_int(call, kHeight, header.height),
      host->result_int(call, kPages, header.pages),
      host->result_int(call, kOrientation, header.orientation),
      set_result(call, kColour, colour_name(header.colour)),
  };
  for (const int32_t answer : answers) {
    if (answer != MR_OK) return answer;
  }
  return MR_OK;
}

int32_t run(const mr_call* call) {
  return run_guarded(call, [call] {
    ImageHeader header;
    const Problem problem = probe_image(view_of(call->inputs[0]), limits_of(call), &header);
    return problem ? fail_step(call, problem) : describe(call, header);
  });
}

constexpr mr_port kInputs[] = {
    {.size = sizeof(mr_port), .name = "image", .type = "blob", .doc = "The bytes as they came."},
};
constexpr mr_port kOutputs[] = {
    {.size = sizeof(mr_port),
     .name = "image",
     .type = "image",
     .doc = "The same bytes, now known to be an image."},
};
constexpr mr_port kResults[] = {
    {.size = sizeof(mr_port),
     .name = "extension",
     .type = "string",
     .doc = "jpg, png, gif, webp, tiff, avif or heic."},
    {.size = sizeof(mr_port),
     .name = "media_type",
     .type = "string",
     .doc = "What the bytes are, such as image/jpeg."},
    {.size = sizeof(mr_port),
     .name = "width",
     .type = "int",
     .doc = "Pixels of a row as stored, before orientation."},
    {.size = sizeof(mr_port),
     .name = "height",
     .type = "int",
     .doc = "Rows as stored, before orientation."},
    {.size = sizeof(mr_port),
     .name = "pages",
     .type = "int",
     .doc = "Frames of an animation, pages of a TIFF, else 1."},
    {.size = sizeof(mr_port),
     .name = "orientation",
     .type = "int",
     .doc = "EXIF's number, 1 to 8 (AVIF, HEIC: of what the container says); from 5 on, width and "
            "height are seen swapped."},
    {.size = sizeof(mr_port),
     .name = "colour",
     .type = "string",
     .doc = "gray, rgb, cmyk, palette, lab or other."},
};
constexpr mr_step kUpload = declare_step({
    .name = "upload",
    .doc = "Says what the bytes truly are (type by content, size, orientation, pages, colour) and "
           "refuses what is no image, is cut "
           "off, damaged or too large, before anything is decoded. Passes the bytes on untouched.",
    .inputs = kInputs,
    .params = {},
    .outputs = kOutputs,
    .results = kResults,
    .run = run,
});
constexpr const mr_step* kSteps[] = {&kUpload};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 = millrace::declare_plugin("upload", millrace::kSteps, nullptr);
