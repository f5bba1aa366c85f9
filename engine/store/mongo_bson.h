// BsonDoc and BsonArray: documents for the driver, with an owner; and typed looks into documents
// that came from it.
//
// Nothing here fails but for a bug: what is appended is bounded far below BSON's limits. [any]
#pragma once

#include <bson/bson.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/base/check.h"

namespace millrace {

class BsonArray;

class BsonDoc {
 public:
  BsonDoc() { bson_init(&doc_); }
  ~BsonDoc() { bson_destroy(&doc_); }
  BsonDoc(BsonDoc&& other) noexcept {
    CHECK(bson_steal(&doc_, &other.doc_));
    bson_init(&other.doc_);
  }
  BsonDoc& operator=(BsonDoc&&) = delete;
  BsonDoc(const BsonDoc&) = delete;
  BsonDoc& operator=(const BsonDoc&) = delete;

  BsonDoc& text(const char* name, std::string_view value) {
    CHECK(bson_append_utf8(&doc_, name, -1, value.data(), static_cast<int>(value.size())));
    return *this;
  }
  BsonDoc& number(const char* name, int64_t value) {
    CHECK(bson_append_int64(&doc_, name, -1, value));
    return *this;
  }
  // For options that the server wants small, such as a limit or the direction of a sort.
  BsonDoc& small(const char* name, int32_t value) {
    CHECK(bson_append_int32(&doc_, name, -1, value));
    return *this;
  }
  BsonDoc& flag(const char* name, bool value) {
    CHECK(bson_append_bool(&doc_, name, -1, value));
    return *this;
  }
  BsonDoc& binary(const char* name, std::string_view value) {
    CHECK(bson_append_binary(&doc_, name, -1, BSON_SUBTYPE_BINARY,
                             reinterpret_cast<const uint8_t*>(value.data()),
                             static_cast<uint32_t>(value.size())));
    return *this;
  }
  template <size_t N>
  BsonDoc& binary(const char* name, const std::array<uint8_t, N>& value) {
    return binary(name, std::string_view(reinterpret_cast<const char*>(value.data()), N));
  }
  BsonDoc& doc(const char* name, const BsonDoc& value) {
    CHECK(bson_append_document(&doc_, name, -1, &value.doc_));
    return *this;
  }
  BsonDoc& array(const char* name, const BsonArray& value);
  // All fields of another.
  BsonDoc& all(const BsonDoc& other) {
    CHECK(bson_concat(&doc_, &other.doc_));
    return *this;
  }

  const bson_t* get() const { return &doc_; }
  // For the driver to fill: what was in it is gone, not destroyed.
  bson_t* reply() {
    bson_destroy(&doc_);
    return &doc_;
  }
  // For the driver to append to.
  bson_t* more() { return &doc_; }
  size_t bytes() const { return doc_.len; }

 private:
  bson_t doc_;
};

class BsonArray {
 public:
  BsonArray& add(const BsonDoc& value) {
    doc_.doc(next(), value);
    return *this;
  }
  BsonArray& text(std::string_view value) {
    doc_.text(next(), value);
    return *this;
  }
  BsonArray& number(int64_t value) {
    doc_.number(next(), value);
    return *this;
  }
  template <size_t N>
  BsonArray& binary(const std::array<uint8_t, N>& value) {
    doc_.binary(next(), value);
    return *this;
  }
  bool empty() const { return at_ == 0; }
  const bson_t* get() const { return doc_.get(); }

 private:
  const char* next() {
    const char* name;
    bson_uint32_to_string(at_++, &name, name_, sizeof name_);
    return name;
  }

  BsonDoc doc_;
  uint32_t at_ = 0;
  char name_[16];
};

inline BsonDoc& BsonDoc::array(const char* name, const BsonArray& value) {
  CHECK(bson_append_array(&doc_, name, -1, value.get()));
  return *this;
}

// A document of the driver as it is passed to a function object. (The driver's type has an
// alignment that template arguments cannot carry.)
class BsonView {
 public:
  BsonView(const bson_t* doc) : doc_(doc) {}       // NOLINT: implicit on purpose
  operator const bson_t*() const { return doc_; }  // NOLINT: implicit on purpose

 private:
  const bson_t* doc_;
};

// What stands under a name; nothing when it is absent or of another type. Texts and bytes are valid
// as long as the document.
inline std::optional<int64_t> bson_number(const bson_t* doc, const char* name) {
  bson_iter_t at;
  if (!bson_iter_init_find(&at, doc, name)) return std::nullopt;
  if (!BSON_ITER_HOLDS_NUMBER(&at)) return std::nullopt;
  return bson_iter_as_int64(&at);
}

inline bool bson_flag(const bson_t* doc, const char* name) {
  bson_iter_t at;
  return bson_iter_init_find(&at, doc, name) && bson_iter_as_bool(&at);
}

inline std::optional<std::string_view> bson_text(const bson_t* doc, const char* name) {
  bson_iter_t at;
  if (!bson_iter_init_find(&at, doc, name) || !BSON_ITER_HOLDS_UTF8(&at)) return std::nullopt;
  uint32_t size = 0;
  const char* data = bson_iter_utf8(&at, &size);
  return std::string_view(data, size);
}

inline std::optional<std::string_view> bson_bytes(const bson_iter_t* at) {
  if (!BSON_ITER_HOLDS_BINARY(at)) return std::nullopt;
  bson_subtype_t subtype;
  uint32_t size = 0;
  const uint8_t* data = nullptr;
  bson_iter_binary(at, &subtype, &size, &data);
  return std::string_view(reinterpret_cast<const char*>(data), size);
}

inline std::optional<std::string_view> bson_bytes(const bson_t* doc, const char* name) {
  bson_iter_t at;
  return bson_iter_init_find(&at, doc, name) ? bson_bytes(&at) : std::nullopt;
}

// The bytes into an array of that size. False: absent, or of another size.
template <size_t N>
bool bson_bytes_at(const bson_iter_t* at, std::array<uint8_t, N>* out) {
  const auto bytes = bson_bytes(at);
  if (!bytes || bytes->size() != N) return false;
  std::copy(bytes->begin(), bytes->end(), out->begin());
  return true;
}

template <size_t N>
bool bson_bytes(const bson_t* doc, const char* name, std::array<uint8_t, N>* out) {
  bson_iter_t at;
  return bson_iter_init_find(&at, doc, name) && bson_bytes_at(&at, out);
}

// The document under a name, as a view into `doc`; null when there is none.
inline const bson_t* bson_inner(const bson_t* doc, const char* name, bson_t* inner) {
  bson_iter_t at;
  if (!bson_iter_init_find(&at, doc, name) || !BSON_ITER_HOLDS_DOCUMENT(&at)) return nullptr;
  uint32_t size = 0;
  const uint8_t* data = nullptr;
  bson_iter_document(&at, &size, &data);
  return bson_init_static(inner, data, size) ? inner : nullptr;
}

// Calls visit(document) for each document of an array.
template <typename Visit>
void bson_each(const bson_t* doc, const char* name, Visit visit) {
  bson_iter_t at, element;
  if (!bson_iter_init_find(&at, doc, name) || !bson_iter_recurse(&at, &element)) return;
  while (bson_iter_next(&element)) {
    if (!BSON_ITER_HOLDS_DOCUMENT(&element)) continue;
    uint32_t size = 0;
    const uint8_t* data = nullptr;
    bson_iter_document(&element, &size, &data);
    bson_t inner;
    if (bson_init_static(&inner, data, size)) visit(&inner);
  }
}

}  // namespace millrace
