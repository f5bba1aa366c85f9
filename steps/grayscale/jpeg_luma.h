// The quick way through the commonest JPEG: a whole gray file around copy_luma()'s scan.
#pragma once

#include "steps/grayscale/jpeg_codec.h"

namespace millrace {

// Writes the gray file when the picture is baseline, Huffman-coded, in one scan, and undamaged.
// `codec` has read the header and nothing else. False: nothing was written (or the job is
// cancelled); take libjpeg's way.
bool write_luma_copy(JpegCodec* codec);

}  // namespace millrace
