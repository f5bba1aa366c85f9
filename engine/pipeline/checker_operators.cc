// The part of the checker that knows operators, functions and macros, and what they cost.
#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/pipeline/checker.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

using Kind = Type::Kind;
using Op = ExpressionNode::Op;

constexpr int64_t kPatternCost = 100;          // of one match
constexpr size_t kPatternMemoryMax = 1 << 20;  // of one compiled pattern

// Kinds between which == and < have a meaning share a family.
enum class Family : uint8_t { kNumber, kText, kBool, kDuration, kSize, kList, kMap, kJson, kOther };

Family family_of(const Type& type) {
  switch (type.kind) {
    case Kind::kInt:
    case Kind::kFloat:
      return Family::kNumber;
    case Kind::kString:
    case Kind::kUrl:
    case Kind::kEnum:
      return Family::kText;
    case Kind::kBool:
      return Family::kBool;
    case Kind::kDuration:
      return Family::kDuration;
    case Kind::kSize:
      return Family::kSize;
    case Kind::kList:
      return Family::kList;
    case Kind::kMap:
      return Family::kMap;
    case Kind::kJson:
      return Family::kJson;
    default:
      return Family::kOther;
  }
}

// Whether values of both types can be compared for equality.
bool comparable(const Type& a, const Type& b) {
  const Family x = family_of(a), y = family_of(b);
  if (x == Family::kOther || y == Family::kOther) return false;
  // A duration inside json is text with a unit, so comparing it as a number would mislead.
  const auto plain = [](Family f) { return f != Family::kDuration && f != Family::kSize; };
  if (x == Family::kJson) return plain(y);
  if (y == Family::kJson) return plain(x);
  if (x != y) return false;
  if (a.element == nullptr || b.element == nullptr) return true;
  return comparable(*a.element, *b.element);
}

bool ordered(const Type& a, const Type& b) {
  const Family x = family_of(a), y = family_of(b);
  const auto has_order = [](Family f) { return f != Family::kList && f != Family::kMap; };
  return has_order(x) && has_order(y) && comparable(a, b);
}

