// EXIF: the few facts that we read from a block, and the block that we write in its place.
//
// It knows orientation, artist, copyright and resolution (which it does not write); everything else
// in a block (places, serial numbers, thumbnails, makers' secrets) is neither read nor ever
// written.
#pragma once

#include <string>

#include "steps/common/byte_view.h"

namespace millrace {

struct ExifFacts {
  int orientation = 1;  // 1 to 8
  std::string artist, copyright;
  double per_mm = 0;  // pixels on a millimetre, from left to right; 0: it does not say
};

inline constexpr size_t kExifTextMax = 4096;  // bytes of artist and of copyright that are kept
inline constexpr double kPerMmMax = 1e6;      // more is no resolution: light's waves are longer

// Reads IFD0 of an EXIF block (without the "Exif\0\0" before it). A block that makes no sense gives
// the defaults.
ExifFacts read_exif(ByteView block);

// The smallest block that says the same; empty when there is nothing to say.
std::string build_exif(const ExifFacts& facts);

}  // namespace millrace
