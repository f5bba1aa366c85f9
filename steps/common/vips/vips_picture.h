// VipsPicture: a libvips image that is owned; and loading one by the one loader that is named.
//
// It knows libvips, not steps. libvips is never asked what a file is: the caller has looked.
#pragma once

#include <functional>

#include "steps/common/image_header.h"

typedef struct _VipsImage VipsImage;

namespace millrace {

class VipsPicture {
 public:
  VipsPicture() = default;
  explicit VipsPicture(VipsImage* image) : image_(image) {}
  VipsPicture(VipsPicture&& other) noexcept : image_(other.release()) {}
  VipsPicture& operator=(VipsPicture&& other) noexcept;
  ~VipsPicture();
  VipsImage* get() const { return image_; }
  VipsImage* release();
  VipsPicture share() const;  // another owner of the same image

 private:
  VipsImage* image_ = nullptr;
};

struct VipsLoad {
  int page = 0;         // of a TIFF
  bool frames = false;  // all frames of a GIF or WebP, below each other
  int shrink = 1;       // of a JPEG or a still WebP: 1, 2, 4 or 8, in the decoder
  bool strict = true;   // damaged or missing picture data is an error
};

// Opens `bytes`, which must outlive the picture; rows are decoded when they are read, in order,
// once. Empty: libvips complains (take_vips_error()).
VipsPicture load_vips(ImageFormat format, ByteView bytes, const VipsLoad& load = {});

// What a picture that load_vips() opened is decoded from.
struct JpegSource {
  ByteView file;
  int shrink = 1;
  bool strict = true;
};
// Null: the picture is no JPEG of gray or RGB, or other pixels by now.
const JpegSource* untouched_jpeg(const VipsPicture& picture);
// `copy` has the pixels of `picture`, so it may be decoded from the same.
void share_source(const VipsPicture& picture, VipsPicture* copy);

// The profile that the file carried; empty: none. Lives as long as the image.
ByteView vips_profile(VipsImage* image);

// libvips' complaint as a problem: "the jpg image cannot be `what`: …". Memory is told from damage.
Problem vips_problem(ImageFormat format, const char* what);

// A row of pixels in, a row of pixels out; may be called on several threads.
using RowFunction = std::function<void(const void* in, void* out, size_t pixels)>;
// The same for functions that ask where they are: column and line of the first pixel.
using PlacedRowFunction =
    std::function<void(const void* in, void* out, size_t pixels, int x, int y)>;
// What comes out: a VipsBandFormat and a VipsInterpretation.
struct RowShape {
  int bands = 3;
  int format = 0;
  int interpretation = 0;
};
// The picture with each row run through `function`, when it is read. Empty: libvips complains.
VipsPicture map_rows(VipsPicture in, const RowShape& shape, RowFunction function);
VipsPicture map_placed_rows(VipsPicture in, const RowShape& shape, PlacedRowFunction function);

}  // namespace millrace
