// HeifPlanes: a layer of an AVIF or HEIC picture, decoded: luma, and chroma as it was coded.
//
// The decoders are dav1d (AV1) and libde265 (HEVC), each on the calling thread alone and only for
// as long as one tile takes. They see no container and no file: bytes in, samples out.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "steps/common/heif_file.h"

namespace millrace {

// What a decoder gives: planes that are the decoder's.
struct CodedFrame {
  const uint8_t* plane[3] = {};
  ptrdiff_t stride[3] = {};  // bytes
  uint32_t width = 0, height = 0;
  int bits = 8;
  int chroma = 1;  // as of HeifLayer
  HeifColour colour;
};

struct HeifPlanes {
  uint32_t width = 0, height = 0;
  int bits = 8;    // 8: bytes; else two bytes a sample
  int chroma = 1;  // as of HeifLayer
  std::vector<uint8_t> plane[3];
  size_t stride[3] = {};  // bytes
  HeifColour colour;

  // Shape from the layer; chroma in the middle, luma black.
  void reserve(const HeifLayer& layer);
  // Puts a tile where it belongs, without what hangs over.
  void put(const CodedFrame& frame, uint32_t left, uint32_t top);
};

// Takes a frame while it exists.
using TakeFrame = std::function<void(const CodedFrame&)>;

// Decode one tile and hand it on. Not empty: why not. `pixels_max` bounds what may be allocated;
// of HEVC, hevc_units.h has seen to it.
std::string decode_av1(ByteView config, ByteView data, uint32_t pixels_max, const TakeFrame& take);
std::string decode_hevc(ByteView config, ByteView data, bool strict, const TakeFrame& take);

// All tiles of a layer. With `strict` the first that fails fails it; else what fails stays empty,
// unless nothing is left. Not empty: why not.
std::string decode_layer(ByteView file, const HeifLayer& layer, bool strict, HeifPlanes* planes);

}  // namespace millrace