std::optional<Type> sum_type(char op, const Type& a, const Type& b) {
  if (a.kind == Kind::kJson || b.kind == Kind::kJson) {
    return comparable(a, b) ? std::optional(simple_type(Kind::kJson)) : std::nullopt;
  }
  const Family x = family_of(a);
  if (x != family_of(b)) return std::nullopt;
  switch (x) {
    case Family::kNumber:
      return simple_type(a.kind == Kind::kFloat || b.kind == Kind::kFloat ? Kind::kFloat
                                                                          : Kind::kInt);
    case Family::kDuration:
    case Family::kSize:
      return simple_type(a.kind);
    case Family::kText:
      return op == '+' ? std::optional(simple_type(Kind::kString)) : std::nullopt;
    case Family::kList:
      if (op != '+') return std::nullopt;
      if (a.element == nullptr) return b;
      return b.element == nullptr || *a.element == *b.element ? std::optional(a) : std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<Type> product_type(char op, const Type& a, const Type& b) {
  const auto measure = [](const Type& t) {
    return t.kind == Kind::kDuration || t.kind == Kind::kSize;
  };
  if (measure(a) && b.kind == Kind::kInt && op != '%') return simple_type(a.kind);
  if (measure(b) && a.kind == Kind::kInt && op == '*') return simple_type(b.kind);
  if (measure(a) && a.kind == b.kind) {
    if (op == '/') return simple_type(Kind::kInt);
    return op == '%' ? std::optional(simple_type(a.kind)) : std::nullopt;
  }
  const auto number = [](const Type& t) {
    return t.kind == Kind::kInt || t.kind == Kind::kFloat || t.kind == Kind::kJson;
  };
  if (!number(a) || !number(b)) return std::nullopt;
  if (a.kind == Kind::kJson || b.kind == Kind::kJson) return simple_type(Kind::kJson);
  const bool real = a.kind == Kind::kFloat || b.kind == Kind::kFloat;
  if (op == '%' && real) return std::nullopt;
  return simple_type(real ? Kind::kFloat : Kind::kInt);
}

std::string_view operator_text(char code) {
  constexpr std::pair<char, std::string_view> kTexts[] = {
      {'=', "=="}, {'!', "!="}, {'l', "<="}, {'g', ">="}, {'i', "in"}, {'<', "<"}, {'>', ">"}};
  for (const auto& [known, text] : kTexts) {
    if (known == code) return text;
  }
  return "?";
}

bool is_text(const Type& type) {
  return family_of(type) == Family::kText || type.kind == Kind::kJson;
}

int64_t saturated(int64_t a, int64_t b, bool multiply) {
  int64_t result = 0;
  const bool over =
      multiply ? __builtin_mul_overflow(a, b, &result) : __builtin_add_overflow(a, b, &result);
  return over ? INT64_MAX : result;
}

// How many elements a list can have at most.
int64_t list_bound(const ExpressionNode& node) {
  if ((node.constant || node.op == Op::kVar || node.op == Op::kConstant) &&
      node.value.kind() == Value::Kind::kList) {
    return static_cast<int64_t>(node.value.as_list().size());
  }
  if (node.op == Op::kList) return static_cast<int64_t>(node.args.size());
  if (node.op == Op::kMapMacro || node.op == Op::kFilter) return list_bound(*node.args[0]);
  return kExpressionListMax;
}

}  // namespace

int64_t evaluation_cost(const ExpressionNode& node) {
  if (node.constant) return 1;
  int64_t cost = 1;
  const bool macro = node.op == Op::kMapMacro || node.op == Op::kFilter || node.op == Op::kAll ||
                     node.op == Op::kExists;
  for (size_t i = 0; i < node.args.size(); i++) {
    int64_t part = evaluation_cost(*node.args[i]);
    if (macro && i == 1)
      part = saturated(saturated(part, 1, false), list_bound(*node.args[0]), true);
    cost = saturated(cost, part, false);
  }
  if (node.op == Op::kMatches) cost = saturated(cost, kPatternCost, false);
  if (node.op == Op::kCompare) {
    const Kind kind = node.args[1]->type.kind;
    if (kind == Kind::kList || kind == Kind::kMap || kind == Kind::kJson) {
      cost = saturated(cost, list_bound(*node.args[1]), false);
    }
  }
  return cost;
}

NodePtr Checker::compare(const Syntax& syntax) {
  const Syntax &left_syntax = *syntax.args[0], &right_syntax = *syntax.args[1];
  const char op = syntax.operators[0];
  NodePtr left, right;
  // A text beside an enum, url, duration or size is read as one, whichever side it stands on.
  if (left_syntax.kind == Syntax::Kind::kLiteral && op != 'i') {
    right = node_of(right_syntax, nullptr, false);
    left = node_of(left_syntax, right == nullptr ? nullptr : &right->type, false);
  } else {
    left = node_of(left_syntax, nullptr, false);
    Type element = left == nullptr ? Type() : list_of(left->type);
    right = node_of(right_syntax,
                    left == nullptr ? nullptr
                    : op == 'i'     ? &element
                                    : &left->type,
                    false);
  }
  if (left == nullptr || right == nullptr) return nullptr;
  const bool both = present(*left, left_syntax);
  if (!present(*right, right_syntax) || !both) return nullptr;
  const Type &a = left->type, &b = right->type;
  bool fits = false;
  if (op == 'i') {
    fits = b.kind == Kind::kJson ? family_of(a) != Family::kOther
           : b.kind == Kind::kMap
               ? is_text(a)
               : b.kind == Kind::kList && (b.element == nullptr || comparable(a, *b.element));
  } else {
    fits = op == '=' || op == '!' ? comparable(a, b) : ordered(a, b);
  }
  if (!fits) {
    const bool text_in_text = op == 'i' && is_text(a) && is_text(b);
    error(errors::kOperatorMismatch, syntax.name_at,
          fmt::format("'{}' does not compare {} and {}", operator_text(op), a.text(), b.text()),
          text_in_text ? "a text in a text is found with contains()" : "");
    return nullptr;
  }
  NodePtr node = make(Op::kCompare, simple_type(Kind::kBool));
  node->operators = op;
  node->args.push_back(std::move(left));
  node->args.push_back(std::move(right));
  return node;
}

NodePtr Checker::arithmetic(const Syntax& syntax) {
  const bool sum = syntax.kind == Syntax::Kind::kSum;
  NodePtr node = make(sum ? Op::kSum : Op::kProduct, {});
  node->operators = syntax.operators;
  bool ok = true;
  std::optional<Type> type;
  for (size_t i = 0; i < syntax.args.size(); i++) {
    NodePtr child = node_of(*syntax.args[i], nullptr, false);
    if (child == nullptr || !present(*child, *syntax.args[i])) {
      ok = false;
      continue;
    }
    if (ok && i > 0) {
      const char op = syntax.operators[i - 1];
      const auto result =
          sum ? sum_type(op, *type, child->type) : product_type(op, *type, child->type);
      if (!result) {
        const bool texts = is_text(*type) || is_text(child->type);
        error(errors::kOperatorMismatch, syntax.args[i]->at,
              fmt::format("'{}' does not take {} and {}", op, type->text(), child->type.text()),
              texts && op == '+' ? "join texts by writing ${{ }} twice in one text" : "");
        ok = false;
        continue;
      }
      type = result;
    } else {
      type = child->type;
    }
    node->args.push_back(std::move(child));
  }
  if (!ok) return nullptr;
  node->type = *type;
  return node;
}

NodePtr Checker::arguments_wrong(const Syntax& syntax, std::string_view usage) {
  error(errors::kFunctionUnknown, syntax.name_at,
        fmt::format("'{}' is not called like this", syntax.name), fmt::format("write {}", usage));
  return nullptr;
}

NodePtr Checker::call(const Syntax& syntax) {
  if (syntax.name == "has") return has(syntax);
  if (syntax.name == "size") {
    return syntax.args.size() == 1 ? size(syntax, *syntax.args[0])
                                   : arguments_wrong(syntax, "size(value)");
  }
  constexpr std::string_view kKnown[] = {"has", "size"};
  constexpr std::string_view kMethods[] = {"startsWith", "endsWith", "contains", "matches",
                                           "map",        "filter",   "all",      "exists"};
  std::string hint = did_you_mean(syntax.name, {std::begin(kKnown), std::end(kKnown)});
  for (const std::string_view method_name : kMethods) {
    if (syntax.name == method_name) hint = fmt::format("write value.{}(…)", method_name);
  }
  error(errors::kFunctionUnknown, syntax.name_at,
        fmt::format("no function is named '{}'", syntax.name),
        hint.empty() ? "there are has, size, startsWith, endsWith, contains, matches, map, filter, "
                       "all and exists"
                     : std::move(hint));
  return nullptr;
}

NodePtr Checker::method(const Syntax& syntax) {
  constexpr std::pair<std::string_view, Op> kMethods[] = {{"startsWith", Op::kStartsWith},
                                                          {"endsWith", Op::kEndsWith},
                                                          {"contains", Op::kContains},
                                                          {"matches", Op::kMatches},
                                                          {"map", Op::kMapMacro},
                                                          {"filter", Op::kFilter},
                                                          {"all", Op::kAll},
                                                          {"exists", Op::kExists}};
  std::vector<std::string_view> known = {"size"};
  for (const auto& [method_name, op] : kMethods) {
    known.push_back(method_name);
    if (syntax.name != method_name) continue;
    const bool macro_op =
        op == Op::kMapMacro || op == Op::kFilter || op == Op::kAll || op == Op::kExists;
    return macro_op ? macro(syntax, op) : text_function(syntax, op);
  }
  if (syntax.name == "size") {
    return syntax.args.size() == 1 ? size(syntax, *syntax.args[0])
                                   : arguments_wrong(syntax, "value.size()");
  }
  std::string hint = did_you_mean(syntax.name, known);
  error(errors::kFunctionUnknown, syntax.name_at,
        fmt::format("no function is named '{}'", syntax.name),
        hint.empty() ? "there are has, size, startsWith, endsWith, contains, matches, map, filter, "
                       "all and exists"
                     : std::move(hint));
  return nullptr;
}

NodePtr Checker::has(const Syntax& syntax) {
  const bool path = syntax.args.size() == 1 && (syntax.args[0]->kind == Syntax::Kind::kMember ||
                                                syntax.args[0]->kind == Syntax::Kind::kIndex);
  if (!path) return arguments_wrong(syntax, "has(inputs.NAME) or has(steps.STEP.OUTPUT)");
  NodePtr child = node_of(*syntax.args[0], nullptr, true);
  if (child == nullptr) return nullptr;
  NodePtr node = make(Op::kHas, simple_type(Kind::kBool));
  node->args.push_back(std::move(child));
  return node;
}

NodePtr Checker::size(const Syntax& syntax, const Syntax& argument) {
  NodePtr child = node_of(argument, nullptr, false);
  if (child == nullptr || !present(*child, argument)) return nullptr;
  const Family family = family_of(child->type);
  if (family != Family::kText && family != Family::kList && family != Family::kMap &&
      family != Family::kJson) {
    error(errors::kOperatorMismatch, argument.at,
          fmt::format("'size' takes a text, list or map, this is {}", child->type.text()));
    return nullptr;
  }
  NodePtr node = make(Op::kSize, simple_type(Kind::kInt));
  node->name = syntax.name;
  node->args.push_back(std::move(child));
  return node;
}

NodePtr Checker::text_function(const Syntax& syntax, Op op) {
  if (syntax.args.size() != 2)
    return arguments_wrong(syntax, fmt::format("text.{}(text)", syntax.name));
  NodePtr node = make(op, simple_type(Kind::kBool));
  node->name = syntax.name;
  bool ok = true;
  for (const SyntaxPtr& arg : syntax.args) {
    NodePtr child = node_of(*arg, nullptr, false);
    if (child == nullptr || !present(*child, *arg)) {
      ok = false;
      continue;
    }
    if (!is_text(child->type)) {
      error(errors::kOperatorMismatch, arg->at,
            fmt::format("'{}' takes text, this is {}", syntax.name, child->type.text()),
            child->type.kind == Kind::kList ? "an element of a list is found with 'in'" : "");
      ok = false;
    }
    node->args.push_back(std::move(child));
  }
  if (!ok || (op == Op::kMatches && !compile_pattern(node.get(), syntax))) return nullptr;
  return node;
}

bool Checker::compile_pattern(ExpressionNode* node, const Syntax& syntax) {
  const ExpressionNode& pattern = *node->args[1];
  if (!pattern.constant && pattern.op != Op::kVar) return true;
  if (pattern.value.kind() != Value::Kind::kString) return true;
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kPatternMemoryMax);
  node->pattern = std::make_unique<RE2>(pattern.value.as_string(), options);
  if (node->pattern->ok()) return true;
  error(errors::kPatternInvalid, syntax.args[1]->at,
        fmt::format("the pattern does not parse: {}", node->pattern->error()),
        "patterns are RE2's");
  return false;
}

