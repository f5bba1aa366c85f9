// rotate: upright, turned, mirrored; of a JPEG without loss when that can be.
#include "steps/common/jpeg/lossless_jpeg.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/picture/rotate.h"
#include "steps/common/step_call.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

int32_t run(const mr_call* call) {
  return run_lossless_first(call, kRotate,
                            [&](const PictureJob& job, const OutputOptions& output,
                                ChainResult* result, Problem* problem) {
                              int rotation = 1;
                              *problem =
                                  read_rotation(Params(kRotatePorts, call->params), &rotation);
                              return !*problem && move_jpeg(job, output, rotation, Box(), result);
                            });
}

constexpr auto kParams = join_ports(kRotatePorts, kOutputPorts);
constexpr auto kResults = join_ports(kPictureResults, kUntouchedResult);
constexpr mr_step kStep = declare_step({
    .name = "rotate",
    .doc =
        "Makes an image upright by EXIF's orientation, then turns it by quarters and mirrors it. A "
        "JPEG whose size fits its blocks is turned without being decoded, without loss.",
    .inputs = kImageInputs,
    .params = kParams,
    .outputs = kImageOutputs,
    .results = kResults,
    .run = run,
    .reasons = kOperationReasons,
    .memory = chain_memory(12),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("rotate", millrace::kSteps, millrace::start_vips);
