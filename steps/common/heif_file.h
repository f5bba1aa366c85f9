// HEIF: the still picture of an AVIF or HEIC file, as a decoder needs it: which bytes code which
// tile, how the tiles lie, what their samples mean; and what else the file says of it.
//
// It knows no decoder. All limits are checked here, so that what a decoder is given can make no
// larger picture than the header announced. A file's primary picture is taken; further ones,
// thumbnails, depth and gain maps, and sequences are not looked at.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "steps/common/heif_boxes.h"

namespace millrace {

enum class HeifCodec { kAv1, kHevc };

// How samples are coded: numbers of ITU-T H.273.
struct HeifColour {
  int primaries = 2, transfer = 2, matrix = 2;  // 2: not said
  bool full_range = true;
};

struct HeifTile {
  Span config;  // the payload of `av1C` or `hvcC`
  std::vector<Span> data;
};

// Coded samples: one tile, or a grid of them, of which the last may hang over.
struct HeifLayer {
  HeifCodec codec = HeifCodec::kAv1;
  uint32_t width = 0, height = 0;
  uint32_t tile_width = 0, tile_height = 0;
  uint32_t columns = 1, rows = 1;
  std::vector<HeifTile> tiles;  // row by row
  int bits = 8;
  int chroma = 1;  // 0: none; 1: half both ways; 2: half across; 3: full
};

struct HeifCrop {
  uint32_t left = 0, top = 0, width = 0, height = 0;
};

struct HeifPicture {
  HeifLayer colour, alpha;
  bool has_alpha = false, premultiplied = false;
  HeifCrop crop;        // of what the tiles make: what is seen, before it is turned
  int orientation = 1;  // EXIF's number for what `irot` and `imir` say
  bool has_colour = false;
  HeifColour meaning;  // of the file; the stream's holds when has_colour is false
  Span icc;
  std::vector<Span> exif;  // without the four bytes before the TIFF structure
  std::vector<Span> xmp;
  std::vector<Span> notes;         // bytes of items that may say something of somebody
  std::vector<HeifBox> free_text;  // boxes that may
  uint64_t end = 0;                // behind the last box
};

// Truncated, Corrupt: with `header` and `picture` filled when a picture was found, which may be
// decoded as far as it goes; all limits hold then, too.
Problem read_heif(ByteView file, const ProbeLimits& limits, ImageHeader* header,
                  HeifPicture* picture);
// Of a file that has passed probe_image(), whose limits it kept.
Problem read_heif(ByteView file, HeifPicture* picture);

// The bytes of the spans: a view where they are one, else gathered in `store`.
ByteView heif_bytes(ByteView file, const std::vector<Span>& spans, std::string* store);

// Whether the brands of the file are those of AVIF or HEIC.
bool has_heif_brand(ByteView file);

}  // namespace millrace
