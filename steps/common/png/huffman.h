// Huffman codes of limited length, as deflate has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace millrace {

inline constexpr size_t kHuffmanSymbolsMax = 288;

struct HuffmanCode {
  uint16_t bits;  // to be written from the lowest up
  uint8_t length;
};

// The code that makes the least of these counts with no symbol longer than `length_max` (at most
// 15, and long enough for all symbols). What is not counted has no code, except that there are
// always two.
void build_huffman(std::span<const uint32_t> counts, unsigned length_max,
                   std::span<HuffmanCode> codes);

// The canonical code of these lengths, which deflate agrees upon.
void assign_huffman(std::span<HuffmanCode> codes);

}  // namespace millrace
