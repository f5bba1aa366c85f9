#include "steps/common/picture/ssim.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "steps/common/gray.h"

namespace millrace {
namespace {

constexpr int kRadius = 5, kWindow = 2 * kRadius + 1;
constexpr int kSums = 5;  // of a, b, a², b², ab

std::array<float, kWindow> window() {
  std::array<float, kWindow> weights{};
  double sum = 0;
  for (int i = -kRadius; i <= kRadius; ++i) sum += std::exp(-i * i / (2 * 1.5 * 1.5));
  for (int i = -kRadius; i <= kRadius; ++i) {
    weights[static_cast<size_t>(i + kRadius)] =
        static_cast<float>(std::exp(-i * i / (2 * 1.5 * 1.5)) / sum);
  }
  return weights;
}

// One row, filtered across: kSums rows of floats.
void filter_row(const std::array<float, kWindow>& weights, const uint8_t* a, const uint8_t* b,
                int width, std::vector<float>* out) {
  out->assign(static_cast<size_t>(width) * kSums, 0);
  for (int x = 0; x < width; ++x) {
    float* sums = out->data() + static_cast<size_t>(x) * kSums;
    for (int i = -kRadius; i <= kRadius; ++i) {
      const int at = std::clamp(x + i, 0, width - 1);
      const float weight = weights[static_cast<size_t>(i + kRadius)];
      const float p = a[at], q = b[at];
      sums[0] += weight * p;
      sums[1] += weight * q;
      sums[2] += weight * p * p;
      sums[3] += weight * q * q;
      sums[4] += weight * p * q;
    }
  }
}

double similarity(const float* sums) {
  constexpr double kC1 = 0.01 * 255 * 0.01 * 255, kC2 = 0.03 * 255 * 0.03 * 255;
  const double a = sums[0], b = sums[1];
  const double aa = sums[2] - a * a, bb = sums[3] - b * b, ab = sums[4] - a * b;
  return (2 * a * b + kC1) * (2 * ab + kC2) / ((a * a + b * b + kC1) * (aa + bb + kC2));
}

}  // namespace

double ssim(const uint8_t* a, const uint8_t* b, int width, int height) {
  const std::array<float, kWindow> weights = window();
  std::array<std::vector<float>, kWindow> ring;
  int ready = 0;  // rows filtered so far
  double total = 0;
  std::vector<float> sums(static_cast<size_t>(width) * kSums);
  for (int y = 0; y < height; ++y) {
    for (; ready <= std::min(y + kRadius, height - 1); ++ready) {
      const size_t at = static_cast<size_t>(ready) * static_cast<size_t>(width);
      filter_row(weights, a + at, b + at, width, &ring[static_cast<size_t>(ready % kWindow)]);
    }
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (int i = -kRadius; i <= kRadius; ++i) {
      const int row = std::clamp(y + i, 0, height - 1);
      const float weight = weights[static_cast<size_t>(i + kRadius)];
      const std::vector<float>& from = ring[static_cast<size_t>(row % kWindow)];
      for (size_t k = 0; k < sums.size(); ++k) sums[k] += weight * from[k];
    }
    for (size_t x = 0; x < static_cast<size_t>(width); ++x) {
      total += similarity(sums.data() + x * kSums);
    }
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
