// Which box of a picture `crop` takes, as far as that can be said without looking at it.
#pragma once

#include "steps/common/picture/operations.h"

namespace millrace {

struct CropOptions {
  int left = -1, top = -1, width = 0, height = 0;  // left below 0: placed by gravity
  double aspect = 0;                               // width by height; 0: none
  std::string gravity;

  // Whether the picture decides where the box lies.
  bool looks() const { return left < 0 && (gravity == "attention" || gravity == "entropy"); }
};

// The parameters of kCropPorts, checked against each other.
Problem read_crop(const Params& params, CropOptions* options);
// The box in a picture of this size; of one that looks, its size. BadParameter: it begins outside.
Problem crop_box(const CropOptions& options, int width, int height, Box* box);

}  // namespace millrace
