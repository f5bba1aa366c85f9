// resize: another size. A declaration around one operation of steps/common/picture.
#include "steps/common/picture/operations.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

int32_t run(const mr_call* call) {
  return run_operation(call, kResize);
}

constexpr auto kParams = join_ports(kResizePorts, kOutputPorts);
constexpr mr_step kStep = declare_step({
    .name = "resize",
    .doc =
        "Makes an image another size: five fits, gravity or attention, no enlargement unless asked "
        "for. Alpha never bleeds, 16 bits stay 16, every frame of an animation is resized.",
    .inputs = kImageInputs,
    .params = kParams,
    .outputs = kImageOutputs,
    .results = kPictureResults,
    .run = run,
    .reasons = kOperationReasons,
    .memory = chain_memory(12, true),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("resize", millrace::kSteps, millrace::start_vips);
