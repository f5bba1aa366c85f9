// A picture between two operations, and what every operation needs to know of it.
//
// The invariant: gray or RGB, with or without alpha behind; 8 or 16 bits a sample; upright; colours
// as sRGB codes them (or as the profile that is kept does). So 1 to 4 bands, tagged B_W, sRGB,
// GREY16 or RGB16. Everything else is made one of these when it is read, or refused.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "steps/common/picture/picture_job.h"
#include "steps/common/vips/vips_picture.h"

namespace millrace {

int width_of(const VipsPicture& picture);
int height_of(const VipsPicture& picture);
int bands_of(const VipsPicture& picture);
bool is_wide(const VipsPicture& picture);  // 16 bits a sample
inline bool has_alpha(const VipsPicture& picture) {
  return bands_of(picture) == 2 || bands_of(picture) == 4;
}
inline int colours_of(const VipsPicture& picture) {
  return bands_of(picture) >= 3 ? 3 : 1;
}

// The shape of a picture of the invariant.
RowShape shape_of(int bands, bool wide);

// Reads the picture into memory, so that operations may read it in any order; once is enough.
Problem to_memory(PictureJob* job, VipsPicture* picture);

// Brings foreign pixels into the invariant, colours through the embedded profile. With `keep` the
// profile of an RGB or gray picture is put into `profile` instead, and its pixels stay
// (kept_profile.h brings others among them).
Problem import_colours(PictureJob* job, bool keep, VipsPicture* picture, std::string* profile);

// Turns and mirrors as EXIF's `orientation` (1 to 8) says; needs the picture in memory if not 1
// or 2.
Problem apply_orientation(PictureJob* job, int orientation, VipsPicture* picture);

// 16 bits to 8, rounded.
Problem to_8_bits(PictureJob* job, VipsPicture* picture);
// Lays a picture with alpha over a colour; without alpha it stays.
Problem flatten(PictureJob* job, const uint8_t background[3], VipsPicture* picture);

// The samples, row after row, of an 8-bit picture.
Problem read_samples(PictureJob* job, const VipsPicture& picture, std::vector<uint8_t>* samples);
// A picture of samples that it copies.
Problem picture_of(const std::vector<uint8_t>& samples, int width, int height, int bands,
                   VipsPicture* picture);

// libvips' complaint; no problem when the host said stop.
Problem picture_problem(const PictureJob& job, const char* what);

// Lets the host hear how far the evaluation of this image is, and stop it.
void watch(PictureJob* job, VipsImage* image);

}  // namespace millrace
