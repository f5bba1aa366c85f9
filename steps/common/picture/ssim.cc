#include "steps/common/picture/ssim.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "steps/common/gray.h"

namespace millrace {
namespace {

constexpr int kRadius = 5, kWindow = 2 * kRadius + 1;
constexpr int kSums = 5;  // of a, b, a², b², ab

// Four pixels at once, in the registers that every machine has.
constexpr size_t kLanes = 4;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

void store(Lanes lanes, float* to) {
  std::memcpy(to, &lanes, sizeof lanes);
}

using Weights = std::array<float, kRadius + 1>;  // of the middle, and of one, two, … away from it

Weights window() {
  std::array<double, kRadius + 1> weights{};
  double sum = 0;
  for (int i = 0; i <= kRadius; ++i) {
    weights[static_cast<size_t>(i)] = std::exp(-i * i / (2 * 1.5 * 1.5));
    sum += weights[static_cast<size_t>(i)] * (i == 0 ? 1 : 2);
  }
  Weights out{};
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(weights[i] / sum);
  return out;
}

// kSums rows of a picture's width, rounded up to whole lanes; filtered across, later down.
class Rows {
 public:
  explicit Rows(int width)
      : stride_((static_cast<size_t>(width) + kLanes - 1) / kLanes * kLanes),
        values_(stride_ * kSums) {}
  size_t size() const { return values_.size(); }
  float* data() { return values_.data(); }
  const float* row(int sum) const { return values_.data() + static_cast<size_t>(sum) * stride_; }
  float* row(int sum) { return values_.data() + static_cast<size_t>(sum) * stride_; }

 private:
  size_t stride_;
  std::vector<float> values_;
};

// One row of each picture, filtered across. `padded` holds the products with their edges repeated.
void filter_row(const Weights& weights, const uint8_t* a, const uint8_t* b, int width,
                std::vector<float>* padded, Rows* out) {
  const size_t pixels = out->size() / kSums, stride = pixels + 2 * kRadius;
  padded->resize(stride * kSums);
  float* const values = padded->data();
  for (size_t x = 0; x < stride; ++x) {
    const int at = std::clamp(static_cast<int>(x) - kRadius, 0, width - 1);
    const float p = a[at], q = b[at];
    values[x] = p;
    values[stride + x] = q;
    values[2 * stride + x] = p * p;
    values[3 * stride + x] = q * q;
    values[4 * stride + x] = p * q;
  }
  for (int sum = 0; sum < kSums; ++sum) {
    const float* in = values + static_cast<size_t>(sum) * stride;
    float* to = out->row(sum);
    for (size_t x = 0; x < pixels; x += kLanes) {
      Lanes lanes = load(in + x + kRadius) * weights[0];
      for (size_t i = 1; i <= kRadius; ++i) {
        lanes += (load(in + x + kRadius - i) + load(in + x + kRadius + i)) * weights[i];
      }
      store(lanes, to + x);
    }
  }
}

// The rows around `y`, filtered down.
void filter_down(const Weights& weights, const std::vector<Rows>& ring, int y, int height,
                 Rows* out) {
  std::array<const float*, kWindow> rows{};
  for (int i = -kRadius; i <= kRadius; ++i) {
    const int at = std::clamp(y + i, 0, height - 1);
    rows[static_cast<size_t>(i + kRadius)] = ring[static_cast<size_t>(at % kWindow)].row(0);
  }
  for (size_t k = 0; k < out->size(); k += kLanes) {
    Lanes lanes = load(rows[kRadius] + k) * weights[0];
    for (size_t i = 1; i <= kRadius; ++i) {
      lanes += (load(rows[kRadius - i] + k) + load(rows[kRadius + i] + k)) * weights[i];
    }
    store(lanes, out->data() + k);
  }
}

double similarity(const Rows& sums, size_t x) {
  constexpr double kC1 = 0.01 * 255 * 0.01 * 255, kC2 = 0.03 * 255 * 0.03 * 255;
  const double a = sums.row(0)[x], b = sums.row(1)[x];
  const double aa = sums.row(2)[x] - a * a, bb = sums.row(3)[x] - b * b;
  const double ab = sums.row(4)[x] - a * b;
  return (2 * a * b + kC1) * (2 * ab + kC2) / ((a * a + b * b + kC1) * (aa + bb + kC2));
}

}  // namespace

double ssim(const uint8_t* a, const uint8_t* b, int width, int height) {
  const Weights weights = window();
  std::vector<Rows> ring(kWindow, Rows(width));
  std::vector<float> padded;
  Rows sums(width);
  int ready = 0;  // rows filtered so far
  double total = 0;
  for (int y = 0; y < height; ++y) {
    for (; ready <= std::min(y + kRadius, height - 1); ++ready) {
      const size_t at = static_cast<size_t>(ready) * static_cast<size_t>(width);
      filter_row(weights, a + at, b + at, width, &padded,
                 &ring[static_cast<size_t>(ready % kWindow)]);
    }
    filter_down(weights, ring, y, height, &sums);
    for (size_t x = 0; x < static_cast<size_t>(width); ++x) total += similarity(sums, x);
  }
  return total / (static_cast<double>(width) * height);
}

Problem read_luma(PictureJob* job, VipsPicture picture, std::vector<uint8_t>* luma) {
  constexpr uint8_t kWhite[3] = {255, 255, 255};
  if (Problem problem = to_8_bits(job, &picture)) return problem;
  if (Problem problem = flatten(job, kWhite, &picture)) return problem;
  const int bands = bands_of(picture);
  std::vector<uint8_t> samples;
  if (Problem problem = read_samples(job, picture, &samples)) return problem;
  if (bands == 1) {
    *luma = std::move(samples);
    return {};
  }
  GrayRow row;
  luma->resize(samples.size() / 3);
  gray_row8(row, samples.data(), luma->data(), luma->size());
  return {};
}

}  // namespace millrace
