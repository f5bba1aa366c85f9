#include "steps/common/icc.h"

#include <cmath>

#include "steps/common/gray.h"

namespace millrace {
namespace {

Span find_tag(ByteView profile, std::string_view name) {
  const uint32_t count = profile.be32(128);
  for (uint64_t i = 0; i < count && i < 256; ++i) {
    const uint64_t at = 132 + i * 12;
    if (profile.is(at, name)) return {profile.be32(at + 4), profile.be32(at + 8)};
  }
  return {};
}

double fixed16(ByteView bytes, uint64_t at) {
  return static_cast<int32_t>(bytes.be32(at)) / 65536.0;
}

double eval_table(ByteView curve, uint32_t count, double x) {
  const double position = x * (count - 1);
  const auto index = static_cast<uint32_t>(position);
  const double low = curve.be16(12 + uint64_t{index} * 2);
  if (index + 1 >= count) return low / 65535;
  const double high = curve.be16(12 + uint64_t{index + 1} * 2);
  return (low + (high - low) * (position - index)) / 65535;
}

// A parametric curve; functions 0 to 4 of ICC.1:2010, 10.16.
double eval_parametric(ByteView curve, double x) {
  const uint32_t function = curve.be16(8);
  const double g = fixed16(curve, 12), a = fixed16(curve, 16), b = fixed16(curve, 20);
  const double c = fixed16(curve, 24), d = fixed16(curve, 28), e = fixed16(curve, 32),
               f = fixed16(curve, 36);
  const auto power = [&] { return std::pow(std::max(0.0, a * x + b), g); };
  switch (function) {
    case 0:
      return std::pow(x, g);
    case 1:
      return a != 0 && x >= -b / a ? power() : 0;
    case 2:
      return a != 0 && x >= -b / a ? power() + c : c;
    case 3:
      return x >= d ? power() : c * x;
    case 4:
      return x >= d ? power() + e : c * x + f;
    default:
      return -1;
  }
}

double eval(ByteView curve, double x) {
  if (curve.is(0, "para")) return eval_parametric(curve, x);
  if (!curve.is(0, "curv")) return -1;
  const uint32_t count = curve.be32(8);
  if (count == 0) return x;
  if (count == 1) return std::pow(x, curve.be16(12) / 256.0);
  if (count > 65536 || !curve.has(12, uint64_t{count} * 2)) return -1;
  return eval_table(curve, count, x);
}

// Compared where it is seen: a linear value is put back through sRGB's own curve.
bool is_srgb_curve(ByteView curve) {
  for (int i = 0; i <= 255; ++i) {
    const double x = i / 255.0;
    const double linear = eval(curve, x);
    if (!(linear >= 0 && linear <= 1.01)) return false;
    if (std::fabs(srgb_encode(std::min(1.0, linear)) - x) > 1.0 / 255) return false;
  }
  return true;
}

bool has_srgb_primaries(ByteView profile) {
  // sRGB's primaries adapted to D50, as every sRGB profile carries them.
  constexpr double kPrimaries[3][3] = {
      {0.4361, 0.2225, 0.0139}, {0.3851, 0.7169, 0.0971}, {0.1431, 0.0606, 0.7141}};
  constexpr std::string_view kTags[3] = {"rXYZ", "gXYZ", "bXYZ"};
  for (int channel = 0; channel < 3; ++channel) {
    const ByteView value = profile.sub(find_tag(profile, kTags[channel]));
    if (!value.is(0, "XYZ ") || value.size < 20) return false;
    for (int axis = 0; axis < 3; ++axis) {
      const double part = fixed16(value, 8 + static_cast<uint64_t>(axis) * 4);
      if (std::fabs(part - kPrimaries[channel][axis]) > 0.002) return false;
    }
  }
  return true;
}

}  // namespace

IccFacts read_icc(ByteView profile) {
  IccFacts facts;
  if (profile.size < 132 || !profile.is(36, "acsp")) return facts;
  if (profile.is(16, "GRAY")) {
    facts.space = IccSpace::kGray;
  } else if (profile.is(16, "CMYK")) {
    facts.space = IccSpace::kCmyk;
  } else if (profile.is(16, "RGB ")) {
    facts.space = IccSpace::kRgb;
    // A profile with a table of its own is not described by its curves.
    facts.srgb_curve = find_tag(profile, "A2B0").size == 0;
    for (std::string_view tag : {"rTRC", "gTRC", "bTRC"}) {
      facts.srgb_curve = facts.srgb_curve && is_srgb_curve(profile.sub(find_tag(profile, tag)));
    }
    facts.srgb_primaries = facts.srgb_curve && has_srgb_primaries(profile);
  } else {
    facts.space = IccSpace::kOther;
  }
  return facts;
}

}  // namespace millrace
