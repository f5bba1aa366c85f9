// Metadata as the containers carry it: taken out of a file and put into another, without touching
// the picture.
//
// It knows JPEG, PNG and WebP containers and GIF's extensions; no pixels. (A TIFF's metadata are
// tags of its directories: tiff_join.h. Those of AVIF and HEIC are items: heif_notes.h.)
#pragma once

#include <string>
#include <string_view>

#include "steps/common/picture/picture_job.h"

namespace millrace {

// What goes into a file.
struct Extras {
  std::string exif;   // a TIFF structure, without "Exif\0\0"
  std::string xmp;    // a packet
  std::string iptc;   // payload of a JPEG's APP13; no other format has it here
  std::string icc;    // used where the file carries no profile
  double per_mm = 0;  // resolution that a JPEG says in its JFIF segment; 0: as it is
};

// The file with all its metadata replaced by `extras`. A profile that it carries stays; so does
// what the picture needs (Adobe's transform, colour keys, resolution, frames). GIF: comments and
// XMP go, `extras` cannot be put in. AVIF, HEIC: what has no place already is left out. The file
// has passed probe_image(); others: unchanged.
std::string replace_metadata(ImageFormat format, std::string_view file, const Extras& extras);

// The chunks of a PNG without metadata that make it one with `extras`; they stand behind IHDR.
std::string png_chunks(const Extras& extras);

// What of the file's metadata a result may carry under this policy. Its orientation is 1 unless
// `orientation` says otherwise; with `location` false nothing says where it was taken.
Extras select_extras(const PictureJob& job, Metadata policy, int orientation = 1,
                     bool location = true);

// The EXIF block with IFD0's orientation set, if it has one; without its places if `location` is
// false. Offsets inside do not change: makers' notes stay readable.
std::string edit_exif(ByteView block, int orientation, bool location);

}  // namespace millrace
