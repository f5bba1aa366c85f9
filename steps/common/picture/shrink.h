// Shrinking rows of float samples: one filter down, then one across, with the edge samples
// repeated.
//
// It knows numbers, not pictures or libvips, whose own reducing needs code written at run time to
// be fast, which the sandbox forbids. The same rows give the same numbers on every machine: wider
// registers change no sum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace millrace {

// Which samples of a side make each sample of a shorter one. Kernels: lanczos3, cubic
// (Catmull-Rom), mitchell, linear.
class ShrinkFilter {
 public:
  // 1 <= to <= from.
  ShrinkFilter(const std::string& kernel, int from, int to);
  int taps() const { return taps_; }  // of each output
  int first(int output) const { return first_[static_cast<size_t>(output)]; }
  // `taps()` weights, whose sum is 1.
  const float* weights(int output) const {
    return weights_.data() + static_cast<size_t>(output) * static_cast<size_t>(taps_);
  }

 private:
  int taps_;
  std::vector<int> first_;
  std::vector<float> weights_;
};

// Takes the rows of a picture from above, and gives those of the smaller one as soon as they are
// whole. Memory: some rows of the larger width, whatever the factor.
class Shrinker {
 public:
  using Output = std::function<void(int y, const float* row)>;  // width x bands samples

  Shrinker(const std::string& kernel, int bands, int width, int height, int to_width, int to_height,
           Output output);

  // Rows that may be filled with float samples and then be taken; kRowsMax of them.
  static constexpr int kRowsMax = 4;
  float* row(int index) { return rows_[static_cast<size_t>(index)].data(); }
  void take(int count);

 private:
  std::vector<float>& sum_of(int output) {
    return sums_[static_cast<size_t>(output) % sums_.size()];
  }
  void give();

  ShrinkFilter down_, across_;
  int bands_, to_width_, to_height_;
  Output output_;
  std::vector<float> rows_[kRowsMax];
  std::vector<std::vector<float>> sums_;  // of the outputs under way, output modulo their number
  std::vector<float> batch_, blended_, result_;
  int next_ = 0;                           // row of the picture
  int begun_ = 0, ended_ = 0, given_ = 0;  // outputs
};

// Samples to floats, and floats to samples, rounded and kept inside their range.
void widen8(const uint8_t* in, float* out, size_t count);
void widen16(const uint16_t* in, float* out, size_t count);
void narrow8(const float* in, uint8_t* out, size_t count);
void narrow16(const float* in, uint16_t* out, size_t count);

}  // namespace millrace
