// crop: a part of the picture. A declaration around one operation of steps/common/picture.
#include "steps/common/picture/operations.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

int32_t run(const mr_call* call) {
  return run_operation(call, kCrop);
}

constexpr auto kParams = join_ports(kCropPorts, kOutputPorts);
constexpr mr_step kStep = declare_step({
    .name = "crop",
    .doc = "Cuts a box out of an image, or the largest box of a shape such as 1:1, placed by "
           "gravity or by what draws the eye.",
    .inputs = kImageInputs,
    .params = kParams,
    .outputs = kImageOutputs,
    .results = kPictureResults,
    .run = run,
    .reasons = kOperationReasons,
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("crop", millrace::kSteps, millrace::start_vips);
