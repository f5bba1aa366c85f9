// What an AVIF or HEIC says besides its picture: read, and overwritten where it stands.
//
// Nothing moves, so that the picture is the same bit for bit and the file as long as it was, but
// for what is appended behind its last box.
#pragma once

#include "steps/common/picture/container.h"

namespace millrace {

// The first XMP packet; empty: none.
std::string find_heif_xmp(ByteView file);

// The file with EXIF and XMP replaced by what of `extras` fits into their places, and with all else
// that may speak of somebody made empty. What has no place in the file is not put in.
std::string replace_heif(std::string_view file, const Extras& extras);

}  // namespace millrace
