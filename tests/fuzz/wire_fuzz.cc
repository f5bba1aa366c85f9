// Fuzzes what a worker may send: the server reads every packet as hostile input. What it accepts
// lies within the packet and within the bounds it asked for.
#include <cstdint>
#include <string>

#include "engine/base/check.h"
#include "engine/base/limits.h"
#include "engine/worker/wire.h"

namespace millrace {
namespace {

constexpr size_t kPorts = 3;

bool within(std::string_view text, const uint8_t* data, size_t size) {
  const auto* begin = reinterpret_cast<const uint8_t*>(text.data());
  return text.empty() || (begin >= data && begin + text.size() <= data + size);
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  FrameCutter cutter(data, size);
  Frame frame;
  size_t frames_bytes = 0;
  while (cutter.next(&frame)) {
    CHECK(frame.payload >= data && frame.payload + frame.payload_bytes <= data + size);
    frames_bytes += frame.payload_bytes;
    CallEnd end;
    if (read_reply(frame.reader(), kPorts, kPorts, &end)) {
      CHECK(end.outputs.size() <= kPorts && end.results.size() <= kPorts);
      std::string packet;
      write_reply(frame.ticket, end, &packet);
      CHECK(!packet.empty());
    }
    FrameReader pieces = frame.reader();
    WirePiece piece;
    while (read_piece(&pieces, 8, &piece)) {
      CHECK(piece.extents.size() <= 8 && within(piece.text, data, size));
      if (pieces.left() == 0) break;
    }
    FrameReader texts = frame.reader();
    while (texts.ok() && !texts.at_end()) CHECK(within(texts.text(), data, size));
  }
  CHECK(frames_bytes <= size);
  CHECK(cutter.malformed() || cutter.at_end());
  return 0;
}
