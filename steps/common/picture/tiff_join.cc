#include "steps/common/picture/tiff_join.h"

#include "steps/common/exif.h"

namespace millrace {
namespace {

constexpr uint16_t kArtist = 315, kCopyright = 33432, kXmp = 700;

}  // namespace

Problem TiffJoiner::add(const std::string& tiff, const Extras& extras) {
  if (writer_.size() + tiff.size() + extras.xmp.size() > 0xF0000000u) {
    return {Fault::kTooLarge, "the TIFF would have more than 4 GiB; send fewer pages"};
  }
  std::vector<TiffValue> values;
  if (!move_first_page(tiff, &writer_, &values)) return corrupt("TIFF", "no strips were written");
  const ByteView exif{reinterpret_cast<const uint8_t*>(extras.exif.data()), extras.exif.size()};
  const ExifFacts facts = read_exif(exif);
  if (!facts.artist.empty()) values.push_back(tiff_ascii(kArtist, facts.artist));
  if (!facts.copyright.empty()) values.push_back(tiff_ascii(kCopyright, facts.copyright));
  if (!extras.xmp.empty()) {
    values.push_back({kXmp, 1, static_cast<uint32_t>(extras.xmp.size()), extras.xmp});
  }
  writer_.add_page(std::move(values));
  return {};
}

}  // namespace millrace
