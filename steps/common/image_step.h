// What every image step declares, and how it is called, in the same way.
//
// Only the plugin contract is known here.
#pragma once

#include <array>
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

// The reasons of steps with parameters that only the step can check.
inline constexpr mr_reason kOperationReasons[] = {
    kImageReasons[0],
    kImageReasons[1],
    kImageReasons[2],
    kImageReasons[3],
    kImageReasons[4],
    kImageReasons[5],
    kImageReasons[6],
    {sizeof(mr_reason), "bad_parameter",
     "A parameter, or two of them together, make no sense; the message says which and what to "
     "write instead.",
     0},
};

struct Ports {
  const mr_port* first = nullptr;
  uint32_t count = 0;
  constexpr Ports() = default;
  template <size_t N>
  constexpr Ports(const mr_port (&ports)[N]) : first(ports), count(N) {}  // NOLINT: from an array
  template <size_t N>
  constexpr Ports(const std::array<mr_port, N>& ports)  // NOLINT: from an array
      : first(ports.data()), count(N) {}
};

struct Reasons {
  const mr_reason* first = kImageReasons;
  uint32_t count = sizeof kImageReasons / sizeof *kImageReasons;
  constexpr Reasons() = default;
  template <size_t N>
  constexpr Reasons(const mr_reason (&reasons)[N])  // NOLINT: from an array
      : first(reasons), count(N) {}
};

// A port in one line.
constexpr mr_port make_port(const char* name, const char* type, const char* doc,
                            const char* default_value = nullptr, int64_t min = 0, int64_t max = 0) {
  return {.size = sizeof(mr_port),
          .name = name,
          .type = type,
          .doc = doc,
          .default_value = default_value,
          .min = min,
          .max = max};
}

// One table after the other.
template <size_t A, size_t B>
constexpr std::array<mr_port, A + B> join_ports(const mr_port (&first)[A],
                                                const mr_port (&second)[B]) {
  std::array<mr_port, A + B> ports{};
  for (size_t i = 0; i < A; ++i) ports[i] = first[i];
  for (size_t i = 0; i < B; ++i) ports[A + i] = second[i];
  return ports;
}

// What a step takes at most (mr_step.memory_base and what follows); tests/steps_memory measures it.
struct Memory {
  uint64_t base = 0, per_pixel = 0, per_result_pixel = 0;
  const char* result_width = nullptr;
  const char* result_height = nullptr;
  const mr_memory* more = nullptr;
  uint32_t more_count = 0;
};

struct ImageStep {
  const char* name;
  const char* doc;
  Ports inputs, params, outputs, results;
  int32_t (*run)(const mr_call*);
  Reasons reasons = {};
  Memory memory = {};
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
      .reasons = step.reasons.first,
      .reason_count = step.reasons.count,
      .settings = nullptr,
      .run = step.run,
      .memory_base = step.memory.base,
      .memory_per_pixel = step.memory.per_pixel,
      .memory_per_result_pixel = step.memory.per_result_pixel,
      .result_width = step.memory.result_width,
      .result_height = step.memory.result_height,
      .memory = step.memory.more,
      .memory_count = step.memory.more_count,
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
