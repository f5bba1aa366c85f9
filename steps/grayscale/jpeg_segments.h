// The metadata segments of a JPEG: what is read from the original, and which of them the gray one
// gets.
//
// It knows bytes only, no libjpeg.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "steps/grayscale/job.h"

namespace millrace {

// Puts the colour profile together; empty when there is none or a piece is missing.
std::vector<uint8_t> read_jpeg_profile(const Job& job);

// What stands behind JFIF: marker codes and payloads. `profile` is the gray profile to keep, or
// empty.
using JpegSegments = std::vector<std::pair<uint8_t, std::string>>;
JpegSegments gray_jpeg_segments(const Job& job, const std::vector<uint8_t>& profile);

}  // namespace millrace
