#include "steps/transform/operation_list.h"

#include <fmt/core.h>
#include <simdjson.h>

#include "steps/common/picture/operations.h"

namespace millrace {
namespace {

struct Entry {
  const char* type;
  const OperationKind* kind;
};

const Entry kEntries[] = {
    {"resize", &kResize},   {"crop", &kCrop},           {"rotate", &kRotate},
    {"blur", &kBlur},       {"sharpen", &kSharpen},     {"watermark", &kWatermark},
    {"dither", &kDither},   {"grayscale", &kGrayscale}, {"greyscale", &kGrayscale},
    {"convert", &kConvert}, {"optimize", &kConvert},
};

using Object = simdjson::dom::object;
using Element = simdjson::dom::element;

std::string known_types() {
  std::string text;
  for (const Entry& entry : kEntries) text += (text.empty() ? "" : ", ") + std::string(entry.type);
  return text;
}

const OperationKind* find_kind(std::string_view type) {
  for (const Entry& entry : kEntries) {
    if (type == entry.type) return entry.kind;
  }
  return nullptr;
}

ParamValue value_of(const Element& element) {
  ParamValue value;
  if (element.is_bool()) {
    value.kind = MR_VALUE_BOOL;
    value.i = element.get_bool().value_unsafe() ? 1 : 0;
  } else if (element.is_int64()) {
    value.kind = MR_VALUE_INT;
    value.i = element.get_int64().value_unsafe();
  } else if (element.is_double()) {
    value.kind = MR_VALUE_FLOAT;
    value.d = element.get_double().value_unsafe();
    // 800.0 is a whole number for whoever wrote it in a language without whole numbers.
    if (value.d == static_cast<double>(static_cast<int64_t>(value.d)) && std::abs(value.d) < 1e15) {
      value.kind = MR_VALUE_INT;
      value.i = static_cast<int64_t>(value.d);
    }
  } else if (element.is_string()) {
    value.kind = MR_VALUE_STRING;
    value.text = std::string(element.get_string().value_unsafe());
  } else {
    value.kind = MR_VALUE_JSON;
    value.text = "…";
  }
  return value;
}

Problem read_params(const std::string& where, const Element& element, Params* params) {
  Object object;
  if (element.get_object().get(object)) {
    return bad_parameter(where + ": params must be an object of names and values");
  }
  for (const auto& [name, value] : object) {
    if (value.is_null()) continue;
    if (Problem problem = params->set(where, std::string(name), value_of(value))) return problem;
  }
  return {};
}

Problem read_entry(const std::string& where, const Element& element, PictureJob* job,
                   Chain* chain) {
  Object object;
  std::string_view type;
  if (element.get_object().get(object) || object["type"].get_string().get(type)) {
    return bad_parameter(where +
                         " must be an object with a type, such as "
                         R"({"type": "resize", "params": {"width": 800}})");
  }
  const OperationKind* kind = find_kind(type);
  if (kind == nullptr) {
    return bad_parameter(fmt::format("{}: there is no operation '{}'; there are: {}", where,
                                     type.substr(0, 64), known_types()));
  }
  const std::string place = fmt::format("{} ({})", where, type);
  Params params(kind->params);
  for (const auto& [name, value] : object) {
    if (name == "type") continue;
    if (name != "params") {
      return bad_parameter(fmt::format("{}: there is no '{}'; an entry has type and params", place,
                                       name.substr(0, 64)));
    }
    if (Problem problem = read_params(place, value, &params)) return problem;
  }
  Operation operation;
  if (Problem problem = kind->make(params, job, &chain->output, &operation)) {
    problem.message = where + ": " + problem.message;
    return problem;
  }
  if (kind == &kDither) chain->output.exact_palette = true;
  if (operation.apply) chain->operations.push_back(std::move(operation));
  return {};
}

}  // namespace

Problem read_operations(const std::string& json, PictureJob* job, Chain* chain) {
  simdjson::dom::parser parser;
  simdjson::dom::array array;
  if (parser.parse(json).get_array().get(array)) {
    return bad_parameter(
        R"(operations must be a list such as [{"type": "resize", "params": {"width": 800}}])");
  }
  if (array.size() > kOperationsMax) {
    return bad_parameter(fmt::format("operations has {} entries, at most {} are taken",
                                     array.size(), kOperationsMax));
  }
  size_t number = 0;
  for (const Element& element : array) {
    const std::string where = fmt::format("operations[{}]", number);
    if (Problem problem = read_entry(where, element, job, chain)) return problem;
    number += 1;
  }
  return {};
}

}  // namespace millrace
