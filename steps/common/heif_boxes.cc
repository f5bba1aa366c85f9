#include "steps/common/heif_boxes.h"

#include <fmt/core.h>

#include <algorithm>

namespace millrace {
namespace {

// Numbers of any size, one after the other. Beyond the end they are 0, and `bad` says so.
struct Cursor {
  ByteView file;
  uint64_t at = 0, end = 0;
  bool bad = false;

  Cursor(ByteView view, Span span) : file(view), at(span.at), end(span.at + span.size) {}
  uint64_t get(unsigned bytes) {
    if (bytes > end - at || !file.has(at, bytes)) {
      bad = true;
      at = end;
      return 0;
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; ++i) value = value << 8 | file.data[at + i];
    at += bytes;
    return value;
  }
  uint32_t get32(unsigned bytes) { return static_cast<uint32_t>(get(bytes)); }
  std::string_view name() {
    const uint64_t from = at;
    get(4);
    return bad ? std::string_view()
               : std::string_view(reinterpret_cast<const char*>(file.data + from), 4);
  }
  // Up to a NUL or the end.
  std::string_view text() {
    const uint64_t from = at;
    while (at < end && file.u8(at) != 0) ++at;
    const std::string_view out(reinterpret_cast<const char*>(file.data + from), at - from);
    if (at < end) ++at;
    return out;
  }
};

// What a file is made of. Other boxes may hold anything, a film with its places for one.
bool is_structure(std::string_view type) {
  constexpr std::string_view kTypes[] = {"ftyp", "styp", "meta", "mdat", "moov", "moof",
                                         "free", "skip", "wide", "pdin", "sidx", "mfra"};
  return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes);
}

class MetaReader {
 public:
  MetaReader(ByteView file, HeifMeta* meta) : file_(file), meta_(meta) {}

  Problem read() {
    HeifBox box;
    const Span all = {0, file_.size};
    bool found = false;
    Problem problem;
    for (uint64_t at = 0; read_heif_box(file_, all, &at, &box);) {
      if (box.cut) {
        // Cameras append what is no box; its name tells one that was cut.
        if (!is_structure(box.type) && box.type != "udta" && box.type != "uuid") break;
        problem = truncated(
            "file", fmt::format("inside the box '{}' of {} bytes", box.type, box.whole.size),
            file_);
        break;
      }
      if (box.type == "moov") {
        meta_->tracks = true;
        find_free_text(box);
      }
      meta_->end = box.whole.at + box.whole.size;
      if (!is_structure(box.type)) meta_->free_text.push_back(box);
      if (box.type != "meta" || found) continue;
      found = true;
      if (Problem inside = read_meta(box)) return inside;
    }
    if (problem) return problem;
    if (!found && !meta_->tracks) return truncated("file", "before any box 'meta'", file_);
    return {};
  }

 private:
  // In a sequence and in its tracks.
  void find_free_text(const HeifBox& movie) {
    std::vector<HeifBox> holders = {movie};
    for (size_t i = 0; i < holders.size() && holders.size() < kHeifItemsMax; ++i) {
      const Span inside = holders[i].data;
      HeifBox box;
      for (uint64_t at = inside.at; read_heif_box(file_, inside, &at, &box) && !box.cut;) {
        if (box.type == "trak" && i == 0) holders.push_back(box);
        if (box.type == "udta" || box.type == "uuid" || box.type == "meta") {
          meta_->free_text.push_back(box);
        }
      }
    }
  }

  Problem read_meta(const HeifBox& meta) {
    if (meta.data.size < 4) return corrupt("file", "its box 'meta' is empty");
    const Span inside = {meta.data.at + 4, meta.data.size - 4};
    HeifBox box;
    std::vector<HeifBox> boxes;
    for (uint64_t at = inside.at; read_heif_box(file_, inside, &at, &box);) {
      if (box.cut) return corrupt("file", fmt::format("its box '{}' leaves 'meta'", box.type));
      if (boxes.size() >= kHeifItemsMax) return too_many();
      if (box.type == "idat") idat_ = box.data;
      boxes.push_back(box);
    }
    for (const HeifBox& one : boxes) {
      Problem problem;
      if (one.type == "pitm") problem = read_primary(one);
      if (one.type == "iinf") problem = read_items(one);
      if (one.type == "iloc") problem = read_places(one);
      if (one.type == "iref") problem = read_references(one);
      if (one.type == "iprp") problem = read_properties(one);
      if (problem) return problem;
    }
    return {};
  }

