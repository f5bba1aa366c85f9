#include "steps/common/png/deflate_matches.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "steps/common/png/deflate_symbols.h"
#include "steps/common/wide.h"

namespace millrace {
namespace {

constexpr uint32_t kFirst = MatchFinder::kReach;      // a position that 0 is out of reach of
constexpr uint32_t kPositionMax = uint32_t{1} << 31;  // then all is forgotten
constexpr unsigned kNearBits = 13, kHeadBits = 15;    // of the tables' sizes
constexpr uint32_t kWordBytes = 8;                    // that are read at a position

// Costs are in parts of a bit. What a match's two symbols cost is guessed: their codes come later.
constexpr int32_t kBit = 16;
constexpr int32_t kLiteralCostMax = 15 * kBit, kSymbolsCost = 10 * kBit;
static_assert(MatchFinder::kMatchMax * kLiteralCostMax <= UINT16_MAX);  // differences are exact

// What costs less in the mean is drawn, not photographed, and so is what has stood before.
constexpr int32_t kDrawnCost = 3 * kBit / 2;
constexpr uint32_t kPartBytes = 8 << 10, kRepeatsPercent = 75;
// Of noise, all that is so far away stands there by chance once in so many bits.
constexpr int32_t kChanceBits = 24;
constexpr unsigned kKeyBytesMin = 4, kKeyBytesDrawn = 5, kKeyBytesMax = kWordBytes;

struct Effort {
  uint32_t depth;        // candidates that are looked at
  uint32_t noise_depth;  // where there is noise
  uint32_t enough;       // a match so long is taken at once
  bool lazy;             // the next position may have a better one
};
constexpr Effort kEfforts[] = {{},
                               {1, 1, 16, false},
                               {4, 1, 32, false},
                               {8, 1, 32, true},
                               {16, 2, 64, true},
                               {64, 2, 128, true},
                               {128, 2, 258, true},
                               {256, 4, 258, true},
                               {512, 16, 258, true},
                               {1024, 128, 258, true}};

// The logarithm to base 2 of a ratio of at least 1, in parts of a bit, the same on every machine.
int32_t bits_of(uint64_t whole, uint64_t part) {
  const uint64_t ratio = whole * kBit / part;
  const auto high = std::bit_width(ratio) - 1;
  return (high - 5) * kBit + static_cast<int32_t>(ratio * kBit >> high);
}

MILLRACE_INLINE uint64_t word_at(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}

MILLRACE_INLINE uint32_t common_bytes(const uint8_t* a, const uint8_t* b, uint32_t most) {
  uint32_t length = 0;
  while (length + kWordBytes <= most) {
    const uint64_t differ = word_at(a + length) ^ word_at(b + length);
    if (differ != 0) return length + static_cast<uint32_t>(std::countr_zero(differ)) / 8;
    length += kWordBytes;
  }
  while (length < most && a[length] == b[length]) ++length;
  return length;
}

struct Found {
  int32_t gain = 0;  // in parts of a bit
  uint32_t length = 0, distance = 0;
};

}  // namespace

// The state of one call, where the compiler sees that nothing else changes it.
struct MatchFinder::Search {
  const uint8_t* bytes;   // that at position `next`
  const uint16_t* costs;  // of what is before it
  uint32_t next, end;
  uint32_t *near, *heads, *chain;
  unsigned unkeyed_bits;  // of the word at a position, that need not be alike
  uint32_t depth, enough;
  bool lazy;
  uint32_t reached, literals;  // where it is, and where those begin that no match has
  uint32_t matched;            // bytes

  const uint8_t* at(uint32_t position) const {
    return bytes + static_cast<int32_t>(position - next);
  }
  uint32_t& near_head(uint64_t word) const {
    return near[static_cast<uint32_t>(word << 8) * 0x9E3779B1u >> (32 - kNearBits)];
  }
  uint32_t& head(uint64_t word) const {
    return heads[(word << unkeyed_bits) * 0x9E3779B97F4A7C15u >> (64 - kHeadBits)];
  }
  void insert(uint32_t position) const {
    const uint64_t word = word_at(at(position));
    near_head(word) = position;
    uint32_t& first = head(word);
    chain[position % kReach] = first;
    first = position;
  }

  MILLRACE_INLINE void consider(uint32_t position, uint32_t length, uint32_t from,
                                Found* best) const {
    const uint16_t* before = costs + (position - next);
    const int32_t saved = static_cast<uint16_t>(before[length] - before[0]);
    const int32_t gain = saved - kSymbolsCost - match_extra_bits(length, position - from) * kBit;
    if (gain > best->gain) *best = {gain, length, position - from};
  }

