#include "steps/common/heif/heif_read.h"

#include "steps/common/heif/primaries.h"

namespace millrace {
namespace {

// Damage that was accepted when the file was probed is accepted now.
std::string find_picture(ByteView file, HeifPicture* picture) {
  const Problem problem = read_heif(file, picture);
  return picture->crop.width > 0 ? "" : problem.message;
}

std::string profile_in(ByteView file, const HeifPicture& picture, const HeifColour& meaning) {
  if (picture.icc.size > 0 && file.has(picture.icc.at, picture.icc.size)) {
    const ByteView icc = file.sub(picture.icc);
    return {reinterpret_cast<const char*>(icc.data), icc.size};
  }
  // A gray picture has no primaries, and its curve is taken for sRGB's.
  if (picture.colour.chroma == 0 || is_srgb(meaning.primaries, meaning.transfer)) return "";
  return profile_of(meaning.primaries, meaning.transfer);
}

}  // namespace

std::string read_heif_pixels(ByteView file, bool strict, HeifPixels* pixels) {
  HeifPicture picture;
  HeifPlanes colour, alpha;
  if (std::string failed = find_picture(file, &picture); !failed.empty()) return failed;
  std::string failed = decode_layer(file, picture.colour, strict, &colour);
  if (failed.empty() && picture.has_alpha) {
    failed = decode_layer(file, picture.alpha, strict, &alpha);
  }
  if (!failed.empty()) return failed;
  pixels->icc = profile_in(file, picture, picture.has_colour ? picture.meaning : colour.colour);
  return pixels->rows.prepare(std::move(colour), std::move(alpha), picture);
}

std::string read_heif_profile(ByteView file) {
  HeifPicture picture;
  if (!find_picture(file, &picture).empty()) return "";
  return profile_in(file, picture, picture.meaning);
}

}  // namespace millrace
