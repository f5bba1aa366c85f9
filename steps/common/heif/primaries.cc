#include "steps/common/heif/primaries.h"

#include <array>
#include <cmath>
#include <cstdint>

namespace millrace {
namespace {

using Vector = std::array<double, 3>;
using Matrix = std::array<Vector, 3>;  // rows

// x and y of red, green, blue and white.
struct Primaries {
  int number;
  double red[2], green[2], blue[2], white[2];
};
constexpr Primaries kPrimaries[] = {
    {1, {0.64, 0.33}, {0.30, 0.60}, {0.15, 0.06}, {0.3127, 0.3290}},
    {4, {0.67, 0.33}, {0.21, 0.71}, {0.14, 0.08}, {0.310, 0.316}},
    {5, {0.64, 0.33}, {0.29, 0.60}, {0.15, 0.06}, {0.3127, 0.3290}},
    {6, {0.630, 0.340}, {0.310, 0.595}, {0.155, 0.070}, {0.3127, 0.3290}},
    {7, {0.630, 0.340}, {0.310, 0.595}, {0.155, 0.070}, {0.3127, 0.3290}},
    {9, {0.708, 0.292}, {0.170, 0.797}, {0.131, 0.046}, {0.3127, 0.3290}},
    {11, {0.680, 0.320}, {0.265, 0.690}, {0.150, 0.060}, {0.314, 0.351}},
    {12, {0.680, 0.320}, {0.265, 0.690}, {0.150, 0.060}, {0.3127, 0.3290}},
};

const Primaries& primaries_of(int number) {
  for (const Primaries& one : kPrimaries) {
    if (one.number == number) return one;
  }
  return kPrimaries[0];
}

Matrix inverse(const Matrix& m) {
  const auto minor = [&](size_t row, size_t column) {
    const size_t r1 = (row + 1) % 3, r2 = (row + 2) % 3, c1 = (column + 1) % 3,
                 c2 = (column + 2) % 3;
    return m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1];  // with its sign: the indices turn
  };
  const double whole = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
  Matrix out;
  for (size_t row = 0; row < 3; ++row) {
    for (size_t column = 0; column < 3; ++column) out[row][column] = minor(column, row) / whole;
  }
  return out;
}

Vector times(const Matrix& m, const Vector& v) {
  Vector out;
  for (size_t row = 0; row < 3; ++row) {
    out[row] = m[row][0] * v[0] + m[row][1] * v[1] + m[row][2] * v[2];
  }
  return out;
}

Vector xyz(const double xy[2]) {
  return {xy[0] / xy[1], 1, (1 - xy[0] - xy[1]) / xy[1]};
}

// Columns: what red, green and blue are in XYZ, white having Y = 1.
Matrix to_xyz(const Primaries& primaries) {
  const Vector red = xyz(primaries.red), green = xyz(primaries.green), blue = xyz(primaries.blue);
  Matrix columns;
  for (size_t i = 0; i < 3; ++i) columns[i] = {red[i], green[i], blue[i]};
  const Vector amounts = times(inverse(columns), xyz(primaries.white));
  for (Vector& row : columns) {
    for (size_t i = 0; i < 3; ++i) row[i] *= amounts[i];
  }
  return columns;
}

// Bradford's, from this white to the D50 of profiles.
Vector adapted(const Vector& colour, const Vector& white) {
  constexpr Matrix kCone = {
      {{0.8951, 0.2664, -0.1614}, {-0.7502, 1.7135, 0.0367}, {0.0389, -0.0685, 1.0296}}};
  constexpr Vector kD50 = {0.9642, 1, 0.8249};
  const Vector from = times(kCone, white), to = times(kCone, kD50);
  Vector cones = times(kCone, colour);
  for (size_t i = 0; i < 3; ++i) cones[i] *= to[i] / from[i];
  return times(inverse(kCone), cones);
}

void put(std::string* out, uint32_t value, int bytes = 4) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

void put_fixed(std::string* out, double value) {
  put(out, static_cast<uint32_t>(static_cast<int32_t>(std::lround(value * 65536))));
}

std::string xyz_tag(const Vector& value) {
  std::string tag = std::string("XYZ \0\0\0\0", 8);
  for (const double part : value) put_fixed(&tag, part);
  return tag;
}

std::string curve_tag(int transfer) {
  std::string tag = std::string("para\0\0\0\0", 8);
  const double gamma = transfer == 4 ? 2.2 : transfer == 5 ? 2.8 : transfer == 8 ? 1 : 0;
  put(&tag, gamma > 0 ? 0 : 3, 2);
  put(&tag, 0, 2);
  if (gamma > 0) {
    put_fixed(&tag, gamma);
  } else {
    for (const double part : {2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045}) {
      put_fixed(&tag, part);
    }
  }
  return tag;
}

std::string text_tag(const std::string& text) {
  std::string tag = std::string("mluc\0\0\0\0", 8);
  put(&tag, 1);
  put(&tag, 12);
  tag += "enUS";
  put(&tag, static_cast<uint32_t>(2 * text.size()));
  put(&tag, 28);
  for (const char c : text) put(&tag, static_cast<uint8_t>(c), 2);
  return tag;
}

}  // namespace

