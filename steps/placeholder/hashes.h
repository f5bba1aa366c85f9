// The three small stand-ins for a picture: BlurHash, ThumbHash, one colour.
//
// Pure functions of a small RGBA picture (at most 100 pixels a side).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

struct SmallPicture {
  int width = 0, height = 0;
  std::vector<uint8_t> rgba;
};

// https://blurha.sh: `across` and `down` (1 to 9) waves; alpha plays no part but lies over the
// mean.
std::string blurhash(const SmallPicture& picture, int across, int down);
// https://evanw.github.io/thumbhash: bytes.
std::string thumbhash(const SmallPicture& picture);
std::string base64(const std::string& bytes);
// The mean of the fullest of 4096 cells of colour, counted by what is seen: "#rrggbb".
std::string dominant_colour(const SmallPicture& picture);

}  // namespace millrace
