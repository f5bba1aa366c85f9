// GIF: the chain of blocks up to the trailer.
#include <fmt/core.h>

#include <algorithm>

#include "steps/common/gif_cover.h"
#include "steps/common/image_header.h"

namespace millrace {
namespace {

// Moves `at` behind a chain of sub-blocks. False: the file ends first.
bool skip_sub_blocks(ByteView file, uint64_t* at) {
  for (;;) {
    if (!file.has(*at, 1)) return false;
    const uint64_t length = file.u8(*at);
    if (!file.has(*at, 1 + length)) return false;
    *at += 1 + length;
    if (length == 0) return true;
  }
}

Problem read_frame(ByteView file, const ProbeLimits& limits, uint64_t* at, ImageHeader* header,
                   bool* fills) {
  if (!file.has(*at, 9)) return truncated("GIF", "it ends inside a frame", file);
  const uint64_t right = uint64_t{file.le16(*at)} + file.le16(*at + 4);
  const uint64_t bottom = uint64_t{file.le16(*at + 2)} + file.le16(*at + 6);
  if (file.le16(*at + 4) == 0 || file.le16(*at + 6) == 0) {
    return corrupt("GIF", fmt::format("frame {} has no pixels", header->pages + 1));
  }
  *fills = file.le16(*at) == 0 && file.le16(*at + 2) == 0 && right >= header->width &&
           bottom >= header->height;
  const uint8_t flags = file.u8(*at + 8);
  *at += 9;
  if (flags & 0x80) *at += uint64_t{3} << ((flags & 7) + 1);
  // Decoders grow the canvas for a frame that reaches beyond it.
  const uint64_t width = std::max<uint64_t>(header->width, right);
  const uint64_t height = std::max<uint64_t>(header->height, bottom);
  if (Problem problem = count_page(width, height, limits, header)) return problem;
  if (!file.has(*at, 1)) return truncated("GIF", "it ends inside a frame", file);
  const uint8_t code_size = file.u8(*at);
  if (code_size < 1 || code_size > 11) {
    return corrupt("GIF", fmt::format("frame {} has a code size of {}", header->pages, code_size));
  }
  *at += 1;
  if (!skip_sub_blocks(file, at)) return truncated("GIF", "it ends inside a frame", file);
  return {};
}

Problem read_extension(ByteView file, uint64_t* at, GifControl* control) {
  if (!file.has(*at, 1)) return truncated("GIF", "it ends inside an extension", file);
  if (file.u8(*at) == 0xF9) *control = read_gif_control(file, *at);
  *at += 1;
  if (!skip_sub_blocks(file, at)) return truncated("GIF", "it ends inside an extension", file);
  return {};
}

}  // namespace

Problem parse_gif(ByteView file, const ProbeLimits& limits, ImageHeader* header) {
  if (!file.has(0, 13)) return truncated("GIF", "it ends inside its header", file);
  header->colour = ImageColour::kPalette;
  header->width = file.le16(6);
  header->height = file.le16(8);
  if (header->width == 0 || header->height == 0) {
    return corrupt("GIF", fmt::format("it says it is {}x{} pixels", header->width, header->height));
  }
  const uint8_t flags = file.u8(10);
  header->bits = (flags & 7) + 1;
  uint64_t at = 13;
  if (flags & 0x80) at += uint64_t{3} << ((flags & 7) + 1);
  GifControl control;
  GifCover cover;
  for (;;) {
    if (!file.has(at, 1)) return truncated("GIF", "its trailer is missing", file);
    const uint8_t block = file.u8(at);
    at += 1;
    Problem problem;
    if (block == 0x3B) break;
    if (block == 0x2C) {
      bool fills = false;
      problem = read_frame(file, limits, &at, header, &fills);
      cover.add(fills, control);
      header->alpha = cover.open();
      control = {};
    } else if (block == 0x21) {
      problem = read_extension(file, &at, &control);
    } else if (block != 0) {  // some writers leave an extra zero between blocks
      problem = corrupt("GIF", fmt::format("unknown block {:02X} at byte {}", block, at - 1));
    }
    if (problem) return problem;
  }
  if (header->pages == 0) return corrupt("GIF", "it has no frame");
  header->animated = header->pages > 1;
  return {};
}

}  // namespace millrace
