#include "steps/common/picture/dither_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "steps/common/gray.h"
#include "steps/common/picture/params.h"

namespace millrace {
namespace {

constexpr int kChannels = 3;

// What one row of errors, and those of the rows below it, may reach beyond the picture.
constexpr int kReach = 2;

struct Spread {
  int right, down;
  double part;
};
constexpr Spread kFloydSteinberg[] = {
    {1, 0, 7.0 / 16}, {-1, 1, 3.0 / 16}, {0, 1, 5.0 / 16}, {1, 1, 1.0 / 16}};
constexpr Spread kAtkinson[] = {{1, 0, 1.0 / 8}, {2, 0, 1.0 / 8}, {-1, 1, 1.0 / 8},
                                {0, 1, 1.0 / 8}, {1, 1, 1.0 / 8}, {0, 2, 1.0 / 8}};

class Ditherer {
 public:
  Ditherer(const DitherOptions& options, int width, int bands)
      : options_(options), width_(width), bands_(bands), colours_(bands >= 3 ? 3 : 1) {
    for (int i = 0; i < 256; ++i) {
      const double coded = i / 255.0;
      value_[static_cast<size_t>(i)] = options.linear ? srgb_decode(coded) : coded;
    }
    for (int k = 0; k < options.levels; ++k) {
      const double coded = k / static_cast<double>(options.levels - 1);
      codes_.push_back(static_cast<uint8_t>(std::lround(255 * coded)));
      levels_.push_back(options.linear ? value_[codes_.back()] : coded);
    }
    for (const uint8_t part : options.palette) palette_.push_back(value_[part]);
    for (auto& row : errors_) row.assign(static_cast<size_t>(width + 2 * kReach) * kChannels, 0);
  }

  void row(int y, uint8_t* samples) {
    const bool diffuses = options_.method == DitherMethod::kFloydSteinberg ||
                          options_.method == DitherMethod::kAtkinson;
    const bool back = diffuses && options_.serpentine && y % 2 == 1;
    for (int i = 0; i < width_; ++i) {
      const int x = back ? width_ - 1 - i : i;
      uint8_t* pixel = samples + static_cast<size_t>(x) * static_cast<size_t>(bands_);
      double wanted[kChannels], got[kChannels];
      for (int c = 0; c < colours_; ++c) wanted[c] = value_[pixel[c]] + error(0, x)[c];
      if (palette_.empty()) {
        for (int c = 0; c < colours_; ++c) pixel[c] = level(wanted[c], x, y, &got[c]);
      } else {
        colour(wanted, x, y, pixel, got);
      }
      // What cannot be seen leaves no error to what can.
      const bool seen = bands_ == colours_ || pixel[colours_] != 0;
      if (diffuses && seen) spread(x, back ? -1 : 1, wanted, got);
    }
    std::rotate(errors_.begin(), errors_.begin() + 1, errors_.end());
    std::fill(errors_.back().begin(), errors_.back().end(), 0.0);
  }

 private:
  double* error(int down, int x) {
    return errors_[static_cast<size_t>(down)].data() + static_cast<size_t>(x + kReach) * kChannels;
  }

  // Between 0 and 1, never at either; 0.5 where nothing is ordered.
  double threshold(int x, int y) const {
    switch (options_.method) {
      case DitherMethod::kBayer2:
        return bayer(x, y, 1);
      case DitherMethod::kBayer4:
        return bayer(x, y, 2);
      case DitherMethod::kBayer8:
        return bayer(x, y, 3);
      case DitherMethod::kBlueNoise: {
        const auto at = static_cast<size_t>((y % kMaskSide) * kMaskSide + x % kMaskSide);
        return (blue_noise_mask()[at] + 0.5) / (kMaskSide * kMaskSide);
      }
      default:
        return 0.5;
    }
  }

