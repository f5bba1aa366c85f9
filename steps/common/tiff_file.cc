#include "steps/common/tiff_file.h"

#include <algorithm>

namespace millrace {

uint32_t tiff_type_size(uint16_t type) {
  constexpr uint8_t kSizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8};
  return type < sizeof kSizes ? kSizes[type] : 0;
}

TiffReader::TiffReader(ByteView file) : file_(file) {
  little_ = file.is(0, "II");
  if (!little_ && !file.is(0, "MM")) return;
  const uint64_t version = number(2, 2);
  if (version != 42 && version != 43) return;
  big_ = version == 43;
  if (big_ && number(4, 2) != 8) return;
  first_ = big_ ? number(8, 8) : number(4, 4);
  ok_ = file.has(0, big_ ? 16 : 8);
}

uint64_t TiffReader::number(uint64_t at, uint32_t size) const {
  uint64_t value = 0;
  for (uint32_t i = 0; i < size; ++i) {
    value = value << 8 | file_.u8(little_ ? at + size - 1 - i : at + i);
  }
  return value;
}

bool TiffReader::directory(uint64_t at, size_t entries_max, std::vector<TiffEntry>* entries,
                           uint64_t* next) const {
  entries->clear();
  *next = 0;
  const uint32_t count_size = big_ ? 8 : 2, entry_size = big_ ? 20 : 12, word = big_ ? 8 : 4;
  if (!file_.has(at, count_size)) return false;
  const uint64_t count = number(at, count_size);
  if (count > entries_max) return false;
  at += count_size;
  if (!file_.has(at, count * entry_size)) return false;
  entries->reserve(count);
  for (uint64_t i = 0; i < count; ++i, at += entry_size) {
    TiffEntry entry;
    entry.tag = static_cast<uint16_t>(number(at, 2));
    entry.type = static_cast<uint16_t>(number(at + 2, 2));
    entry.count = number(at + 4, word);
    const uint64_t size = tiff_type_size(entry.type);
    const uint64_t inline_at = at + 4 + word;
    // Division instead of multiplication: count comes from the file and may be anything.
    const bool fits_inline = size > 0 && entry.count <= word / size;
    entry.at = fits_inline ? inline_at : number(inline_at, word);
    entry.inside =
        size > 0 && entry.at <= file_.size && entry.count <= (file_.size - entry.at) / size;
    entries->push_back(entry);
  }
  // A file that ends right behind its last entry has no further page.
  *next = number(at, word);
  return true;
}

uint64_t TiffReader::value(const TiffEntry& entry, uint64_t index) const {
  if (!entry.inside || index >= entry.count) return 0;
  switch (entry.type) {
    case 1:
    case 7:
      return number(entry.at + index, 1);
    case 3:
      return number(entry.at + index * 2, 2);
    case 4:
    case 13:
      return number(entry.at + index * 4, 4);
    case 16:
    case 18:
      return number(entry.at + index * 8, 8);
    default:
      return 0;
  }
}

