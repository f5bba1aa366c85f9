// The filter downwards for rows of bytes: the sums of row_filter.h in integers, which take a third
// of the time.
//
// It knows numbers. Weights are rounded to 1/16384 such that their sum stays 1; sums are exact, so
// that every machine has the same. An output differs from row_filter.h's by less than half a level,
// in pictures by a tenth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace millrace {

class AxisFilter;

class BytesDown {
 public:
  // At most kTapsMax taps: with more, what is rounded could add up to a level.
  static constexpr int kTapsMax = 64;
  BytesDown(const AxisFilter& filter, size_t samples);

  // The next two rows, from above; at the end of an odd number `second` is null.
  void take(const uint8_t* first, const uint8_t* second);
  // The sums of an output whose last row was taken by the latest take(), and not long ago.
  void sum(int output, float* to);

 private:
  const int16_t* pair(int index) const {
    return rows_.data() + static_cast<size_t>(index % held_) * 2 * samples_;
  }

  size_t samples_;
  int weights_of_each_ = 0;       // of an output, even
  std::vector<int16_t> weights_;  // of pairs of rows
  std::vector<int> first_pair_;   // of an output
  int held_ = 0, taken_ = 0;      // pairs
  std::vector<int16_t> rows_;     // pairs of rows, sample beside sample
  std::vector<const int16_t*> pairs_;
};

}  // namespace millrace
