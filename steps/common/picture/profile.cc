#include "steps/common/picture/profile.h"

#include <vips/vips.h>

#include "steps/common/heif/heif_read.h"
#include "steps/common/vips/vips_picture.h"

namespace millrace {

std::string profile_description(ByteView profile) {
  constexpr uint64_t kTextMax = 256;
  std::string text;
  const uint32_t count = profile.be32(128);
  for (uint64_t i = 0; i < count && i < 256; ++i) {
    const uint64_t entry = 132 + i * 12;
    if (!profile.is(entry, "desc")) continue;
    const ByteView tag = profile.sub({profile.be32(entry + 4), profile.be32(entry + 8)});
    if (tag.is(0, "desc")) {
      const uint64_t size = tag.be32(8);
      for (uint64_t k = 0; k < size && k < kTextMax && tag.u8(12 + k) != 0; ++k) {
        const uint8_t c = tag.u8(12 + k);
        text += c >= 0x20 && c < 0x7F ? static_cast<char>(c) : '?';
      }
    } else if (tag.is(0, "mluc") && tag.be32(8) > 0) {
      const uint64_t size = tag.be32(20), at = tag.be32(24);
      for (uint64_t k = 0; k + 1 < size && k < 2 * kTextMax; k += 2) {
        const uint32_t c = tag.be16(at + k);
        if (c == 0) break;
        text += c >= 0x20 && c < 0x7F ? static_cast<char>(c) : '?';
      }
    }
    break;
  }
  return text;
}

ProfileFacts read_profile(const PictureJob& job) {
  ProfileFacts facts;
  std::string own;
  VipsPicture picture;
  ByteView profile;
  if (is_heif(job.header.format)) {
    own = read_heif_profile(job.file);  // libvips' way would decode it
    profile = view_of(own);
  } else {
    picture = load_vips(job.header.format, job.file);
    vips_error_clear();
    if (picture.get() == nullptr) return facts;
    profile = vips_profile(picture.get());
  }
  if (profile.size < 132 || !profile.is(36, "acsp")) return facts;
  for (uint64_t i = 16; i < 20; ++i) {
    const uint8_t c = profile.u8(i);
    if (c > 0x20 && c < 0x7F) facts.space += static_cast<char>(c);
  }
  facts.description = profile_description(profile);
  facts.bytes = static_cast<int64_t>(profile.size);
  return facts;
}

}  // namespace millrace
