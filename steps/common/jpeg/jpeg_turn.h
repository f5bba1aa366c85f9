// Turning a JPEG without decoding it: its blocks are moved and mirrored as coefficients.
//
// It knows libjpeg-turbo, not metadata: the result has none.
#pragma once

#include <string>

#include "steps/common/byte_view.h"

namespace millrace {

// The JPEG after `orientation` (1 to 8) was applied, with Huffman tables of its own; no pixel
// changes. Empty: it cannot be done without loss (the size is no multiple of its blocks where they
// would come to lie inside), or the file is damaged.
std::string turn_jpeg(ByteView file, int orientation, bool progressive);

}  // namespace millrace
