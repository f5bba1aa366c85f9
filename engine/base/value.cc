#include "engine/base/value.h"

#include <fmt/core.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"

namespace millrace {
namespace {

constexpr std::string_view kBlobMember = "$blob";

// Compares as RFC 8785 wants: by UTF-16 code units. That is byte order, but for characters beyond
// the basic plane (lead byte 0xF0 and above), which come before U+E000 to U+FFFF (lead bytes 0xEE
// and 0xEF).
bool utf16_less(std::string_view a, std::string_view b) {
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (x == a.end() || y == b.end()) return y != b.end();
  const auto left = static_cast<uint8_t>(*x), right = static_cast<uint8_t>(*y);
  const bool left_astral = left >= 0xf0, right_astral = right >= 0xf0;
  if (left_astral != right_astral && left >= 0xee && right >= 0xee) return left_astral;
  return left < right;
}

bool needs_utf16_sort(const Value::Map& map) {
  for (const auto& [name, unused] : map) {
    for (char c : name) {
      if (static_cast<uint8_t>(c) >= 0xee) return true;
    }
  }
  return false;
}

// Without `pixels`: texts of records that were frozen before it came must not change.
void write_canonical_blob(const BlobRef& blob, const void*, std::string* out) {
  CHECK(blob.content != nullptr && blob.content->digest.has_value());
  *out += R"({"$blob":{"digest":")";
  *out += blob.content->digest->text();
  *out += '"';
  if (blob.height != 0) *out += fmt::format(",\"height\":{}", blob.height);
  *out += ",\"media_type\":";
  append_json_string(blob.media_type, out);
  *out += fmt::format(",\"size\":{}", blob.content->size_bytes);
  if (blob.width != 0) *out += fmt::format(",\"width\":{}", blob.width);
  *out += "}}";
}

class Writer {
 public:
  Writer(BlobWriter blob, const void* context, std::string* out)
      : blob_(blob), context_(context), out_(out) {}

  // Recursion is bounded: values come from parse_json (kJsonDepthMax) or from templates, which are
  // bounded too.
  void write(const Value& value) {
    switch (value.kind()) {
      case Value::Kind::kNull:
        *out_ += "null";
        return;
      case Value::Kind::kBool:
        *out_ += value.as_bool() ? "true" : "false";
        return;
      case Value::Kind::kInt:
        write_int(value.as_int());
        return;
      case Value::Kind::kDouble:
        append_json_number(value.as_double(), out_);
        return;
      case Value::Kind::kString:
        append_json_string(value.as_string(), out_);
        return;
      case Value::Kind::kList:
        write_list(value.as_list());
        return;
      case Value::Kind::kMap:
        write_map(value.as_map());
        return;
      case Value::Kind::kBlob:
        blob_(value.as_blob(), context_, out_);
        return;
    }
  }

 private:
  void write_int(int64_t number) {
    char text[24];
    const auto result = std::to_chars(text, text + sizeof text, number);
    out_->append(text, result.ptr);
  }

  void write_list(const Value::List& list) {
    *out_ += '[';
    bool first = true;
    for (const Value& element : list) {
      if (!first) *out_ += ',';
      first = false;
      write(element);
    }
    *out_ += ']';
  }

  void write_member(const std::string& name, const Value& value, bool first) {
    if (!first) *out_ += ',';
    append_json_string(name, out_);
    *out_ += ':';
    write(value);
  }

  void write_map(const Value::Map& map) {
    *out_ += '{';
    bool first = true;
    if (!needs_utf16_sort(map)) {
      for (const auto& [name, value] : map) {
        write_member(name, value, first);
        first = false;
      }
    } else {
      std::vector<const Value::Map::value_type*> members;
      for (const auto& member : map) members.push_back(&member);
      std::sort(members.begin(), members.end(),
                [](const auto* a, const auto* b) { return utf16_less(a->first, b->first); });
      for (const auto* member : members) {
        write_member(member->first, member->second, first);
        first = false;
      }
    }
    *out_ += '}';
  }

  BlobWriter blob_;
  const void* context_;
  std::string* out_;
};

class Reader {
 public:
  Reader(BlobsIn blobs, BlobTable* known) : blobs_(blobs), known_(known) {}

