// blur: a Gaussian. A declaration around one operation of steps/common/picture.
#include "steps/common/picture/operations.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

int32_t run(const mr_call* call) {
  return run_operation(call, kBlur);
}

constexpr auto kParams = join_ports(kBlurPorts, kOutputPorts);
constexpr mr_step kStep = declare_step({
    .name = "blur",
    .doc = "Blurs an image with a Gaussian; alpha is multiplied in, so that transparent pixels "
           "give no colour.",
    .inputs = kImageInputs,
    .params = kParams,
    .outputs = kImageOutputs,
    .results = kPictureResults,
    .run = run,
    .reasons = kOperationReasons,
    .memory = chain_memory(12),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("blur", millrace::kSteps, millrace::start_vips);
