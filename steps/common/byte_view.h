// ByteView: bytes that somebody else owns, read at any offset without ever leaving them.
//
// It knows nothing of formats. A read that would leave the view gives 0: a parser first asks has()
// where it must tell the difference, and stays memory-safe where it forgets to.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace {

// A part of a file: offset from its first byte, and length.
struct Span {
  uint64_t at = 0;
  uint64_t size = 0;
};

struct ByteView {
  const uint8_t* data = nullptr;
  uint64_t size = 0;

  bool has(uint64_t at, uint64_t count) const { return at <= size && count <= size - at; }
  uint8_t u8(uint64_t at) const { return has(at, 1) ? data[at] : 0; }

  // Big-endian.
  uint32_t be16(uint64_t at) const { return uint32_t{u8(at)} << 8 | u8(at + 1); }
  uint32_t be32(uint64_t at) const { return be16(at) << 16 | be16(at + 2); }
  // Little-endian.
  uint32_t le16(uint64_t at) const { return uint32_t{u8(at + 1)} << 8 | u8(at); }
  uint32_t le24(uint64_t at) const { return uint32_t{u8(at + 2)} << 16 | le16(at); }
  uint32_t le32(uint64_t at) const { return le16(at + 2) << 16 | le16(at); }

  // Whether these bytes stand at `at`.
  bool is(uint64_t at, std::string_view bytes) const {
    return has(at, bytes.size()) && std::memcmp(data + at, bytes.data(), bytes.size()) == 0;
  }
  // The part of the view that the span names, cut to the view.
  ByteView sub(Span span) const {
    if (span.at > size) return {data, 0};
    return {data + span.at, span.size < size - span.at ? span.size : size - span.at};
  }
};

inline ByteView view_of(std::string_view bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

}  // namespace millrace
