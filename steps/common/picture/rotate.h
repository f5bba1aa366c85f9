// Turns and mirrors as EXIF orientations: a number from 1 to 8 that says what has to be done.
#pragma once

#include "steps/common/picture/operations.h"

namespace millrace {

// Quarters clockwise, then `mirror`: none, horizontal (left for right) or vertical.
int orientation_of(int quarters, const std::string& mirror);
// What doing `first` and then `second` is.
int orientation_after(int first, int second);
// The parameters of kRotatePorts.
Problem read_rotation(const Params& params, int* orientation);

}  // namespace millrace
