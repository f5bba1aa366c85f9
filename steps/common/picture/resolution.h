// Resolution: how many pixels a file says lie on a millimetre, and a JPEG's way of saying it.
//
// It knows EXIF, JFIF and PNG's pHYs. One number stands for both directions, the horizontal one.
#pragma once

#include <string>

#include "steps/common/picture/picture_job.h"

typedef struct _VipsImage VipsImage;

namespace millrace {

// Of the file: what its EXIF block says, else its own header (JFIF, pHYs). 0: it says nothing, or
// only a shape of pixels. Of a TIFF its first page.
double stated_per_mm(const PictureJob& job);
// Of a page of a TIFF that libvips has opened.
double page_per_mm(VipsImage* page);

// Dots per inch, rounded as JFIF's 16 bits hold them; 0: they do not.
int dots_per_inch(double per_mm);

// Of a JFIF segment (marker, length and payload): in dots per inch; 0: it does not say.
int jfif_density(std::string_view segment);
// The segment, or a new one where it is empty, saying so.
std::string with_density(std::string segment, int dots_per_inch);

}  // namespace millrace
