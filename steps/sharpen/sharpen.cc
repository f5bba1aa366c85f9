// sharpen: an unsharp mask. A declaration around one operation of steps/common/picture.
#include "steps/common/picture/operations.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

int32_t run(const mr_call* call) {
  return run_operation(call, kSharpen);
}

constexpr auto kParams = join_ports(kSharpenPorts, kOutputPorts);
constexpr mr_step kStep = declare_step({
    .name = "sharpen",
    .doc = "Sharpens an image with an unsharp mask on its coded values; alpha stays.",
    .inputs = kImageInputs,
    .params = kParams,
    .outputs = kImageOutputs,
    .results = kPictureResults,
    .run = run,
    .reasons = kOperationReasons,
    .memory = chain_memory(16),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("sharpen", millrace::kSteps, millrace::start_vips);
