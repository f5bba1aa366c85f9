// SSIM: how alike two gray pictures of one size look (Wang, Bovik, Sheikh, Simoncelli 2004): a
// Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, 255 levels, edges repeated,
// averaged over all pixels. 1: equal.
//
// A pure function of memory. It needs a few rows of floats beside the pictures.
#pragma once

#include <cstdint>
#include <vector>

#include "steps/common/picture/picture.h"

namespace millrace {

double ssim(const uint8_t* a, const uint8_t* b, int width, int height);

// The luma (BT.601, on coded values) of a picture laid over white, one byte a pixel.
Problem read_luma(PictureJob* job, VipsPicture picture, std::vector<uint8_t>* luma);

}  // namespace millrace
