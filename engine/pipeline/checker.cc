#include "engine/pipeline/checker.h"

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/time.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

using Kind = Type::Kind;

// What a folded part may read: nothing.
class EmptyScope final : public Scope {
 public:
  const Value* input(int) const override { return nullptr; }
  const Value* step_output(int, int) const override { return nullptr; }
  const Value* job(JobField) const override { return nullptr; }
};

bool holds_blob(const Type& type) {
  return type.is_blob() || (type.element != nullptr && holds_blob(*type.element));
}

bool needs_conversion(const Type& to, const Type& from) {
  if (to.kind == Kind::kJson) return from.kind != Kind::kJson;
  if (to.kind == Kind::kFloat) return from.kind == Kind::kInt;
  if (to.element == nullptr || from.element == nullptr) return false;
  return needs_conversion(*to.element, *from.element);
}

// Whether a text is read as what it falls back for: inputs.method ?? "luma", inputs.wait ?? "30s".
// A text that is none of an enum's values stays text, and so does what stands beside a url.
bool fallback_hints(const Type& type, const Syntax& syntax) {
  if (type.kind == Kind::kDuration || type.kind == Kind::kSize) return true;
  if (type.kind != Kind::kEnum || syntax.value.kind() != Value::Kind::kString) return false;
  return std::find(type.names.begin(), type.names.end(), syntax.value.as_string()) !=
         type.names.end();
}

int depth_of(const Syntax& syntax) {
  int deepest = 0;
  for (const SyntaxPtr& arg : syntax.args) deepest = std::max(deepest, depth_of(*arg));
  return deepest + 1;
}

}  // namespace

Type simple_type(Type::Kind kind, bool optional) {
  Type type;
  type.kind = kind;
  type.optional = optional;
  return type;
}

Type list_of(Type element) {
  Type type = simple_type(Kind::kList);
  element.optional = false;
  type.element = std::make_shared<const Type>(std::move(element));
  return type;
}

NodePtr Checker::make(Op op, Type type) {
  auto node = std::make_unique<ExpressionNode>();
  node->op = op;
  node->type = std::move(type);
  return node;
}

void Checker::error(int number, Span at, std::string message, std::string hint) {
  declared_->problems->error(number,
                             declared_->document->inside(*scalar_, base_ + at.offset, at.length),
                             std::move(message), std::move(hint));
}

NodePtr Checker::check(std::string_view text, const Type* wanted) {
  SyntaxProblem problem;
  const SyntaxPtr syntax = parse_expression(text, &problem);
  if (syntax == nullptr) {
    error(problem.number, problem.at, std::move(problem.message), std::move(problem.hint));
    return nullptr;
  }
  const Span whole{0, text.size()};
  if (depth_of(*syntax) > kExpressionDepthMax) {
    error(errors::kExpressionTooLarge, whole,
          fmt::format("the expression is nested more than {} deep", kExpressionDepthMax));
    return nullptr;
  }
  present_if(*syntax, true, &present_when_true_);
  NodePtr node = node_of(*syntax, wanted, false);
  if (node == nullptr) return nullptr;
  const int64_t cost = evaluation_cost(*node);
  if (cost > kExpressionCostMax) {
    error(errors::kExpressionTooLarge, whole,
          fmt::format("the expression could take {} evaluation steps, at most {} are allowed; a "
                      "list counts as {} "
                      "elements",
                      cost, kExpressionCostMax, kExpressionListMax));
    return nullptr;
  }
  return node;
}

NodePtr Checker::converted(NodePtr node, const Type& to) {
  if (node == nullptr || !needs_conversion(to, node->type)) return node;
  NodePtr wrapper = make(Op::kConvert, to);
  wrapper->type.optional = node->type.optional;
  wrapper->from = node->type;
  wrapper->constant = node->constant;
  if (node->constant) wrapper->value = convert_value(to, node->type, node->value);
  wrapper->args.push_back(std::move(node));
  return wrapper;
}

