// Value: a JSON value, with blobs as values of their own; BlobRef: what a value knows of a blob.
//
// Values are what inputs, outputs and expressions are made of. Their stored form is canonical JSON
// text (RFC 8785: members sorted by UTF-16 code units, shortest numbers, no white space), in which
// a blob is the one-member object
// {"$blob":{...}}; that member name is refused in JSON from users. Integers are kept as int64 and
// never become doubles.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/base/bytes.h"
#include "engine/base/digest.h"
#include "engine/base/status.h"

namespace millrace {

// The bytes behind one or more blob values of a job. Shared and changed only on the loop thread:
// the digest becomes known, and `durable` true, when the blob store has them; `bytes` may be
// dropped once durable.
struct BlobContent {
  Bytes bytes;  // !present() when not in memory
  uint64_t size_bytes = 0;
  std::optional<Digest> digest;  // known at the latest when durable
  bool durable = false;
};

struct BlobRef {
  std::shared_ptr<BlobContent> content;
  std::string media_type;  // what the bytes are, not what somebody said
  uint32_t width = 0;      // pixels; 0 while no step has seen the image
  uint32_t height = 0;
  uint64_t pixels = 0;  // over all frames or pages; 0: width x height
};

class Value {
 public:
  using List = std::vector<Value>;
  using Map = std::map<std::string, Value, std::less<>>;
  enum class Kind : uint8_t { kNull, kBool, kInt, kDouble, kString, kList, kMap, kBlob };

  Value() = default;                             // null; also stands for an absent optional
  Value(bool v) : data_(v) {}                    // NOLINT: implicit, values are literals in tests
  Value(int64_t v) : data_(v) {}                 // NOLINT
  Value(int v) : data_(int64_t{v}) {}            // NOLINT
  Value(double v) : data_(v) {}                  // NOLINT
  Value(std::string v) : data_(std::move(v)) {}  // NOLINT
  Value(std::string_view v) : data_(std::string(v)) {}  // NOLINT
  Value(const char* v) : data_(std::string(v)) {}       // NOLINT
  Value(List v) : data_(std::move(v)) {}                // NOLINT
  Value(Map v) : data_(std::move(v)) {}                 // NOLINT
  Value(BlobRef v) : data_(std::move(v)) {}             // NOLINT

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is_null() const { return kind() == Kind::kNull; }
  // Each is a bug on another kind.
  bool as_bool() const { return get<bool>(); }
  int64_t as_int() const { return get<int64_t>(); }
  double as_double() const { return get<double>(); }
  const std::string& as_string() const { return get<std::string>(); }
  const List& as_list() const { return get<List>(); }
  const Map& as_map() const { return get<Map>(); }
  const BlobRef& as_blob() const { return get<BlobRef>(); }
  List& as_list() { return const_cast<List&>(get<List>()); }
  Map& as_map() { return const_cast<Map&>(get<Map>()); }
  BlobRef& as_blob() { return const_cast<BlobRef&>(get<BlobRef>()); }
  // The member of a map, or null when there is none or this is no map.
  const Value* find(std::string_view name) const;

  // Equal kinds and contents; blobs by digest when both know it, else by identity. 1 and 1.0
  // differ.
  bool operator==(const Value& other) const;

 private:
  template <typename T>
  const T& get() const {
    CHECK(std::holds_alternative<T>(data_));
    return *std::get_if<T>(&data_);
  }
  std::variant<std::monostate, bool, int64_t, double, std::string, List, Map, BlobRef> data_;
};

// Canonical text. Every blob inside must know its digest. [any]
std::string canonical_json(const Value& value);
// The same without the canonical form's blob objects: calls `blob` for each to append what
// outsiders should see. [any]
using BlobWriter = void (*)(const BlobRef& blob, const void* context, std::string* out);
std::string json_text(const Value& value, BlobWriter blob, const void* context);
// Appends `text` as a quoted JSON string. Invalid UTF-8 becomes U+FFFD. [any]
void append_json_string(std::string_view text, std::string* out);
// Appends a number as RFC 8785 writes it (ECMAScript's shortest form). Not for infinities or NaN.
// [any]
void append_json_number(double number, std::string* out);

// Where parse_json found {"$blob":…}: what our own records hold, never what a user sent.
enum class BlobsIn : uint8_t { kRefused, kAllowed };
// Reads one JSON text (UTF-8, at most kJsonDepthMax deep, duplicate members refused). Integers
// beyond int64 become doubles as long as they fit 64 bits unsigned; larger ones are refused. Blobs
// that are allowed come back durable, with digest and without bytes. Equal digests share one
// BlobContent through `known` when it is not null. E007 when it does not parse. [any]
using BlobTable = std::map<Digest, std::shared_ptr<BlobContent>>;
Result<Value> parse_json(std::string_view text, BlobsIn blobs = BlobsIn::kRefused,
                         BlobTable* known = nullptr);

// Calls `visit` for each blob inside `value`, in canonical order. [any]
void for_each_blob(const Value& value, const std::function<void(const BlobRef&)>& visit);

}  // namespace millrace
