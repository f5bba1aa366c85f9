// WebP: the chunks inside the RIFF, the frames of an animation, and the first bytes of each
// bitstream.
#include <fmt/core.h>

#include "steps/common/image_header.h"
#include "steps/common/webp_file.h"

namespace millrace {
namespace {

// Bitstream size and kind from a `VP8 ` or `VP8L` chunk.
Problem read_bitstream(ByteView file, const WebpChunk& chunk, uint32_t* width, uint32_t* height,
                       bool* alpha) {
  const uint64_t at = chunk.data.at;
  if (chunk.is("VP8L")) {
    if (chunk.data.size < 5 || file.u8(at) != 0x2F) return corrupt("WebP", "no VP8L header");
    const uint32_t bits = file.le32(at + 1);
    *width = (bits & 0x3FFF) + 1;
    *height = (bits >> 14 & 0x3FFF) + 1;
    *alpha = *alpha || (bits >> 28 & 1);
    return {};
  }
  if (chunk.data.size < 10 || !file.is(at + 3, "\x9d\x01\x2a") || (file.u8(at) & 1)) {
    return corrupt("WebP", "no VP8 key frame header");
  }
  if ((file.le24(at) >> 5) + 10 > chunk.data.size) {
    return corrupt("WebP", "its first partition is larger than its data");
  }
  *width = file.le16(at + 6) & 0x3FFF;
  *height = file.le16(at + 8) & 0x3FFF;
  return {};
}

Problem read_still(ByteView file, const WebpChunk& chunk, const ProbeLimits& limits,
                   ImageHeader* header) {
  uint32_t width = 0, height = 0;
  if (header->pages > 0) return {};  // a second picture is ignored by every decoder
  header->webp_lossless = chunk.is("VP8L");
  if (Problem problem = read_bitstream(file, chunk, &width, &height, &header->alpha))
    return problem;
  if (header->width != 0 && (width != header->width || height != header->height)) {
    return corrupt("WebP", fmt::format("its picture is {}x{}, its canvas {}x{}", width, height,
                                       header->width, header->height));
  }
  header->width = width;
  header->height = height;
  return count_page(width, height, limits, header);
}

Problem read_frame(ByteView file, const WebpChunk& chunk, const ProbeLimits& limits,
                   ImageHeader* header) {
  WebpFrame frame;
  if (!read_webp_frame(file, chunk, &frame)) {
    return corrupt("WebP", fmt::format("frame {} holds no picture", header->pages + 1));
  }
  uint32_t width = 0, height = 0;
  bool alpha = frame.alpha.data.size > 0;
  if (Problem problem = read_bitstream(file, frame.picture, &width, &height, &alpha))
    return problem;
  const bool same = width == frame.width && height == frame.height;
  if (!same || uint64_t{frame.x} + width > header->width ||
      uint64_t{frame.y} + height > header->height) {
    return corrupt(
        "WebP", fmt::format("frame {} ({}x{}) does not fit its canvas ({}x{})", header->pages + 1,
                            width, height, header->width, header->height));
  }
  if (header->pages == 0) header->webp_lossless = frame.picture.is("VP8L");
  header->alpha = header->alpha || alpha;
  return count_page(header->width, header->height, limits, header);
}

Problem read_canvas(ByteView file, const WebpChunk& chunk, const ProbeLimits& limits,
                    ImageHeader* header) {
  if (chunk.data.size < 10) return corrupt("WebP", "its VP8X header is too short");
  const uint8_t flags = file.u8(chunk.data.at);
  header->animated = flags & 2;
  header->alpha = flags & 0x10;
  header->width = file.le24(chunk.data.at + 4) + 1;
  header->height = file.le24(chunk.data.at + 7) + 1;
  ImageHeader canvas;  // is one frame of it within the limits?
  return count_page(header->width, header->height, limits, &canvas);
}

}  // namespace

Problem parse_webp(ByteView file, const ProbeLimits& limits, ImageHeader* header) {
  header->colour = ImageColour::kRgb;
  const uint64_t end = 8 + uint64_t{file.le32(4)};
  if (end > file.size) return truncated("WebP", fmt::format("its header says {}", end), file);
  const ByteView riff = file.sub({0, end});
  for (uint64_t at = 12; at + 8 <= end;) {
    WebpChunk chunk;
    if (!read_webp_chunk(riff, &at, &chunk)) {
      return truncated("WebP", fmt::format("it ends inside the chunk at byte {}", at), file);
    }
    Problem problem;
    if (chunk.is("VP8X")) {
      if (header->width != 0) continue;  // only the first chunk may be one
      problem = read_canvas(riff, chunk, limits, header);
    } else if (chunk.is("ANMF") && header->animated) {
      problem = read_frame(riff, chunk, limits, header);
    } else if ((chunk.is("VP8 ") || chunk.is("VP8L")) && !header->animated) {
      problem = read_still(riff, chunk, limits, header);
    } else if (chunk.is("EXIF")) {
      const uint64_t skip = riff.is(chunk.data.at, std::string_view("Exif\0\0", 6)) ? 6 : 0;
      header->exif = {chunk.data.at + skip, chunk.data.size - skip};
    }
    if (problem) return problem;
  }
  if (header->pages == 0) return corrupt("WebP", "it holds no picture");
  return {};
}

}  // namespace millrace
