// Reading the still picture of an AVIF or HEIC file.
#pragma once

#include "steps/common/heif/heif_rows.h"

namespace millrace {

struct HeifPixels {
  HeifRows rows;    // as stored: not yet turned
  std::string icc;  // the file's profile, or what its numbers mean when that is not sRGB; or empty
};

// The file has passed probe_image(). With `strict`, damage is an error. Not empty: why not; "out of
// memory" is in it when that was it.
std::string read_heif_pixels(ByteView file, bool strict, HeifPixels* pixels);

// The profile alone, without decoding.
std::string read_heif_profile(ByteView file);

}  // namespace millrace
