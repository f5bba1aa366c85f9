#include "steps/common/picture/row_filter.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "steps/common/wide.h"

namespace millrace {
namespace {

constexpr size_t kBatch = 8;  // rows that are filtered across at once

// sinc(x) sinc(x / 3), whose first sine follows from the second one.
double lanczos3(double x) {
  if (x == 0) return 1;
  if (std::abs(x) >= 3) return 0;
  const double third = x * (3.14159265358979323846 / 3), sine = std::sin(third);
  return (3 - 4 * sine * sine) * sine * sine / (3 * third * third);
}

// Of Mitchell and Netravali's family.
double cubic(double x, double b, double c) {
  x = std::abs(x);
  if (x < 1)
    return ((12 - 9 * b - 6 * c) * x * x * x + (-18 + 12 * b + 6 * c) * x * x + 6 - 2 * b) / 6;
  if (x >= 2) return 0;
  return ((-b - 6 * c) * x * x * x + (6 * b + 30 * c) * x * x + (-12 * b - 48 * c) * x + 8 * b +
          24 * c) /
         6;
}

struct Kernel {
  double radius;
  double (*at)(double);
};

Kernel kernel_of(const std::string& name) {
  if (name == "linear") return {1, [](double x) { return std::max(0.0, 1 - std::abs(x)); }};
  if (name == "cubic") return {2, [](double x) { return cubic(x, 0, 0.5); }};
  if (name == "mitchell") return {2, [](double x) { return cubic(x, 1.0 / 3, 1.0 / 3); }};
  return {3, lanczos3};
}

MILLRACE_WIDE void add_rows(const float* a, const float* b, const float* c, const float* d,
                            const float* weights, float* __restrict__ sum, size_t count) {
  const float p = weights[0], q = weights[1], r = weights[2], s = weights[3];
  for (size_t i = 0; i < count; ++i) sum[i] += p * a[i] + q * b[i] + r * c[i] + s * d[i];
}

// Rows to columns: sample i of all rows of a batch stands together, so that the filter across works
// on whole registers, whatever the number of bands.
MILLRACE_WIDE void interleave(const float* const* rows, float* __restrict__ out, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    for (size_t row = 0; row < kBatch; ++row) out[i * kBatch + row] = rows[row][i];
  }
}

MILLRACE_WIDE void separate(const float* in, float* __restrict__ out, size_t count, size_t row) {
  for (size_t i = 0; i < count; ++i) out[i] = in[i * kBatch + row];
}

typedef float Batch __attribute__((vector_size(kBatch * sizeof(float))));

// One output pixel of all rows of the batch.
template <int kBands>
MILLRACE_INLINE void blend(const float* from, const float* weights, int taps, float* to) {
  Batch sums[kBands] = {}, samples;
  for (int k = 0; k < taps; ++k) {
    for (int band = 0; band < kBands; ++band, from += kBatch) {
      std::memcpy(&samples, from, sizeof samples);
      sums[band] += samples * weights[k];
    }
  }
  std::memcpy(to, sums, sizeof sums);
}

MILLRACE_WIDE void filter_across(const AxisFilter& filter, const float* batch, int bands, int width,
                                 float* out) {
  const size_t pixel = static_cast<size_t>(bands) * kBatch;
  for (int x = 0; x < width; ++x, out += pixel) {
    const float* from = batch + static_cast<size_t>(filter.first(x)) * pixel;
    switch (bands) {
      case 1:
        blend<1>(from, filter.weights(x), filter.taps(), out);
        break;
      case 2:
        blend<2>(from, filter.weights(x), filter.taps(), out);
        break;
      case 3:
        blend<3>(from, filter.weights(x), filter.taps(), out);
        break;
      default:
        blend<4>(from, filter.weights(x), filter.taps(), out);
    }
  }
}

}  // namespace

AxisFilter AxisFilter::shrinking(const std::string& kernel, int from, int to) {
  const Kernel function = kernel_of(kernel);
  const double scale = from / static_cast<double>(to), reach = function.radius * scale;
  AxisFilter filter(from, static_cast<int>(std::ceil(2 * reach)) + 1);
  std::vector<double> weights;
  for (int output = 0; output < to; ++output) {
    const double centre = (output + 0.5) * scale - 0.5;
    const int low = static_cast<int>(std::ceil(centre - reach));
    const int high = static_cast<int>(std::floor(centre + reach));
    weights.clear();
    for (int at = low; at <= high; ++at) weights.push_back(function.at((at - centre) / scale));
    filter.add(low, weights);
  }
  return filter;
}

std::vector<double> gaussian_weights(double sigma) {
  const int radius = std::max(1, static_cast<int>(std::ceil(sigma * 3.5)));
  std::vector<double> weights;
  for (int i = -radius; i <= radius; ++i) {
    weights.push_back(std::exp(-0.5 * i * i / (sigma * sigma)));
  }
  return weights;
}

