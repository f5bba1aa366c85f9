#include "steps/common/heif/heif_rows.h"

#include <fmt/core.h>

#include <algorithm>

#include "steps/common/heif/primaries.h"

namespace millrace {
namespace {

template <typename Out>
constexpr float kTop = static_cast<Out>(~0);

template <typename Out>
Out rounded(float value) {
  return static_cast<Out>(std::clamp(value, 0.0f, kTop<Out>) + 0.5f);
}

}  // namespace

std::string HeifRows::prepare(HeifPlanes colour, HeifPlanes alpha, const HeifPicture& picture) {
  colour_ = std::move(colour);
  alpha_ = std::move(alpha);
  crop_ = picture.crop;
  premultiplied_ = picture.premultiplied && !alpha_.plane[0].empty();
  const HeifColour& meaning = picture.has_colour ? picture.meaning : colour_.colour;
  const int bits = colour_.bits;
  const auto top = static_cast<float>((1 << bits) - 1), out = wide() ? 65535.0f : 255.0f;
  const auto unit = static_cast<float>(1 << (bits - 8));
  luma_ = out / (meaning.full_range ? top : 219 * unit);
  black_ = meaning.full_range ? 0 : 16 * unit;
  chroma_ = out / (meaning.full_range ? top : 224 * unit);
  middle_ = 128 * unit;
  if (!alpha_.plane[0].empty()) {
    alpha_scale_ = out / static_cast<float>((1 << alpha_.bits) - 1);
  }
  double weights[3] = {};
  if (colour_.chroma == 0) {
    coding_ = Coding::kGray;
  } else if (meaning.matrix == 0 && colour_.chroma == 3) {
    coding_ = Coding::kIdentity;
  } else if (meaning.matrix == 8) {
    coding_ = Coding::kGreenOrange;
  } else if (luma_weights(meaning.matrix, meaning.primaries, weights)) {
    coding_ = Coding::kMatrix;
    red_ = static_cast<float>(2 * (1 - weights[0]));
    blue_ = static_cast<float>(2 * (1 - weights[2]));
    green_ = static_cast<float>(blue_ * weights[2] / weights[1]);
    green_red_ = static_cast<float>(red_ * weights[0] / weights[1]);
  } else {
    return fmt::format("its colours are coded by the matrix {} of H.273, which is not known",
                       meaning.matrix);
  }
  return "";
}

void HeifRows::read(uint32_t x, uint32_t y, uint32_t count, uint8_t* out) const {
  if (wide()) {
    read_as(x + crop_.left, y + crop_.top, count, reinterpret_cast<uint16_t*>(out));
  } else {
    read_as(x + crop_.left, y + crop_.top, count, out);
  }
}

void HeifRows::read_plane(const HeifPlanes& planes, int plane, uint32_t x, uint32_t y,
                          uint32_t count, float* out) const {
  const uint8_t* row = planes.plane[plane].data() + planes.stride[plane] * y;
  if (planes.bits == 8) {
    for (uint32_t i = 0; i < count; ++i) out[i] = row[x + i];
    return;
  }
  const auto* samples = reinterpret_cast<const uint16_t*>(row);
  for (uint32_t i = 0; i < count; ++i) out[i] = samples[x + i];
}

// Three quarters of the nearer sample and one of the farther, in each direction that is halved.
void HeifRows::read_chroma(int plane, uint32_t x, uint32_t y, uint32_t count, float* out) const {
  if (colour_.chroma == 3) {
    read_plane(colour_, plane, x, y, count, out);
  } else {
    const uint32_t columns = (colour_.width + 1) / 2, rows = (colour_.height + 1) / 2;
    const uint32_t first = x / 2 - (x / 2 > 0 ? 1 : 0);
    const uint32_t last = std::min((x + count - 1) / 2 + 1, columns - 1);
    const uint32_t needed = last - first + 1;
    std::vector<float> row(needed), other(needed);
    const bool halved = colour_.chroma == 1;
    const uint32_t near = halved ? y / 2 : y;
    read_plane(colour_, plane, first, near, needed, row.data());
    if (halved) {
      const uint32_t far = y % 2 != 0 ? std::min(near + 1, rows - 1) : near - (near > 0 ? 1 : 0);
      read_plane(colour_, plane, first, far, needed, other.data());
      for (uint32_t i = 0; i < needed; ++i) row[i] = 0.75f * row[i] + 0.25f * other[i];
    }
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t at = (x + i) / 2;
      const uint32_t beside =
          (x + i) % 2 != 0 ? std::min(at + 1, columns - 1) : at - (at > 0 ? 1 : 0);
      out[i] = 0.75f * row[at - first] + 0.25f * row[beside - first];
    }
  }
  for (uint32_t i = 0; i < count; ++i) out[i] -= middle_;
}

template <typename Out>
void HeifRows::read_as(uint32_t x, uint32_t y, uint32_t count, Out* out) const {
  const auto step = static_cast<size_t>(bands());
  std::vector<float> luma(count), cb, cr;
  read_plane(colour_, 0, x, y, count, luma.data());
  for (float& value : luma) value = (value - black_) * luma_;
  if (coding_ != Coding::kGray) {
    cb.resize(count);
    cr.resize(count);
    read_chroma(1, x, y, count, cb.data());
    read_chroma(2, x, y, count, cr.data());
  }
  for (size_t i = 0; i < count; ++i) {
    Out* pixel = out + i * step;
    const float bright = luma[i];
    if (coding_ == Coding::kGray) {
      pixel[0] = rounded<Out>(bright);
    } else if (coding_ == Coding::kMatrix) {
      const float u = cb[i] * chroma_, v = cr[i] * chroma_;
      pixel[0] = rounded<Out>(bright + red_ * v);
      pixel[1] = rounded<Out>(bright - green_ * u - green_red_ * v);
      pixel[2] = rounded<Out>(bright + blue_ * u);
    } else if (coding_ == Coding::kIdentity) {  // all three are coded as luma is
      pixel[0] = rounded<Out>((cr[i] + middle_ - black_) * luma_);
      pixel[1] = rounded<Out>(bright);
      pixel[2] = rounded<Out>((cb[i] + middle_ - black_) * luma_);
    } else {
      const float green = cb[i] * chroma_, orange = cr[i] * chroma_;
      pixel[0] = rounded<Out>(bright - green + orange);
      pixel[1] = rounded<Out>(bright + green);
      pixel[2] = rounded<Out>(bright - green - orange);
    }
  }
  if (!alpha_.plane[0].empty()) read_alpha(x, y, count, out);
}

// Alpha is always of the full range: what its stream says is not asked, as by other readers.
template <typename Out>
void HeifRows::read_alpha(uint32_t x, uint32_t y, uint32_t count, Out* out) const {
  const auto step = static_cast<size_t>(bands());
  std::vector<float> alpha(count);
  read_plane(alpha_, 0, x, y, count, alpha.data());
  for (size_t i = 0; i < count; ++i) {
    Out* pixel = out + i * step;
    const Out cover = rounded<Out>(alpha[i] * alpha_scale_);
    pixel[step - 1] = cover;
    if (!premultiplied_ || cover == 0) continue;
    for (size_t band = 0; band + 1 < step; ++band) {
      pixel[band] =
          rounded<Out>(static_cast<float>(pixel[band]) * kTop<Out> / static_cast<float>(cover));
    }
  }
}

}  // namespace millrace
