// convert: no change of pixels; how the result is written is the business of the output options. As
// an entry of a list it has them as its own parameters, and changes what it is given.
#include "steps/common/picture/operations.h"
#include "steps/common/picture/ports.h"

namespace millrace {
namespace {

Problem make(const Params& params, PictureJob* job, OutputOptions* output, Operation*) {
  OutputOptions own;
  if (Problem problem = read_output(params, &own)) return problem;
  if (params.given("format")) output->format = own.format;
  if (params.given("quality")) output->quality = own.quality;
  if (params.given("lossless")) output->lossless = own.lossless;
  if (params.given("progressive")) output->progressive = own.progressive;
  if (params.given("effort")) output->effort = own.effort;
  if (params.given("metadata")) output->metadata = own.metadata;
  if (params.given("colours")) output->keep_profile = own.keep_profile;
  if (params.given("damaged")) job->strict = params.text("damaged") != "accept";
  if (params.given("background")) {
    std::copy(own.background, own.background + 3, output->background);
    output->has_background = true;
  }
  return {};
}

}  // namespace

const OperationKind kConvert = {"convert", kOutputPorts, make};

}  // namespace millrace
