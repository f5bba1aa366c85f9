// TIFF structure, for TIFF files and for EXIF blocks, which are small TIFF files: reading
// directories (classic and BigTIFF, both byte orders) and building them anew (classic,
// little-endian).
//
// It knows entries and values, not pixels. Reading never leaves the view, whatever the offsets say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "steps/common/byte_view.h"

namespace millrace {

// One entry of a directory, its values located but not read.
struct TiffEntry {
  uint16_t tag = 0;
  uint16_t type = 0;    // 1 BYTE, 2 ASCII, 3 SHORT, 4 LONG, 5 RATIONAL, … 16 LONG8
  uint64_t count = 0;   // of values
  uint64_t at = 0;      // where the values stand in the file
  bool inside = false;  // all of them lie within the file
};

// Bytes of one value of a type; 0: a type that TIFF does not have.
uint32_t tiff_type_size(uint16_t type);

class TiffReader {
 public:
  // Reads the header; ok() is false when it is none.
  explicit TiffReader(ByteView file);

  bool ok() const { return ok_; }
  uint64_t first_directory() const { return first_; }
  bool little() const { return little_; }
  ByteView file() const { return file_; }

  // The entries of the directory at `at`, and in `next` the offset of the one after it (0: none).
  // False: the directory does not lie within the file, or has more than `entries_max` entries.
  bool directory(uint64_t at, size_t entries_max, std::vector<TiffEntry>* entries,
                 uint64_t* next) const;

  // Value number `index` of an integer entry; 0 when it is no integer or does not exist.
  uint64_t value(const TiffEntry& entry, uint64_t index = 0) const;
  // The text of an ASCII entry up to its first NUL, at most `size_max` bytes.
  std::string text(const TiffEntry& entry, size_t size_max) const;
  // All values as little-endian bytes, whatever the file's order.
  std::string little_bytes(const TiffEntry& entry) const;

 private:
  uint64_t number(uint64_t at, uint32_t size) const;

  ByteView file_;
  bool ok_ = false, little_ = true, big_ = false;
  uint64_t first_ = 0;
};

const TiffEntry* find_tag(const std::vector<TiffEntry>& entries, uint16_t tag);

// An entry to be written: its values as little-endian bytes.
struct TiffValue {
  uint16_t tag = 0;
  uint16_t type = 0;
  uint32_t count = 0;
  std::string bytes;
};

TiffValue tiff_short(uint16_t tag, uint16_t value);
TiffValue tiff_long(uint16_t tag, uint32_t value);
TiffValue tiff_ascii(uint16_t tag, const std::string& text);

// Builds a classic little-endian TIFF file in memory, page by page. The caller keeps the whole
// below 4 GiB.
class TiffWriter {
 public:
  TiffWriter();
  // Appends raw bytes at an even offset and returns it.
  uint32_t append(const void* data, size_t size);
  // Appends a directory that nothing points at yet (for an EXIF sub-directory) and returns its
  // offset.
  uint32_t append_directory(std::vector<TiffValue> values);
  // Appends a directory as the next page.
  void add_page(std::vector<TiffValue> values);
  size_t size() const { return bytes_.size(); }
  std::string take() { return std::move(bytes_); }

 private:
  void put32(size_t at, uint32_t value);
  std::string bytes_;
  size_t link_ = 4;  // where the offset of the next page has to be written
};

// Moves the strips of the first page of `tiff`, a file in memory, into `writer`, and appends the
// page's values to `values`: those of the strips' new places, without the orientation. False: it
// has no page, or one without strips.
bool move_first_page(std::string_view tiff, TiffWriter* writer, std::vector<TiffValue>* values);

}  // namespace millrace