  static double bayer(int x, int y, int bits) {
    int rank = 0;
    for (int bit = 0; bit < bits; ++bit) {  // the lowest bits of the place count most
      const int column = (x >> bit) & 1, line = (y >> bit) & 1;
      rank = rank * 4 + ((column ^ line) * 2 + line);
    }
    return (rank + 0.5) / (1 << (2 * bits));
  }

  // The level that stands for `wanted`: of the two around it, the upper one from the threshold on.
  uint8_t level(double wanted, int x, int y, double* got) const {
    size_t upper = static_cast<size_t>(std::lower_bound(levels_.begin(), levels_.end(), wanted) -
                                       levels_.begin());
    upper = std::clamp<size_t>(upper, 1, levels_.size() - 1);
    const double low = levels_[upper - 1], high = levels_[upper];
    const size_t chosen = (wanted - low) / (high - low) >= threshold(x, y) ? upper : upper - 1;
    *got = levels_[chosen];
    return codes_[chosen];
  }

  // The nearest colour of the palette. What no colour can give is not carried on: errors would grow
  // without end in a picture that is redder than any red of the palette.
  void colour(double* wanted, int x, int y, uint8_t* pixel, double* got) const {
    const double count = static_cast<double>(palette_.size()) / 3;
    const double push = (threshold(x, y) - 0.5) / std::cbrt(count);
    for (int c = 0; c < colours_; ++c) wanted[c] = std::clamp(wanted[c], 0.0, 1.0);
    size_t best = 0;
    double least = 1e9;
    for (size_t i = 0; i < palette_.size(); i += 3) {
      double distance = 0;
      for (size_t c = 0; c < 3; ++c) {
        const double away = wanted[c] + push - palette_[i + c];
        distance += away * away;
      }
      if (distance < least) least = distance, best = i;
    }
    for (size_t c = 0; c < 3; ++c) {
      got[c] = palette_[best + c];
      pixel[c] = options_.palette[best + c];
    }
  }

  void spread(int x, int forward, const double* wanted, const double* got) {
    const bool atkinson = options_.method == DitherMethod::kAtkinson;
    const Spread* first = atkinson ? kAtkinson : kFloydSteinberg;
    const Spread* end = atkinson ? std::end(kAtkinson) : std::end(kFloydSteinberg);
    for (const Spread* part = first; part != end; ++part) {
      double* to = error(part->down, x + part->right * forward);
      for (int c = 0; c < colours_; ++c) to[c] += (wanted[c] - got[c]) * part->part;
    }
  }

  const DitherOptions& options_;
  const int width_, bands_, colours_;
  std::array<double, 256> value_;
  std::vector<double> levels_, palette_;
  std::vector<uint8_t> codes_;
  std::array<std::vector<double>, 3> errors_;  // of this row and the two below it
};

struct NamedPalette {
  std::string_view name, colours;
};
constexpr NamedPalette kPalettes[] = {
    {"bw", "#000 #fff"},
    {"gameboy", "#0f380f #306230 #8bac0f #9bbc0f"},
    {"cga", "#000000 #55ffff #ff55ff #ffffff"},
    {"ega",
     "#000000 #0000aa #00aa00 #00aaaa #aa0000 #aa00aa #aa5500 #aaaaaa #555555 #5555ff #55ff55 "
     "#55ffff #ff5555 #ff55ff #ffff55 #ffffff"},
    {"c64",
     "#000000 #ffffff #68372b #70a4b2 #6f3d86 #588d43 #352879 #b8c76f #6f4f25 #433900 #9a6759 "
     "#444444 #6c6c6c #9ad284 #6c5eb5 #959595"},
    {"pico8",
     "#000000 #1d2b53 #7e2553 #008751 #ab5236 #5f574f #c2c3c7 #fff1e8 #ff004d #ffa300 #ffec27 "
     "#00e436 #29adff #83769c #ff77a8 #ffccaa"},
};

// ---- blue noise

class VoidAndCluster {
 public:
  static constexpr int kCells = kMaskSide * kMaskSide;