std::string TiffReader::text(const TiffEntry& entry, size_t size_max) const {
  if (!entry.inside || entry.type != 2) return "";
  const uint64_t size = std::min<uint64_t>(entry.count, size_max);
  std::string text(reinterpret_cast<const char*>(file_.data + entry.at), size);
  // Copyright may hold two texts with a NUL between them (photographer, editor): keep both.
  while (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

std::string TiffReader::little_bytes(const TiffEntry& entry) const {
  if (!entry.inside) return "";
  const uint64_t size = tiff_type_size(entry.type);
  std::string bytes(reinterpret_cast<const char*>(file_.data + entry.at), entry.count * size);
  // A rational is two numbers of four bytes.
  const uint64_t unit = entry.type == 5 || entry.type == 10 ? 4 : size;
  if (little_ || unit < 2) return bytes;
  for (uint64_t at = 0; at + unit <= bytes.size(); at += unit) {
    std::reverse(bytes.begin() + static_cast<ptrdiff_t>(at),
                 bytes.begin() + static_cast<ptrdiff_t>(at + unit));
  }
  return bytes;
}

const TiffEntry* find_tag(const std::vector<TiffEntry>& entries, uint16_t tag) {
  for (const TiffEntry& entry : entries) {
    if (entry.tag == tag) return &entry;
  }
  return nullptr;
}

namespace {

void put(std::string* bytes, uint32_t value, int size) {
  for (int i = 0; i < size; ++i) bytes->push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

TiffValue tiff_short(uint16_t tag, uint16_t value) {
  TiffValue entry{tag, 3, 1, ""};
  put(&entry.bytes, value, 2);
  return entry;
}

TiffValue tiff_long(uint16_t tag, uint32_t value) {
  TiffValue entry{tag, 4, 1, ""};
  put(&entry.bytes, value, 4);
  return entry;
}

TiffValue tiff_ascii(uint16_t tag, const std::string& text) {
  return {tag, 2, static_cast<uint32_t>(text.size() + 1), text + '\0'};
}

TiffWriter::TiffWriter() : bytes_("II*\0\0\0\0\0", 8) {}

void TiffWriter::put32(size_t at, uint32_t value) {
  for (int i = 0; i < 4; ++i)
    bytes_[at + static_cast<size_t>(i)] = static_cast<char>(value >> (8 * i));
}

uint32_t TiffWriter::append(const void* data, size_t size) {
  if (bytes_.size() % 2) bytes_.push_back(0);
  const auto at = static_cast<uint32_t>(bytes_.size());
  bytes_.append(static_cast<const char*>(data), size);
  return at;
}

uint32_t TiffWriter::append_directory(std::vector<TiffValue> values) {
  std::stable_sort(values.begin(), values.end(),
                   [](const TiffValue& a, const TiffValue& b) { return a.tag < b.tag; });
  std::string directory;
  put(&directory, static_cast<uint32_t>(values.size()), 2);
  for (const TiffValue& value : values) {
    put(&directory, value.tag, 2);
    put(&directory, value.type, 2);
    put(&directory, value.count, 4);
    if (value.bytes.size() <= 4) {
      directory += value.bytes;
      directory.append(4 - value.bytes.size(), '\0');
    } else {
      put(&directory, append(value.bytes.data(), value.bytes.size()), 4);
    }
  }
  put(&directory, 0, 4);
  return append(directory.data(), directory.size());
}

void TiffWriter::add_page(std::vector<TiffValue> values) {
  const size_t link = link_;
  const uint32_t at = append_directory(std::move(values));
  put32(link, at);
  link_ = bytes_.size() - 4;
}

bool move_first_page(std::string_view tiff, TiffWriter* writer, std::vector<TiffValue>* values) {
  constexpr uint16_t kStripOffsets = 273, kOrientation = 274, kStripBytes = 279;
  const TiffReader reader({reinterpret_cast<const uint8_t*>(tiff.data()), tiff.size()});
  std::vector<TiffEntry> made;
  uint64_t next = 0;
  if (!reader.ok() || !reader.directory(reader.first_directory(), 4096, &made, &next)) return false;
  const TiffEntry* offsets = find_tag(made, kStripOffsets);
  const TiffEntry* sizes = find_tag(made, kStripBytes);
  if (offsets == nullptr || sizes == nullptr) return false;
  for (const TiffEntry& entry : made) {
    const bool skipped = entry.tag == kStripOffsets || entry.tag == kOrientation;
    if (skipped || !entry.inside) continue;
    values->push_back(
        {entry.tag, entry.type, static_cast<uint32_t>(entry.count), reader.little_bytes(entry)});
  }
  TiffValue moved{kStripOffsets, 4, static_cast<uint32_t>(offsets->count), ""};
  for (uint64_t i = 0; i < offsets->count; ++i) {
    const ByteView strip = reader.file().sub({reader.value(*offsets, i), reader.value(*sizes, i)});
    moved.bytes += tiff_long(0, writer->append(strip.data, strip.size)).bytes;
  }
  values->push_back(std::move(moved));
  return true;
}

}  // namespace millrace
