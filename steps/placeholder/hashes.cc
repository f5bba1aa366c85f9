#include "steps/placeholder/hashes.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "steps/common/gray.h"

namespace millrace {
namespace {

constexpr double kPi = 3.14159265358979323846;

// ---- BlurHash

constexpr char kDigits[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";

std::string base83(int value, int length) {
  std::string text(static_cast<size_t>(length), '0');
  for (int i = length - 1; i >= 0; --i, value /= 83)
    text[static_cast<size_t>(i)] = kDigits[value % 83];
  return text;
}

using Colour = std::array<double, 3>;

int linear_to_code(double value) {
  return static_cast<int>(srgb_encode(std::clamp(value, 0.0, 1.0)) * 255 + 0.5);
}

int quantise_wave(const Colour& wave, double most) {
  int value = 0;
  for (const double part : wave) {
    const double signed_root = std::copysign(std::sqrt(std::fabs(part / most)), part);
    value = value * 19 + static_cast<int>(std::clamp(std::floor(signed_root * 9 + 9.5), 0.0, 18.0));
  }
  return value;
}

// ---- ThumbHash

struct Channel {
  double dc = 0, scale = 0;
  std::vector<double> ac;
};

Channel encode_channel(const std::vector<double>& channel, int w, int h, int nx, int ny) {
  Channel out;
  std::vector<double> fx(static_cast<size_t>(w));
  for (int cy = 0; cy < ny; ++cy) {
    for (int cx = 0; cx * ny < nx * (ny - cy); ++cx) {
      double f = 0;
      for (int x = 0; x < w; ++x) fx[static_cast<size_t>(x)] = std::cos(kPi / w * cx * (x + 0.5));
      for (int y = 0; y < h; ++y) {
        const double fy = std::cos(kPi / h * cy * (y + 0.5));
        for (int x = 0; x < w; ++x) {
          f += channel[static_cast<size_t>(x + y * w)] * fx[static_cast<size_t>(x)] * fy;
        }
      }
      f /= w * h;
      if (cx == 0 && cy == 0) {
        out.dc = f;
      } else {
        out.ac.push_back(f);
        out.scale = std::max(out.scale, std::fabs(f));
      }
    }
  }
  if (out.scale > 0) {
    for (double& value : out.ac) value = 0.5 + 0.5 / out.scale * value;
  }
  return out;
}

// As JavaScript rounds: halves upwards.
int round_js(double value) {
  return static_cast<int>(std::floor(value + 0.5));
}

struct Planes {
  std::vector<double> l, p, q, a;
  bool alpha = false;
};

Planes split(const SmallPicture& picture) {
  Planes planes;
  const size_t pixels = picture.rgba.size() / 4;
  double mean[3] = {0, 0, 0}, cover = 0;
  for (size_t i = 0; i < pixels; ++i) {
    const uint8_t* pixel = picture.rgba.data() + i * 4;
    const double alpha = pixel[3] / 255.0;
    for (int c = 0; c < 3; ++c) mean[c] += alpha / 255 * pixel[c];
    cover += alpha;
  }
  if (cover > 0) {
    for (double& value : mean) value /= cover;
  }
  planes.alpha = cover < static_cast<double>(pixels);
  for (size_t i = 0; i < pixels; ++i) {
    const uint8_t* pixel = picture.rgba.data() + i * 4;
    const double alpha = pixel[3] / 255.0;
    double colour[3];
    for (int c = 0; c < 3; ++c) colour[c] = mean[c] * (1 - alpha) + alpha / 255 * pixel[c];
    planes.l.push_back((colour[0] + colour[1] + colour[2]) / 3);
    planes.p.push_back((colour[0] + colour[1]) / 2 - colour[2]);
    planes.q.push_back(colour[0] - colour[1]);
    planes.a.push_back(alpha);
  }
  return planes;
}

}  // namespace

std::string blurhash(const SmallPicture& picture, int across, int down) {
  const int w = picture.width, h = picture.height;
  std::vector<Colour> waves;
  for (int j = 0; j < down; ++j) {
    for (int i = 0; i < across; ++i) {
      Colour sum = {0, 0, 0};
      for (int y = 0; y < h; ++y) {
        for (int x = 0; x < w; ++x) {
          const double basis = std::cos(kPi * i * x / w) * std::cos(kPi * j * y / h);
          const uint8_t* pixel = picture.rgba.data() + static_cast<size_t>(y * w + x) * 4;
          for (size_t c = 0; c < 3; ++c) sum[c] += basis * srgb_decode(pixel[c] / 255.0);
        }
      }
      const double scale = (i == 0 && j == 0 ? 1.0 : 2.0) / (w * h);
      for (double& part : sum) part *= scale;
      waves.push_back(sum);
    }
  }
  std::string hash = base83(across - 1 + (down - 1) * 9, 1);
  double most = 1;
  if (waves.size() > 1) {
    double found = 0;
    for (size_t i = 1; i < waves.size(); ++i) {
      for (const double part : waves[i]) found = std::max(found, std::fabs(part));
    }
    const int level = static_cast<int>(std::clamp(std::floor(found * 166 - 0.5), 0.0, 82.0));
    most = (level + 1) / 166.0;
    hash += base83(level, 1);
  } else {
    hash += base83(0, 1);
  }
  hash += base83(linear_to_code(waves[0][0]) << 16 | linear_to_code(waves[0][1]) << 8 |
                     linear_to_code(waves[0][2]),
                 4);
  for (size_t i = 1; i < waves.size(); ++i) hash += base83(quantise_wave(waves[i], most), 2);
  return hash;
}

std::string thumbhash(const SmallPicture& picture) {
  const int w = picture.width, h = picture.height, side = std::max(w, h);
  const Planes planes = split(picture);
  const int limit = planes.alpha ? 5 : 7;
  const int lx = std::max(1, round_js(limit * w / static_cast<double>(side)));
  const int ly = std::max(1, round_js(limit * h / static_cast<double>(side)));
  const Channel l = encode_channel(planes.l, w, h, std::max(3, lx), std::max(3, ly));
  const Channel p = encode_channel(planes.p, w, h, 3, 3);
  const Channel q = encode_channel(planes.q, w, h, 3, 3);
  Channel a;
  if (planes.alpha) a = encode_channel(planes.a, w, h, 5, 5);
  const bool landscape = w > h;
  const uint32_t header24 = static_cast<uint32_t>(round_js(63 * l.dc)) |
                            static_cast<uint32_t>(round_js(31.5 + 31.5 * p.dc)) << 6 |
                            static_cast<uint32_t>(round_js(31.5 + 31.5 * q.dc)) << 12 |
                            static_cast<uint32_t>(round_js(31 * l.scale)) << 18 |
                            (planes.alpha ? 1u << 23 : 0);
  const uint32_t header16 = static_cast<uint32_t>(landscape ? ly : lx) |
                            static_cast<uint32_t>(round_js(63 * p.scale)) << 3 |
                            static_cast<uint32_t>(round_js(63 * q.scale)) << 9 |
                            (landscape ? 1u << 15 : 0);
  std::string hash;
  for (const int shift : {0, 8, 16}) hash.push_back(static_cast<char>(header24 >> shift));
  for (const int shift : {0, 8}) hash.push_back(static_cast<char>(header16 >> shift));
  if (planes.alpha) {
    hash.push_back(static_cast<char>(round_js(15 * a.dc) | round_js(15 * a.scale) << 4));
  }
  bool low = true;
  for (const Channel* channel : std::initializer_list<const Channel*>{&l, &p, &q, &a}) {
    for (const double value : channel->ac) {
      const int nibble = round_js(15 * value);
      if (low) {
        hash.push_back(static_cast<char>(nibble));
      } else {
        hash.back() = static_cast<char>(hash.back() | nibble << 4);
      }
      low = !low;
    }
  }
  return hash;
}

std::string base64(const std::string& bytes) {
  constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t value = 0;
    for (size_t k = 0; k < 3; ++k) {
      value = value << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      text += k > bytes.size() - i ? '=' : kLetters[value >> (18 - 6 * k) & 63];
    }
  }
  return text;
}

std::string dominant_colour(const SmallPicture& picture) {
  struct Cell {
    double weight = 0, sum[3] = {0, 0, 0};
  };
  std::vector<Cell> cells(4096);
  for (size_t i = 0; i < picture.rgba.size(); i += 4) {
    const uint8_t* pixel = picture.rgba.data() + i;
    Cell& cell =
        cells[static_cast<size_t>(pixel[0] >> 4 << 8 | pixel[1] >> 4 << 4 | pixel[2] >> 4)];
    cell.weight += pixel[3];
    for (int c = 0; c < 3; ++c) cell.sum[c] += static_cast<double>(pixel[c]) * pixel[3];
  }
  const auto fullest = std::max_element(
      cells.begin(), cells.end(), [](const Cell& a, const Cell& b) { return a.weight < b.weight; });
  constexpr char kHex[] = "0123456789abcdef";
  std::string text = "#";
  for (const double sum : fullest->sum) {
    const long value = fullest->weight > 0 ? std::lround(sum / fullest->weight) : 0;
    text += kHex[value >> 4 & 15];
    text += kHex[value & 15];
  }
  return text;
}

}  // namespace millrace
