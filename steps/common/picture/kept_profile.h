// A kept profile: bringing colours of sRGB among samples that are meant by another profile.
//
// It knows PictureJob::profile and lcms through libvips. While no profile is kept, every colour
// stays as it is.
#pragma once

#include <array>
#include <vector>

#include "steps/common/picture/picture.h"

namespace millrace {

// Before colours come into a gray picture, or go from a coloured one: its profile would be no word
// about the result, so it becomes what sRGB codes so, with a note.
Problem make_room_for_colours(PictureJob* job, VipsPicture* picture);
Problem make_room_for_gray(PictureJob* job, VipsPicture* picture);

// Colours of sRGB, three bytes each, become samples as the kept profile means them: three bytes, of
// a gray profile three equal ones. Where it knows no way back (a scanner's may not), the picture
// goes to sRGB instead, with a note.
Problem fit_colours(PictureJob* job, VipsPicture* picture, std::vector<uint8_t>* colours);

// One colour that is to be laid behind or beside the picture, both as above.
using Colour = std::array<uint8_t, 3>;
inline bool is_gray(const Colour& colour) {
  return colour[0] == colour[1] && colour[1] == colour[2];
}
Problem fit_colour(PictureJob* job, const uint8_t srgb[3], VipsPicture* picture, Colour* colour);

}  // namespace millrace