  Result<Value> read(simdjson::dom::element element) {
    using simdjson::dom::element_type;
    switch (element.type()) {
      case element_type::NULL_VALUE:
        return Value();
      case element_type::BOOL:
        return Value(element.get_bool().value_unsafe());
      case element_type::INT64:
        return Value(int64_t{element.get_int64().value_unsafe()});
      case element_type::UINT64:
        return Value(static_cast<double>(element.get_uint64().value_unsafe()));
      case element_type::DOUBLE:
        return Value(element.get_double().value_unsafe());
      case element_type::STRING:
        return Value(element.get_string().value_unsafe());
      case element_type::ARRAY:
        return read_list(element.get_array().value_unsafe());
      case element_type::OBJECT:
        return read_map(element.get_object().value_unsafe());
    }
    return Status::invalid(errors::kBrokenJson, "the JSON holds an unknown kind of value");
  }

 private:
  Result<Value> read_list(simdjson::dom::array array) {
    Value::List list;
    list.reserve(array.size());
    for (auto element : array) {
      auto value = read(element);
      if (!value.ok()) return value;
      list.push_back(*std::move(value));
    }
    return Value(std::move(list));
  }

  Result<Value> read_map(simdjson::dom::object object) {
    Value::Map map;
    for (auto field : object) {
      if (field.key == kBlobMember) return read_blob(object);
      auto value = read(field.value);
      if (!value.ok()) return value;
      if (!map.emplace(std::string(field.key), *std::move(value)).second) {
        return Status::invalid(errors::kBrokenJson,
                               fmt::format("the JSON names the member '{}' twice", field.key));
      }
    }
    return Value(std::move(map));
  }

  Result<Value> read_blob(simdjson::dom::object object) {
    if (blobs_ == BlobsIn::kRefused) {
      return Status::invalid(errors::kBrokenJson, "the member name '$blob' is reserved");
    }
    const auto inner = object[kBlobMember];
    std::string_view digest_text, media_type;
    uint64_t size = 0, width = 0, height = 0, pixels = 0;
    const bool ok = inner["digest"].get(digest_text) == simdjson::SUCCESS &&
                    inner["media_type"].get(media_type) == simdjson::SUCCESS &&
                    inner["size"].get(size) == simdjson::SUCCESS;
    const auto digest = ok ? Digest::parse(digest_text) : std::nullopt;
    if (!digest)
      return Status::corrupt(errors::kStoreCorrupt, "a stored blob reference is damaged");
    if (inner["width"].get(width) != simdjson::SUCCESS) width = 0;
    if (inner["height"].get(height) != simdjson::SUCCESS) height = 0;
    if (inner["pixels"].get(pixels) != simdjson::SUCCESS) pixels = 0;
    BlobRef blob;
    blob.media_type = media_type;
    blob.width = static_cast<uint32_t>(width);
    blob.height = static_cast<uint32_t>(height);
    blob.pixels = pixels;
    if (known_ != nullptr) blob.content = (*known_)[*digest];
    if (blob.content == nullptr) {
      blob.content = std::make_shared<BlobContent>();
      blob.content->digest = *digest;
      blob.content->size_bytes = size;
      blob.content->durable = true;
      if (known_ != nullptr) (*known_)[*digest] = blob.content;
    }
    return Value(std::move(blob));
  }

  BlobsIn blobs_;
  BlobTable* known_;
};

}  // namespace

const Value* Value::find(std::string_view name) const {
  if (kind() != Kind::kMap) return nullptr;
  const auto found = as_map().find(name);
  return found == as_map().end() ? nullptr : &found->second;
}

bool Value::operator==(const Value& other) const {
  if (kind() != other.kind()) return false;
  if (kind() != Kind::kBlob) {
    switch (kind()) {
      case Kind::kNull:
        return true;
      case Kind::kBool:
        return as_bool() == other.as_bool();
      case Kind::kInt:
        return as_int() == other.as_int();
      case Kind::kDouble:
        return as_double() == other.as_double();
      case Kind::kString:
        return as_string() == other.as_string();
      case Kind::kList:
        return as_list() == other.as_list();
      case Kind::kMap:
        return as_map() == other.as_map();
      case Kind::kBlob:
        break;
    }
  }
  const BlobRef &a = as_blob(), &b = other.as_blob();
  if (a.media_type != b.media_type || a.width != b.width || a.height != b.height) return false;
  if (a.content == b.content) return true;
  return a.content != nullptr && b.content != nullptr && a.content->digest && b.content->digest &&
         *a.content->digest == *b.content->digest;
}

std::string canonical_json(const Value& value) {
  return json_text(value, write_canonical_blob, nullptr);
}

std::string json_text(const Value& value, BlobWriter blob, const void* context) {
  std::string out;
  Writer(blob, context, &out).write(value);
  return out;
}