  std::vector<uint16_t> run() {
    start();
    std::vector<uint16_t> ranks(kCells);
    const std::vector<bool> first = set_;
    const std::vector<double> first_energy = energy_;
    int ones = static_cast<int>(std::count(set_.begin(), set_.end(), true));
    for (int rank = ones - 1; rank >= 0; --rank) {
      const int at = extreme(true);
      ranks[static_cast<size_t>(at)] = static_cast<uint16_t>(rank);
      change(at, false);
    }
    set_ = first;
    energy_ = first_energy;
    for (int rank = ones; rank < kCells; ++rank) {
      const int at = extreme(false);
      ranks[static_cast<size_t>(at)] = static_cast<uint16_t>(rank);
      change(at, true);
    }
    return ranks;
  }

 private:
  // A tenth of the cells, then each tightest cluster moved into the largest void until that changes
  // nothing.
  void start() {
    set_.assign(kCells, false);
    energy_.assign(kCells, 0);
    uint32_t random = 20240229;
    for (int i = 0; i < kCells / 10; ++i) {
      random = random * 1664525u + 1013904223u;
      const int at = static_cast<int>((random >> 8) % kCells);
      if (!set_[static_cast<size_t>(at)]) change(at, true);
    }
    for (int round = 0; round < kCells; ++round) {
      const int cluster = extreme(true);
      change(cluster, false);
      const int empty = extreme(false);
      change(empty, true);
      if (empty == cluster) return;
    }
  }

  void change(int at, bool to) {
    constexpr int kRadius = 8;
    constexpr double kSigma = 1.9;
    set_[static_cast<size_t>(at)] = to;
    const int x = at % kMaskSide, y = at / kMaskSide;
    for (int dy = -kRadius; dy <= kRadius; ++dy) {
      for (int dx = -kRadius; dx <= kRadius; ++dx) {
        const int cell =
            ((y + dy + kMaskSide) % kMaskSide) * kMaskSide + (x + dx + kMaskSide) % kMaskSide;
        const double part = std::exp(-(dx * dx + dy * dy) / (2 * kSigma * kSigma));
        energy_[static_cast<size_t>(cell)] += to ? part : -part;
      }
    }
  }

  // The set cell with the most energy, or the empty one with the least; the first of equals.
  int extreme(bool of_set) const {
    int best = -1;
    for (int i = 0; i < kCells; ++i) {
      const auto at = static_cast<size_t>(i);
      if (set_[at] != of_set) continue;
      const auto least = static_cast<size_t>(best);
      const bool better = best < 0 || (of_set ? energy_[at] > energy_[least] + 1e-9
                                              : energy_[at] < energy_[least] - 1e-9);
      if (better) best = i;
    }
    return best;
  }

  std::vector<bool> set_;
  std::vector<double> energy_;
};

}  // namespace

const std::vector<uint16_t>& blue_noise_mask() {
  static const std::vector<uint16_t> mask = VoidAndCluster().run();
  return mask;
}

void dither(const DitherOptions& options, int width, int height, int bands, uint8_t* samples,
            bool (*row_done)(void* context, int row), void* context) {
  Ditherer ditherer(options, width, bands);
  for (int y = 0; y < height; ++y) {
    ditherer.row(y, samples + static_cast<size_t>(y) * static_cast<size_t>(width) *
                                  static_cast<size_t>(bands));
    if (!row_done(context, y)) return;
  }
}

std::vector<uint8_t> parse_palette(const std::string& text) {
  std::string_view rest = text;
  for (const NamedPalette& named : kPalettes) {
    if (text == named.name) rest = named.colours;
  }
  std::vector<uint8_t> palette;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find_first_of(" ,"), rest.size());
    const std::string word(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    uint8_t colour[3];
    if (word.empty()) continue;
    if (!parse_colour(word, colour) || palette.size() >= 256 * 3) return {};
    palette.insert(palette.end(), colour, colour + 3);
  }
  return palette.size() < 6 ? std::vector<uint8_t>() : palette;
}

}  // namespace millrace
