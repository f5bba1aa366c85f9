// Values by declared type: from text, from JSON, for people. Never guesses.
#include <charconv>
#include <cmath>

#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "engine/pipeline/text.h"
#include "engine/pipeline/type.h"

namespace millrace {
namespace {

using Kind = Type::Kind;

constexpr size_t kShownBytesMax = 60;  // of a refused value, in a message
constexpr size_t kUrlTextBytesMax = 4096;

Status refuse(std::string message) {
  return Status::invalid(errors::kInputWrongType, std::move(message));
}

std::string shown(std::string_view text) {
  if (text.size() <= kShownBytesMax) return fmt::format("'{}'", text);
  return fmt::format("'{}…' ({} bytes)", text.substr(0, utf8_floor(text, kShownBytesMax)),
                     text.size());
}

// Whether it may be absent is another question than what it is.
std::string plain_text(Type type) {
  type.optional = false;
  return type.text();
}

Status wrong(const Type& type, std::string_view text, std::string_view example) {
  return refuse(fmt::format("{} is no {}; write {}", shown(text), plain_text(type), example));
}

Result<Value> int_from(const Type& type, std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  const bool canonical = !digits.empty() && (digits[0] != '0' || digits.size() == 1) &&
                         digits.find_first_not_of("0123456789") == std::string_view::npos;
  if (!canonical) return wrong(type, text, "a whole number such as 10, without leading zeros");
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return refuse(fmt::format("{} is beyond 64 bits", shown(text)));
  }
  return Value(number);
}

Result<Value> float_from(const Type& type, std::string_view text) {
  const auto number = parse_json_number(text);
  if (!number) return wrong(type, text, "a number such as 0.5");
  return Value(*number);
}

// http or https and a host, or a bare path as our own answers hold it without a public address;
// nothing that a log or a header could not carry.
bool is_url(std::string_view text) {
  if (text.size() > kUrlTextBytesMax) return false;
  std::string_view rest = text.starts_with('/') ? text.substr(1) : std::string_view();
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (text.starts_with(scheme)) rest = text.substr(scheme.size());
  }
  if (rest.empty() || rest[0] == '/' || rest[0] == '?' || rest[0] == '#') return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<uint8_t>(c);
    return byte > 0x20 && byte != 0x7f && c != '"' && c != '<' && c != '>' && c != '\\';
  });
}

Result<Value> enum_from(const Type& type, std::string_view text) {
  std::string known;
  for (const std::string& name : type.names) {
    if (name == text) return Value(text);
    known += (known.empty() ? "" : ", ") + name;
  }
  return refuse(fmt::format("{} is none of {}", shown(text), known));
}

Result<Value> text_from(const Type& type, std::string_view text) {
  if (!is_utf8(text)) return refuse("the text is not valid UTF-8");
  if (type.kind == Kind::kEnum) return enum_from(type, text);
  if (type.kind == Kind::kUrl && !is_url(text)) {
    return wrong(type, text, "an absolute address such as https://example.org/path");
  }
  return Value(text);
}

Status mismatch(const Type& type, const Value& value) {
  constexpr const char* kKinds[] = {"null", "a boolean", "a whole number", "a number",
                                    "text", "a list",    "an object",      "a blob"};
  return refuse(fmt::format("{} where {} is wanted", kKinds[static_cast<int>(value.kind())],
                            plain_text(type)));
}

bool holds_blob(const Value& value) {
  bool found = false;
  for_each_blob(value, [&](const BlobRef&) { found = true; });
  return found;
}

// Recursion follows the type, which is at most kTypeDepthMax deep.
Result<Value> list_from(const Type& type, const Value& json) {
  if (json.kind() != Value::Kind::kList) return mismatch(type, json);
  Value::List list;
  list.reserve(json.as_list().size());
  for (const Value& element : json.as_list()) {
    auto converted = value_from_json(*type.element, element);
    if (!converted.ok()) {
      return refuse(fmt::format("element {}: {}", list.size(), converted.status().message()));
    }
    list.push_back(*std::move(converted));
  }
  return Value(std::move(list));
}

