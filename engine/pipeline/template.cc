// The part of the pipeline reader that reads the values of `with` and `outputs`.
#include "engine/base/errors.h"
#include "engine/pipeline/reader.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

using Kind = Type::Kind;

constexpr std::string_view kOpen = "${{";

bool all_constant(const Template& whole) {
  return std::all_of(whole.parts.begin(), whole.parts.end(),
                     [](const Template& part) { return part.kind == Template::Kind::kConstant; });
}

Template constant_template(Value value, Type type) {
  Template made;
  made.kind = Template::Kind::kConstant;
  made.constant = std::move(value);
  made.type = std::move(type);
  return made;
}

// Whether it may be absent is another question than what it is.
std::string plain_text(Type type) {
  type.optional = false;
  return type.text();
}

bool can_be_text(const Type& type) {
  switch (type.kind) {
    case Kind::kBlob:
    case Kind::kImage:
    case Kind::kList:
    case Kind::kMap:
    case Kind::kSecret:
      return false;
    default:
      return true;
  }
}

}  // namespace

std::optional<Template> PipelineReader::read_template(const YamlNode& node, const Slot& slot) {
  switch (node.kind) {
    case YamlNode::Kind::kScalar:
      return read_scalar(node, slot);
    case YamlNode::Kind::kList:
      return read_list(node, slot);
    case YamlNode::Kind::kMap:
      return read_members(node, slot);
    case YamlNode::Kind::kEmpty:
      error(errors::kShapeWrong, node.span, fmt::format("{} has no value", slot.what),
            "write \"\" for an empty text");
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Template> PipelineReader::read_scalar(const YamlNode& node, const Slot& slot) {
  const std::string& words = node.text;
  const size_t open = words.find(kOpen);
  if (open == std::string::npos) return read_constant(node, slot);
  if (open == 0) {
    const size_t end = find_expression_end(words, kOpen.size());
    // A block scalar ends with a line break that nobody meant.
    if (end != std::string::npos && words.find_first_not_of('\n', end + 2) == std::string::npos) {
      return read_expression(node, kOpen.size(), end - kOpen.size(), slot);
    }
  }
  return read_text(node, slot);
}

std::optional<Template> PipelineReader::read_constant(const YamlNode& node, const Slot& slot) {
  const Type json = simple_type(Kind::kJson);
  const Type& type = slot.wanted == nullptr ? json : *slot.wanted;
  if (type.is_blob()) {
    error(errors::kTypeMismatch, node.span,
          fmt::format("{} is {}, this is text", slot.what, plain_text(type)),
          "pass a blob: ${{ inputs.NAME }} or ${{ steps.STEP.OUTPUT }}");
    return std::nullopt;
  }
  auto value = constant(type, node, slot.what);
  if (!value) return std::nullopt;
  if (slot.port != nullptr && !in_port_range(*slot.port, *value, node.span, slot.what))
    return std::nullopt;
  return constant_template(*std::move(value), type);
}

// Without the blanks around it.
Span PipelineReader::expression_span(const YamlNode& node, size_t from, size_t length) const {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::string_view words = std::string_view(node.text).substr(from, length);
  const size_t first = words.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return document_.inside(node, from, length);
  return document_.inside(node, from + first, words.find_last_not_of(kBlanks) + 1 - first);
}

bool PipelineReader::in_port_range(const PortDecl& port, const Value& value, Span at,
                                   const std::string& what) {
  if (port.type.kind != Kind::kInt || (port.min == 0 && port.max == 0)) return true;
  if (value.kind() != Value::Kind::kInt) return true;
  if (value.as_int() >= port.min && value.as_int() <= port.max) return true;
  error(errors::kValueOutOfRange, at,
        fmt::format("{} takes {} to {}, this is {}", what, port.min, port.max, value.as_int()));
  return false;
}

std::optional<Template> PipelineReader::read_expression(const YamlNode& node, size_t from,
                                                        size_t length, const Slot& slot) {
  Checker checker(&declared_, &node, from, slot.reader, slot.reads, *slot.narrowed);
  NodePtr root = checker.check(std::string_view(node.text).substr(from, length), slot.wanted);
  if (root == nullptr) return std::nullopt;
  const Span whole = expression_span(node, from, length);
  if (!fits(node, whole, *root, slot)) return std::nullopt;
  if (slot.wanted != nullptr) root = Checker::converted(std::move(root), *slot.wanted);
  if (slot.port != nullptr && root->constant &&
      !in_port_range(*slot.port, root->value, whole, slot.what)) {
    return std::nullopt;
  }
  Template made;
  made.kind = Template::Kind::kExpression;
  made.type = root->type;
  made.expression = Expression(std::shared_ptr<const ExpressionNode>(std::move(root)));
  return made;
}

bool PipelineReader::fits(const YamlNode&, Span at, const ExpressionNode& root, const Slot& slot) {
  const Type* wanted = slot.wanted;
  if (wanted == nullptr || assignable(*wanted, root.type)) {
    if (!slot.inside || !root.type.optional) return true;
  }
  Type present = root.type;
  present.optional = false;
  if (root.type.optional && (wanted == nullptr || assignable(*wanted, present))) {
    error(errors::kOptionalUnhandled, at,
          fmt::format("{} needs a value, and this may be absent", slot.what),
          "give it a fallback with '?\?', or let 'if: has(…)' decide");
    return false;
  }
  std::string hint;
  if (wanted->kind == Kind::kString && can_be_text(root.type))
    hint = "text around the expression makes it text";
  if (wanted->kind == Kind::kImage && root.type.kind == Kind::kBlob)
    hint = "a blob becomes an image in a step that looks at its bytes, such as upload";
  error(errors::kTypeMismatch, at,
        fmt::format("{} is {}, this is {}", slot.what, plain_text(*wanted), plain_text(root.type)),
        std::move(hint));
  return false;
}

// Text with expressions inside.
std::optional<Template> PipelineReader::read_text(const YamlNode& node, const Slot& slot) {
  const std::string& words = node.text;
  Template made;
  made.kind = Template::Kind::kText;
  made.type = simple_type(Kind::kString);
  bool ok = true;
  if (slot.wanted != nullptr && slot.wanted->kind != Kind::kString &&
      slot.wanted->kind != Kind::kUrl && slot.wanted->kind != Kind::kJson) {
    error(errors::kTypeMismatch, node.span,
          fmt::format("{} is {}, this is text", slot.what, plain_text(*slot.wanted)),
          "an expression alone keeps its type; remove what stands around it");
    ok = false;
  }
  size_t at = 0;
  while (at < words.size()) {
    const size_t open = std::min(words.find(kOpen, at), words.size());
    if (open > at)
      made.parts.push_back(constant_template(Value(words.substr(at, open - at)), made.type));
    if (open == words.size()) break;
    const size_t first = open + kOpen.size();
    const size_t end = find_expression_end(words, first);
    if (end == std::string::npos) {
      const bool comment =
          node.style == YamlNode::Style::kPlain &&
          problems_->source().substr(node.span.offset + node.span.length).starts_with(" #");
      error(errors::kExpressionSyntax, document_.inside(node, open, kOpen.size()),
            "'${{' is opened here and never closed",
            comment ? "' #' begins a comment in YAML; quote the value" : "close it with '}}'");
      return std::nullopt;
    }
    Checker checker(&declared_, &node, first, slot.reader, slot.reads, *slot.narrowed);
    NodePtr root = checker.check(std::string_view(words).substr(first, end - first), nullptr);
    const Span span = expression_span(node, first, end - first);
    if (root == nullptr) {
      ok = false;
    } else if (root->type.optional) {
      error(errors::kOptionalUnhandled, span, "a value that may be absent cannot stand inside text",
            "give it a fallback with '?\?'");
      ok = false;
    } else if (!can_be_text(root->type)) {
      error(
          errors::kTypeMismatch, span,
          fmt::format("a value of type {} cannot stand inside text", root->type.text()),
          root->type.is_blob() ? "read one of the step's results, such as its url or digest" : "");
      ok = false;
    } else {
      Template part;
      part.kind = Template::Kind::kExpression;
      part.type = root->type;
      part.expression = Expression(std::shared_ptr<const ExpressionNode>(std::move(root)));
      made.parts.push_back(std::move(part));
    }
    at = end + 2;
  }
  return ok ? std::optional(std::move(made)) : std::nullopt;
}

// What a list and a map share: `made` gets its kind and type, `part` is where each part stands.
bool PipelineReader::open_parts(const YamlNode& node, const Slot& slot, Type::Kind kind,
                                Template* made, Slot* part) {
  static const Type json = simple_type(Kind::kJson);
  const bool list = kind == Kind::kList;
  const Type& type = slot.wanted == nullptr ? json : *slot.wanted;
  if (type.kind != kind && type.kind != Kind::kJson) {
    error(
        errors::kTypeMismatch, node.span,
        fmt::format("{} is {}, this is a {}", slot.what, plain_text(type), list ? "list" : "map"));
    return false;
  }
  made->kind = list ? Template::Kind::kList : Template::Kind::kMap;
  made->type = type;
  *part = slot;
  part->wanted = type.kind == kind ? type.element.get() : &json;
  part->inside = true;
  part->port = nullptr;
  return true;
}

std::optional<Template> PipelineReader::read_list(const YamlNode& node, const Slot& slot) {
  Template made;
  Slot element;
  if (!open_parts(node, slot, Kind::kList, &made, &element)) return std::nullopt;
  bool ok = true;
  for (const uint32_t child : node.content) {
    auto part = read_template(document_.at(child), element);
    ok = ok && part.has_value();
    if (part) made.parts.push_back(*std::move(part));
  }
  if (!ok) return std::nullopt;
  if (!all_constant(made)) return made;
  Value::List list;
  for (Template& part : made.parts) list.push_back(std::move(part.constant));
  return constant_template(Value(std::move(list)), made.type);
}

std::optional<Template> PipelineReader::read_members(const YamlNode& node, const Slot& slot) {
  Template made;
  Slot member;
  if (!open_parts(node, slot, Kind::kMap, &made, &member)) return std::nullopt;
  bool ok = true;
  for (const Field& field : all_fields(node, slot.what)) {
    member.what = fmt::format("'{}' in {}", field.name, slot.what);
    auto part = read_template(*field.value, member);
    ok = ok && part.has_value();
    if (!part) continue;
    made.names.push_back(field.name);
    made.parts.push_back(*std::move(part));
  }
  if (!ok) return std::nullopt;
  if (!all_constant(made)) return made;
  Value::Map map;
  for (size_t i = 0; i < made.parts.size(); i++)
    map.emplace(made.names[i], std::move(made.parts[i].constant));
  return constant_template(Value(std::move(map)), made.type);
}

}  // namespace millrace
