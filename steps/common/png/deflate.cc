#include "steps/common/png/deflate.h"

#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "steps/common/wide.h"

namespace millrace {
namespace {

constexpr size_t kStoredMax = 65535;
// Four symbols of literals and seven bits that wait fit a word, and so does a whole match.
constexpr unsigned kLiteralBitsMax = 14, kDistanceBitsMax = 15;
static_assert(4 * kLiteralBitsMax + 7 <= 64 &&
              kLiteralBitsMax + 5 + kDistanceBitsMax + 13 + 7 <= 64);
constexpr uint64_t kStored = 0, kFixed = 1, kDynamic = 2;  // kinds of blocks
constexpr uint64_t kFixedEndOfBlock = 0;                   // in seven bits

// Noise has other codes a little further on; what is drawn is made so little of that codes count.
constexpr size_t kNoiseBlockBytes = 64 << 10;

// The lengths of codes are themselves coded.
constexpr size_t kLengthCodes = 19;
constexpr unsigned kLengthBitsMax = 7;
constexpr uint8_t kRepeat = 16, kZeros = 17, kManyZeros = 18;
constexpr std::array<uint8_t, kLengthCodes> kLengthOrder = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                            11, 4,  12, 3, 13, 2, 14, 1, 15};

struct LengthRun {
  uint8_t symbol, extra, extra_bits;
};

size_t find_runs(std::span<const uint8_t> lengths, LengthRun* runs) {
  size_t count = 0;
  for (size_t i = 0; i < lengths.size();) {
    const uint8_t length = lengths[i];
    size_t same = 1;
    while (i + same < lengths.size() && lengths[i + same] == length) ++same;
    i += same;
    if (length != 0) {
      runs[count++] = {length, 0, 0};
      --same;
    }
    while (same >= 3) {
      const size_t part = std::min<size_t>(same, length != 0 ? 6 : 138);
      const auto over = static_cast<uint8_t>(part - (part < 11 ? 3 : 11));
      runs[count++] = length != 0 ? LengthRun{kRepeat, over, 2}
                      : part < 11 ? LengthRun{kZeros, over, 3}
                                  : LengthRun{kManyZeros, over, 7};
      same -= part;
    }
    while (same-- > 0) runs[count++] = {length, 0, 0};
  }
  return count;
}

// How many of the codes there are, without those at the end that have no length.
template <size_t kSize>
size_t used(const std::array<HuffmanCode, kSize>& codes, size_t least) {
  size_t count = kSize;
  while (count > least && codes[count - 1].length == 0) --count;
  return count;
}

// Bits to where there is room for eight bytes more than they need.
struct BitWriter {
  uint8_t* to;
  uint64_t held;
  unsigned count;

  MILLRACE_INLINE void add(uint64_t bits, unsigned size) {
    held |= bits << count;
    count += size;
  }
  MILLRACE_INLINE void add(HuffmanCode code) { add(code.bits, code.length); }
  // Leaves seven bits at most.
  MILLRACE_INLINE void flush() {
    uint64_t bytes = held;
    if constexpr (std::endian::native == std::endian::big) bytes = __builtin_bswap64(bytes);
    std::memcpy(to, &bytes, sizeof bytes);
    to += count / 8;
    held >>= count & ~7u;
    count &= 7;
  }
};

}  // namespace

// How a block begins that has codes of its own.
struct Deflater::BlockHeader {
  size_t literals, distances, length_codes, runs;
  std::array<LengthRun, kLiteralSymbols + kDistanceSymbols> run;
  std::array<HuffmanCode, kLengthCodes> codes;
  uint64_t bits;
};

Deflater::Deflater(int effort) : effort_(effort), finder_(std::max(1, effort)) {
  output_ = {0x78, 0x5e};
}

void Deflater::add(std::span<const uint8_t> bytes) {
  checksum_ = isal_adler32(checksum_, bytes.data(), bytes.size());
  while (!bytes.empty()) {
    const size_t most = finder_.drawn() ? kBlockBytes : kNoiseBlockBytes;
    const size_t blocks = (bytes.size() + most - 1) / most;
    load(bytes.first((bytes.size() + blocks - 1) / blocks));
    bytes = bytes.subspan(block_bytes_);
    if (effort_ == 0) {
      write_stored();
      continue;
    }
    make_codes();
    const BlockHeader begin = header();
    if (begin.bits + body_bits() < block_bytes_ * 8) {
      write_block(begin);
    } else {
      write_stored();
    }
  }
}

uint64_t Deflater::tried(std::span<const uint8_t> bytes) {
  window_.clear();
  finder_.forget();
  load(bytes);
  make_codes();
  return header().bits + body_bits();
}

void Deflater::finish() {
  put(1, 1);  // the last block, of nothing
  put(kFixed, 2);
  put(kFixedEndOfBlock, 7);
  put(0, (8 - held_bits_) % 8);
  for (int shift = 24; shift >= 0; shift -= 8) {
    output_.push_back(static_cast<uint8_t>(checksum_ >> shift));
  }
}

void Deflater::load(std::span<const uint8_t> bytes) {
  const size_t kept = std::min<size_t>(window_.size(), MatchFinder::kReach);
  window_.erase(window_.begin(), window_.end() - static_cast<std::ptrdiff_t>(kept));
  window_.insert(window_.end(), bytes.begin(), bytes.end());
  block_bytes_ = bytes.size();
}

