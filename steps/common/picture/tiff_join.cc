#include "steps/common/picture/tiff_join.h"

#include "steps/common/exif.h"

namespace millrace {
namespace {

constexpr uint16_t kStripOffsets = 273, kStripBytes = 279, kOrientation = 274, kArtist = 315,
                   kCopyright = 33432, kXmp = 700;

}  // namespace

Problem TiffJoiner::add(const std::string& tiff, const Extras& extras) {
  const TiffReader reader({reinterpret_cast<const uint8_t*>(tiff.data()), tiff.size()});
  std::vector<TiffEntry> made;
  uint64_t next = 0;
  if (writer_.size() + tiff.size() + extras.xmp.size() > 0xF0000000u) {
    return {Fault::kTooLarge, "the TIFF would have more than 4 GiB; send fewer pages"};
  }
  if (!reader.ok() || !reader.directory(reader.first_directory(), 4096, &made, &next)) {
    return corrupt("TIFF", "nothing was written");
  }
  const TiffEntry* offsets = find_tag(made, kStripOffsets);
  const TiffEntry* sizes = find_tag(made, kStripBytes);
  if (offsets == nullptr || sizes == nullptr) return corrupt("TIFF", "no strips were written");
  std::vector<TiffValue> values;
  for (const TiffEntry& entry : made) {
    const bool skipped = entry.tag == kStripOffsets || entry.tag == kOrientation;
    if (skipped || !entry.inside) continue;
    values.push_back(
        {entry.tag, entry.type, static_cast<uint32_t>(entry.count), reader.little_bytes(entry)});
  }
  TiffValue moved{kStripOffsets, 4, static_cast<uint32_t>(offsets->count), ""};
  for (uint64_t i = 0; i < offsets->count; ++i) {
    const ByteView strip = reader.file().sub({reader.value(*offsets, i), reader.value(*sizes, i)});
    moved.bytes += tiff_long(0, writer_.append(strip.data, strip.size)).bytes;
  }
  values.push_back(std::move(moved));
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