Result<Value> map_from(const Type& type, const Value& json) {
  if (json.kind() != Value::Kind::kMap) return mismatch(type, json);
  Value::Map map;
  for (const auto& [name, element] : json.as_map()) {
    auto converted = value_from_json(*type.element, element);
    if (!converted.ok()) {
      return refuse(fmt::format("member '{}': {}", name, converted.status().message()));
    }
    map.emplace_hint(map.end(), name, *std::move(converted));
  }
  return Value(std::move(map));
}

Result<Value> number_from_json(const Type& type, const Value& json) {
  if (type.kind == Kind::kInt) {
    if (json.kind() == Value::Kind::kInt) return json;
  } else if (json.kind() == Value::Kind::kDouble) {
    return json;
  } else if (json.kind() == Value::Kind::kInt) {
    return Value(static_cast<double>(json.as_int()));
  }
  return mismatch(type, json);
}

}  // namespace

Result<Value> value_from_text(const Type& type, std::string_view text) {
  switch (type.kind) {
    case Kind::kBool:
      if (text == "true") return Value(true);
      if (text == "false") return Value(false);
      return wrong(type, text, "true or false");
    case Kind::kInt:
      return int_from(type, text);
    case Kind::kFloat:
      return float_from(type, text);
    case Kind::kString:
    case Kind::kUrl:
    case Kind::kEnum:
      return text_from(type, text);
    case Kind::kDuration:
      if (const auto duration = parse_duration(text)) return Value(*duration);
      return wrong(type, text, "a number and one of ms s m h d, such as 30s");
    case Kind::kSize:
      if (const auto size = parse_size(text)) return Value(*size);
      return wrong(type, text, "a number and one of B KB MB GB KiB MiB GiB, such as 64KiB");
    case Kind::kJson:
    case Kind::kList:
    case Kind::kMap: {
      auto json = parse_json(text);
      if (!json.ok()) return refuse(json.status().message());
      return value_from_json(type, *json);
    }
    case Kind::kBlob:
    case Kind::kImage:
    case Kind::kSecret:
      break;
  }
  return refuse(fmt::format("type {} takes bytes, not text; on the command line write NAME=@FILE",
                            type.text()));
}

Result<Value> value_from_json(const Type& type, const Value& json) {
  if (json.is_null()) {
    if (type.optional || type.kind == Kind::kJson) return Value();
    return mismatch(type, json);
  }
  switch (type.kind) {
    case Kind::kBool:
      if (json.kind() == Value::Kind::kBool) return json;
      break;
    case Kind::kInt:
    case Kind::kFloat:
      return number_from_json(type, json);
    case Kind::kString:
    case Kind::kUrl:
    case Kind::kEnum:
      if (json.kind() == Value::Kind::kString) return text_from(type, json.as_string());
      break;
    case Kind::kDuration:
    case Kind::kSize:
      if (json.kind() == Value::Kind::kString) return value_from_text(type, json.as_string());
      break;
    case Kind::kJson:
      if (!holds_blob(json)) return json;
      return refuse("a blob inside json; pass it where a blob or image is wanted");
    case Kind::kBlob:
    case Kind::kImage:
      if (json.kind() == Value::Kind::kBlob) return json;
      break;
    case Kind::kList:
      return list_from(type, json);
    case Kind::kMap:
      return map_from(type, json);
    case Kind::kSecret:
      break;
  }
  return mismatch(type, json);
}

Value value_for_view(const Type& type, const Value& value) {
  switch (type.kind) {
    case Kind::kDuration:
      if (value.kind() == Value::Kind::kInt) return Value(format_duration(value.as_int()));
      return value;
    case Kind::kSize:
      if (value.kind() == Value::Kind::kInt) return Value(format_size(value.as_int()));
      return value;
    case Kind::kList:
    case Kind::kMap:
      break;
    default:
      return value;
  }
  if (type.element == nullptr) return value;
  if (value.kind() == Value::Kind::kList) {
    Value::List list;
    list.reserve(value.as_list().size());
    for (const Value& element : value.as_list()) {
      list.push_back(value_for_view(*type.element, element));
    }
    return Value(std::move(list));
  }
  if (value.kind() == Value::Kind::kMap) {
    Value::Map map;
    for (const auto& [name, element] : value.as_map()) {
      map.emplace_hint(map.end(), name, value_for_view(*type.element, element));
    }
    return Value(std::move(map));
  }
  return value;
}

}  // namespace millrace
