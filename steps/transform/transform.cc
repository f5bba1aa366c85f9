// transform: a list of operations as one chain, with one decode and one encode.
#include <algorithm>
#include <array>

#include "steps/common/picture/picture_step.h"
#include "steps/common/step_call.h"
#include "steps/common/vips/vips_start.h"
#include "steps/transform/operation_list.h"

namespace millrace {
namespace {

int32_t run(const mr_call* call) {
  return run_chain_step(call, 1, [call](PictureJob* job, Chain* chain) {
    const mr_value& operations = call->params[0];
    const std::string json = operations.s == nullptr ? "" : std::string(operations.s, operations.n);
    return read_operations(json, job, chain);
  });
}

constexpr mr_port kInputs[] = {
    kImageInputs[0],
    make_port("mark", "image?", "What the operation watermark lays over the image."),
};
constexpr mr_port kOwnParams[] = {
    make_port(
        "operations", "json",
        "A list of {\"type\": …, \"params\": {…}}, at most 32, run in order: resize, crop, "
        "rotate, blur, sharpen, watermark, dither, grayscale, convert (also called optimize), "
        "with the parameters of the steps of these names."),
};
constexpr auto kParams = join_ports(kOwnParams, kOutputPorts);
// As of a chain, by what the list says: in it are also the sizes and the format.
constexpr auto kMemory = [] {
  constexpr mr_memory kListed[] = {
      {sizeof(mr_memory), "operations", "webp", 0, kWebpResultMemory},
      {sizeof(mr_memory), "operations", "gif", 0, kGifResultMemory},
      {sizeof(mr_memory), "operations", "avif", 0, kAvifResultMemory},
  };
  std::array<mr_memory, std::size(kChainMemory) + std::size(kListed)> rows{};
  std::copy(std::begin(kListed), std::end(kListed),
            std::copy(std::begin(kChainMemory), std::end(kChainMemory), rows.begin()));
  return rows;
}();
constexpr Memory list_memory() {
  Memory memory = chain_memory(24);
  memory.result_width = "operations";
  memory.more = kMemory.data();
  memory.more_count = kMemory.size();
  return memory;
}

constexpr mr_step kStep = declare_step({
    .name = "transform",
    .doc = "Runs a list of operations on an image as one chain: it is decoded once, encoded once, "
           "and pixels flow through without being written down in between.",
    .inputs = kInputs,
    .params = kParams,
    .outputs = kImageOutputs,
    .results = kPictureResults,
    .run = run,
    .reasons = kOperationReasons,
    .memory = list_memory(),
});
constexpr const mr_step* kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1;
const mr_plugin mr_plugin_v1 =
    millrace::declare_plugin("transform", millrace::kSteps, millrace::start_vips);
