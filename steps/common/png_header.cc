// PNG: the chain of chunks up to IEND, with the check sums of the critical ones.
#include <fmt/core.h>

#include "steps/common/crc32.h"
#include "steps/common/image_header.h"

namespace millrace {
namespace {

std::string chunk_name(ByteView file, uint64_t at) {
  std::string name;
  for (uint64_t i = 0; i < 4; ++i) {
    const char c = static_cast<char>(file.u8(at + i));
    name += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? c : '?';
  }
  return name;
}

bool depth_is_legal(uint32_t colour, uint32_t bits) {
  switch (colour) {
    case 0:
      return bits == 1 || bits == 2 || bits == 4 || bits == 8 || bits == 16;
    case 3:
      return bits == 1 || bits == 2 || bits == 4 || bits == 8;
    case 2:
    case 4:
    case 6:
      return bits == 8 || bits == 16;
    default:
      return false;
  }
}

// Deflate says a run of 258 bytes with two bits at least, and none shorter.
constexpr uint64_t kInflatedMax = 1032;

// A lie that costs seconds to find out by inflating.
Problem check_picture_data(uint64_t compressed, uint64_t row_bits, const ImageHeader& header) {
  const uint64_t needed = header.height * (1 + (row_bits + 7) / 8);  // interlaced: a little more
  if (compressed * kInflatedMax >= needed) return {};
  return corrupt("PNG", fmt::format("{} bytes of compressed data cannot hold {}x{} pixels",
                                    compressed, header.width, header.height));
}

Problem read_ihdr(ByteView file, Span data, const ProbeLimits& limits, uint64_t* row_bits,
                  ImageHeader* header) {
  if (data.size != 13) return corrupt("PNG", "its header has the wrong length");
  header->width = file.be32(data.at);
  header->height = file.be32(data.at + 4);
  const uint32_t bits = file.u8(data.at + 8), colour = file.u8(data.at + 9);
  if (!depth_is_legal(colour, bits)) {
    return corrupt("PNG", fmt::format("colour type {} with {} bits does not exist", colour, bits));
  }
  if (file.u8(data.at + 10) != 0 || file.u8(data.at + 11) != 0 || file.u8(data.at + 12) > 1) {
    return corrupt("PNG", "its compression, filter or interlace method does not exist");
  }
  constexpr uint32_t kSamples[] = {1, 0, 3, 1, 2, 0, 4};  // of a pixel, by colour type
  *row_bits = uint64_t{header->width} * bits * kSamples[colour];
  header->bits = static_cast<int>(bits);
  header->alpha = colour == 4 || colour == 6;
  header->colour = colour == 3   ? ImageColour::kPalette
                   : colour >= 4 ? (colour == 4 ? ImageColour::kGray : ImageColour::kRgb)
                                 : (colour == 0 ? ImageColour::kGray : ImageColour::kRgb);
  return count_page(header->width, header->height, limits, header);
}

// An animation's frames: fcTL says one each; the default image may stand outside of the animation.
Problem count_frames(uint32_t frames, const ProbeLimits& limits, ImageHeader* header) {
  if (frames == 0) return {};
  header->animated = true;
  for (uint32_t i = header->pages; i < frames; ++i) {
    if (Problem problem = count_page(header->width, header->height, limits, header)) return problem;
  }
  return {};
}

Problem check_chunk(ByteView file, uint64_t at, uint64_t length) {
  for (uint64_t i = 0; i < 4; ++i) {
    const uint8_t c = file.u8(at + 4 + i) | 0x20;
    if (c < 'a' || c > 'z') {
      return corrupt("PNG", fmt::format("no chunk starts at byte {}", at));
    }
  }
  if (length > 0x7FFFFFFF) return corrupt("PNG", fmt::format("a chunk of {} bytes", length));
  if (!file.has(at, 12 + length)) {
    return truncated(
        "PNG",
        fmt::format("chunk {} at byte {} has {} bytes", chunk_name(file, at + 4), at, 12 + length),
        file);
  }
  const bool critical = (file.u8(at + 4) & 0x20) == 0;
  if (critical && crc32(file.data + at + 4, length + 4) != file.be32(at + 8 + length)) {
    return corrupt("PNG", fmt::format("the check sum of chunk {} at byte {} is wrong",
                                      chunk_name(file, at + 4), at));
  }
  return {};
}

}  // namespace

Problem parse_png(ByteView file, const ProbeLimits& limits, ImageHeader* header) {
  bool palette = false;
  uint64_t row_bits = 0, compressed = 0;
  uint32_t frames = 0;
  for (uint64_t at = 8;;) {
    if (!file.has(at, 8)) return truncated("PNG", "its end chunk is missing", file);
    const uint64_t length = file.be32(at);
    if (Problem problem = check_chunk(file, at, length)) return problem;
    const Span data{at + 8, length};
    const uint64_t type = at + 4;
    at += 12 + length;
    if (header->pages == 0 && !file.is(type, "IHDR")) {
      const bool apple = file.is(type, "CgBI");
      if (!apple) return corrupt("PNG", "it does not begin with its header");
      return {Fault::kUnsupported, "the PNG is in Apple's private variant; save it anew"};
    }
    if (file.is(type, "IHDR")) {
      if (header->pages > 0) return corrupt("PNG", "it has two headers");
      if (Problem problem = read_ihdr(file, data, limits, &row_bits, header)) return problem;
    } else if (file.is(type, "IDAT")) {
      compressed += length;
      if (header->colour == ImageColour::kPalette && !palette) {
        return corrupt("PNG", "its palette is missing");
      }
    } else if (file.is(type, "PLTE")) {
      if (length == 0 || length % 3 != 0 || length > 768) {
        return corrupt("PNG", fmt::format("a palette of {} bytes", length));
      }
      palette = true;
    } else if (file.is(type, "IEND")) {
      break;
    } else if (file.is(type, "tRNS")) {
      header->alpha = true;
    } else if (file.is(type, "fcTL")) {
      frames += 1;
    } else if (file.is(type, "eXIf")) {
      header->exif = data;
    } else if ((file.u8(type) & 0x20) == 0) {
      return corrupt("PNG", "it has the unknown critical chunk " + chunk_name(file, type));
    }
  }
  if (compressed == 0) return corrupt("PNG", "it has no picture data");
  if (Problem problem = check_picture_data(compressed, row_bits, *header)) return problem;
  return count_frames(frames, limits, header);
}

}  // namespace millrace
