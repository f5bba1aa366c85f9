// The part of the pipeline reader that reads `inputs`.
#include <limits>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/pipeline/reader.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

using Kind = Type::Kind;

bool is_media_type(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == 0 || slash == std::string_view::npos || slash + 1 == text.size()) return false;
  const auto word = [](std::string_view part) {
    return std::all_of(part.begin(), part.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.' ||
             c == '_';
    });
  };
  return word(text.substr(0, slash)) &&
         (text.substr(slash + 1) == "*" || word(text.substr(slash + 1)));
}

bool holds_secret(const Type& type) {
  return type.kind == Kind::kSecret || (type.element != nullptr && holds_secret(*type.element));
}

bool holds_blob_inside(const Type& type) {
  return type.element != nullptr && (type.element->is_blob() || holds_blob_inside(*type.element));
}

}  // namespace

void PipelineReader::read_inputs(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kEmpty || !is_map(node, "'inputs'")) return;
  for (const Field& field : named_fields(node, "the inputs", static_cast<size_t>(kInputsMax)))
    read_input(field);
}

void PipelineReader::read_input(const Field& field) {
  InputDecl input;
  input.name = field.name;
  const std::string what = fmt::format("input '{}'", field.name);
  Declared::Input known;
  known.name = field.name;
  known.at = field.key->span;
  Fields fields;
  const YamlNode* type_node = field.value;
  if (field.value->kind == YamlNode::Kind::kMap) {
    fields = known_fields(*field.value, what,
                          {"type", "media", "max", "min", "default", "description"}, {});
    const Field* type = find(fields, "type");
    type_node = type == nullptr ? nullptr : type->value;
    if (type == nullptr)
      error(errors::kKeyMissing, field.key->span, fmt::format("{} has no 'type'", what));
  }
  const std::string* type_text =
      type_node == nullptr ? nullptr : text(*type_node, fmt::format("the type of {}", what));
  if (type_text != nullptr) {
    auto type = parse_type(*type_text);
    if (!type.ok()) {
      constexpr std::string_view kTypes[] = {"bool", "int", "float", "string", "duration",
                                             "size", "url", "json",  "blob",   "image",
                                             "list", "map", "enum"};
      error(errors::kTypeInvalid, type_node->span,
            fmt::format("{}: {}", what, type.status().message()),
            did_you_mean(*type_text, {std::begin(kTypes), std::end(kTypes)}));
    } else if (holds_secret(*type) || holds_blob_inside(*type)) {
      error(errors::kNotInThisVersion, type_node->span,
            fmt::format("{} is {}, which is not supported by this version", what, type->text()));
    } else {
      known.type = *type;
      input.type = *std::move(type);
    }
  }
  if (known.type) read_input_limits(fields, &input);
  if (known.type && input.has_default) known.type->optional = false;
  declared_.inputs.push_back(std::move(known));
  graph_->inputs.push_back(std::move(input));
}

void PipelineReader::read_input_limits(const Fields& fields, InputDecl* input) {
  const std::string what = fmt::format("input '{}'", input->name);
  if (const Field* description = find(fields, "description"); description != nullptr) {
    const std::string* words =
        text(*description->value, fmt::format("the description of {}", what));
    if (words != nullptr) input->description = *words;
  }
  if (const Field* media = find(fields, "media"); media != nullptr) {
    if (input->type.is_blob()) {
      read_media(*media->value, input);
    } else {
      error(errors::kKeyConflict, media->key->span,
            fmt::format("'media' is for blobs and images, {} is {}", what, input->type.text()));
    }
  }
  if (const Field* min = find(fields, "min"); min != nullptr) read_range(*min, true, input);
  if (const Field* max = find(fields, "max"); max != nullptr) read_range(*max, false, input);
  const bool empty =
      (input->min && input->max && *input->min > *input->max) ||
      (input->min_float && input->max_float && *input->min_float > *input->max_float);
  if (empty)
    error(errors::kKeyConflict, find(fields, "min")->key->span,
          fmt::format("'min' of {} is more than its 'max'", what));
  const Field* fallback = find(fields, "default");
  if (fallback == nullptr) return;
  if (input->type.is_blob()) {
    error(errors::kKeyConflict, fallback->key->span,
          fmt::format("{} is {}, which has no default", what, input->type.text()));
    return;
  }
  auto value = constant(input->type, *fallback->value, fmt::format("the default of {}", what));
  if (!value) return;
  if (!in_range(*input, *value)) {
    error(errors::kValueOutOfRange, fallback->value->span,
          fmt::format("the default of {} is outside its 'min' and 'max'", what));
    return;
  }
  input->has_default = true;
  input->default_value = *std::move(value);
}

void PipelineReader::read_media(const YamlNode& node, InputDecl* input) {
  const std::string what = fmt::format("'media' of input '{}'", input->name);
  if (node.kind != YamlNode::Kind::kList || node.content.empty()) {
    error(errors::kShapeWrong, node.span, fmt::format("{} must be a list of media types", what),
          "write [image/jpeg, image/png]");
    return;
  }
  for (const uint32_t child : node.content) {
    const YamlNode& element = document_.at(child);
    const std::string* media = text(element, what);
    if (media == nullptr) continue;
    if (!is_media_type(*media)) {
      error(errors::kValueInvalid, element.span,
            fmt::format("{}: '{}' is no media type", what, *media),
            "write it in lower case, such as image/jpeg or image/*");
    } else if (input->type.kind == Kind::kImage && !media->starts_with("image/")) {
      error(errors::kKeyConflict, element.span,
            fmt::format("{}: an image never has the media type '{}'", what, *media));
    } else {
      input->media.push_back(*media);
    }
  }
}

void PipelineReader::read_range(const Field& field, bool is_min, InputDecl* input) {
  const std::string what = fmt::format("'{}' of input '{}'", field.name, input->name);
  Type type = input->type;
  type.optional = false;
  if (type.is_blob() && !is_min) {
    const auto bytes = read_as(simple_type(Kind::kSize), *field.value, what);
    if (!bytes) return;
    input->max_bytes = bytes->as_int();
    if (input->max_bytes == 0)
      error(errors::kValueOutOfRange, field.value->span,
            fmt::format("{} must be more than 0", what));
    return;
  }
  const bool whole =
      type.kind == Kind::kInt || type.kind == Kind::kDuration || type.kind == Kind::kSize;
  if (!whole && type.kind != Kind::kFloat) {
    error(errors::kKeyConflict, field.key->span,
          fmt::format("{} has no meaning for {}", what, type.text()));
    return;
  }
  const auto value = read_as(type, *field.value, what);
  if (!value) return;
  if (whole) {
    (is_min ? input->min : input->max) = value->as_int();
  } else {
    (is_min ? input->min_float : input->max_float) = value->as_double();
  }
}

bool PipelineReader::in_range(const InputDecl& input, const Value& value) {
  if (value.kind() == Value::Kind::kInt) {
    return (!input.min || value.as_int() >= *input.min) &&
           (!input.max || value.as_int() <= *input.max);
  }
  if (value.kind() == Value::Kind::kDouble) {
    return (!input.min_float || value.as_double() >= *input.min_float) &&
           (!input.max_float || value.as_double() <= *input.max_float);
  }
  return true;
}

}  // namespace millrace
