// watermark: one picture over another. A declaration around one operation of steps/common/picture.
#include "steps/common/picture/operations.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

int32_t run(const mr_call* call) {
  return run_operation(call, kWatermark);
}

constexpr mr_port kInputs[] = {
    kImageInputs[0],
    make_port("mark", "image", "What is laid over it; its alpha counts, its first frame is taken."),
};
constexpr auto kParams = join_ports(kWatermarkPorts, kOutputPorts);
constexpr mr_step kStep = declare_step({
    .name = "watermark",
    .doc = "Lays a second image over the first: place, margin, opacity, size as a part of the "
           "picture's, once or repeated; on every frame.",
    .inputs = kInputs,
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
    millrace::declare_plugin("watermark", millrace::kSteps, millrace::start_vips);