NodePtr Checker::node_of(const Syntax& syntax, const Type* wanted, bool lenient) {
  using S = Syntax::Kind;
  bool is_reference = false;
  NodePtr found = reference(syntax, wanted, lenient, &is_reference);
  if (is_reference) return found;
  switch (syntax.kind) {
    case S::kLiteral:
      return literal(syntax, wanted);
    case S::kName:
      return name(syntax, wanted);
    case S::kMember:
      return member(syntax, lenient);
    case S::kIndex:
      return index(syntax, lenient);
    case S::kCall:
      return folded(call(syntax), syntax);
    case S::kMethod:
      return folded(method(syntax), syntax);
    case S::kList:
      return folded(list(syntax, wanted), syntax);
    case S::kMap:
      return folded(map(syntax, wanted), syntax);
    case S::kNot:
    case S::kNegate:
      return folded(negation(syntax), syntax);
    case S::kTernary:
      return folded(ternary(syntax, wanted), syntax);
    case S::kFallback:
      return folded(fallback(syntax, wanted, lenient), syntax);
    case S::kOr:
    case S::kAnd:
      return folded(logic(syntax), syntax);
    case S::kCompare:
      return folded(compare(syntax), syntax);
    case S::kSum:
    case S::kProduct:
      return folded(arithmetic(syntax), syntax);
  }
  return nullptr;
}

// Evaluates what reads nothing, once and now.
NodePtr Checker::folded(NodePtr node, const Syntax& syntax) {
  if (node == nullptr || node->args.empty() || node->op == Op::kConvert) return node;
  for (const NodePtr& arg : node->args) {
    if (!arg->constant) return node;
  }
  Value room;
  const Value* value = nullptr;
  std::string message;
  if (evaluate_node(*node, EmptyScope(), &room, &value, &message) != Evaluated::kOk) {
    error(errors::kExpressionFails, syntax.at, fmt::format("this always fails: {}", message));
    return nullptr;
  }
  Value result = *value;  // may point into the node
  node->value = std::move(result);
  node->constant = true;
  return node;
}

NodePtr Checker::literal(const Syntax& syntax, const Type* wanted) {
  NodePtr node = make(Op::kConstant, syntax.type);
  node->value = syntax.value;
  node->constant = true;
  return text_as(std::move(node), wanted, syntax.at);
}

// A text that stands where an enum, url, duration or size is wanted is read as one.
NodePtr Checker::text_as(NodePtr node, const Type* wanted, Span at) {
  if (wanted == nullptr || node->type.kind != Kind::kString) return node;
  const bool readable = wanted->kind == Kind::kEnum || wanted->kind == Kind::kUrl ||
                        wanted->kind == Kind::kDuration || wanted->kind == Kind::kSize;
  if (!readable) return node;
  auto value = value_from_text(*wanted, node->value.as_string());
  if (!value.ok()) {
    const bool is_enum = wanted->kind == Kind::kEnum;
    std::vector<std::string_view> names(wanted->names.begin(), wanted->names.end());
    error(is_enum ? errors::kEnumValueUnknown : errors::kValueInvalid, at, value.status().message(),
          is_enum ? did_you_mean(node->value.as_string(), names) : "");
    return nullptr;
  }
  node->value = *std::move(value);
  node->type = *wanted;
  node->type.optional = false;
  return node;
}

NodePtr Checker::list(const Syntax& syntax, const Type* wanted) {
  NodePtr node = make(Op::kList, simple_type(Kind::kList));
  const Type* element =
      wanted != nullptr && wanted->kind == Kind::kList ? wanted->element.get() : nullptr;
  std::optional<Type> type;
  bool ok = true;
  for (const SyntaxPtr& arg : syntax.args) {
    NodePtr child = node_of(*arg, element, false);
    if (child == nullptr || !present(*child, *arg)) {
      ok = false;
      continue;
    }
    const auto joined = type ? common(*type, child->type) : child->type;
    if (!joined) {
      error(errors::kTypeMismatch, arg->at,
            fmt::format("a list of {} cannot hold {}", type->text(), child->type.text()));
      ok = false;
      continue;
    }
    type = joined;
    node->args.push_back(std::move(child));
  }
  if (!ok) return nullptr;
  for (NodePtr& arg : node->args) arg = converted(std::move(arg), *type);
  if (type) {
    node->type = list_of(*type);
  } else {
    node->value = Value(Value::List{});
    node->constant = true;
  }
  return node;
}

