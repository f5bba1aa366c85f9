// compare: how alike two images look.
#include <algorithm>
#include <cmath>

#include "steps/common/picture/operation.h"
#include "steps/common/picture/picture_step.h"
#include "steps/common/picture/ssim.h"
#include "steps/common/step_call.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

constexpr double kPsnrMost = 100;  // of equal pictures, where it has no number

struct Facts {
  double ssim = 0, psnr = kPsnrMost;
  int worst = 0;
};

// One of the two, as RGB of 8 bits over white.
struct Side {
  PictureJob job;
  int width = 0, height = 0;
  std::vector<uint8_t> samples, luma;
};

Problem read_side(const mr_call* call, uint32_t input, Side* side) {
  constexpr uint8_t kWhite[3] = {255, 255, 255};
  side->job.call = call;
  side->job.file = view_of(call->inputs[input]);
  VipsPicture picture;
  Problem problem = open_picture(&side->job, &picture);
  if (!problem) problem = to_8_bits(&side->job, &picture);
  if (!problem) problem = flatten(&side->job, kWhite, &picture);
  if (!problem) problem = to_memory(&side->job, &picture);
  if (!problem) problem = check_decoded(side->job);
  if (problem || side->job.cancelled) return problem;
  side->width = width_of(picture);
  side->height = height_of(picture);
  const int bands = bands_of(picture);
  if (Problem trouble = read_samples(&side->job, picture, &side->samples)) return trouble;
  if (Problem trouble = read_luma(&side->job, std::move(picture), &side->luma)) return trouble;
  if (bands == 3) return {};
  std::vector<uint8_t> rgb;
  rgb.reserve(side->samples.size() * 3);
  for (const uint8_t sample : side->samples) rgb.insert(rgb.end(), 3, sample);
  side->samples = std::move(rgb);
  return {};
}

Facts compare(const Side& a, const Side& b) {
  Facts facts;
  double squares = 0;
  for (size_t i = 0; i < a.samples.size(); ++i) {
    const int difference = int{a.samples[i]} - int{b.samples[i]};
    facts.worst = std::max(facts.worst, std::abs(difference));
    squares += difference * difference;
  }
  const double mean = squares / static_cast<double>(a.samples.size());
  if (mean > 0) facts.psnr = std::min(kPsnrMost, 10 * std::log10(255.0 * 255.0 / mean));
  facts.ssim = ssim(a.luma.data(), b.luma.data(), a.width, a.height);
  return facts;
}

int32_t run(const mr_call* call) {
  return run_guarded(call, [call] {
    Side sides[2];
    for (uint32_t i = 0; i < 2; ++i) {
      Problem problem = read_side(call, i, &sides[i]);
      if (problem && i == 1) problem.message = "the reference: " + problem.message;
      if (problem || sides[i].job.cancelled) return fail_picture(sides[i].job, problem);
    }
    const Side &a = sides[0], &b = sides[1];
    if (a.width != b.width || a.height != b.height) {
      return fail_step(
          call, {Fault::kDifferent, "the image is " + std::to_string(a.width) + "x" +
                                        std::to_string(a.height) + ", the reference " +
                                        std::to_string(b.width) + "x" + std::to_string(b.height) +
                                        "; resize one of them first"});
    }
    const Facts facts = compare(a, b);
    const mr_host* host = call->host;
    const int32_t answers[] = {
        host->result_float(call, 0, facts.ssim), host->result_float(call, 1, facts.psnr),
        host->result_int(call, 2, facts.worst), host->result_int(call, 3, facts.worst == 0)};
    for (const int32_t answer : answers) {
      if (answer != MR_OK) return answer;
    }
    return MR_OK;
  });
}

constexpr mr_port kInputs[] = {
    make_port("image", "image",
              "JPEG, PNG, WebP, GIF, TIFF, AVIF or HEIC; its first frame or page."),
    make_port("reference", "image", "What it is compared with, of the same size."),
};
constexpr mr_port kResults[] = {
    make_port("ssim", "float", "Structural similarity of luma: 1 for equal pictures."),
    make_port("psnr", "float", "Of the RGB samples, in decibel; 100 for equal pictures."),
    make_port("worst", "int", "The largest difference of two samples."),
    make_port("same", "bool", "Whether all samples are equal."),
};
constexpr mr_reason kReasons[] = {
    kImageReasons[0],
    kImageReasons[1],
    kImageReasons[2],
    kImageReasons[3],
    kImageReasons[4],
    kImageReasons[5],
    kImageReasons[6],
    {sizeof(mr_reason), "different", "The two images have different sizes; resize one first.", 0},
};
constexpr mr_step kStep = declare_step({
    .name = "compare",
    .doc =
        "Says how alike two images of one size look: SSIM, PSNR, the largest difference. Both are "
        "taken upright, in sRGB, 8 bits, over white.",
    .inputs = kInputs,
    .params = {},
    .outputs = {},
    .results = kResults,
    .run = run,
    .reasons = kReasons,
    .memory = look_memory(16),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("compare", millrace::kSteps, millrace::start_vips);
