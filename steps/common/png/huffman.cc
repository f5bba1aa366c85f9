#include "steps/common/png/huffman.h"

#include <algorithm>
#include <array>

namespace millrace {
namespace {

constexpr unsigned kLengthMax = 15;

struct Leaf {
  uint32_t weight;
  uint16_t symbol;
};

// How long the code of each is, from the rarest up: Moffat and Katajainen's algorithm, in which the
// same places hold weights, then parents, then depths.
void find_depths(uint32_t* at, size_t leaves) {
  at[0] += at[1];
  size_t root = 0, leaf = 2;
  for (size_t next = 1; next + 1 < leaves; ++next) {
    const auto take = [&]() -> uint32_t {
      if (leaf >= leaves || (root < next && at[root] < at[leaf])) {
        const uint32_t weight = at[root];
        at[root++] = static_cast<uint32_t>(next);
        return weight;
      }
      return at[leaf++];
    };
    const uint32_t first = take();
    at[next] = first + take();
  }
  at[leaves - 2] = 0;
  for (size_t i = leaves - 2; i-- > 0;) at[i] = at[at[i]] + 1;
  size_t free = 1, used = 0, next = leaves;
  uint32_t depth = 0;
  size_t inner = leaves - 1;  // nodes from here up have had their turn
  while (free > 0) {
    while (inner > 0 && at[inner - 1] == depth) ++used, --inner;
    for (; free > used; --free) at[--next] = depth;
    free = 2 * used;
    used = 0;
    ++depth;
  }
}

// How many symbols of each length there are, once none is longer than may be: those that were are
// shortened, and others made longer until all fit again.
void limit_lengths(std::array<uint32_t, 33>* counts, unsigned length_max) {
  auto& count = *counts;
  uint32_t total = 0;  // of the room that there is, in shares of the longest code
  for (size_t length = length_max + 1; length < count.size(); ++length) {
    count[length_max] += count[length];
    count[length] = 0;
  }
  for (unsigned length = 1; length <= length_max; ++length) {
    total += count[length] << (length_max - length);
  }
  while (total > 1u << length_max) {
    unsigned length = length_max - 1;
    while (count[length] == 0) --length;
    --count[length];
    count[length + 1] += 2;
    --count[length_max];
    --total;
  }
}

uint16_t reversed(uint32_t code, unsigned length) {
  uint32_t out = 0;
  for (unsigned i = 0; i < length; ++i) out |= (code >> i & 1) << (length - 1 - i);
  return static_cast<uint16_t>(out);
}

}  // namespace

void build_huffman(std::span<const uint32_t> counts, unsigned length_max,
                   std::span<HuffmanCode> codes) {
  std::array<Leaf, kHuffmanSymbolsMax> leaves;
  size_t used = 0;
  for (size_t symbol = 0; symbol < counts.size(); ++symbol) {
    codes[symbol] = {};
    if (counts[symbol] > 0) leaves[used++] = {counts[symbol], static_cast<uint16_t>(symbol)};
  }
  // A code is whole with two symbols, whether they are needed or not: some readers insist.
  for (size_t symbol = 0; used < 2; ++symbol) {
    if (counts[symbol] == 0) leaves[used++] = {0, static_cast<uint16_t>(symbol)};
  }
  std::sort(leaves.begin(), leaves.begin() + static_cast<std::ptrdiff_t>(used),
            [](const Leaf& a, const Leaf& b) {
              return a.weight != b.weight ? a.weight < b.weight : a.symbol < b.symbol;
            });
  std::array<uint32_t, kHuffmanSymbolsMax> depths;
  for (size_t i = 0; i < used; ++i) depths[i] = leaves[i].weight;
  find_depths(depths.data(), used);
  std::array<uint32_t, 33> of_length = {};
  for (size_t i = 0; i < used; ++i) ++of_length[std::min<uint32_t>(depths[i], 32)];
  limit_lengths(&of_length, length_max);
  size_t next = used;
  for (unsigned length = 1; length <= length_max; ++length) {
    for (uint32_t i = 0; i < of_length[length]; ++i) {
      codes[leaves[--next].symbol].length = static_cast<uint8_t>(length);
    }
  }
  assign_huffman(codes);
}

void assign_huffman(std::span<HuffmanCode> codes) {
  std::array<uint32_t, kLengthMax + 2> next = {};
  for (const HuffmanCode& code : codes) ++next[code.length + 1u];
  next[1] = 0;
  for (size_t length = 1; length < next.size(); ++length) {
    next[length] = (next[length] + next[length - 1]) << 1;
  }
  for (HuffmanCode& code : codes) {
    if (code.length > 0) code.bits = reversed(next[code.length]++, code.length);
  }
}

}  // namespace millrace
