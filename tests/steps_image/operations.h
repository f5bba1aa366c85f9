// What the tests of the picture steps share: calling them, and judging pictures.
#pragma once

#include <string>

#include "tests/steps_image/pictures.h"
#include "tests/steps_image/step_host.h"

namespace millrace::testing {

using ParamTexts = std::map<std::string, std::string>;

// The step of this name, in the plugin of this name.
inline StepAnswer run_picture_step(const std::string& step, const std::string& image,
                                   ParamTexts params = {}, const std::string& second = "") {
  StepRequest request{step, step, image, std::move(params)};
  request.second = second;
  return run_step(request);
}

inline StepAnswer transform(const std::string& image, const std::string& operations,
                            ParamTexts params = {}) {
  params["operations"] = operations;
  return run_picture_step("transform", image, std::move(params));
}

// The largest difference of two samples; 1e6 when the pictures have different shapes.
int worst_difference(const Picture& a, const Picture& b);
double mean_difference(const Picture& a, const Picture& b);

// The picture as EXIF's orientation wants it seen.
Picture upright(const Picture& picture, int orientation);

// Something with structure: smooth colours, edges and a little fixed noise.
Picture scene(uint32_t width, uint32_t height, int bands = 3, int bits = 8);

// An EXIF block: make, orientation, artist, copyright, a place, and how the picture was taken.
std::string exif_with_location(int orientation);

// The result, decoded as what the answer says it is; a failure of the test when the step failed.
Picture decoded(const StepAnswer& answer);

}  // namespace millrace::testing
