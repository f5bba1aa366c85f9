// AVIF and HEIC to gray: the way of the other steps, since nothing of the file can stay.
#include <algorithm>

#include "steps/common/picture/operations.h"
#include "steps/grayscale/job.h"

namespace millrace {
namespace {

constexpr int kQualityDefault = 80;  // of AVIF, and of the JPEG that comes of a HEIC

OutputOptions output_of(const GrayOptions& options) {
  OutputOptions output;
  output.quality = options.quality > 0 ? options.quality : kQualityDefault;
  std::copy_n(options.background, 3, output.background);
  output.metadata = options.metadata;
  return output;
}

}  // namespace

Problem gray_heif(Job* job) {
  PictureJob picture;
  picture.call = job->call;
  picture.file = job->file;
  Params params(kGrayscale.params);
  ParamValue method;
  method.kind = MR_VALUE_STRING;
  method.text = job->options.method == GrayMethod::kLuminance ? "luminance" : "luma";
  if (Problem problem = params.set("grayscale", "method", method)) return problem;
  Chain chain;
  ChainResult result;
  chain.output = output_of(job->options);
  chain.operations.emplace_back();
  Problem problem = kGrayscale.make(params, &picture, &chain.output, &chain.operations.back());
  if (!problem) problem = run_chain(&picture, &chain, &result);
  job->cancelled = picture.cancelled;
  if (problem || job->cancelled) return problem;
  job->header.format = result.format;
  job->header.width = static_cast<uint32_t>(result.width);
  job->header.height = static_cast<uint32_t>(result.height);
  job->header.pixels = uint64_t{job->header.width} * job->header.height;
  job->write(result.file);
  return {};
}

}  // namespace millrace
