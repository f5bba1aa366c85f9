// One TIFF of several: the pages may differ in size and depth.
//
// It knows directories and strips, not pixels.
#pragma once

#include <string>

#include "steps/common/picture/container.h"
#include "steps/common/tiff_file.h"

namespace millrace {

class TiffJoiner {
 public:
  // Appends the first page of `tiff`, a file in strips, with artist and copyright of `exif` and the
  // packet of `extras`. TooLarge: the whole would have more than 4 GiB. Corrupt: it is no such
  // file.
  Problem add(const std::string& tiff, const Extras& extras);
  std::string take() { return writer_.take(); }

 private:
  TiffWriter writer_;
};

}  // namespace millrace
