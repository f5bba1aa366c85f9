#include "steps/common/webp_file.h"

namespace millrace {
namespace {

void put(std::string* out, uint32_t value, int size) {
  for (int i = 0; i < size; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

bool read_webp_chunk(ByteView riff, uint64_t* at, WebpChunk* chunk) {
  if (!riff.has(*at, 8)) return false;
  const uint64_t size = riff.le32(*at + 4);
  if (!riff.has(*at + 8, size)) return false;
  std::memcpy(chunk->name, riff.data + *at, 4);
  chunk->data = {*at + 8, size};
  chunk->whole = {*at, 8 + size + (size & 1)};
  *at += chunk->whole.size;  // the last padding byte may be missing: the next read notices
  return true;
}

bool read_webp_frame(ByteView riff, const WebpChunk& anmf, WebpFrame* frame) {
  const uint64_t at = anmf.data.at;
  if (anmf.data.size < 16) return false;
  frame->x = riff.le24(at) * 2;
  frame->y = riff.le24(at + 3) * 2;
  frame->width = riff.le24(at + 6) + 1;
  frame->height = riff.le24(at + 9) + 1;
  frame->duration_ms = riff.le24(at + 12);
  frame->flags = riff.u8(at + 15) & 3;
  const ByteView inside{riff.data, at + anmf.data.size};
  for (uint64_t part = at + 16; part + 8 <= inside.size;) {
    WebpChunk chunk;
    if (!read_webp_chunk(inside, &part, &chunk)) return false;
    if (chunk.is("ALPH")) frame->alpha = chunk;
    if (chunk.is("VP8 ") || chunk.is("VP8L")) {
      frame->picture = chunk;
      return true;
    }
  }
  return false;
}

void append_webp_chunk(std::string* out, std::string_view name, std::string_view data) {
  out->append(name);
  put(out, static_cast<uint32_t>(data.size()), 4);
  out->append(data);
  if (data.size() % 2) out->push_back(0);
}

std::string webp_canvas(uint8_t flags, uint32_t width, uint32_t height) {
  std::string out;
  put(&out, flags, 4);
  put(&out, width - 1, 3);
  put(&out, height - 1, 3);
  return out;
}

std::string webp_frame(const WebpFrame& frame, std::string_view picture_chunks) {
  std::string out;
  put(&out, frame.x / 2, 3);
  put(&out, frame.y / 2, 3);
  put(&out, frame.width - 1, 3);
  put(&out, frame.height - 1, 3);
  put(&out, frame.duration_ms, 3);
  put(&out, frame.flags, 1);
  out.append(picture_chunks);
  return out;
}

std::string webp_riff(std::string_view chunks) {
  std::string out = "RIFF";
  put(&out, static_cast<uint32_t>(chunks.size() + 4), 4);
  out += "WEBP";
  out.append(chunks);
  return out;
}

}  // namespace millrace