NodePtr Checker::map(const Syntax& syntax, const Type* wanted) {
  NodePtr node = make(Op::kMap, simple_type(Kind::kMap));
  const Type* element =
      wanted != nullptr && wanted->kind == Kind::kMap ? wanted->element.get() : nullptr;
  std::optional<Type> type;
  bool ok = true;
  for (size_t i = 0; i < syntax.args.size(); i++) {
    const bool is_key = i % 2 == 0;
    NodePtr child = node_of(*syntax.args[i], is_key ? nullptr : element, false);
    if (child == nullptr || !present(*child, *syntax.args[i])) {
      ok = false;
      continue;
    }
    if (is_key && child->type.kind != Kind::kString) {
      error(errors::kTypeMismatch, syntax.args[i]->at,
            "the name of a map's member must be a string");
      ok = false;
    }
    if (!is_key) {
      // Members of several types make a json value.
      type = type ? common(*type, child->type).value_or(simple_type(Kind::kJson)) : child->type;
      if (holds_blob(child->type) != holds_blob(*type)) {
        error(errors::kTypeMismatch, syntax.args[i]->at,
              "a map that holds a blob holds nothing else");
        ok = false;
      }
    }
    node->args.push_back(std::move(child));
  }
  if (!ok) return nullptr;
  for (size_t i = 1; i < node->args.size(); i += 2) {
    node->args[i] = converted(std::move(node->args[i]), *type);
  }
  if (type) {
    node->type.element = std::make_shared<const Type>(*type);
  } else {
    node->value = Value(Value::Map{});
    node->constant = true;
  }
  return node;
}

bool Checker::present(const ExpressionNode& node, const Syntax& syntax) {
  if (!node.type.optional) return true;
  error(errors::kOptionalUnhandled, syntax.at,
        fmt::format("{} uses a value that may be absent", reader_),
        "give it a fallback with '?\?', or ask has() first");
  return false;
}

bool Checker::boolean(const ExpressionNode& node, const Syntax& syntax) {
  if (!present(node, syntax)) return false;
  if (node.type.kind == Kind::kBool || node.type.kind == Kind::kJson) return true;
  error(errors::kOperatorMismatch, syntax.at,
        fmt::format("a bool is wanted here, this is {}", node.type.text()),
        "compare it with something");
  return false;
}

NodePtr Checker::negation(const Syntax& syntax) {
  const Syntax& operand = *syntax.args[0];
  NodePtr child = node_of(operand, nullptr, false);
  if (child == nullptr) return nullptr;
  if (syntax.kind == Syntax::Kind::kNot) {
    if (!boolean(*child, operand)) return nullptr;
    NodePtr node = make(Op::kNot, simple_type(Kind::kBool));
    node->args.push_back(std::move(child));
    return node;
  }
  if (!present(*child, operand)) return nullptr;
  const Kind kind = child->type.kind;
  if (kind != Kind::kInt && kind != Kind::kFloat && kind != Kind::kJson &&
      kind != Kind::kDuration) {
    error(errors::kOperatorMismatch, operand.at,
          fmt::format("'-' takes a number, this is {}", child->type.text()));
    return nullptr;
  }
  NodePtr node = make(Op::kNegate, child->type);
  node->args.push_back(std::move(child));
  return node;
}

// The type that values of both have, after conversion.
std::optional<Type> Checker::common(const Type& a, const Type& b) const {
  Type x = a, y = b;
  const bool optional = a.optional || b.optional;
  x.optional = y.optional = false;
  std::optional<Type> type;
  if (assignable(x, y) && x.kind != Kind::kJson) {
    type = (x.kind == Kind::kList || x.kind == Kind::kMap) && x.element == nullptr ? y : x;
  } else if (assignable(y, x) && y.kind != Kind::kJson) {
    type = y;
  } else if (x.kind == Kind::kEnum && y.kind == Kind::kEnum) {
    type = simple_type(Kind::kString);
  } else if (const bool texts = (x.kind == Kind::kEnum || x.kind == Kind::kUrl) &&
                                (y.kind == Kind::kEnum || y.kind == Kind::kUrl);
             texts) {
    type = simple_type(Kind::kString);
  } else if ((x.kind == Kind::kJson && assignable(x, y)) ||
             (y.kind == Kind::kJson && assignable(y, x))) {
    type = simple_type(Kind::kJson);
  }
  if (type) type->optional = optional;
  return type;
}

NodePtr Checker::ternary(const Syntax& syntax, const Type* wanted) {
  NodePtr condition = node_of(*syntax.args[0], nullptr, false);
  const bool ok = condition != nullptr && boolean(*condition, *syntax.args[0]);
  Narrowed when_true, when_false;
  present_if(*syntax.args[0], true, &when_true);
  present_if(*syntax.args[0], false, &when_false);
  NodePtr yes = with_narrowed(*syntax.args[1], wanted, false, std::move(when_true));
  NodePtr no = with_narrowed(*syntax.args[2], wanted, false, std::move(when_false));
  if (!ok || yes == nullptr || no == nullptr) return nullptr;
  const auto type = common(yes->type, no->type);
  if (!type) {
    error(errors::kOperatorMismatch, syntax.at,
          fmt::format("the branches of this ternary are {} and {}", yes->type.text(),
                      no->type.text()));
    return nullptr;
  }
  NodePtr node = make(Op::kTernary, *type);
  node->args.push_back(std::move(condition));
  node->args.push_back(converted(std::move(yes), *type));
  node->args.push_back(converted(std::move(no), *type));
  return node;
}