  // The match that saves most at a position, which is inserted.
  MILLRACE_INLINE Found find(uint32_t position) const {
    const uint8_t* here = at(position);
    const uint64_t word = word_at(here);
    uint32_t &near_first = near_head(word), &first = head(word);
    const uint32_t recent = near_first;
    uint32_t candidate = first;
    near_first = first = position;
    chain[position % kReach] = candidate;
    const uint32_t most = std::min(kMatchMax, end - position);
    const uint32_t oldest = position - kReach + 1;
    uint32_t longest = 0;
    Found best;
    // A short match is worth a look only if it is near: what its few bytes save is known.
    const uint16_t* before = costs + (position - next);
    const int32_t least = static_cast<uint16_t>(before[kMatchMin] - before[0]) - kSymbolsCost;
    if (least > 0 && position - recent <= 4u << std::min(least / kBit, 12)) {
      longest = common_bytes(here, at(recent), most);
      if (longest >= kMatchMin) consider(position, longest, recent, &best);
    }
    for (uint32_t tries = depth; tries > 0 && candidate >= oldest && longest < most; --tries) {
      const uint8_t* there = at(candidate);
      if (there[longest] == here[longest]) {
        const uint32_t length = common_bytes(here, there, most);
        if (length > longest) {
          longest = length;
          if (length >= kMatchMin) consider(position, length, candidate, &best);
          if (length >= enough) break;
        }
      }
      candidate = chain[candidate % kReach];
    }
    return best;
  }

  void find_until(uint32_t stop, uint32_t last, std::vector<DeflateMatch>* matches) {
    while (reached < stop) {
      Found found = find(reached);
      if (found.gain <= 0) {
        ++reached;
        continue;
      }
      uint32_t seen = reached + 1;  // where nothing is inserted yet
      while (lazy && found.length < enough && seen < last) {
        const Found later = find(seen++);
        if (later.gain <= found.gain) break;
        found = later;
        reached = seen - 1;
      }
      matches->push_back({reached - literals, static_cast<uint16_t>(found.length),
                          static_cast<uint16_t>(found.distance)});
      reached += found.length;
      matched += found.length;
      literals = reached;
      for (const uint32_t end_seen = std::min(reached, last); seen < end_seen; ++seen) {
        insert(seen);
      }
    }
  }
};

MatchFinder::MatchFinder(int effort)
    : effort_(effort),
      next_(kFirst),
      near_(size_t{1} << kNearBits, 0),
      heads_(size_t{1} << kHeadBits, 0),
      chain_(kReach, 0) {}

void MatchFinder::forget() {
  next_ += kReach;
  repeats_ = false;
}

uint32_t MatchFinder::find(std::span<const uint8_t> window, size_t size,
                           std::vector<DeflateMatch>* matches) {
  matches->clear();
  if (next_ > kPositionMax) {
    for (auto* table : {&near_, &heads_, &chain_}) std::fill(table->begin(), table->end(), 0);
    next_ = kFirst;
  }
  if (size == 0) return 0;
  const std::span<const uint8_t> bytes = window.last(size);
  const int32_t mean_cost = weigh(bytes);
  Search search = search_of(bytes);
  next_ = search.end;
  const uint32_t last = search.end - std::min(static_cast<uint32_t>(size), kWordBytes);
  while (search.reached < last) {
    tune(mean_cost, &search);
    const uint32_t from = search.reached;
    search.matched = 0;
    search.find_until(std::min(last, from + kPartBytes), last, matches);
    repeats_ = uint64_t{search.matched} * 100 > uint64_t{search.reached - from} * kRepeatsPercent;
  }
  return search.end - search.literals;
}

int32_t MatchFinder::weigh(std::span<const uint8_t> bytes) {
  ByteCounts counts;
  counts.add(bytes);
  std::array<uint16_t, 256> cost = {};
  uint64_t total = 0;
  for (size_t value = 0; value < 256; ++value) {
    const uint32_t count = counts.of(value);
    if (count == 0) continue;
    const int32_t bits = bits_of(bytes.size(), count);
    cost[value] = static_cast<uint16_t>(std::clamp(bits, kBit, kLiteralCostMax));
    total += uint64_t{count} * cost[value];
  }
  costs_.resize(bytes.size() + 1);
  uint16_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    costs_[i] = sum;
    sum = static_cast<uint16_t>(sum + cost[bytes[i]]);
  }
  costs_.back() = sum;
  return static_cast<int32_t>(total / bytes.size());
}

MatchFinder::Search MatchFinder::search_of(std::span<const uint8_t> bytes) {
  Search search = {};
  search.bytes = bytes.data();
  search.costs = costs_.data();
  search.next = search.reached = search.literals = next_;
  search.end = next_ + static_cast<uint32_t>(bytes.size());
  search.near = near_.data();
  search.heads = heads_.data();
  search.chain = chain_.data();
  return search;
}

void MatchFinder::tune(int32_t mean_cost, Search* search) {
  drawn_ = mean_cost < kDrawnCost || repeats_;
  const auto key_bytes = static_cast<unsigned>((kChanceBits * kBit + mean_cost / 2) / mean_cost);
  const Effort& effort = kEfforts[effort_];
  search->unkeyed_bits =
      64 - 8 * (drawn_ ? kKeyBytesDrawn : std::clamp(key_bytes, kKeyBytesMin, kKeyBytesMax));
  search->depth = drawn_ ? effort.depth : effort.noise_depth;
  search->enough = effort.enough;
  search->lazy = effort.lazy;
}

}  // namespace millrace
