#include "steps/metadata/tiff_places.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "steps/common/tiff_file.h"

namespace millrace {
namespace {

constexpr uint16_t kXmp = 700, kIptc = 33723, kPhotoshop = 34377, kGps = 34853;
constexpr size_t kEntriesMax = 65536;

class PlaceRemover {
 public:
  explicit PlaceRemover(ByteView file)
      : file_(file),
        reader_(file),
        out_(reinterpret_cast<const char*>(file.data), file.size),
        big_(file.u8(2) == 43 || file.u8(3) == 43) {}

  std::string run() {
    std::unordered_set<uint64_t> seen;
    uint64_t at = reader_.ok() ? reader_.first_directory() : 0;
    while (at != 0 && seen.insert(at).second) {
      std::vector<TiffEntry> entries;
      uint64_t next = 0;
      if (!reader_.directory(at, kEntriesMax, &entries, &next)) break;
      clean(at, entries);
      at = next;
    }
    return std::move(out_);
  }

 private:
  bool names_places(const TiffEntry& entry) const {
    if (entry.tag == kGps || entry.tag == kIptc || entry.tag == kPhotoshop) return true;
    if (entry.tag != kXmp || !entry.inside) return false;
    const std::string_view xmp(reinterpret_cast<const char*>(file_.data + entry.at),
                               entry.count * tiff_type_size(entry.type));
    return xmp.find("GPS") != xmp.npos;
  }

  void wipe(const TiffEntry& entry) {
    const uint64_t size = entry.count * tiff_type_size(entry.type);
    if (entry.inside) std::fill_n(out_.begin() + static_cast<ptrdiff_t>(entry.at), size, '\0');
  }

  void wipe_directory(uint64_t at) {
    std::vector<TiffEntry> entries;
    uint64_t next = 0;
    if (!reader_.directory(at, kEntriesMax, &entries, &next)) return;
    for (const TiffEntry& entry : entries) wipe(entry);
    const uint64_t size = count_size() + entries.size() * entry_size();
    std::fill_n(out_.begin() + static_cast<ptrdiff_t>(at), size, '\0');
  }

  // Entries that stay move up, and so does the offset of the next page behind them.
  void clean(uint64_t at, const std::vector<TiffEntry>& entries) {
    std::string kept;
    size_t count = 0;
    uint64_t from = at + count_size();
    for (const TiffEntry& entry : entries) {
      if (names_places(entry)) {
        if (entry.tag == kGps) wipe_directory(reader_.value(entry));
        wipe(entry);
      } else {
        kept.append(reinterpret_cast<const char*>(file_.data + from), entry_size());
        count += 1;
      }
      from += entry_size();
    }
    if (count == entries.size()) return;
    kept.append(reinterpret_cast<const char*>(file_.data + from), big_ ? 8 : 4);
    kept.resize(kept.size() + (entries.size() - count) * entry_size());
    out_.replace(at + count_size(), kept.size(), kept);
    for (size_t i = 0; i < 2; ++i) {  // the low bytes of the count
      const size_t place = reader_.little() ? i : count_size() - 1 - i;
      out_[at + place] = static_cast<char>(count >> (8 * i));
    }
  }

  uint64_t count_size() const { return big_ ? 8 : 2; }
  uint64_t entry_size() const { return big_ ? 20 : 12; }

  ByteView file_;
  TiffReader reader_;
  std::string out_;
  bool big_;
};

}  // namespace

std::string tiff_without_places(ByteView file) {
  return PlaceRemover(file).run();
}

}  // namespace millrace