AxisFilter AxisFilter::gaussian(double sigma, int side) {
  const std::vector<double> weights = gaussian_weights(sigma);
  const int taps = static_cast<int>(weights.size()), radius = taps / 2;
  AxisFilter filter(side, taps);
  for (int output = 0; output < side; ++output) {
    const int low = output - radius;
    const bool inside = low > 0 && output + radius < side;
    if (inside) {  // the same as its neighbour's
      filter.first_.push_back(low);
      filter.at_.push_back(filter.at_.back());
    } else {
      filter.add(low, weights);
    }
  }
  return filter;
}

void AxisFilter::add(int low, const std::vector<double>& weights) {
  const int first = std::clamp(low, 0, from_ - taps_);
  std::vector<double> exact(static_cast<size_t>(taps_), 0.0);
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const int inside = std::clamp(low + static_cast<int>(i), first, first + taps_ - 1);
    exact[static_cast<size_t>(inside - first)] += weights[i];
    sum += weights[i];
  }
  first_.push_back(first);
  at_.push_back(weights_.size());
  for (const double weight : exact) weights_.push_back(static_cast<float>(weight / sum));
}

RowFilter::RowFilter(AxisFilter down, AxisFilter across, Samples samples_are, int bands, int width,
                     Output output)
    : down_(std::move(down)),
      across_(std::move(across)),
      bands_(bands),
      to_width_(across_.outputs()),
      to_height_(down_.outputs()),
      output_(std::move(output)) {
  const size_t samples = static_cast<size_t>(width) * static_cast<size_t>(bands);
  const size_t results = static_cast<size_t>(to_width_) * static_cast<size_t>(bands);
  batch_.resize(samples * kBatch);
  blended_.resize(results * kBatch);
  result_.resize(results);
  if (samples_are == Samples::kBytes) {
    bytes_down_.emplace(down_, samples);
    sums_.assign(kBatch, std::vector<float>(samples));
    return;
  }
  for (std::vector<float>& row : rows_) row.assign(samples, 0);
  // How many outputs are begun before the first of them has ended; and a batch of ended ones.
  size_t under_way = 1;
  for (int begin = 0, end = 0; begin < to_height_; ++begin) {
    while (down_.first(end) + down_.taps() + kRowsMax <= down_.first(begin)) ++end;
    under_way = std::max(under_way, static_cast<size_t>(begin - end + 1));
  }
  sums_.assign(under_way + kBatch, std::vector<float>(samples, 0));
}

void RowFilter::take(int count) {
  const int past = next_ + count;
  while (begun_ < to_height_ && down_.first(begun_) < past) ++begun_;
  for (int output = ended_; output < begun_; ++output) {
    float weights[kRowsMax] = {};
    for (int i = 0; i < count; ++i) {
      const int tap = next_ + i - down_.first(output);
      if (tap >= 0 && tap < down_.taps()) weights[i] = down_.weights(output)[tap];
    }
    std::vector<float>& sum = sum_of(output);
    add_rows(row(0), row(1), row(2), row(3), weights, sum.data(), sum.size());
  }
  next_ = past;
  while (ended_ < begun_ && down_.first(ended_) + down_.taps() <= past) end(ended_);
}

void RowFilter::take_bytes(const uint8_t* first, const uint8_t* second) {
  bytes_down_->take(first, second);
  next_ += second == nullptr ? 1 : 2;
  while (ended_ < to_height_ && down_.first(ended_) + down_.taps() <= next_) {
    bytes_down_->sum(ended_, sum_of(ended_).data());
    end(ended_);
  }
}

void RowFilter::end(int output) {
  ended_ = output + 1;
  if (ended_ - given_ == static_cast<int>(kBatch) || ended_ == to_height_) give();
}

// All rows that have ended and were not given yet; in the last batch some stand in for others.
void RowFilter::give() {
  const float* rows[kBatch];
  for (int i = 0; i < static_cast<int>(kBatch); ++i) {
    rows[i] = sum_of(std::min(given_ + i, ended_ - 1)).data();
  }
  interleave(rows, batch_.data(), batch_.size() / kBatch);
  filter_across(across_, batch_.data(), bands_, to_width_, blended_.data());
  for (size_t row = 0; given_ < ended_; ++given_, ++row) {
    separate(blended_.data(), result_.data(), result_.size(), row);
    output_(given_, result_.data());
    std::vector<float>& sum = sum_of(given_);
    if (!bytes_down_) std::fill(sum.begin(), sum.end(), 0.0f);
  }
}

MILLRACE_WIDE void widen8(const uint8_t* in, float* out, size_t count) {
  for (size_t i = 0; i < count; ++i) out[i] = in[i];
}

MILLRACE_WIDE void widen16(const uint16_t* in, float* out, size_t count) {
  for (size_t i = 0; i < count; ++i) out[i] = in[i];
}

// Rounded first: the compiler then knows what to do with a comparison.
MILLRACE_WIDE void narrow8(const float* in, uint8_t* out, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const int value = static_cast<int>(in[i] + 0.5f);
    out[i] = static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
  }
}

MILLRACE_WIDE void narrow16(const float* in, uint16_t* out, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const int value = static_cast<int>(in[i] + 0.5f);
    out[i] = static_cast<uint16_t>(value < 0 ? 0 : value > 65535 ? 65535 : value);
  }
}

}  // namespace millrace
