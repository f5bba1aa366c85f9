// metadata: what a file says of itself; and the same file without what it should not say.
#include "steps/common/exif.h"
#include "steps/common/picture/container.h"
#include "steps/common/picture/params.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/step_call.h"
#include "steps/common/vips/vips_start.h"
#include "steps/metadata/metadata_json.h"
#include "steps/metadata/tiff_places.h"

namespace millrace {
namespace {

enum Param : uint32_t { kRemove, kLocation };

// That of the EXIF block, which in AVIF and HEIC turns nothing and need not be the picture's.
int orientation_in(const PictureJob& job) {
  const ImageHeader& header = job.header;
  return is_heif(header.format) ? read_exif(job.file.sub(header.exif)).orientation
                                : header.orientation;
}

// The file with the picture untouched, bit for bit.
Problem clean(const PictureJob& job, const std::string& remove, std::string* file) {
  const ImageHeader& header = job.header;
  const std::string_view whole(reinterpret_cast<const char*>(job.file.data), job.file.size);
  if (header.format == ImageFormat::kTiff) {
    if (remove != "location") {
      return {Fault::kUnsupported,
              "of a TIFF only the location can be removed; set remove to location, or convert it"};
    }
    *file = tiff_without_places(job.file);
    return {};
  }
  const Metadata policy = remove == "location" ? Metadata::kKeep
                          : remove == "unsafe" ? Metadata::kSafe
                                               : Metadata::kStrip;
  *file = replace_metadata(header.format, whole,
                           select_extras(job, policy, orientation_in(job), false));
  return {};
}

int32_t run(const mr_call* call) {
  return run_guarded(call, [call] {
    PictureJob job;
    job.call = call;
    job.file = view_of(call->inputs[0]);
    Problem problem = probe_image(job.file, limits_of(call), &job.header);
    if (problem) return fail_step(call, problem);
    const std::string remove = text_of(call->params[kRemove], "location");
    const std::string json = metadata_json(job, call->params[kLocation].i != 0);
    int32_t answer = call->host->result_json(call, 0, json.data(), json.size());
    if (answer != MR_OK) return answer;
    if (remove == "nothing") {
      answer = call->host->forward(call, 0, 0);
    } else {
      std::string file;
      problem = clean(job, remove, &file);
      if (problem) return fail_step(call, problem);
      answer = call->host->write(call, 0, file.data(), file.size());
    }
    if (answer != MR_OK) return answer;
    answer = describe_image(call, 0, job.header.format, job.header.width, job.header.height,
                            job.header.pixels);
    if (answer == MR_OK) answer = set_result(call, 1, extension_of(job.header.format));
    if (answer == MR_OK) answer = set_result(call, 2, media_type_of(job.header.format));
    return answer;
  });
}

constexpr mr_port kParams[] = {
    make_port("remove", "enum<nothing,location,unsafe,everything>",
              "From the output: nothing; where it was taken; all but orientation, artist and "
              "copyright; all but the orientation.",
              "location"),
    make_port("location", "bool", "Whether the JSON says where it was taken.", "false"),
};
constexpr mr_port kOutputs[] = {
    make_port("image", "image", "The same picture, bit for bit, with less said about it."),
};
constexpr mr_port kResults[] = {
    make_port("metadata", "json", "Size, kind, EXIF, profile; README.md lists the names."),
    make_port("extension", "string", "jpg, png, gif, webp, tiff, avif or heic."),
    make_port("media_type", "string", "Such as image/jpeg."),
};
constexpr mr_step kStep = declare_step({
    .name = "metadata",
    .doc =
        "Says what an image says of itself (size, EXIF, profile) as JSON, and gives the same image "
        "without places, or without all that is private; the picture itself is not touched.",
    .inputs = kImageInputs,
    .params = kParams,
    .outputs = kOutputs,
    .results = kResults,
    .run = run,
    .memory = look_memory(4),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("metadata", millrace::kSteps, millrace::start_vips);
