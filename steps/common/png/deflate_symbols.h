// Deflate's symbols of lengths and distances (RFC 1951, 3.2.5), and counts of literals.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace millrace {

inline constexpr size_t kEndOfBlock = 256, kFirstLength = 257;  // below them are the literals
inline constexpr size_t kLiteralSymbols = 286, kDistanceSymbols = 30;

inline constexpr std::array<uint16_t, 29> kLengthBases = {
    3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
    31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
inline constexpr std::array<uint8_t, 29> kLengthExtraBits = {
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};

inline constexpr std::array<uint8_t, 259> kLengthSymbols = [] {
  std::array<uint8_t, 259> symbols = {};
  for (size_t symbol = 0; symbol < kLengthBases.size(); ++symbol) {
    for (size_t length = kLengthBases[symbol]; length < symbols.size(); ++length) {
      symbols[length] = static_cast<uint8_t>(symbol);
    }
  }
  return symbols;
}();

struct DistanceSymbol {
  uint32_t symbol, extra_bits, extra;
};

inline DistanceSymbol distance_symbol(uint32_t distance) {
  const uint32_t value = distance - 1;
  if (value < 2) return {value, 0, 0};
  const auto high = static_cast<uint32_t>(std::bit_width(value)) - 1;
  return {2 * high + (value >> (high - 1) & 1), high - 1, value & ((1u << (high - 1)) - 1)};
}

inline constexpr unsigned distance_extra_bits(size_t symbol) {
  return symbol < 4 ? 0 : static_cast<unsigned>(symbol) / 2 - 1;
}

// How often each byte stands in what is added. In lanes, since equal neighbours would wait for each
// other.
class ByteCounts {
 public:
  void add(std::span<const uint8_t> bytes) {
    size_t i = 0;
    for (; i + 4 <= bytes.size(); i += 4) {
      for (size_t lane = 0; lane < 4; ++lane) ++lanes_[lane][bytes[i + lane]];
    }
    for (; i < bytes.size(); ++i) ++lanes_[0][bytes[i]];
  }
  uint32_t of(size_t value) const {
    return lanes_[0][value] + lanes_[1][value] + lanes_[2][value] + lanes_[3][value];
  }

 private:
  std::array<std::array<uint32_t, 256>, 4> lanes_ = {};
};

inline int32_t match_extra_bits(uint32_t length, uint32_t distance) {
  // Without a branch: the lowest distances have as few as those after them.
  const int32_t of_distance = std::bit_width((distance - 1) | 2) - 2;
  return kLengthExtraBits[kLengthSymbols[length]] + of_distance;
}

}  // namespace millrace
