// TIFF and BigTIFF: the chain of directories, and whether every strip and tile lies within the
// file.
#include <fmt/core.h>

#include <unordered_set>

#include "steps/common/image_header.h"
#include "steps/common/tiff_file.h"

namespace millrace {
namespace {

constexpr uint16_t kWidth = 256, kHeight = 257, kBits = 258, kPhotometric = 262, kOrientation = 274,
                   kSamples = 277, kStripOffsets = 273, kStripBytes = 279, kTileOffsets = 324,
                   kTileBytes = 325, kExtraSamples = 338;

// Directories may overlap, so the file's size does not bound the work: these do.
constexpr size_t kEntriesMax = 4096;         // of one directory
constexpr uint64_t kPiecesMax = 16'000'000;  // strips and tiles of all pages

ImageColour colour_of(uint64_t photometric) {
  switch (photometric) {
    case 0:
    case 1:
      return ImageColour::kGray;
    case 2:
    case 6:
      return ImageColour::kRgb;
    case 3:
      return ImageColour::kPalette;
    case 5:
      return ImageColour::kCmyk;
    case 8:
    case 9:
    case 10:
      return ImageColour::kLab;
    default:
      return ImageColour::kOther;
  }
}

struct Walk {
  const TiffReader& reader;
  ByteView file;
  uint64_t pieces = 0;
};

Problem check_pieces(Walk* walk, const std::vector<TiffEntry>& entries, uint32_t page) {
  const TiffEntry* offsets = find_tag(entries, kTileOffsets);
  const TiffEntry* sizes = find_tag(entries, kTileBytes);
  if (offsets == nullptr) {
    offsets = find_tag(entries, kStripOffsets);
    sizes = find_tag(entries, kStripBytes);
  }
  if (offsets == nullptr) return corrupt("TIFF", fmt::format("page {} has no picture data", page));
  if (!offsets->inside || (sizes != nullptr && !sizes->inside)) {
    return truncated("TIFF", fmt::format("page {}'s table of strips lies beyond its end", page),
                     walk->file);
  }
  walk->pieces += offsets->count;
  if (walk->pieces > kPiecesMax) {
    return corrupt("TIFF", fmt::format("it has more than {} strips and tiles", kPiecesMax));
  }
  for (uint64_t i = 0; i < offsets->count; ++i) {
    const uint64_t at = walk->reader.value(*offsets, i);
    const uint64_t size = sizes != nullptr ? walk->reader.value(*sizes, i) : 1;
    if (size > 0 && !walk->file.has(at, size)) {
      return truncated(
          "TIFF", fmt::format("page {}'s strip or tile {} is {} bytes at {}", page, i, size, at),
          walk->file);
    }
  }
  return {};
}

Problem read_page(Walk* walk, const std::vector<TiffEntry>& entries, const ProbeLimits& limits,
                  ImageHeader* header) {
  const auto value = [&](uint16_t tag, uint64_t otherwise) {
    const TiffEntry* entry = find_tag(entries, tag);
    return entry != nullptr && entry->inside ? walk->reader.value(*entry) : otherwise;
  };
  const uint64_t width = value(kWidth, 0), height = value(kHeight, 0);
  if (header->pages == 0) {
    header->width = static_cast<uint32_t>(width);
    header->height = static_cast<uint32_t>(height);
    header->bits = static_cast<int>(value(kBits, 1) & 0xFF);
    header->colour = colour_of(value(kPhotometric, 1));
    const uint64_t orientation = value(kOrientation, 1);
    header->orientation = orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1;
    header->alpha = find_tag(entries, kExtraSamples) != nullptr && value(kSamples, 1) > 1;
  }
  if (Problem problem = count_page(width, height, limits, header)) return problem;
  return check_pieces(walk, entries, header->pages);
}

}  // namespace

Problem parse_tiff(ByteView file, const ProbeLimits& limits, ImageHeader* header) {
  const TiffReader reader(file);
  if (!reader.ok()) return truncated("TIFF", "it ends inside its header", file);
  Walk walk{reader, file};
  std::unordered_set<uint64_t> seen;
  std::vector<TiffEntry> entries;
  for (uint64_t at = reader.first_directory(); at != 0;) {
    if (!seen.insert(at).second) return corrupt("TIFF", "its pages form a circle");
    uint64_t next = 0;
    if (!reader.directory(at, kEntriesMax, &entries, &next)) {
      return truncated(
          "TIFF",
          fmt::format("page {} is described at byte {}, not within it", header->pages + 1, at),
          file);
    }
    if (Problem problem = read_page(&walk, entries, limits, header)) return problem;
    at = next;
  }
  if (header->pages == 0) return corrupt("TIFF", "it has no page");
  return {};
}

}  // namespace millrace
