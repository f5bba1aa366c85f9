// What every image step says to its host in the same way.
//
// Only the plugin contract is known here.
#pragma once

#include <cstring>
#include <string>

#include "engine/abi/step.h"
#include "steps/common/image_header.h"

namespace millrace {

inline int32_t fail_step(const mr_call* call, const Problem& problem) {
  return call->host->fail(call, fault_reason(problem.fault), problem.message.c_str());
}

inline int32_t set_result(const mr_call* call, uint32_t result, const char* text) {
  return call->host->result_string(call, result, text, std::strlen(text));
}

// Says what an image output is; `pixels` over all its frames or pages.
inline int32_t describe_image(const mr_call* call, uint32_t output, ImageFormat format,
                              uint32_t width, uint32_t height, uint64_t pixels) {
  const int32_t answer = call->host->describe(call, output, media_type_of(format), width, height);
  if (answer != MR_OK || pixels == uint64_t{width} * height) return answer;
  return call->host->pixels(call, output, pixels);
}

inline ByteView view_of(const mr_blob& blob) {
  return {blob.data, blob.size};
}

inline ProbeLimits limits_of(const mr_call* call) {
  ProbeLimits limits;
  limits.pixels_max = call->pixels_max;
  return limits;
}

// The plugin's text of a parameter; `otherwise` when it is absent.
inline std::string text_of(const mr_value& value, const char* otherwise) {
  return value.kind == MR_VALUE_STRING ? std::string(value.s, value.n) : otherwise;
}

}  // namespace millrace
