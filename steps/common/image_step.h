// What every image step declares, and how it is called, in the same way.
//
// Only the plugin contract is known here.
#pragma once

#include <cstddef>
#include <exception>

#include "engine/abi/step.h"

namespace millrace {

// One for each Fault, and for memory that ran out.
inline constexpr mr_reason kImageReasons[] = {
    {sizeof(mr_reason), "not_an_image", "The bytes are no image of any kind; send an image.", 0},
    {sizeof(mr_reason), "unsupported",
     "An image of a kind that is not taken here; the message says which and what to do.", 0},
    {sizeof(mr_reason), "truncated", "The file is shorter than it says; send the whole file.", 0},
    {sizeof(mr_reason), "corrupt", "The file is damaged; send it again from the original.", 0},
    {sizeof(mr_reason), "too_many_pixels",
     "All frames together have more pixels than limits.pixels, or a side is absurd; send a smaller "
     "image.",
     0},
    {sizeof(mr_reason), "too_many_frames", "More than 10000 frames or pages; send fewer.", 0},
    {sizeof(mr_reason), "too_large", "Not enough memory for this image; send a smaller one.", 0},
};

struct Ports {
  const mr_port* first = nullptr;
  uint32_t count = 0;
  constexpr Ports() = default;
  template <size_t N>
  constexpr Ports(const mr_port (&ports)[N]) : first(ports), count(N) {}  // NOLINT: from an array
};

struct ImageStep {
  const char* name;
  const char* doc;
  Ports inputs, params, outputs, results;
  int32_t (*run)(const mr_call*);
};

// A pure step of the cpu lane, in its first version.
constexpr mr_step declare_step(const ImageStep& step) {
  return {
      .size = sizeof(mr_step),
      .name = step.name,
      .major = 1,
      .minor = 0,
      .effect = MR_PURE,
      .lane = MR_LANE_CPU,
      .doc = step.doc,
      .inputs = step.inputs.first,
      .input_count = step.inputs.count,
      .params = step.params.first,
      .param_count = step.params.count,
      .outputs = step.outputs.first,
      .output_count = step.outputs.count,
      .results = step.results.first,
      .result_count = step.results.count,
      .reasons = kImageReasons,
      .reason_count = sizeof kImageReasons / sizeof *kImageReasons,
      .settings = nullptr,
      .run = step.run,
  };
}

// The plugin of one such step.
constexpr mr_plugin declare_plugin(const char* name, const mr_step* const (&steps)[1],
                                   int32_t (*load)(char*, size_t)) {
  return {
      .size = sizeof(mr_plugin),
      .abi_major = MR_ABI_MAJOR,
      .abi_minor = MR_ABI_MINOR,
      .name = name,
      .version = "1.0.0",
      .steps = steps,
      .step_count = 1,
      .load = load,
      .start = nullptr,
  };
}

// The body of a step: no exception may cross the contract.
template <typename Body>
int32_t run_guarded(const mr_call* call, const Body& body) {
  try {
    return body();
  } catch (const std::exception& error) {  // out of memory is all that is left
    return call->host->fail(call, "too_large", error.what());
  }
}

}  // namespace millrace
