#include "steps/common/picture/picture_step.h"

#include "steps/common/step_call.h"

namespace millrace {

int32_t fail_picture(const PictureJob& job, const Problem& problem) {
  return job.cancelled ? MR_CANCELLED : fail_step(job.call, problem);
}

int32_t finish_picture(PictureJob* job, const ChainResult& result) {
  const mr_call* call = job->call;
  const mr_host* host = call->host;
  const char* media_type = media_type_of(result.format);
  if (!job->write(result.file)) return MR_CANCELLED;
  const auto width = static_cast<uint32_t>(result.width);
  const auto height = static_cast<uint32_t>(result.height);
  const uint64_t pixels = uint64_t{width} * height * static_cast<uint64_t>(result.pages);
  const int32_t answers[] = {
      describe_image(call, 0, result.format, width, height, pixels),
      set_result(call, 0, extension_of(result.format)),
      set_result(call, 1, media_type),
      host->result_int(call, 2, result.width),
      host->result_int(call, 3, result.height),
      host->result_int(call, 4, result.pages),
  };
  for (const int32_t answer : answers) {
    if (answer != MR_OK) return answer;
  }
  return MR_OK;
}

int32_t run_chain_step(const mr_call* call, uint32_t first_output,
                       const std::function<Problem(PictureJob*, Chain*)>& make) {
  return run_guarded(call, [&] {
    PictureJob job;
    Chain chain;
    ChainResult result;
    job.call = call;
    job.file = view_of(call->inputs[0]);
    const Params output(kOutputPorts, call->params + first_output);
    job.strict = output.text("damaged", "refuse") != "accept";
    Problem problem = read_output(output, &chain.output);
    if (!problem) problem = make(&job, &chain);
    if (!problem && !job.cancelled) problem = run_chain(&job, &chain, &result);
    if (problem || job.cancelled) return fail_picture(job, problem);
    return finish_picture(&job, result);
  });
}

int32_t run_operation(const mr_call* call, const OperationKind& kind) {
  return run_chain_step(call, kind.params.count, [&](PictureJob* job, Chain* chain) {
    const Params params(kind.params, call->params);
    chain->operations.emplace_back();
    return kind.make(params, job, &chain->output, &chain->operations.back());
  });
}

}  // namespace millrace
