// Type: a type of the pipeline language. bool int float string duration size url json blob image
// list<T> map<T> enum<a,b> secret<T>, and T? for an optional one.
//
// As Values: duration is an int of milliseconds, size an int of bytes, url and enum a string, json
// any value without blobs, url an absolute http or https address or a path that begins with '/',
// image a blob whose bytes were seen to be an image; an absent optional is null.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/value.h"

namespace millrace {

struct Type {
  enum class Kind : uint8_t {
    kBool,
    kInt,
    kFloat,
    kString,
    kDuration,
    kSize,
    kUrl,
    kJson,
    kBlob,
    kImage,
    kList,
    kMap,
    kEnum,
    kSecret
  };
  Kind kind = Kind::kJson;
  bool optional = false;
  std::shared_ptr<const Type> element;  // of list, map and secret
  std::vector<std::string> names;       // of enum, in declared order

  bool is_blob() const { return kind == Kind::kBlob || kind == Kind::kImage; }
  bool operator==(const Type& other) const;
  std::string text() const;  // as a pipeline writes it: "list<int>?"
};

// Reads a type as a pipeline or a plugin writes it. Invalid: message says where and what. [any]
Result<Type> parse_type(std::string_view text);
// Whether a value of `from` may be passed where `to` is wanted (T to T?, image to blob, int to
// float, url, enum, duration and size to nothing but themselves or, url and enum, to string;
// anything without blobs to json). [any]
bool assignable(const Type& to, const Type& from);

// Reads `text` (a form field, a query parameter, a scalar of YAML) as `type`, never guessing: "010"
// as a string stays "010", as an int is an error. Lists and maps and json are read as JSON text.
// Not for blobs. Invalid: message. [any]
Result<Value> value_from_text(const Type& type, std::string_view text);
// Checks and converts a JSON value to `type` (a duration or size arrives as text with its unit).
// Not for blobs inside; a blob value passes only where the type is a blob. Invalid: message. [any]
Result<Value> value_from_json(const Type& type, const Value& json);
// The value as users see it: durations and sizes as text with a unit, all else unchanged. [any]
Value value_for_view(const Type& type, const Value& value);

}  // namespace millrace
