// Filtering rows of samples, to shrink or to blur: one filter down, then one across, with the edge
// samples repeated.
//
// It knows numbers, not pictures or libvips, whose own filters need code written at run time to
// be fast, which the sandbox forbids. The same rows give the same numbers on every machine: wider
// registers change no sum.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "steps/common/picture/bytes_down.h"

namespace millrace {

// A Gaussian as far as 3.5 sigma on both sides of its middle; their sum is not 1.
std::vector<double> gaussian_weights(double sigma);

// Which samples of a side make each sample of a side that is not longer.
class AxisFilter {
 public:
  // 1 <= to <= from. Kernels: lanczos3, cubic (Catmull-Rom), mitchell, linear.
  static AxisFilter shrinking(const std::string& kernel, int from, int to);
  static AxisFilter gaussian(double sigma, int side);

  int taps() const { return taps_; }  // of each output
  int first(int output) const { return first_[static_cast<size_t>(output)]; }
  // `taps()` weights, whose sum is 1.
  const float* weights(int output) const {
    return weights_.data() + at_[static_cast<size_t>(output)];
  }
  int outputs() const { return static_cast<int>(first_.size()); }

 private:
  AxisFilter(int from, int reach_taps) : from_(from), taps_(std::min(from, reach_taps)) {}
  // The next output, of samples from `low` on, which may lie outside.
  void add(int low, const std::vector<double>& weights);

  int from_, taps_;
  std::vector<int> first_;
  std::vector<size_t> at_;  // in weights_, which outputs may share
  std::vector<float> weights_;
};

// Takes the rows of a picture from above, and gives those of the filtered one as soon as they are
// whole. Memory: about as many rows as the filter down has taps, whatever the height.
class RowFilter {
 public:
  using Output = std::function<void(int y, const float* row)>;  // width x bands samples

  // Bytes go through take_bytes() alone, others through take() alone.
  enum class Samples { kFloats, kBytes };
  RowFilter(AxisFilter down, AxisFilter across, Samples samples, int bands, int width,
            Output output);

  // Two rows of bytes; at the end of an odd number `second` is null.
  void take_bytes(const uint8_t* first, const uint8_t* second);

  // Rows that may be filled with float samples and then be taken; kRowsMax of them.
  static constexpr int kRowsMax = 4;
  float* row(int index) { return rows_[static_cast<size_t>(index)].data(); }
  void take(int count);

 private:
  std::vector<float>& sum_of(int output) {
    return sums_[static_cast<size_t>(output) % sums_.size()];
  }
  void end(int output);
  void give();

  AxisFilter down_, across_;
  int bands_, to_width_, to_height_;
  Output output_;
  std::optional<BytesDown> bytes_down_;
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
