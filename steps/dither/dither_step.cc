// dither: few levels or few colours, and a file of as few bits as hold them.
#include "steps/common/picture/operations.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/step_call.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

constexpr uint32_t kOwnParams = sizeof kDitherPorts / sizeof *kDitherPorts;

// Lossy coding would undo the work: JPEG, AVIF and HEIC become PNG, a WebP a lossless one, unless
// asked for.
void choose_output(const PictureJob& job, OutputOptions* output) {
  output->exact_palette = true;
  if (output->lossless < 0 && output->format != ImageFormat::kAvif) output->lossless = 1;
  if (output->format != ImageFormat::kUnknown) return;
  const ImageFormat format = sniff_format(job.file);
  output->format = format == ImageFormat::kJpeg || is_heif(format) ? ImageFormat::kPng : format;
}

int32_t run(const mr_call* call) {
  return run_chain_step(call, kOwnParams, [call](PictureJob* job, Chain* chain) {
    choose_output(*job, &chain->output);
    chain->operations.emplace_back();
    return kDither.make(Params(kDitherPorts, call->params), job, &chain->output,
                        &chain->operations.back());
  });
}

constexpr auto kParams = join_ports(kDitherPorts, kOutputPorts);
constexpr mr_step kStep = declare_step({
    .name = "dither",
    .doc =
        "Reduces an image to few levels a channel, or to the colours of a palette, and spreads the "
        "error; alpha stays, gray stays gray. A PNG has as few bits as hold the result exactly; "
        "a JPEG becomes a PNG unless a format is given.",
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
    millrace::declare_plugin("dither", millrace::kSteps, millrace::start_vips);
