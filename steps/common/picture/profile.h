// The colour profile of a file, as far as a person wants to know.
#pragma once

#include <string>

#include "steps/common/picture/picture_job.h"

namespace millrace {

struct ProfileFacts {
  std::string space;  // "RGB", "GRAY", "CMYK", …; empty: the file has no profile
  std::string description;
  int64_t bytes = 0;
};

// Opens the file for its header; damage gives no profile. Of AVIF and HEIC also what their numbers
// mean, where that is not sRGB.
ProfileFacts read_profile(const PictureJob& job);

// The name that a profile gives itself: ASCII, or the first language's, other letters as '?'.
std::string profile_description(ByteView profile);

}  // namespace millrace
