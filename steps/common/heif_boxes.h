// HEIF boxes: the items of an ISO base media file, where their bytes are, and what is said of them.
//
// It knows the containers of AVIF and HEIC, not what their items mean (heif_file.h) and no
// bitstream. Nothing is copied: all are places in the file. Reading never leaves the view.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "steps/common/image_header.h"

namespace millrace {

inline constexpr size_t kHeifItemsMax = 10'000;
// Extents, references and associations together, of one file.
inline constexpr size_t kHeifEntriesMax = 100'000;

struct HeifBox {
  std::string_view type;
  Span data;         // the payload
  Span whole;        // with its header
  bool cut = false;  // it says that it is longer than what holds it
};

// Reads the box at `*at` inside `within` and moves behind it. False: there is none.
bool read_heif_box(ByteView file, Span within, uint64_t* at, HeifBox* box);

struct HeifAssociation {
  uint16_t property = 0;  // its index in HeifMeta::properties
  bool essential = false;
};

struct HeifItem {
  std::string_view type;          // "av01", "hvc1", "grid", "Exif", "mime", …
  std::string_view content_type;  // of "mime"
  std::vector<Span> data;
  bool elsewhere = false;  // its bytes are not in this file, or are made of another item's
  std::vector<HeifAssociation> properties;
};

struct HeifReference {
  std::string_view type;  // "dimg", "auxl", "cdsc", "prem", …
  uint32_t from = 0;
  std::vector<uint32_t> to;
};

struct HeifMeta {
  bool found = false;   // a `meta` box with a primary item
  bool tracks = false;  // a `moov`: a sequence beside the still picture, or instead
  uint32_t primary = 0;
  uint64_t end = 0;  // of the last whole box: what follows is no part of it
  std::map<uint32_t, HeifItem> items;
  std::vector<HeifBox> properties;
  std::vector<HeifReference> references;
  std::vector<HeifBox> free_text;  // boxes beside the picture in which anything may stand

  const HeifItem* item(uint32_t id) const {
    const auto found_item = items.find(id);
    return found_item == items.end() ? nullptr : &found_item->second;
  }
};

// Truncated: a box ends beyond the file. Corrupt, Unsupported: as the message says. What was found
// so far is in `meta`.
Problem read_heif_meta(ByteView file, HeifMeta* meta);

}  // namespace millrace