void append_json_string(std::string_view text, std::string* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  static constexpr auto kPlain = [] {
    std::array<bool, 256> plain{};
    for (int c = 0x20; c < 0x80; c++) plain[static_cast<size_t>(c)] = c != '"' && c != '\\';
    return plain;
  }();
  *out += '"';
  size_t plain = 0;  // text[plain, i) needs no escape and is not copied yet
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<uint8_t>(text[i]);
    if (kPlain[c]) {
      i++;
      continue;
    }
    if (c >= 0x80) {
      const size_t length = utf8_length(text.substr(i));
      if (length != 0) {
        i += length;
        continue;
      }
    }
    out->append(text, plain, i - plain);
    switch (c) {
      case '"':
        *out += "\\\"";
        break;
      case '\\':
        *out += "\\\\";
        break;
      case '\b':
        *out += "\\b";
        break;
      case '\f':
        *out += "\\f";
        break;
      case '\n':
        *out += "\\n";
        break;
      case '\r':
        *out += "\\r";
        break;
      case '\t':
        *out += "\\t";
        break;
      default:
        if (c < 0x20) {
          *out += "\\u00";
          *out += kDigits[c >> 4];
          *out += kDigits[c & 15];
        } else {
          *out += "\xef\xbf\xbd";  // U+FFFD for a byte that is no UTF-8
        }
    }
    plain = ++i;
  }
  out->append(text, plain, text.size() - plain);
  *out += '"';
}

// ECMAScript's Number::toString: the shortest digits that read back as the same number, as an
// integer or decimal between 1e-6 and 1e21, else in exponent form.
void append_json_number(double number, std::string* out) {
  CHECK(std::isfinite(number));
  if (number == 0) {
    *out += '0';  // also for -0
    return;
  }
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof text, number, std::chars_format::scientific).ptr;
  std::string_view view(text, static_cast<size_t>(end - text));
  if (view.front() == '-') {
    *out += '-';
    view.remove_prefix(1);
  }
  const size_t e = view.find('e');
  std::string digits(1, view[0]);
  if (e > 2) digits += view.substr(2, e - 2);
  int exponent = 0;
  const char* first = view.data() + e + 1 + (view[e + 1] == '+' ? 1 : 0);
  std::from_chars(first, view.data() + view.size(), exponent);
  const int count = static_cast<int>(digits.size());
  const int point = exponent + 1;  // where the decimal point stands, from the first digit
  if (count <= point && point <= 21) {
    *out += digits;
    out->append(static_cast<size_t>(point - count), '0');
  } else if (0 < point && point <= 21) {
    *out += digits.substr(0, static_cast<size_t>(point)) + '.' +
            digits.substr(static_cast<size_t>(point));
  } else if (-6 < point && point <= 0) {
    *out += "0.";
    out->append(static_cast<size_t>(-point), '0');
    *out += digits;
  } else {
    *out += digits[0];
    if (count > 1) *out += '.' + digits.substr(1);
    *out += fmt::format("e{}{}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
}

namespace {

Result<Value> parse_with(simdjson::dom::parser& parser, std::string_view text, BlobsIn blobs,
                         BlobTable* known) {
  if (parser.max_depth() == 0 || parser.capacity() < text.size()) {
    if (parser.allocate(std::max<size_t>(text.size(), 4096), kJsonDepthMax) != simdjson::SUCCESS) {
      return Status::unavailable(errors::kInternal, "out of memory for reading JSON");
    }
  }
  simdjson::dom::element root;
  const auto error = parser.parse(text.data(), text.size()).get(root);
  if (error != simdjson::SUCCESS) {
    return Status::invalid(errors::kBrokenJson,
                           fmt::format("the JSON text of {} bytes does not parse: {}", text.size(),
                                       simdjson::error_message(error)));
  }
  return Reader(blobs, known).read(root);
}

}  // namespace

Result<Value> parse_json(std::string_view text, BlobsIn blobs, BlobTable* known) {
  // Its buffers grow to many times the largest text: those of a large one go with it.
  if (text.size() > kJsonKeptBytes) {
    simdjson::dom::parser once;
    return parse_with(once, text, blobs, known);
  }
  thread_local simdjson::dom::parser kept;
  return parse_with(kept, text, blobs, known);
}

void for_each_blob(const Value& value, const std::function<void(const BlobRef&)>& visit) {
  switch (value.kind()) {
    case Value::Kind::kBlob:
      visit(value.as_blob());
      return;
    case Value::Kind::kList:
      for (const Value& element : value.as_list()) for_each_blob(element, visit);
      return;
    case Value::Kind::kMap:
      for (const auto& [name, member] : value.as_map()) for_each_blob(member, visit);
      return;
    default:
      return;
  }
}

}  // namespace millrace
