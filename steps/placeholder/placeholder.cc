// placeholder: what a page can show before the picture has come.
#include <algorithm>
#include <cmath>

#include "steps/common/picture/operations.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/step_call.h"
#include "steps/common/vips/vips_start.h"
#include "steps/placeholder/hashes.h"

namespace millrace {
namespace {

constexpr int kSideMax = 100;
enum Param : uint32_t { kAcross, kDown };

// At most 100 pixels a side, RGBA.
Problem read_small(PictureJob* job, int* width, int* height, SmallPicture* small) {
  VipsPicture picture;
  if (Problem problem = open_picture(job, &picture)) return problem;
  *width = width_of(picture);
  *height = height_of(picture);
  const double factor = std::min(1.0, kSideMax / static_cast<double>(std::max(*width, *height)));
  small->width = std::max(1, static_cast<int>(std::lround(*width * factor)));
  small->height = std::max(1, static_cast<int>(std::lround(*height * factor)));
  if (Problem problem = scale_to(job, small->width, small->height, "lanczos3", false, &picture)) {
    return problem;
  }
  if (Problem problem = to_8_bits(job, &picture)) return problem;
  const auto bands = static_cast<size_t>(bands_of(picture));
  std::vector<uint8_t> samples;
  if (Problem problem = read_samples(job, picture, &samples)) return problem;
  for (size_t i = 0; i + bands <= samples.size(); i += bands) {
    const uint8_t* pixel = samples.data() + i;
    const bool colour = bands >= 3;
    small->rgba.insert(small->rgba.end(), {pixel[0], pixel[colour ? 1 : 0], pixel[colour ? 2 : 0],
                                           bands % 2 == 0 ? pixel[bands - 1] : uint8_t{255}});
  }
  return check_decoded(*job);
}

int32_t run(const mr_call* call) {
  return run_guarded(call, [call] {
    PictureJob job;
    SmallPicture small;
    int width = 0, height = 0;
    job.call = call;
    job.file = view_of(call->inputs[0]);
    const Problem problem = read_small(&job, &width, &height, &small);
    if (problem || job.cancelled) return fail_picture(job, problem);
    const std::string blur = blurhash(small, static_cast<int>(call->params[kAcross].i),
                                      static_cast<int>(call->params[kDown].i));
    const mr_host* host = call->host;
    const int32_t answers[] = {
        set_result(call, 0, blur.c_str()),
        set_result(call, 1, base64(thumbhash(small)).c_str()),
        set_result(call, 2, dominant_colour(small).c_str()),
        host->result_int(call, 3, width),
        host->result_int(call, 4, height),
    };
    for (const int32_t answer : answers) {
      if (answer != MR_OK) return answer;
    }
    return MR_OK;
  });
}

constexpr mr_port kParams[] = {
    make_port("across", "int", "Waves of the BlurHash from left to right.", "4", 1, 9),
    make_port("down", "int", "Waves of the BlurHash from top to bottom.", "3", 1, 9),
};
constexpr mr_port kResults[] = {
    make_port("blurhash", "string", "Text of 6 to 166 letters; knows no alpha."),
    make_port("thumbhash", "string", "About 25 bytes in base64; knows alpha and the shape."),
    make_port("colour", "string", "The dominant colour, #rrggbb."),
    make_port("width", "int", "Of the upright image, in pixels."),
    make_port("height", "int", "Of the upright image, in pixels."),
};
constexpr mr_step kStep = declare_step({
    .name = "placeholder",
    .doc = "Says what a page can show before the picture has come: a BlurHash, a ThumbHash, the "
           "dominant colour, and the size to keep free.",
    .inputs = kImageInputs,
    .params = kParams,
    .outputs = {},
    .results = kResults,
    .run = run,
    .memory = look_memory(12),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("placeholder", millrace::kSteps, millrace::start_vips);
