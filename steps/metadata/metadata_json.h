// What a file says of itself, as JSON.
//
// It knows headers, EXIF and ICC; nothing is decoded.
#pragma once

#include <string>

#include "steps/common/picture/picture_job.h"

namespace millrace {

// `location`: whether it says where the picture was taken.
std::string metadata_json(const PictureJob& job, bool location);

}  // namespace millrace
