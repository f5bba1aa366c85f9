// Colours by the numbers of ITU-T H.273: what weight luma gives them, and a profile that says the
// same to those who read profiles.
#pragma once

#include <string>

namespace millrace {

// Shares of red, green and blue in luma; `matrix` is a MatrixCoefficients number. False: it is not
// such a matrix, or none that is known.
bool luma_weights(int matrix, int primaries, double weights[3]);

// Whether samples of these are sRGB's as near as a screen shows them. The video curves (BT.709,
// BT.601, BT.2020) are taken for sRGB's, as browsers do with pictures.
bool is_srgb(int primaries, int transfer);

// An ICC profile of a matrix and a curve. Primaries that are not known count as BT.709's.
std::string profile_of(int primaries, int transfer);

}  // namespace millrace
