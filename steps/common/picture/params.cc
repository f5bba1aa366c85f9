#include "steps/common/picture/params.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace millrace {
namespace {

std::string_view base_type(const mr_port& port) {
  std::string_view type = port.type;
  if (!type.empty() && type.back() == '?') type.remove_suffix(1);
  return type;
}

ParamValue read_default(const mr_port& port) {
  ParamValue value;
  if (port.default_value == nullptr) return value;
  const std::string_view type = base_type(port);
  const std::string text = port.default_value;
  if (type == "int") {
    value.kind = MR_VALUE_INT;
    value.i = std::strtoll(text.c_str(), nullptr, 10);
  } else if (type == "float") {
    value.kind = MR_VALUE_FLOAT;
    value.d = std::strtod(text.c_str(), nullptr);
  } else if (type == "bool") {
    value.kind = MR_VALUE_BOOL;
    value.i = text == "true" ? 1 : 0;
  } else {
    value.kind = MR_VALUE_STRING;
    value.text = text;
  }
  return value;
}

// Whether `word` is one of enum<a,b>.
bool is_word_of(std::string_view type, const std::string& word) {
  std::string_view rest = type.substr(5, type.size() - 6);
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    if (rest.substr(0, comma) == word) return true;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return false;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string shown(const ParamValue& value) {
  switch (value.kind) {
    case MR_VALUE_INT:
      return fmt::format("{}", value.i);
    case MR_VALUE_FLOAT:
      return fmt::format("{}", value.d);
    case MR_VALUE_BOOL:
      return value.i ? "true" : "false";
    default:
      return "'" + value.text.substr(0, 64) + "'";
  }
}

// Makes the value one of the port's type, when it is one.
bool fits(const mr_port& port, ParamValue* value) {
  const std::string_view type = base_type(port);
  if (type == "float" && value->kind == MR_VALUE_INT) {
    value->kind = MR_VALUE_FLOAT;
    value->d = static_cast<double>(value->i);
  }
  if (type == "int") {
    const bool bounded = port.min != 0 || port.max != 0;
    return value->kind == MR_VALUE_INT &&
           (!bounded || (value->i >= port.min && value->i <= port.max));
  }
  if (type == "float") return value->kind == MR_VALUE_FLOAT;
  if (type == "bool") return value->kind == MR_VALUE_BOOL;
  if (value->kind != MR_VALUE_STRING) return false;
  return type.substr(0, 5) != "enum<" || is_word_of(type, value->text);
}

}  // namespace

Params::Params(Ports ports) : ports_(ports) {
  values_.reserve(ports.count);
  for (uint32_t i = 0; i < ports.count; ++i) values_.push_back(read_default(ports.first[i]));
}

Params::Params(Ports ports, const mr_value* values) : Params(ports) {
  for (uint32_t i = 0; i < ports.count; ++i) {
    const mr_value& given = values[i];
    if (given.kind == MR_VALUE_ABSENT) continue;
    ParamValue& value = values_[i];
    value.given = true;
    value.kind = given.kind;
    value.i = given.i;
    value.d = given.d;
    if (given.s != nullptr) value.text.assign(given.s, given.n);
  }
}

const ParamValue& Params::find(const char* name) const {
  static const ParamValue absent;
  for (uint32_t i = 0; i < ports_.count; ++i) {
    if (std::string_view(ports_.first[i].name) == name) return values_[i];
  }
  return absent;
}

int64_t Params::integer(const char* name, int64_t otherwise) const {
  const ParamValue& value = find(name);
  return value.kind == MR_VALUE_INT ? value.i : otherwise;
}

double Params::number(const char* name, double otherwise) const {
  const ParamValue& value = find(name);
  if (value.kind == MR_VALUE_INT) return static_cast<double>(value.i);
  return value.kind == MR_VALUE_FLOAT ? value.d : otherwise;
}

bool Params::flag(const char* name, bool otherwise) const {
  const ParamValue& value = find(name);
  return value.kind == MR_VALUE_BOOL ? value.i != 0 : otherwise;
}

std::string Params::text(const char* name, const char* otherwise) const {
  const ParamValue& value = find(name);
  return value.kind == MR_VALUE_STRING ? value.text : otherwise;
}

Problem Params::set(const std::string& where, const std::string& name, ParamValue value) {
  std::string known;
  for (uint32_t i = 0; i < ports_.count; ++i) {
    const mr_port& port = ports_.first[i];
    known += (known.empty() ? "" : ", ") + std::string(port.name);
    if (name != port.name) continue;
    if (!fits(port, &value)) {
      const bool bounded = base_type(port) == "int" && (port.min != 0 || port.max != 0);
      return bad_parameter(
          fmt::format("{}: {} is {}, it must be {}{}", where, name, shown(value), base_type(port),
                      bounded ? fmt::format(" from {} to {}", port.min, port.max) : ""));
    }
    value.given = true;
    values_[i] = std::move(value);
    return {};
  }
  return bad_parameter(fmt::format("{}: there is no parameter '{}'; there are: {}", where,
                                   name.substr(0, 64), known.empty() ? "none" : known));
}

bool parse_colour(const std::string& text, uint8_t colour[3]) {
  const bool brief = text.size() == 4;
  if ((!brief && text.size() != 7) || text[0] != '#') return false;
  for (size_t i = 0; i < 3; ++i) {
    const int high = hex_digit(text[brief ? 1 + i : 1 + 2 * i]);
    const int low = hex_digit(text[brief ? 1 + i : 2 + 2 * i]);
    if (high < 0 || low < 0) return false;
    colour[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return true;
}

Problem bad_parameter(std::string message) {
  return {Fault::kBadParameter, std::move(message)};
}

}  // namespace millrace
