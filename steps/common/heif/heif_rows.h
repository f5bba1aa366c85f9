// Rows of RGB or gray out of decoded planes, as they are asked for.
//
// 8 bits give 8, 10 and 12 give 16. Chroma of half resolution is interpolated, its samples lying in
// the middle of those they belong to. Alpha comes last, and the colours are not multiplied by it.
#pragma once

#include "steps/common/heif/heif_planes.h"

namespace millrace {

class HeifRows {
 public:
  HeifRows() = default;
  // Not empty: why these planes cannot be shown.
  std::string prepare(HeifPlanes colour, HeifPlanes alpha, const HeifPicture& picture);

  uint32_t width() const { return crop_.width; }
  uint32_t height() const { return crop_.height; }
  bool wide() const { return colour_.bits > 8; }
  int bands() const { return (colour_.chroma == 0 ? 1 : 3) + (alpha_.plane[0].empty() ? 0 : 1); }

  // `count` pixels of row `y` from column `x` on. [any]
  void read(uint32_t x, uint32_t y, uint32_t count, uint8_t* out) const;

 private:
  enum class Coding { kGray, kMatrix, kIdentity, kGreenOrange };

  template <typename Out>
  void read_as(uint32_t x, uint32_t y, uint32_t count, Out* out) const;
  void read_plane(const HeifPlanes& planes, int plane, uint32_t x, uint32_t y, uint32_t count,
                  float* out) const;
  void read_chroma(int plane, uint32_t x, uint32_t y, uint32_t count, float* out) const;
  template <typename Out>
  void read_alpha(uint32_t x, uint32_t y, uint32_t count, Out* out) const;

  HeifPlanes colour_, alpha_;
  HeifCrop crop_;
  bool premultiplied_ = false;
  Coding coding_ = Coding::kMatrix;
  float luma_ = 1, black_ = 0;     // what luma is multiplied by, and what black is
  float chroma_ = 1, middle_ = 0;  // the same of chroma
  float red_ = 0, green_ = 0, green_red_ = 0, blue_ = 0;
  float alpha_scale_ = 1;
};

}  // namespace millrace