  static Problem too_many() {
    return {Fault::kUnsupported,
            fmt::format("the file has more than {} items, or {} entries of them, which is the "
                        "limit; save it anew",
                        kHeifItemsMax, kHeifEntriesMax)};
  }
  static Problem bad(const HeifBox& box) {
    return corrupt("file", fmt::format("its box '{}' ends too early", box.type));
  }
  bool spend(uint64_t entries) {
    entries_ += entries;
    return entries_ <= kHeifEntriesMax;
  }
  HeifItem* item(uint64_t id) {
    const auto found = meta_->items.find(static_cast<uint32_t>(id));
    if (found != meta_->items.end()) return &found->second;
    if (meta_->items.size() >= kHeifItemsMax) return nullptr;
    return &meta_->items[static_cast<uint32_t>(id)];
  }

  Problem read_primary(const HeifBox& box) {
    Cursor cursor(file_, box.data);
    const uint64_t version = cursor.get(4) >> 24;
    meta_->primary = cursor.get32(version == 0 ? 2 : 4);
    meta_->found = !cursor.bad;
    return cursor.bad ? bad(box) : Problem{};
  }

  Problem read_items(const HeifBox& box) {
    Cursor cursor(file_, box.data);
    const uint64_t version = cursor.get(4) >> 24;
    cursor.get(version == 0 ? 2 : 4);  // how many: the boxes say it
    if (cursor.bad) return bad(box);
    HeifBox entry;
    const Span inside = {cursor.at, cursor.end - cursor.at};
    for (uint64_t at = inside.at; read_heif_box(file_, inside, &at, &entry);) {
      if (entry.cut) return bad(box);
      if (entry.type != "infe") continue;
      Cursor info(file_, entry.data);
      const uint64_t kind = info.get(4) >> 24;
      if (kind < 2) continue;  // before there were pictures
      const uint64_t id = info.get(kind == 2 ? 2 : 4);
      const bool sealed = info.get(2) != 0;
      const std::string_view type = info.name();
      if (info.bad) return bad(entry);
      HeifItem* one = item(id);
      if (one == nullptr) return too_many();
      one->type = type;
      one->elsewhere = one->elsewhere || sealed;
      info.text();  // a name for people
      if (type == "mime") one->content_type = info.text();
    }
    return {};
  }

  Problem read_places(const HeifBox& box) {
    Cursor cursor(file_, box.data);
    const uint64_t version = cursor.get(4) >> 24;
    const uint64_t sizes = cursor.get(2);
    const auto offset_size = static_cast<unsigned>(sizes >> 12),
               length_size = static_cast<unsigned>(sizes >> 8 & 15),
               base_size = static_cast<unsigned>(sizes >> 4 & 15),
               index_size = version == 0 ? 0 : static_cast<unsigned>(sizes & 15);
    if (version > 2 || std::max({offset_size, length_size, base_size, index_size}) > 8) {
      return corrupt("file", "its box 'iloc' is of an unknown kind");
    }
    const uint64_t count = cursor.get(version < 2 ? 2 : 4);
    for (uint64_t i = 0; i < count && !cursor.bad; ++i) {
      HeifItem* one = item(cursor.get(version < 2 ? 2 : 4));
      if (one == nullptr || !spend(1)) return too_many();
      const uint64_t method = version == 0 ? 0 : cursor.get(2) & 15;
      const bool other_file = cursor.get(2) != 0;
      const uint64_t base = cursor.get(base_size), extents = cursor.get(2);
      if (other_file || method > 1) one->elsewhere = true;
      if (!spend(extents)) return too_many();
      for (uint64_t k = 0; k < extents && !cursor.bad; ++k) {
        cursor.get(index_size);
        const uint64_t offset = cursor.get(offset_size), length = cursor.get(length_size);
        one->data.push_back(place(method == 1, base, offset, length));
      }
    }
    return cursor.bad ? bad(box) : Problem{};
  }

