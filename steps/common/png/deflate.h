// Deflater: a zlib stream of bytes as they come, made for the rows of pictures.
//
// It knows bytes, not pictures. The same bytes, added in the same pieces, give the same stream on
// every machine. Memory: 3 MB at most, whatever the length.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "steps/common/png/deflate_matches.h"
#include "steps/common/png/deflate_symbols.h"
#include "steps/common/png/huffman.h"

namespace millrace {

class Deflater {
 public:
  // Effort: 0 (stored) to 9, as zlib's levels.
  explicit Deflater(int effort);

  // Each call ends a block, so that kBlockBytes are worth a call.
  void add(std::span<const uint8_t> bytes);
  void finish();

  // What was made since the caller cleared it last.
  std::vector<uint8_t>& output() { return output_; }

  // How many bits these would be without any before, one block at most. Nothing is written.
  uint64_t tried(std::span<const uint8_t> bytes);

  static constexpr size_t kBlockBytes = size_t{256} << 10;  // at most

 private:
  struct BlockHeader;

  void load(std::span<const uint8_t> bytes);
  void make_codes();
  BlockHeader header() const;
  uint64_t body_bits() const;
  void write_block(const BlockHeader& header);
  void write_symbols(uint8_t* to);
  void write_stored();

  std::span<const uint8_t> block() const { return std::span(window_).last(block_bytes_); }
  void put(uint64_t bits, unsigned count);

  int effort_;
  MatchFinder finder_;
  std::vector<uint8_t> window_;  // what matches reach back to, and the block
  size_t block_bytes_ = 0;
  std::vector<DeflateMatch> matches_;
  uint32_t tail_ = 0;  // literals after the last of them
  std::array<uint32_t, kLiteralSymbols> literal_counts_ = {};
  std::array<uint32_t, kDistanceSymbols> distance_counts_ = {};
  std::array<HuffmanCode, kLiteralSymbols> literals_ = {};
  std::array<HuffmanCode, kDistanceSymbols> distances_ = {};
  std::vector<uint8_t> output_;
  uint64_t held_ = 0;  // bits that are no whole byte yet
  unsigned held_bits_ = 0;
  uint32_t checksum_ = 1;
};

}  // namespace millrace
