// HEVC's units: cutting a stream into them, and the one fact in them that must be known before a
// decoder sees them: how large a picture it would make.
//
// AV1 needs no such thing: its decoder takes a limit.
#pragma once

#include <functional>

#include "steps/common/byte_view.h"

namespace millrace {

struct HevcSize {
  uint32_t width = 0, height = 0;  // of the coded picture, before anything is cut off
};

// Of a sequence parameter set, its two bytes of header included. False: it makes no sense.
bool read_hevc_size(ByteView unit, HevcSize* size);

inline constexpr int kHevcSequenceSet = 33;
inline int hevc_unit_type(ByteView unit) {
  return unit.u8(0) >> 1 & 0x3F;
}
// Above 0: of a further view or a finer version, which is not decoded.
inline int hevc_unit_layer(ByteView unit) {
  return (unit.u8(0) & 1) << 5 | unit.u8(1) >> 3;
}

// Each unit of an item's bytes, which stand behind their lengths of `length_size` bytes. False: one
// leaves the bytes; `visit` said so.
using HevcVisit = std::function<bool(ByteView unit)>;
bool each_hevc_unit(ByteView bytes, unsigned length_size, const HevcVisit& visit);
// Each unit of a decoder configuration (`hvcC`).
bool each_configured_unit(ByteView config, const HevcVisit& visit);

}  // namespace millrace