  // A sum that cannot be is beyond every file. A length of 0 is all that follows.
  Span place(bool in_idat, uint64_t base, uint64_t offset, uint64_t length) const {
    constexpr uint64_t kBeyond = uint64_t{1} << 62;
    const Span source = in_idat ? idat_ : Span{0, file_.size};
    if (base >= kBeyond || offset >= kBeyond || length >= kBeyond) return {kBeyond, 1};
    const uint64_t at = base + offset;
    if (length == 0) length = at < source.size ? source.size - at : 0;
    if (in_idat && (at > source.size || length > source.size - at)) return {kBeyond, length};
    return {source.at + at, length};
  }

  Problem read_references(const HeifBox& box) {
    Cursor head(file_, box.data);
    const unsigned size = head.get(4) >> 24 == 0 ? 2 : 4;
    if (head.bad) return bad(box);
    HeifBox one;
    const Span inside = {head.at, head.end - head.at};
    for (uint64_t at = inside.at; read_heif_box(file_, inside, &at, &one);) {
      if (one.cut) return bad(box);
      Cursor cursor(file_, one.data);
      HeifReference reference;
      reference.type = one.type;
      reference.from = cursor.get32(size);
      const uint64_t count = cursor.get(2);
      if (!spend(1 + count)) return too_many();
      for (uint64_t i = 0; i < count && !cursor.bad; ++i) {
        reference.to.push_back(cursor.get32(size));
      }
      if (cursor.bad) return bad(one);
      meta_->references.push_back(std::move(reference));
    }
    return {};
  }

  Problem read_properties(const HeifBox& box) {
    HeifBox one;
    for (uint64_t at = box.data.at; read_heif_box(file_, box.data, &at, &one);) {
      if (one.cut) return bad(box);
      Problem problem;
      if (one.type == "ipco") problem = read_container(one);
      if (one.type == "ipma") problem = read_associations(one);
      if (problem) return problem;
    }
    return {};
  }

  Problem read_container(const HeifBox& box) {
    HeifBox one;
    for (uint64_t at = box.data.at; read_heif_box(file_, box.data, &at, &one);) {
      if (one.cut) return bad(box);
      if (meta_->properties.size() >= kHeifItemsMax) return too_many();
      meta_->properties.push_back(one);
    }
    return {};
  }

  Problem read_associations(const HeifBox& box) {
    Cursor cursor(file_, box.data);
    const uint64_t head = cursor.get(4);
    const uint64_t count = cursor.get(4);
    const bool wide = (head & 1) != 0;
    for (uint64_t i = 0; i < count && !cursor.bad; ++i) {
      HeifItem* one = item(cursor.get(head >> 24 == 0 ? 2 : 4));
      const uint64_t associations = cursor.get(1);
      if (one == nullptr || !spend(1 + associations)) return too_many();
      for (uint64_t k = 0; k < associations && !cursor.bad; ++k) {
        const uint64_t value = cursor.get(wide ? 2 : 1);
        const uint64_t top = wide ? 0x8000 : 0x80, index = value & (top - 1);
        if (index == 0) continue;  // none
        one->properties.push_back({static_cast<uint16_t>(index - 1), (value & top) != 0});
      }
    }
    return cursor.bad ? bad(box) : Problem{};
  }

  ByteView file_;
  HeifMeta* meta_;
  Span idat_;
  uint64_t entries_ = 0;
};

}  // namespace

bool read_heif_box(ByteView file, Span within, uint64_t* at, HeifBox* box) {
  const uint64_t end = std::min(within.at + within.size, file.size);
  if (*at > end || end - *at < 8) return false;
  uint64_t size = file.be32(*at), header = 8;
  if (size == 1) {
    if (end - *at < 16) return false;
    size = uint64_t{file.be32(*at + 8)} << 32 | file.be32(*at + 12);
    header = 16;
  } else if (size == 0) {
    size = end - *at;
  }
  if (size < header) return false;
  box->type = {reinterpret_cast<const char*>(file.data + *at + 4), 4};
  box->cut = size > end - *at;
  box->whole = {*at, size};
  box->data = {*at + header, size - header};
  *at = box->cut ? end : *at + size;
  return true;
}

Problem read_heif_meta(ByteView file, HeifMeta* meta) {
  return MetaReader(file, meta).read();
}

}  // namespace millrace
