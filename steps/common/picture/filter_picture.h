// A picture through a RowFilter, into memory.
//
// It knows rows of pictures, not what the filter is for.
#pragma once

#include <functional>

#include "steps/common/picture/picture.h"
#include "steps/common/picture/row_filter.h"

namespace millrace {

// Pixels of the invariant to samples that can be mixed, and back.
struct RowCodec {
  bool bytes = false;  // the pixels are bytes that can be mixed as they are
  std::function<void(const void* from, float* to, size_t pixels)> read;
  std::function<void(const float* from, void* to, size_t pixels)> write;
};

// Samples of 8 or 16 bits as they are.
RowCodec plain_codec(int bands, bool wide);

// Whether a result of this size may be held in memory: larger pictures flow row by row.
bool fits_memory(int64_t width, int64_t height, int bands, bool wide);

// The picture becomes one of `across`' and `down`'s outputs; its own sides are what they filter.
Problem filter_picture(PictureJob* job, AxisFilter down, AxisFilter across, const RowCodec& codec,
                       VipsPicture* picture);

}  // namespace millrace
