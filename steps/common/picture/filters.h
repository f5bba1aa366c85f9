// The Gaussian that blur and sharpen share.
#pragma once

#include "steps/common/picture/operations.h"

namespace millrace {

// Convolves every band with a Gaussian, separably; edges repeat. The result has floating-point
// samples of the same range.
Problem gauss(PictureJob* job, double sigma, VipsPicture* picture);

// Multiplies the alpha into the colours as floats, and back; pictures without alpha only change
// type.
Problem premultiply(PictureJob* job, VipsPicture* picture);
// Back to samples of the invariant, rounded.
Problem unpremultiply(PictureJob* job, bool wide, VipsPicture* picture);

}  // namespace millrace
