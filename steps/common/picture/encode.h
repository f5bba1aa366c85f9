// Encoding: what a result should be, and making a file of pictures.
//
// It knows formats and metadata, not operations. What a format cannot hold is changed by the rules
// of steps/README.md: 16 bits become 8 where needed, alpha is laid over the background, a GIF gets
// a palette.
#pragma once

#include <string>
#include <vector>

#include "steps/common/picture/params.h"
#include "steps/common/picture/picture.h"

namespace millrace {

struct OutputOptions {
  ImageFormat format = ImageFormat::kUnknown;  // kUnknown: that of the input
  int quality = 0;                             // 1 to 100; 0: the format's default
  int lossless = -1;                           // of WebP; 1, 0, or -1: as the input is
  bool progressive = false;
  int effort = -1;  // 0 to 9; -1: the format's default
  uint8_t background[3] = {255, 255, 255};
  bool has_background = false;
  Metadata metadata = Metadata::kSafe;
  bool keep_profile = false;
  bool exact_palette = false;  // PNG: as few bits as hold every colour
};

// The values of kOutputPorts. BadParameter: the background is no colour.
Problem read_output(const Params& params, OutputOptions* options);

// What is to be encoded besides pixels.
struct PictureFacts {
  std::vector<int> delays;  // of an animation, milliseconds
  int loop = 0;             // 0: for ever
  int pages = 1;
  double per_mm = 0;  // resolution; 0: unknown
};

// The format that the result will have. Of a HEIC that of its input is JPEG, or PNG with alpha.
ImageFormat output_format(const PictureJob& job, const OutputOptions& options);
bool can_animate(ImageFormat format);

// Makes one file of a still, or of an animation whose frames stand below each other. For TIFF: of
// one page (tiff_join.h joins them). Unsupported: a side is beyond what the format can have.
Problem encode_picture(PictureJob* job, const OutputOptions& options, const PictureFacts& facts,
                       VipsPicture picture, std::string* file);

}  // namespace millrace
