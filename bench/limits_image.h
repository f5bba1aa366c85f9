// The physical limits of the image work: what the codec libraries need for one photograph with
// nothing around them.
//
// Each function does the whole work once, from memory to memory, on one thread, and exits the
// process with a message when a library fails: a limit is measured on good photographs only.
// Measuring time and CPU is the caller's.
#pragma once

#include <string>

namespace millrace {

// libjpeg-turbo: keep the luma coefficients, drop the others; what `jpegtran -grayscale` does.
void limit_coefficient_transform(const std::string& photo);

// libjpeg-turbo: decode the Y plane, encode it at quality 80.
void limit_luma_plane(const std::string& photo);

// libvips: jpegload, colourspace b-w, jpegsave at quality 80; one worker, no cache. Starts libvips
// at its first call.
void limit_vips_gray(const std::string& photo);

}  // namespace millrace
