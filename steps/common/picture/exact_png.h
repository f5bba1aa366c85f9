// A PNG of as few bits as hold every colour of the picture exactly: gray of 1, 2 or 4 bits, or a
// palette of up to 256 colours (with alpha) in 1, 2, 4 or 8 bits.
//
// libvips' own palettes are approximations; nothing is approximated here.
#pragma once

#include <string>

#include "steps/common/picture/picture.h"

namespace millrace {

// `done` says whether the picture had few enough colours; if not, nothing was written and `picture`
// is still whole. Reads the picture into memory.
Problem encode_exact_png(PictureJob* job, bool interlaced, VipsPicture* picture, std::string* file,
                         bool* done);

}  // namespace millrace
