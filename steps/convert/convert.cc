// convert: another format, or the same one written anew; no pixel changes but for what the format
// asks.
#include "steps/common/picture/picture_step.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

int32_t run(const mr_call* call) {
  return run_chain_step(call, 0, [](PictureJob*, Chain*) { return Problem{}; });
}

constexpr mr_step kStep = declare_step({
    .name = "convert",
    .doc =
        "Writes an image in another format, or in the same one anew: quality, lossless, "
        "progressive, effort, background for alpha, colours, metadata. Frames are kept where the "
        "format has them.",
    .inputs = kImageInputs,
    .params = kOutputPorts,
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
    millrace::declare_plugin("convert", millrace::kSteps, millrace::start_vips);
