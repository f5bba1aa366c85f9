#include "steps/common/picture/bytes_down.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

#include "steps/common/picture/row_filter.h"
#include "steps/common/wide.h"

namespace millrace {
namespace {

constexpr int kOne = 1 << 14;
constexpr float kUnit = 1.0f / kOne;

MILLRACE_WIDE void put_together(const uint8_t* first, const uint8_t* second,
                                int16_t* __restrict out, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    out[2 * i] = first[i];
    out[2 * i + 1] = second[i];
  }
}

// Of samples `begin` to `end`.
void sum_plain(const int16_t* const* pairs, const int16_t* weights, int count, size_t begin,
               size_t end, float* to) {
  for (size_t i = begin; i < end; ++i) {
    int32_t sum = 0;
    for (int k = 0; k < count; ++k) {
      sum += pairs[k][2 * i] * weights[2 * k] + pairs[k][2 * i + 1] * weights[2 * k + 1];
    }
    to[i] = static_cast<float>(sum) * kUnit;
  }
}

#if defined(__SSE2__)
// Both give how many samples they made, the rest is plain. A pair of weights is one number of 32
// bits.
int32_t both(const int16_t* weights) {
  int32_t two;
  std::memcpy(&two, weights, sizeof two);
  return two;
}

size_t sum_narrow(const int16_t* const* pairs, const int16_t* weights, int count, size_t samples,
                  float* to) {
  size_t i = 0;
  for (; i + 8 <= samples; i += 8) {
    __m128i low = _mm_setzero_si128(), high = low;
    for (int k = 0; k < count; ++k) {
      const __m128i weight = _mm_set1_epi32(both(weights + 2 * k));
      const auto* at = reinterpret_cast<const __m128i*>(pairs[k] + 2 * i);
      low = _mm_add_epi32(low, _mm_madd_epi16(_mm_loadu_si128(at), weight));
      high = _mm_add_epi32(high, _mm_madd_epi16(_mm_loadu_si128(at + 1), weight));
    }
    const __m128 unit = _mm_set1_ps(kUnit);
    _mm_storeu_ps(to + i, _mm_mul_ps(_mm_cvtepi32_ps(low), unit));
    _mm_storeu_ps(to + i + 4, _mm_mul_ps(_mm_cvtepi32_ps(high), unit));
  }
  return i;
}

__attribute__((target("avx2"))) size_t sum_wide(const int16_t* const* pairs, const int16_t* weights,
                                                int count, size_t samples, float* to) {
  const __m256 unit = _mm256_set1_ps(kUnit);
  size_t i = 0;
  for (; i + 32 <= samples; i += 32) {
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (int k = 0; k < count; ++k) {
      const __m256i weight = _mm256_set1_epi32(both(weights + 2 * k));
      const auto* at = reinterpret_cast<const __m256i*>(pairs[k] + 2 * i);
      a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_loadu_si256(at), weight));
      b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_loadu_si256(at + 1), weight));
      c = _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_loadu_si256(at + 2), weight));
      d = _mm256_add_epi32(d, _mm256_madd_epi16(_mm256_loadu_si256(at + 3), weight));
    }
    _mm256_storeu_ps(to + i, _mm256_mul_ps(_mm256_cvtepi32_ps(a), unit));
    _mm256_storeu_ps(to + i + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(b), unit));
    _mm256_storeu_ps(to + i + 16, _mm256_mul_ps(_mm256_cvtepi32_ps(c), unit));
    _mm256_storeu_ps(to + i + 24, _mm256_mul_ps(_mm256_cvtepi32_ps(d), unit));
  }
  return i;
}

size_t sum_registers(const int16_t* const* pairs, const int16_t* weights, int count, size_t samples,
                     float* to) {
  static const bool wide = __builtin_cpu_supports("avx2");
  return wide ? sum_wide(pairs, weights, count, samples, to)
              : sum_narrow(pairs, weights, count, samples, to);
}
#else
size_t sum_registers(const int16_t* const*, const int16_t*, int, size_t, float*) {
  return 0;
}
#endif

}  // namespace

BytesDown::BytesDown(const AxisFilter& filter, size_t samples) : samples_(samples) {
  const int outputs = filter.outputs();
  weights_of_each_ = (filter.taps() + 2) / 2 * 2;  // the first row of an output may be an odd one
  weights_.assign(static_cast<size_t>(outputs) * static_cast<size_t>(weights_of_each_), 0);
  for (int output = 0; output < outputs; ++output) {
    const int first = filter.first(output);
    first_pair_.push_back(first / 2);
    int16_t* rounded = weights_.data() +
                       static_cast<size_t>(output) * static_cast<size_t>(weights_of_each_) +
                       first % 2;
    // What one weight is rounded by goes to the next.
    double sum = 0;
    int given = 0;
    for (int k = 0; k < filter.taps(); ++k) {
      sum += k + 1 == filter.taps() ? kOne - sum
                                    : static_cast<double>(filter.weights(output)[k]) * kOne;
      rounded[k] = static_cast<int16_t>(std::lround(sum) - given);
      given += rounded[k];
    }
  }
  held_ = weights_of_each_ / 2 + 1;
  rows_.resize(static_cast<size_t>(held_) * 2 * samples);
  pairs_.resize(static_cast<size_t>(held_));
}

void BytesDown::take(const uint8_t* first, const uint8_t* second) {
  int16_t* to = rows_.data() + static_cast<size_t>(taken_ % held_) * 2 * samples_;
  put_together(first, second == nullptr ? first : second, to, samples_);
  ++taken_;
}

void BytesDown::sum(int output, float* to) {
  const int16_t* weights =
      weights_.data() + static_cast<size_t>(output) * static_cast<size_t>(weights_of_each_);
  const int first = first_pair_[static_cast<size_t>(output)];
  // A last pair without weight may not have been taken.
  const int count = std::min(weights_of_each_ / 2, taken_ - first);
  for (int k = 0; k < count; ++k) pairs_[static_cast<size_t>(k)] = pair(first + k);
  const size_t done = sum_registers(pairs_.data(), weights, count, samples_, to);
  sum_plain(pairs_.data(), weights, count, done, samples_, to);
}

}  // namespace millrace