void Deflater::make_codes() {
  tail_ = finder_.find(window_, block_bytes_, &matches_);
  literal_counts_.fill(0);
  distance_counts_.fill(0);
  ByteCounts literals;
  std::span<const uint8_t> rest = block();
  for (const DeflateMatch& match : matches_) {
    literals.add(rest.first(match.literals));
    rest = rest.subspan(match.literals + match.length);
    ++literal_counts_[kFirstLength + kLengthSymbols[match.length]];
    ++distance_counts_[distance_symbol(match.distance).symbol];
  }
  literals.add(rest);
  for (size_t value = 0; value < 256; ++value) literal_counts_[value] = literals.of(value);
  literal_counts_[kEndOfBlock] = 1;
  build_huffman(literal_counts_, kLiteralBitsMax, literals_);
  build_huffman(distance_counts_, kDistanceBitsMax, distances_);
}

Deflater::BlockHeader Deflater::header() const {
  BlockHeader begin;
  begin.literals = used(literals_, kFirstLength);
  begin.distances = used(distances_, 1);
  std::array<uint8_t, kLiteralSymbols + kDistanceSymbols> lengths;
  for (size_t i = 0; i < begin.literals; ++i) lengths[i] = literals_[i].length;
  for (size_t i = 0; i < begin.distances; ++i) lengths[begin.literals + i] = distances_[i].length;
  begin.runs = find_runs({lengths.data(), begin.literals + begin.distances}, begin.run.data());
  std::array<uint32_t, kLengthCodes> counts = {};
  for (size_t i = 0; i < begin.runs; ++i) ++counts[begin.run[i].symbol];
  build_huffman(counts, kLengthBitsMax, begin.codes);
  begin.length_codes = kLengthCodes;
  while (begin.codes[kLengthOrder[begin.length_codes - 1]].length == 0) --begin.length_codes;
  begin.length_codes = std::max<size_t>(begin.length_codes, 4);
  begin.bits = 3 + 5 + 5 + 4 + 3 * begin.length_codes;
  for (size_t i = 0; i < begin.runs; ++i) {
    begin.bits += begin.codes[begin.run[i].symbol].length + begin.run[i].extra_bits;
  }
  return begin;
}

uint64_t Deflater::body_bits() const {
  uint64_t bits = 0;
  for (size_t i = 0; i < kLiteralSymbols; ++i) {
    const unsigned extra = i < kFirstLength ? 0u : kLengthExtraBits[i - kFirstLength];
    bits += uint64_t{literal_counts_[i]} * (literals_[i].length + extra);
  }
  for (size_t i = 0; i < kDistanceSymbols; ++i) {
    bits += uint64_t{distance_counts_[i]} * (distances_[i].length + distance_extra_bits(i));
  }
  return bits;
}

void Deflater::write_block(const BlockHeader& begin) {
  put(0, 1);  // it is not the last one
  put(kDynamic, 2);
  put(begin.literals - kFirstLength, 5);
  put(begin.distances - 1, 5);
  put(begin.length_codes - 4, 4);
  for (size_t i = 0; i < begin.length_codes; ++i) put(begin.codes[kLengthOrder[i]].length, 3);
  for (size_t i = 0; i < begin.runs; ++i) {
    const LengthRun& run = begin.run[i];
    put(begin.codes[run.symbol].bits, begin.codes[run.symbol].length);
    put(run.extra, run.extra_bits);
  }
  const size_t before = output_.size();
  output_.resize(before + body_bits() / 8 + 2 * sizeof held_);
  write_symbols(output_.data() + before);
}

void Deflater::write_symbols(uint8_t* to) {
  BitWriter out = {to, held_, held_bits_};
  const uint8_t* byte = block().data();
  const auto write_literals = [&](uint32_t size) {
    const uint8_t* stop = byte + size;
    for (; stop - byte >= 4; byte += 4) {
      for (size_t i = 0; i < 4; ++i) out.add(literals_[byte[i]]);
      out.flush();
    }
    for (; byte < stop; ++byte) out.add(literals_[*byte]);
    out.flush();
  };
  for (const DeflateMatch& match : matches_) {
    write_literals(match.literals);
    const uint8_t length = kLengthSymbols[match.length];
    const DistanceSymbol distance = distance_symbol(match.distance);
    out.add(literals_[kFirstLength + length]);
    out.add(match.length - kLengthBases[length], kLengthExtraBits[length]);
    out.add(distances_[distance.symbol]);
    out.add(distance.extra, distance.extra_bits);
    out.flush();
    byte += match.length;
  }
  write_literals(tail_);
  out.add(literals_[kEndOfBlock]);
  out.flush();
  held_ = out.held;
  held_bits_ = out.count;
  output_.resize(static_cast<size_t>(out.to - output_.data()));
}

void Deflater::write_stored() {
  std::span<const uint8_t> bytes = block();
  while (!bytes.empty()) {
    const size_t size = std::min(bytes.size(), kStoredMax);
    put(0, 1);
    put(kStored, 2);
    put(0, (8 - held_bits_) % 8);
    put(size, 16);
    put(size ^ 0xffff, 16);
    output_.insert(output_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    bytes = bytes.subspan(size);
  }
}

void Deflater::put(uint64_t bits, unsigned count) {
  held_ |= bits << held_bits_;
  for (held_bits_ += count; held_bits_ >= 8; held_bits_ -= 8) {
    output_.push_back(static_cast<uint8_t>(held_));
    held_ >>= 8;
  }
}

}  // namespace millrace
