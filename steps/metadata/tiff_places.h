// A TIFF without what may say where it was taken, its picture untouched.
#pragma once

#include <string>

#include "steps/common/byte_view.h"

namespace millrace {

// Of every page: GPS, XMP that speaks of GPS, IPTC and Photoshop's blocks are overwritten where
// they stand and leave the directory; the file keeps its length. Classic and BigTIFF. The file has
// passed parse_tiff().
std::string tiff_without_places(ByteView file);

}  // namespace millrace
