#include "steps/common/exif.h"

#include "steps/common/tiff_file.h"

namespace millrace {
namespace {

constexpr uint16_t kOrientation = 274, kArtist = 315, kCopyright = 33432;

}  // namespace

ExifFacts read_exif(ByteView block) {
  ExifFacts facts;
  const TiffReader reader(block);
  std::vector<TiffEntry> entries;
  uint64_t next = 0;
  if (!reader.ok() || !reader.directory(reader.first_directory(), 4096, &entries, &next)) {
    return facts;
  }
  if (const TiffEntry* entry = find_tag(entries, kOrientation)) {
    const uint64_t value = reader.value(*entry);
    if (value >= 1 && value <= 8) facts.orientation = static_cast<int>(value);
  }
  if (const TiffEntry* entry = find_tag(entries, kArtist)) {
    facts.artist = reader.text(*entry, kExifTextMax);
  }
  if (const TiffEntry* entry = find_tag(entries, kCopyright)) {
    facts.copyright = reader.text(*entry, kExifTextMax);
  }
  return facts;
}

std::string build_exif(const ExifFacts& facts) {
  std::vector<TiffValue> values;
  if (facts.orientation != 1) {
    values.push_back(tiff_short(kOrientation, static_cast<uint16_t>(facts.orientation)));
  }
  if (!facts.artist.empty()) values.push_back(tiff_ascii(kArtist, facts.artist));
  if (!facts.copyright.empty()) values.push_back(tiff_ascii(kCopyright, facts.copyright));
  if (values.empty()) return "";
  TiffWriter writer;
  writer.add_page(std::move(values));
  return writer.take();
}

}  // namespace millrace
