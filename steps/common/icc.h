// ICC profiles: only what decides whether a picture has to be converted.
//
// It knows matrix-and-curve RGB profiles well enough to say whether their curves are sRGB's, and
// the colour space of all others. Converting is lcms's work (through libvips).
#pragma once

#include "steps/common/byte_view.h"

namespace millrace {

enum class IccSpace { kNone, kGray, kRgb, kCmyk, kOther };  // kNone: not a profile

struct IccFacts {
  IccSpace space = IccSpace::kNone;
  bool srgb_curve = false;      // RGB: each channel decodes as sRGB does, within one 8-bit level
  bool srgb_primaries = false;  // RGB: and its primaries are sRGB's
};

IccFacts read_icc(ByteView profile);

}  // namespace millrace
