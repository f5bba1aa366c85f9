// WebP structure: the chunks of a RIFF file and the frames of an animation, read and written.
//
// It knows containers, not bitstreams. Reading never leaves the view.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "steps/common/byte_view.h"

namespace millrace {

struct WebpChunk {
  char name[4] = {};
  Span data;   // the payload
  Span whole;  // with its eight bytes of header and its padding
  bool is(std::string_view other) const { return std::string_view(name, 4) == other; }
};

// Reads the chunk at `*at` and moves behind it. False: it does not lie within the view.
bool read_webp_chunk(ByteView riff, uint64_t* at, WebpChunk* chunk);

// One frame of an animation: where it stands, how long, and its picture.
struct WebpFrame {
  uint32_t x = 0, y = 0, width = 0, height = 0;
  uint32_t duration_ms = 0;
  uint8_t flags = 0;  // bit 1: do not blend; bit 0: dispose to background
  WebpChunk picture;  // `VP8 ` or `VP8L`
  WebpChunk alpha;    // `ALPH`, or empty
};

// Reads an ANMF chunk. False: it holds no picture, or its parts do not lie within it.
bool read_webp_frame(ByteView riff, const WebpChunk& anmf, WebpFrame* frame);

// "NAME", length, data, padding.
void append_webp_chunk(std::string* out, std::string_view name, std::string_view data);
// The payload of a VP8X chunk. Flags: 0x20 ICC, 0x10 alpha, 0x08 EXIF, 0x04 XMP, 0x02 animation.
std::string webp_canvas(uint8_t flags, uint32_t width, uint32_t height);
// The payload of an ANMF chunk around the chunks of a picture.
std::string webp_frame(const WebpFrame& frame, std::string_view picture_chunks);
// A file of these chunks.
std::string webp_riff(std::string_view chunks);

}  // namespace millrace
