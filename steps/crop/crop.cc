// crop: a part of the picture; of a JPEG without loss when that can be.
#include "steps/common/picture/crop.h"

#include "steps/common/jpeg/lossless_jpeg.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

int32_t run(const mr_call* call) {
  return run_lossless_first(
      call, kCrop,
      [&](const PictureJob& job, const OutputOptions& output, ChainResult* result,
          Problem* problem) {
        CropOptions options;
        Box box;
        *problem = read_crop(Params(kCropPorts, call->params), &options);
        if (*problem || options.looks()) return false;
        const bool turned = job.header.orientation >= 5;
        const auto width = static_cast<int>(turned ? job.header.height : job.header.width);
        const auto height = static_cast<int>(turned ? job.header.width : job.header.height);
        *problem = crop_box(options, width, height, &box);
        return !*problem && move_jpeg(job, output, 1, box, result);
      });
}

constexpr auto kParams = join_ports(kCropPorts, kOutputPorts);
constexpr auto kResults = join_ports(kPictureResults, kUntouchedResult);
constexpr mr_step kStep = declare_step({
    .name = "crop",
    .doc = "Cuts a box out of an image, or the largest box of a shape such as 1:1, placed by "
           "gravity or by what draws the eye. A JPEG is cut without being decoded, without loss, "
           "when the box consists of its blocks.",
    .inputs = kImageInputs,
    .params = kParams,
    .outputs = kImageOutputs,
    .results = kResults,
    .run = run,
    .reasons = kOperationReasons,
    .memory = chain_memory(12, true),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("crop", millrace::kSteps, millrace::start_vips);
