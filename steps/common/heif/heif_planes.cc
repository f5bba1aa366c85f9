#include "steps/common/heif/heif_planes.h"

#include <fmt/core.h>

#include <algorithm>

namespace millrace {
namespace {

uint32_t chroma_side(uint32_t side, bool half) {
  return half ? side / 2 + side % 2 : side;
}

uint32_t pixels_of(const HeifLayer& layer) {
  const uint64_t pixels = uint64_t{layer.tile_width} * layer.tile_height;
  return static_cast<uint32_t>(std::min<uint64_t>(pixels, UINT32_MAX));
}

std::string check_frame(const CodedFrame& frame, const HeifLayer& layer) {
  const bool large = frame.width >= layer.tile_width && frame.height >= layer.tile_height;
  if (large && frame.bits == layer.bits && frame.chroma == layer.chroma) return "";
  constexpr const char* kChroma[] = {"gray", "4:2:0", "4:2:2", "4:4:4"};
  return fmt::format(
      "its stream has a picture of {}x{}, {} bits, {}; its header says {}x{}, {} bits, {}",
      frame.width, frame.height, frame.bits, kChroma[frame.chroma & 3], layer.tile_width,
      layer.tile_height, layer.bits, kChroma[layer.chroma & 3]);
}

std::string decode_tile(ByteView file, const HeifLayer& layer, size_t index, bool strict,
                        HeifPlanes* planes) {
  const HeifTile& tile = layer.tiles[index];
  const ByteView config = file.sub(tile.config);
  std::string store, wrong;
  const ByteView data = heif_bytes(file, tile.data, &store);
  const auto column = static_cast<uint32_t>(index % layer.columns),
             row = static_cast<uint32_t>(index / layer.columns);
  const auto take = [&](const CodedFrame& frame) {
    wrong = check_frame(frame, layer);
    if (!wrong.empty()) return;
    if (index == 0) planes->colour = frame.colour;
    planes->put(frame, column * layer.tile_width, row * layer.tile_height);
  };
  const std::string failed = layer.codec == HeifCodec::kAv1
                                 ? decode_av1(config, data, pixels_of(layer), take)
                                 : decode_hevc(config, data, strict, take);
  return failed.empty() ? wrong : failed;
}

}  // namespace

void HeifPlanes::reserve(const HeifLayer& layer) {
  width = layer.width;
  height = layer.height;
  bits = layer.bits;
  chroma = layer.chroma;
  const size_t sample = bits == 8 ? 1 : 2;
  for (int i = 0; i < (chroma == 0 ? 1 : 3); ++i) {
    const bool across = i > 0 && chroma != 3, down = i > 0 && chroma == 1;
    stride[i] = chroma_side(width, across) * sample;
    plane[i].assign(stride[i] * chroma_side(height, down), 0);
    if (i == 0) continue;
    const int middle = 1 << (bits - 1);
    for (size_t k = 0; k < plane[i].size(); k += sample) {
      plane[i][k] = static_cast<uint8_t>(middle);
      if (sample == 2) plane[i][k + 1] = static_cast<uint8_t>(middle >> 8);
    }
  }
}

void HeifPlanes::put(const CodedFrame& frame, uint32_t left, uint32_t top) {
  const size_t sample = bits == 8 ? 1 : 2;
  for (int i = 0; i < (chroma == 0 ? 1 : 3); ++i) {
    const bool across = i > 0 && chroma != 3, down = i > 0 && chroma == 1;
    const uint32_t x = across ? left / 2 : left, y = down ? top / 2 : top;
    const uint32_t columns =
        std::min(chroma_side(frame.width, across), chroma_side(width, across) - x);
    const uint32_t rows = std::min(chroma_side(frame.height, down), chroma_side(height, down) - y);
    for (uint32_t row = 0; row < rows; ++row) {
      std::memcpy(plane[i].data() + stride[i] * (y + row) + x * sample,
                  frame.plane[i] + frame.stride[i] * static_cast<ptrdiff_t>(row), columns * sample);
    }
  }
}

std::string decode_layer(ByteView file, const HeifLayer& layer, bool strict, HeifPlanes* planes) {
  planes->reserve(layer);
  std::string first;
  size_t failures = 0;
  for (size_t i = 0; i < layer.tiles.size(); ++i) {
    const std::string failed = decode_tile(file, layer, i, strict, planes);
    if (failed.empty()) continue;
    if (first.empty()) {
      first = layer.tiles.size() == 1
                  ? failed
                  : fmt::format("tile {} of {}: {}", i + 1, layer.tiles.size(), failed);
    }
    if (strict) return first;
    failures += 1;
  }
  return failures == layer.tiles.size() ? first : "";
}

}  // namespace millrace
