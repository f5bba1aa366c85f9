// Turning and cutting a JPEG without decoding it: its blocks are moved, mirrored and left out as
// coefficients.
//
// It knows libjpeg-turbo, not metadata: the result has none.
#pragma once

#include <string>

#include "steps/common/byte_view.h"

namespace millrace {

// A box of the turned picture; no width: all of it.
struct JpegBox {
  int left = 0, top = 0, width = 0, height = 0;
};

// The JPEG after `orientation` (1 to 8) was applied and the box cut out, with Huffman tables of its
// own; no pixel changes. Empty: it cannot be done without loss (the size is no multiple of its
// blocks where they would come to lie inside, or the box cuts through blocks), or the file is
// damaged. A box may end with the picture; that it ends with a block elsewhere is asked for so that
// nothing beyond it stays in the file unseen.
std::string turn_jpeg(ByteView file, int orientation, bool progressive, const JpegBox& box = {});

}  // namespace millrace
