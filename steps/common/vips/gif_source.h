// A GIF's frames as a picture of libvips, below each other. The frames are our own reader's
// (gif_frames.h), because libvips' one paints the background colour where browsers show nothing.
#pragma once

#include "steps/common/vips/vips_picture.h"

namespace millrace {

// As load_vips().
VipsPicture load_gif(ByteView bytes, const VipsLoad& load);

}  // namespace millrace
