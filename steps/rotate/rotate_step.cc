// rotate: upright, turned, mirrored; of a JPEG without loss when that can be.
#include "steps/common/icc.h"
#include "steps/common/jpeg/jpeg_turn.h"
#include "steps/common/picture/container.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/picture/rotate.h"
#include "steps/common/step_call.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

constexpr std::string_view kIccMark("ICC_PROFILE\0", 12);
constexpr uint32_t kOwnParams = sizeof kRotatePorts / sizeof *kRotatePorts;

// The profile of a JPEG, joined from its parts; empty: none, or one that is not whole.
std::string jpeg_profile(const PictureJob& job) {
  std::string profile;
  for (uint32_t number = 1, count = 1; number <= count; ++number) {
    bool found = false;
    for (const JpegSegment& segment : job.header.jpeg_segments) {
      const ByteView part = job.file.sub(segment.payload);
      if (segment.marker != 0xE2 || !part.is(0, kIccMark) || part.u8(12) != number) continue;
      count = part.u8(13);
      profile.append(reinterpret_cast<const char*>(part.data) + 14, part.size - 14);
      found = true;
      break;
    }
    if (!found) return "";
  }
  return profile;
}

// What the lossless way needs besides a JPEG whose blocks fit: that nothing else is asked for.
bool stays_jpeg(const PictureJob& job, const OutputOptions& output, std::string* profile) {
  if (job.header.format != ImageFormat::kJpeg || output.quality != 0 || !job.strict ||
      output_format(job, output) != ImageFormat::kJpeg || job.header.bits != 8 ||
      job.header.colour == ImageColour::kCmyk) {
    return false;
  }
  *profile = jpeg_profile(job);
  const IccFacts icc =
      read_icc({reinterpret_cast<const uint8_t*>(profile->data()), profile->size()});
  const bool gray = job.header.colour == ImageColour::kGray;
  const bool srgb = profile->empty() || (icc.srgb_curve && icc.srgb_primaries && !gray);
  const bool fits = icc.space == (gray ? IccSpace::kGray : IccSpace::kRgb);
  if (srgb) profile->clear();
  return srgb || (output.keep_profile && fits);
}

// True: done, or cancelled.
bool turn_losslessly(PictureJob* job, const OutputOptions& output, int rotation,
                     ChainResult* result) {
  std::string profile;
  if (!stays_jpeg(*job, output, &profile)) return false;
  const int orientation = orientation_after(job->header.orientation, rotation);
  const bool progressive = output.progressive || job->header.jpeg_process == 2;
  std::string jpeg = turn_jpeg(job->file, orientation, progressive);
  if (jpeg.empty()) return false;
  Extras extras = select_extras(*job, output.metadata);
  extras.icc = profile;
  result->file = replace_metadata(ImageFormat::kJpeg, jpeg, extras);
  result->format = ImageFormat::kJpeg;
  result->width = static_cast<int>(orientation >= 5 ? job->header.height : job->header.width);
  result->height = static_cast<int>(orientation >= 5 ? job->header.width : job->header.height);
  result->pages = 1;
  return true;
}

int32_t run(const mr_call* call) {
  return run_guarded(call, [&] {
    PictureJob job;
    ChainResult result;
    OutputOptions output;
    int rotation = 1;
    job.call = call;
    job.file = view_of(call->inputs[0]);
    const Params ports(kOutputPorts, call->params + kOwnParams);
    job.strict = ports.text("damaged", "refuse") != "accept";
    Problem problem = read_output(ports, &output);
    if (!problem) problem = read_rotation(Params(kRotatePorts, call->params), &rotation);
    if (!problem && job.strict) problem = probe_image(job.file, limits_of(call), &job.header);
    if (problem) return fail_picture(job, problem);
    if (turn_losslessly(&job, output, rotation, &result)) {
      const int32_t answer = finish_picture(&job, result);
      return answer == MR_OK ? call->host->result_int(call, 5, 1) : answer;
    }
    const int32_t answer = run_operation(call, kRotate);
    return answer == MR_OK ? call->host->result_int(call, 5, 0) : answer;
  });
}

constexpr auto kParams = join_ports(kRotatePorts, kOutputPorts);
constexpr mr_port kOwnResults[] = {
    make_port("untouched", "bool", "Whether a JPEG was turned without decoding it, bit for bit."),
};
constexpr auto kResults = join_ports(kPictureResults, kOwnResults);
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
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("rotate", millrace::kSteps, millrace::start_vips);
