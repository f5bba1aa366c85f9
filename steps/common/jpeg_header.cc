// JPEG: the chain of marker segments up to EOI. Entropy-coded data is skipped by looking for the
// next marker.
#include <fmt/core.h>

#include "steps/common/image_header.h"

namespace millrace {
namespace {

constexpr uint8_t kSoi = 0xD8, kEoi = 0xD9, kSos = 0xDA, kDhp = 0xDE, kApp1 = 0xE1, kCom = 0xFE;

bool is_frame(uint8_t marker) {  // SOFn; C4, C8 and CC are tables
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

// Moves `at` behind the next marker and returns its code, 0 at the end of the file. Stuffed bytes,
// fill bytes, restart markers and stray bytes between segments (which cameras write and decoders
// skip) are passed over.
uint8_t next_marker(ByteView file, uint64_t* at) {
  while (*at < file.size) {
    const void* found = std::memchr(file.data + *at, 0xFF, file.size - *at);
    if (found == nullptr) break;
    *at = static_cast<uint64_t>(static_cast<const uint8_t*>(found) - file.data);
    while (file.u8(*at) == 0xFF && *at < file.size) *at += 1;
    if (*at >= file.size) break;
    const uint8_t marker = file.data[*at];
    *at += 1;
    const bool standalone = marker == 0 || marker == 1 || (marker >= 0xD0 && marker <= 0xD7);
    if (!standalone) return marker;
  }
  *at = file.size;
  return 0;
}

Problem read_frame(ByteView file, Span payload, uint8_t marker, const ProbeLimits& limits,
                   ImageHeader* header) {
  if (header->jpeg_components != 0) return corrupt("JPEG", "it has two frame headers");
  if (payload.size < 6) return corrupt("JPEG", "its frame header is too short");
  const uint64_t at = payload.at;
  const uint32_t components = file.u8(at + 5);
  header->bits = file.u8(at);
  header->height = file.be16(at + 1);
  header->width = file.be16(at + 3);
  header->jpeg_process = marker - 0xC0;
  if (header->height == 0) {
    return {Fault::kUnsupported,
            "the JPEG gives its height only behind the picture (DNL); save it anew"};
  }
  if (payload.size < 6 + 3 * components || components < 1 || components > 4) {
    return corrupt("JPEG", fmt::format("its frame header names {} components", components));
  }
  for (uint32_t i = 0; i < components; ++i) {
    const uint8_t sampling = file.u8(at + 6 + i * 3 + 1);
    if (sampling >> 4 < 1 || sampling >> 4 > 4 || (sampling & 15) < 1 || (sampling & 15) > 4) {
      return corrupt("JPEG", fmt::format("component {} has sampling factors {}x{}", i,
                                         sampling >> 4, sampling & 15));
    }
  }
  header->jpeg_components = static_cast<int>(components);
  header->colour = components <= 2   ? ImageColour::kGray
                   : components == 3 ? ImageColour::kRgb
                                     : ImageColour::kCmyk;
  return count_page(header->width, header->height, limits, header);
}

void note_segment(ByteView file, Span payload, uint8_t marker, ImageHeader* header) {
  if (marker == kApp1 && header->exif.size == 0 && payload.size > 6 &&
      file.is(payload.at, std::string_view("Exif\0", 5))) {
    header->exif = {payload.at + 6, payload.size - 6};
  }
  const bool kept = (marker >= 0xE0 && marker <= 0xEF) || marker == kCom;
  if (kept && header->jpeg_segments.size() < kJpegSegmentsMax) {
    header->jpeg_segments.push_back({marker, payload});
  }
}

}  // namespace

Problem parse_jpeg(ByteView file, const ProbeLimits& limits, ImageHeader* header) {
  uint64_t at = 2;
  for (;;) {
    const uint8_t marker = next_marker(file, &at);
    if (marker == 0) return truncated("JPEG", "its end marker is missing", file);
    if (marker == kEoi) break;
    if (marker == kSoi) return corrupt("JPEG", "a second image starts inside it");
    if (marker == kDhp) return {Fault::kUnsupported, "the JPEG is hierarchical; save it anew"};
    if (!file.has(at, 2)) return truncated("JPEG", "it ends inside a segment", file);
    const uint64_t length = file.be16(at);
    if (length < 2) return corrupt("JPEG", fmt::format("segment {:02X} has no length", marker));
    if (!file.has(at, length)) {
      return truncated(
          "JPEG", fmt::format("segment {:02X} at byte {} has {} bytes", marker, at - 2, length),
          file);
    }
    const Span payload{at + 2, length - 2};
    at += length;
    if (is_frame(marker)) {
      if (Problem problem = read_frame(file, payload, marker, limits, header)) return problem;
    } else if (marker == kSos) {
      if (header->jpeg_components == 0) return corrupt("JPEG", "a scan stands before the frame");
      if (++header->jpeg_scans > kJpegScansMax) {
        return corrupt("JPEG", fmt::format("it has more than {} scans", kJpegScansMax));
      }
    } else if (header->jpeg_scans == 0) {
      note_segment(file, payload, marker, header);
    }
  }
  if (header->jpeg_scans == 0) return corrupt("JPEG", "it ends before any picture data");
  return {};
}

}  // namespace millrace
