#include "steps/common/exif.h"

#include "steps/common/tiff_file.h"

namespace millrace {
namespace {

constexpr uint16_t kOrientation = 274, kArtist = 315, kCopyright = 33432;
constexpr uint16_t kAcross = 282, kUnit = 296;

// 0: none, or a shape of pixels without a unit.
double read_per_mm(const TiffReader& reader, const std::vector<TiffEntry>& entries) {
  constexpr uint64_t kInch = 2, kCentimetre = 3;
  const TiffEntry* across = find_tag(entries, kAcross);
  const TiffEntry* entry = find_tag(entries, kUnit);
  if (across == nullptr || across->type != 5 || across->count != 1) return 0;
  const std::string bytes = reader.little_bytes(*across);
  const ByteView ratio = view_of(bytes);
  if (!ratio.has(0, 8) || ratio.le32(4) == 0) return 0;
  const uint64_t unit = entry != nullptr ? reader.value(*entry) : kInch;
  const double number = static_cast<double>(ratio.le32(0)) / ratio.le32(4);
  const double per_mm = unit == kInch ? number / 25.4 : unit == kCentimetre ? number / 10 : 0;
  return per_mm <= kPerMmMax ? per_mm : 0;
}

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
  facts.per_mm = read_per_mm(reader, entries);
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
