#include "steps/common/jpeg/lossless_jpeg.h"

#include "steps/common/icc.h"
#include "steps/common/jpeg/jpeg_turn.h"
#include "steps/common/picture/container.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/picture/rotate.h"
#include "steps/common/step_call.h"

namespace millrace {
namespace {

constexpr std::string_view kIccMark("ICC_PROFILE\0", 12);

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

}  // namespace

bool move_jpeg(const PictureJob& job, const OutputOptions& output, int rotation, const Box& box,
               ChainResult* result) {
  std::string profile;
  if (!stays_jpeg(job, output, &profile)) return false;
  const int orientation = orientation_after(job.header.orientation, rotation);
  const bool progressive = output.progressive || job.header.jpeg_process == 2;
  const std::string jpeg =
      turn_jpeg(job.file, orientation, progressive, {box.left, box.top, box.width, box.height});
  if (jpeg.empty()) return false;
  Extras extras = select_extras(job, output.metadata);
  extras.icc = profile;
  result->file = replace_metadata(ImageFormat::kJpeg, jpeg, extras);
  result->format = ImageFormat::kJpeg;
  const bool turned = orientation >= 5;
  const bool cut = box.width > 0;
  const uint32_t width = turned ? job.header.height : job.header.width;
  const uint32_t height = turned ? job.header.width : job.header.height;
  result->width = cut ? box.width : static_cast<int>(width);
  result->height = cut ? box.height : static_cast<int>(height);
  result->pages = 1;
  return true;
}

int32_t run_lossless_first(const mr_call* call, const OperationKind& kind,
                           const MoveFunction& move) {
  constexpr uint32_t kUntouched = sizeof kPictureResults / sizeof *kPictureResults;
  return run_guarded(call, [&] {
    PictureJob job;
    ChainResult result;
    OutputOptions output;
    job.call = call;
    job.file = view_of(call->inputs[0]);
    const Params ports(kOutputPorts, call->params + kind.params.count);
    job.strict = ports.text("damaged", "refuse") != "accept";
    Problem problem = read_output(ports, &output);
    if (!problem && job.strict) problem = probe_image(job.file, limits_of(call), &job.header);
    bool moved = false;
    if (!problem && job.strict) moved = move(job, output, &result, &problem);
    if (problem) return fail_picture(job, problem);
    const int32_t answer = moved ? finish_picture(&job, result) : run_operation(call, kind);
    return answer == MR_OK ? call->host->result_int(call, kUntouched, moved ? 1 : 0) : answer;
  });
}

}  // namespace millrace