NodePtr Checker::macro(const Syntax& syntax, Op op) {
  if (syntax.args.size() != 3 || syntax.args[1]->kind != Syntax::Kind::kName) {
    return arguments_wrong(syntax, fmt::format("list.{}(x, …)", syntax.name));
  }
  const Syntax &source_syntax = *syntax.args[0], &variable = *syntax.args[1],
               &body_syntax = *syntax.args[2];
  NodePtr source = node_of(source_syntax, nullptr, false);
  if (!is_name(variable.name)) {
    error(errors::kNameInvalid, variable.at,
          fmt::format("'{}' is no name for an element", variable.name),
          "names are lower-case letters, digits and '_'");
    return nullptr;
  }
  if (source == nullptr || !present(*source, source_syntax)) return nullptr;
  const bool json = source->type.kind == Kind::kJson;
  if (!json && source->type.kind != Kind::kList) {
    error(errors::kOperatorMismatch, source_syntax.at,
          fmt::format("'{}' walks a list, this is {}", syntax.name, source->type.text()));
    return nullptr;
  }
  Type element = simple_type(Kind::kJson);
  if (!json && source->type.element != nullptr) element = *source->type.element;
  locals_.push_back({variable.name, element});
  NodePtr body = node_of(body_syntax, nullptr, false);
  locals_.pop_back();
  if (body == nullptr) return nullptr;
  if (op == Op::kMapMacro ? !present(*body, body_syntax) : !boolean(*body, body_syntax))
    return nullptr;
  Type type = op == Op::kMapMacro ? list_of(body->type)
              : op == Op::kFilter ? source->type
                                  : simple_type(Kind::kBool);
  NodePtr node = make(op, std::move(type));
  node->name = variable.name;
  node->args.push_back(std::move(source));
  node->args.push_back(std::move(body));
  return node;
}

}  // namespace millrace
