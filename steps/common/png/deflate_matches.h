// MatchFinder: what of a block of bytes has stood before it, for deflate.
//
// It knows bytes and what each costs by itself. A match is taken only if it costs less than its
// bytes do, by a guess of its own cost: noise, which other encoders bloat by short matches, has
// none then. The same bytes, in the same blocks, have the same matches on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace millrace {

struct DeflateMatch {
  uint32_t literals;  // before it, after the match before
  uint16_t length, distance;
};

class MatchFinder {
 public:
  static constexpr uint32_t kReach = uint32_t{1} << 15;  // matches reach back less far than this
  static constexpr uint32_t kMatchMin = 3, kMatchMax = 258;

  // Effort: 1 to 9, as zlib's levels.
  explicit MatchFinder(int effort);

  // The matches of the last `size` bytes of `window` among all of it. Before them
  // stand those of the call before, kReach at most. Returns how many literals follow the last one.
  uint32_t find(std::span<const uint8_t> window, size_t size, std::vector<DeflateMatch>* matches);

  // The block of the last call was drawn, not photographed: its bytes say little.
  bool drawn() const { return drawn_; }

  // Nothing of what was seen stands before what comes.
  void forget();

 private:
  struct Search;
  // Returns what a byte costs in the mean.
  int32_t weigh(std::span<const uint8_t> bytes);
  Search search_of(std::span<const uint8_t> bytes);
  void tune(int32_t mean_cost, Search* search);

  int effort_;
  bool drawn_ = false, repeats_ = false;
  uint32_t next_;                               // position of the next byte, counted from the first
  std::vector<uint32_t> near_, heads_, chain_;  // positions of what begins alike, newest first
  std::vector<uint16_t> costs_;  // of all literals before each, in parts of a bit; they run over
};

}  // namespace millrace
