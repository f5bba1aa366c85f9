// The rows of a picture, from above, each once, by the shortest way there is.
#pragma once

#include <functional>

#include "steps/common/picture/picture.h"

namespace millrace {

// Gets `count` rows of samples, from row `y` on; they are there until it returns. An even `y`.
using TakeRows = std::function<void(int y, const uint8_t* const* rows, int count)>;

// Gives all rows of the picture, as whoever made them has them: the decoder of a JPEG to which
// nothing was done yet, else libvips. Its threads and the copies between its operations cost a
// tenth of a quick step. `what` is said of what fails: "decoded".
Problem read_rows(PictureJob* job, const VipsPicture& picture, const char* what,
                  const TakeRows& take);

}  // namespace millrace
