// Pictures through libvips: load with the one loader by name, convert foreign colours, apply our
// gray formula, save.
//
// It knows pixels and profiles; which metadata a file carries is the business of the container code
// beside it. libvips' own notion of gray is not used anywhere. Everything streams: the memory is a
// few rows, and the compressed output.
#pragma once

#include <string>
#include <vector>

#include "steps/common/vips/vips_picture.h"
#include "steps/grayscale/job.h"

namespace millrace {

// What became of a picture.
struct GrayPicture {
  VipsPicture image;  // one band, or two with alpha; 8 or 16 bits; no metadata but a gray profile
  bool converted =
      false;  // through a profile, to sRGB: gamma information of the file no longer holds
};

// Loads `bytes` (of `format`, page `page` of a TIFF) and makes it gray. `profile` is used when not
// empty, for bytes that were cut out of their container. The bytes must outlive the picture.
Problem vips_gray(Job* job, ImageFormat format, ByteView bytes, int page, ByteView profile,
                  GrayPicture* gray);

// The whole JPEG of the job as gray bytes, row after row.
Problem vips_gray_pixels(Job* job, std::vector<uint8_t>* pixels);

// Savers; `out` gets a whole file.
Problem save_png(Job* job, const GrayPicture& gray, int bits, bool interlaced, std::string* out);
Problem save_webp(Job* job, const GrayPicture& gray, bool lossless, std::string* out);
// `compression` is the original's TIFF tag 259; one that gray cannot have becomes deflate.
Problem save_tiff(Job* job, const GrayPicture& gray, uint64_t compression, bool bilevel,
                  std::string* out);

}  // namespace millrace