NodePtr Checker::fallback(const Syntax& syntax, const Type* wanted, bool lenient) {
  NodePtr node = make(Op::kFallback, {});
  std::optional<Type> type;
  bool ok = true;
  for (size_t i = 0; i < syntax.args.size(); i++) {
    const bool last = i + 1 == syntax.args.size();
    const Type* hint = wanted;
    if (hint == nullptr && type && fallback_hints(*type, *syntax.args[i])) hint = &*type;
    NodePtr child = node_of(*syntax.args[i], hint, last ? lenient : true);
    if (child == nullptr) {
      ok = false;
      continue;
    }
    Type present_type = child->type;
    if (!last) present_type.optional = false;
    const auto joined = type ? common(*type, present_type) : present_type;
    if (!joined) {
      error(
          errors::kOperatorMismatch, syntax.args[i]->at,
          fmt::format("'?\?' has {} before it and {} after it", type->text(), child->type.text()));
      ok = false;
      continue;
    }
    type = joined;
    if (last) type->optional = child->type.optional;
    node->args.push_back(std::move(child));
  }
  if (!ok || !type) return nullptr;
  for (NodePtr& arg : node->args) arg = converted(std::move(arg), *type);
  node->type = *type;
  return node;
}

NodePtr Checker::logic(const Syntax& syntax) {
  const bool is_and = syntax.kind == Syntax::Kind::kAnd;
  NodePtr node = make(is_and ? Op::kAnd : Op::kOr, simple_type(Kind::kBool));
  bool ok = true;
  Narrowed known;
  for (const SyntaxPtr& arg : syntax.args) {
    NodePtr child = with_narrowed(*arg, nullptr, false, known);
    if (child == nullptr || !boolean(*child, *arg)) {
      ok = false;
    } else {
      node->args.push_back(std::move(child));
    }
    present_if(*arg, is_and, &known);
  }
  return ok ? std::move(node) : nullptr;
}

NodePtr Checker::member(const Syntax& syntax, bool lenient) {
  NodePtr base = node_of(*syntax.args[0], nullptr, lenient);
  if (base == nullptr) return nullptr;
  const bool optional = base->type.optional;
  if (optional && !lenient && !present(*base, *syntax.args[0])) return nullptr;
  Type type;
  if (base->type.kind == Kind::kJson) {
    type = simple_type(Kind::kJson);
  } else if (base->type.kind == Kind::kMap && base->type.element != nullptr) {
    type = *base->type.element;
  } else {
    error(errors::kOperatorMismatch, syntax.name_at,
          fmt::format("{} has no members, so no '{}'", base->type.text(), syntax.name));
    return nullptr;
  }
  type.optional = lenient;
  NodePtr node = make(Op::kMember, std::move(type));
  node->lenient = lenient;
  node->name = syntax.name;
  node->args.push_back(std::move(base));
  return node;
}

NodePtr Checker::index(const Syntax& syntax, bool lenient) {
  NodePtr base = node_of(*syntax.args[0], nullptr, lenient);
  NodePtr position = node_of(*syntax.args[1], nullptr, false);
  if (base == nullptr || position == nullptr || !present(*position, *syntax.args[1]))
    return nullptr;
  if (base->type.optional && !lenient && !present(*base, *syntax.args[0])) return nullptr;
  const Kind by = position->type.kind;
  Type type;
  bool fits = true;
  if (base->type.kind == Kind::kJson) {
    type = simple_type(Kind::kJson);
    fits = by == Kind::kInt || by == Kind::kString || by == Kind::kJson;
  } else if (base->type.kind == Kind::kList && base->type.element != nullptr) {
    type = *base->type.element;
    fits = by == Kind::kInt || by == Kind::kJson;
  } else if (base->type.kind == Kind::kMap && base->type.element != nullptr) {
    type = *base->type.element;
    fits = assignable(simple_type(Kind::kString), position->type) || by == Kind::kJson;
  } else {
    fits = false;
  }
  if (!fits) {
    error(errors::kOperatorMismatch, syntax.name_at,
          fmt::format("{} cannot be indexed by {}", base->type.text(), position->type.text()));
    return nullptr;
  }
  type.optional = lenient;
  NodePtr node = make(Op::kIndex, std::move(type));
  node->lenient = lenient;
  node->args.push_back(std::move(base));
  node->args.push_back(std::move(position));
  return node;
}

}  // namespace millrace