bool luma_weights(int matrix, int primaries, double weights[3]) {
  const auto set = [&](double red, double blue) {
    weights[0] = red;
    weights[1] = 1 - red - blue;
    weights[2] = blue;
    return true;
  };
  switch (matrix) {
    case 1:
      return set(0.2126, 0.0722);
    case 2:  // not said: as of a JPEG
    case 5:
    case 6:
      return set(0.299, 0.114);
    case 4:
      return set(0.30, 0.11);
    case 7:
      return set(0.212, 0.087);
    case 9:
      return set(0.2627, 0.0593);
    case 12: {
      const Matrix all = to_xyz(primaries_of(primaries));
      return set(all[1][0], all[1][2]);
    }
    default:
      return false;
  }
}

bool is_srgb(int primaries, int transfer) {
  const bool near = primaries_of(primaries).number == 1;
  return near && transfer != 4 && transfer != 5 && transfer != 8;
}

std::string profile_of(int primaries, int transfer) {
  const Primaries& from = primaries_of(primaries);
  const Matrix matrix = to_xyz(from);
  const Vector white = xyz(from.white);
  const auto column = [&](size_t i) {
    return xyz_tag(adapted({matrix[0][i], matrix[1][i], matrix[2][i]}, white));
  };
  const std::string curve = curve_tag(transfer);
  const std::pair<const char*, std::string> tags[] = {
      {"desc", text_tag("H.273 primaries " + std::to_string(from.number) + ", transfer " +
                        std::to_string(transfer))},
      {"cprt", text_tag("No copyright")},
      {"wtpt", xyz_tag({0.9642, 1, 0.8249})},
      {"rXYZ", column(0)},
      {"gXYZ", column(1)},
      {"bXYZ", column(2)},
      {"rTRC", curve},
      {"gTRC", curve},
      {"bTRC", curve},
  };
  std::string table, data;
  constexpr size_t kCount = std::size(tags), kStart = 128 + 4 + 12 * kCount;
  put(&table, kCount);
  for (const auto& [name, tag] : tags) {
    table += name;
    put(&table, static_cast<uint32_t>(kStart + data.size()));
    put(&table, static_cast<uint32_t>(tag.size()));
    data += tag;
    data.resize((data.size() + 3) / 4 * 4);
  }
  std::string profile;
  put(&profile, static_cast<uint32_t>(kStart + data.size()));
  profile += std::string("\0\0\0\0\x04\x30\0\0mntrRGB XYZ ", 20);
  profile += std::string(12, '\0') + "acsp";
  profile.resize(68);
  for (const double part : {0.9642, 1.0, 0.8249}) put_fixed(&profile, part);
  profile.resize(128);
  return profile + table + data;
}

}  // namespace millrace
