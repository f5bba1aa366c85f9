// The part of the pipeline reader that reads maps, texts and constants out of YAML.
#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "engine/pipeline/reader.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

using NodeKind = YamlNode::Kind;

std::string_view kind_text(NodeKind kind) {
  switch (kind) {
    case NodeKind::kEmpty:
      return "nothing";
    case NodeKind::kScalar:
      return "text";
    case NodeKind::kList:
      return "a list";
    case NodeKind::kMap:
      return "a map";
  }
  return "";
}

}  // namespace

void PipelineReader::error(int number, Span at, std::string message, std::string hint) {
  problems_->error(number, at, std::move(message), std::move(hint));
}

// Every key and value of a map, each key once.
PipelineReader::Fields PipelineReader::all_fields(const YamlNode& map, const std::string& what) {
  Fields fields;
  for (size_t i = 0; i + 1 < map.content.size(); i += 2) {
    Field field;
    field.key = &document_.at(map.content[i]);
    field.value = &document_.at(map.content[i + 1]);
    if (field.key->kind != NodeKind::kScalar) {
      error(errors::kShapeWrong, field.key->span, fmt::format("a key of {} must be text", what));
      continue;
    }
    field.name = field.key->text;
    if (find(fields, field.name) != nullptr) {
      error(errors::kKeyDuplicate, field.key->span,
            fmt::format("the key '{}' stands twice in {}", field.name, what));
      continue;
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

PipelineReader::Fields PipelineReader::known_fields(const YamlNode& map, const std::string& what,
                                                    const Names& known, const Names& later) {
  Fields fields;
  Fields all = all_fields(map, what);
  for (Field& field : all) {
    if (std::find(known.begin(), known.end(), field.name) != known.end()) {
      fields.push_back(std::move(field));
    } else if (std::find(later.begin(), later.end(), field.name) != later.end()) {
      error(errors::kNotInThisVersion, field.key->span,
            fmt::format("the key '{}' of {} is not supported by this version", field.name, what));
    } else {
      const std::string meant = nearest(field.name, known);
      std::string hint = meant.empty() ? "" : fmt::format("did you mean '{}'?", meant);
      if (field.name == "<<")
        hint = "merge keys are no part of the language; an alias stands for a whole value";
      if (hint.empty()) {
        for (const std::string_view name : known)
          hint += (hint.empty() ? "known are " : ", ") + std::string(name);
      }
      error(errors::kKeyUnknown, field.key->span,
            fmt::format("the key '{}' has no meaning in {}", field.name, what), std::move(hint));
      // What was meant is read as such, so that one slip hides no other problem and makes no new
      // ones.
      const bool free =
          std::none_of(all.begin(), all.end(), [&](const Field& f) { return f.name == meant; });
      if (meant.empty() || !free || find(fields, meant) != nullptr) continue;
      field.name = meant;
      fields.push_back(std::move(field));
    }
  }
  return fields;
}

// The fields of a map whose keys are names that the author chose.
PipelineReader::Fields PipelineReader::named_fields(const YamlNode& map, const std::string& what,
                                                    size_t most) {
  Fields fields;
  for (Field& field : all_fields(map, what)) {
    if (!is_name(field.name)) {
      error(
          errors::kNameInvalid, field.key->span,
          fmt::format("'{}' is no acceptable name in {}", field.name, what),
          fmt::format(
              "names are a lower-case letter, then lower-case letters, digits and '_', at most {}",
              kNameBytesMax));
      continue;
    }
    if (fields.size() == most) {
      error(errors::kPipelineTooLarge, field.key->span,
            fmt::format("{} {} more than {} entries", what, what.ends_with('s') ? "have" : "has",
                        most));
      break;
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

const PipelineReader::Field* PipelineReader::find(const Fields& fields, std::string_view name) {
  for (const Field& field : fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

bool PipelineReader::is_map(const YamlNode& node, const std::string& what) {
  if (node.kind == NodeKind::kMap) return true;
  error(errors::kShapeWrong, node.span,
        fmt::format("{} must be a map, this is {}", what, kind_text(node.kind)));
  return false;
}

const std::string* PipelineReader::text(const YamlNode& node, const std::string& what) {
  if (node.kind == NodeKind::kScalar) return &node.text;
  error(errors::kShapeWrong, node.span,
        fmt::format("{} must be text, this is {}", what, kind_text(node.kind)));
  return nullptr;
}

std::optional<int64_t> PipelineReader::positive_duration(const Field& field,
                                                         const std::string& what) {
  const std::string name = fmt::format("'{}' of {}", field.name, what);
  const auto value = read_as(simple_type(Type::Kind::kDuration), *field.value, name);
  if (!value) return std::nullopt;
  if (value->as_int() > 0) return value->as_int();
  error(errors::kValueOutOfRange, field.value->span, fmt::format("{} must be more than 0", name));
  return std::nullopt;
}

// A scalar by its declared type.
std::optional<Value> PipelineReader::read_as(const Type& type, const YamlNode& node,
                                             const std::string& what) {
  const std::string* word = text(node, what);
  if (word == nullptr) return std::nullopt;
  auto value = value_from_text(type, *word);
  if (value.ok()) return *std::move(value);
  const bool is_enum = type.kind == Type::Kind::kEnum;
  std::string hint;
  if (is_enum) hint = did_you_mean(*word, Names(type.names.begin(), type.names.end()));
  error(is_enum ? errors::kEnumValueUnknown : errors::kValueInvalid, node.span,
        fmt::format("{}: {}", what, value.status().message()), std::move(hint));
  return std::nullopt;
}

// Inside json a plain scalar is what JSON would read, and else text: on, 010 and 12:30 stay what
// they are.
Value PipelineReader::json_scalar(const YamlNode& scalar) {
  if (scalar.style != YamlNode::Style::kPlain) return Value(scalar.text);
  if (scalar.text == "true" || scalar.text == "false") return Value(scalar.text == "true");
  if (scalar.text == "null") return Value();
  if (auto whole = value_from_text(simple_type(Type::Kind::kInt), scalar.text); whole.ok())
    return *std::move(whole);
  if (const auto number = parse_json_number(scalar.text)) return Value(*number);
  return Value(scalar.text);
}

// A value without expressions, by its declared type. Recursion is bounded by kYamlDepthMax.
std::optional<Value> PipelineReader::constant(const Type& type, const YamlNode& node,
                                              const std::string& what) {
  const bool json = type.kind == Type::Kind::kJson;
  if (node.kind == NodeKind::kScalar) return json ? json_scalar(node) : read_as(type, node, what);
  const bool list = node.kind == NodeKind::kList && (json || type.kind == Type::Kind::kList);
  const bool map = node.kind == NodeKind::kMap && (json || type.kind == Type::Kind::kMap);
  if (!list && !map) {
    error(errors::kShapeWrong, node.span,
          fmt::format("{} is {}, this is {}", what, type.text(), kind_text(node.kind)));
    return std::nullopt;
  }
  const Type& element = json ? type : *type.element;
  bool ok = true;
  if (list) {
    Value::List elements;
    for (const uint32_t child : node.content) {
      auto value = constant(element, document_.at(child), what);
      ok = ok && value.has_value();
      if (value) elements.push_back(*std::move(value));
    }
    return ok ? std::optional(Value(std::move(elements))) : std::nullopt;
  }
  Value::Map members;
  for (const Field& field : all_fields(node, what)) {
    auto value = constant(element, *field.value, what);
    ok = ok && value.has_value();
    if (value) members.emplace(field.name, *std::move(value));
  }
  return ok ? std::optional(Value(std::move(members))) : std::nullopt;
}

}  // namespace millrace
