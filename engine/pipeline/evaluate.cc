// The evaluator of checked expressions. Its cost was bounded at load; here only sizes that depend
// on the values are.
#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/pipeline/arithmetic.h"
#include "engine/pipeline/expression_node.h"
#include "engine/pipeline/graph.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

using Op = ExpressionNode::Op;

const Value kNull;
const Value kTrue(true), kFalse(false);

class Evaluator {
 public:
  explicit Evaluator(const Scope& scope) : scope_(scope) {}

  Evaluated outcome() const { return outcome_; }
  const std::string& message() const { return message_; }

  // Null: failed; outcome() says how. Recursion is bounded by the checker (kExpressionDepthMax).
  const Value* eval(const ExpressionNode& node, Value* room) {
    if (node.constant) return &node.value;
    switch (node.op) {
      case Op::kConstant:
      case Op::kVar:
        return &node.value;
      case Op::kInput:
        return present(scope_.input(node.index));
      case Op::kStepOutput:
        return step_output(node);
      case Op::kJob:
        return present(scope_.job(static_cast<JobField>(node.index)));
      case Op::kLocal:
        return locals_[locals_.size() - 1 - static_cast<size_t>(node.index)];
      case Op::kMember:
        return member(node, room);
      case Op::kIndex:
        return index(node, room);
      case Op::kHas:
        return has(node);
      case Op::kFallback:
        return fallback(node, room);
      case Op::kTernary:
        return ternary(node, room);
      case Op::kOr:
        return logic(node, true);
      case Op::kAnd:
        return logic(node, false);
      case Op::kNot:
        return negation(node);
      case Op::kNegate:
        return negate(node, room);
      case Op::kCompare:
        return compare(node);
      case Op::kSum:
      case Op::kProduct:
        return arithmetic(node, room);
      case Op::kList:
        return list(node, room);
      case Op::kMap:
        return map(node, room);
      case Op::kSize:
        return size(node, room);
      case Op::kStartsWith:
      case Op::kEndsWith:
      case Op::kContains:
        return search(node);
      case Op::kMatches:
        return matches(node);
      case Op::kMapMacro:
      case Op::kFilter:
        return make_list(node, room);
      case Op::kAll:
      case Op::kExists:
        return quantify(node);
      case Op::kConvert:
        return convert(node, room);
    }
    return fail("unknown operation");
  }

 private:
  const Value* fail(std::string message) {
    outcome_ = Evaluated::kFailed;
    message_ = std::move(message);
    return nullptr;
  }
  static const Value* present(const Value* value) { return value == nullptr ? &kNull : value; }
  static const Value* truth(bool value) { return value ? &kTrue : &kFalse; }

  // Text and elements that one evaluation makes are bounded together.
  bool charge(size_t bytes) {
    made_bytes_ += bytes;
    if (made_bytes_ <= kExpressionResultBytesMax) return true;
    fail(fmt::format("the expression makes more than {} bytes", kExpressionResultBytesMax));
    return false;
  }

  const Value* step_output(const ExpressionNode& node) {
    const Value* value = scope_.step_output(node.index, node.port);
    if (value != nullptr && !value->is_null()) return value;
    if (node.lenient || node.type.optional) return &kNull;
    outcome_ = Evaluated::kAbsent;
    message_ = fmt::format("'{}' has no value", node.name);
    return nullptr;
  }

  const Value* missing(const ExpressionNode& node, std::string message) {
    return node.lenient ? &kNull : fail(std::move(message));
  }

  // `base` may be a temporary in `inner`; then the member is moved out of it.
  static const Value* keep(const Value* found, const Value& inner, const Value* base, Value* room) {
    if (base != &inner) return found;
    *room = *found;
    return room;
  }

  const Value* member(const ExpressionNode& node, Value* room) {
    Value inner;
    const Value* base = eval(*node.args[0], &inner);
    if (base == nullptr) return nullptr;
    const Value* found = base->find(node.name);
    if (found != nullptr) return keep(found, inner, base, room);
    return missing(node, base->kind() == Value::Kind::kMap
                             ? fmt::format("there is no member '{}'", node.name)
                             : fmt::format("{} has no member '{}'", kind_text(*base), node.name));
  }

  const Value* index(const ExpressionNode& node, Value* room) {
    Value inner, position_room;
    const Value* base = eval(*node.args[0], &inner);
    if (base == nullptr) return nullptr;
    const Value* position = eval(*node.args[1], &position_room);
    if (position == nullptr) return nullptr;
    if (base->kind() == Value::Kind::kList && position->kind() == Value::Kind::kInt) {
      const Value::List& elements = base->as_list();
      const int64_t at = position->as_int();
      if (at >= 0 && static_cast<uint64_t>(at) < elements.size()) {
        return keep(&elements[static_cast<size_t>(at)], inner, base, room);
      }
      return missing(node, fmt::format("index {} is outside a list of {}", at, elements.size()));
    }
    if (base->kind() == Value::Kind::kMap && position->kind() == Value::Kind::kString) {
      const Value* found = base->find(position->as_string());
      if (found != nullptr) return keep(found, inner, base, room);
      return missing(node, fmt::format("there is no member '{}'", position->as_string()));
    }
    return missing(
        node, fmt::format("{} cannot be indexed by {}", kind_text(*base), kind_text(*position)));
  }

  const Value* has(const ExpressionNode& node) {
    Value room;
    const Value* value = eval(*node.args[0], &room);
    return value == nullptr ? nullptr : truth(!value->is_null());
  }

  const Value* fallback(const ExpressionNode& node, Value* room) {
    const Value* value = nullptr;
    for (const NodePtr& arg : node.args) {
      value = eval(*arg, room);
      if (value == nullptr || !value->is_null()) return value;
    }
    return value;
  }

  bool condition(const ExpressionNode& node, bool* out) {
    Value room;
    const Value* value = eval(node, &room);
    if (value == nullptr) return false;
    if (value->kind() != Value::Kind::kBool) {
      fail(fmt::format("{} stands where true or false is wanted", kind_text(*value)));
      return false;
    }
    *out = value->as_bool();
    return true;
  }

  const Value* ternary(const ExpressionNode& node, Value* room) {
    bool yes = false;
    if (!condition(*node.args[0], &yes)) return nullptr;
    return eval(*node.args[yes ? 1 : 2], room);
  }

  // As CEL has it: an operand that decides wins over one that fails, whichever stands first.
  const Value* logic(const ExpressionNode& node, bool deciding) {
    Evaluated failed = Evaluated::kOk;
    std::string message;
    for (const NodePtr& arg : node.args) {
      bool value = false;
      if (condition(*arg, &value)) {
        if (value == deciding) {
          outcome_ = Evaluated::kOk;
          return truth(deciding);
        }
      } else if (failed == Evaluated::kOk) {
        failed = outcome_;
        message = std::move(message_);
      }
    }
    if (failed == Evaluated::kOk) return truth(!deciding);
    outcome_ = failed;
    message_ = std::move(message);
    return nullptr;
  }

  const Value* negation(const ExpressionNode& node) {
    bool value = false;
    return condition(*node.args[0], &value) ? truth(!value) : nullptr;
  }

  const Value* negate(const ExpressionNode& node, Value* room) {
    Value inner;
    const Value* value = eval(*node.args[0], &inner);
    if (value == nullptr) return nullptr;
    if (value->kind() == Value::Kind::kDouble) {
      *room = Value(-value->as_double());
      return room;
    }
    if (value->kind() != Value::Kind::kInt)
      return fail(fmt::format("'-' does not take {}", kind_text(*value)));
    if (value->as_int() == INT64_MIN) return fail("the number is beyond 64 bits");
    *room = Value(-value->as_int());
    return room;
  }

  const Value* compare(const ExpressionNode& node) {
    Value left_room, right_room;
    const Value* left = eval(*node.args[0], &left_room);
    const Value* right = left == nullptr ? nullptr : eval(*node.args[1], &right_room);
    if (right == nullptr) return nullptr;
    const char op = node.operators[0];
    if (op == '=') return truth(equal_values(*left, *right));
    if (op == '!') return truth(!equal_values(*left, *right));
    if (op == 'i') return contains(*left, *right);
    bool holds = false;
    std::string problem = compare_values(op, *left, *right, &holds);
    return problem.empty() ? truth(holds) : fail(std::move(problem));
  }

  const Value* contains(const Value& element, const Value& whole) {
    if (whole.kind() == Value::Kind::kMap) {
      if (element.kind() != Value::Kind::kString) return &kFalse;
      return truth(whole.find(element.as_string()) != nullptr);
    }
    if (whole.kind() != Value::Kind::kList)
      return fail(fmt::format("'in' does not look into {}", kind_text(whole)));
    if (!list_fits(whole)) return nullptr;
    for (const Value& other : whole.as_list()) {
      if (equal_values(element, other)) return &kTrue;
    }
    return &kFalse;
  }

  const Value* arithmetic(const ExpressionNode& node, Value* room) {
    Value total;
    const Value* first = eval(*node.args[0], &total);
    if (first == nullptr) return nullptr;
    if (first != &total) total = *first;
    for (size_t i = 1; i < node.args.size(); i++) {
      Value operand_room, result;
      const Value* operand = eval(*node.args[i], &operand_room);
      if (operand == nullptr) return nullptr;
      const char op = node.operators[i - 1];
      std::string problem = node.op == Op::kSum ? add_values(op, total, *operand, &result)
                                                : multiply_values(op, total, *operand, &result);
      if (!problem.empty()) return fail(std::move(problem));
      total = std::move(result);
      if (total.kind() == Value::Kind::kString && !charge(total.as_string().size())) return nullptr;
      if (total.kind() == Value::Kind::kList && !charge(total.as_list().size() * sizeof(Value)))
        return nullptr;
    }
    *room = std::move(total);
    return room;
  }

  const Value* list(const ExpressionNode& node, Value* room) {
    Value::List elements;
    elements.reserve(node.args.size());
    if (!charge(node.args.size() * sizeof(Value))) return nullptr;
    for (const NodePtr& arg : node.args) {
      Value element_room;
      const Value* element = eval(*arg, &element_room);
      if (element == nullptr || !charge_copy(*element)) return nullptr;
      elements.push_back(*element);
    }
    *room = Value(std::move(elements));
    return room;
  }

  const Value* map(const ExpressionNode& node, Value* room) {
    Value::Map members;
    for (size_t i = 0; i < node.args.size(); i += 2) {
      Value key_room, value_room;
      const Value* key = eval(*node.args[i], &key_room);
      const Value* value = key == nullptr ? nullptr : eval(*node.args[i + 1], &value_room);
      if (value == nullptr || !charge_copy(*value) || !charge(sizeof(Value))) return nullptr;
      if (key->kind() != Value::Kind::kString)
        return fail("the name of a map's member must be text");
      if (!members.emplace(key->as_string(), *value).second) {
        return fail(fmt::format("the map names '{}' twice", key->as_string()));
      }
    }
    *room = Value(std::move(members));
    return room;
  }

  bool charge_copy(const Value& value) {
    return value.kind() != Value::Kind::kString || charge(value.as_string().size());
  }

  const Value* size(const ExpressionNode& node, Value* room) {
    Value inner;
    const Value* value = eval(*node.args[0], &inner);
    if (value == nullptr) return nullptr;
    size_t count = 0;
    if (value->kind() == Value::Kind::kString) {
      count = utf8_count(value->as_string());
    } else if (value->kind() == Value::Kind::kList) {
      count = value->as_list().size();
    } else if (value->kind() == Value::Kind::kMap) {
      count = value->as_map().size();
    } else {
      return fail(fmt::format("{} has no size", kind_text(*value)));
    }
    *room = Value(static_cast<int64_t>(count));
    return room;
  }

  bool two_texts(const ExpressionNode& node, Value* rooms, const std::string** a,
                 const std::string** b) {
    const Value* left = eval(*node.args[0], &rooms[0]);
    const Value* right = left == nullptr ? nullptr : eval(*node.args[1], &rooms[1]);
    if (right == nullptr) return false;
    if (left->kind() != Value::Kind::kString || right->kind() != Value::Kind::kString) {
      fail(fmt::format("'{}' takes text, not {} and {}", node.name, kind_text(*left),
                       kind_text(*right)));
      return false;
    }
    *a = &left->as_string();
    *b = &right->as_string();
    return true;
  }

  const Value* search(const ExpressionNode& node) {
    Value rooms[2];
    const std::string *text = nullptr, *part = nullptr;
    if (!two_texts(node, rooms, &text, &part)) return nullptr;
    if (node.op == Op::kStartsWith) return truth(text->starts_with(*part));
    if (node.op == Op::kEndsWith) return truth(text->ends_with(*part));
    return truth(text->find(*part) != std::string::npos);
  }

  const Value* matches(const ExpressionNode& node) {
    Value rooms[2];
    const std::string *text = nullptr, *pattern = nullptr;
    if (!two_texts(node, rooms, &text, &pattern)) return nullptr;
    if (node.pattern != nullptr) return truth(RE2::PartialMatch(*text, *node.pattern));
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(256 * 1024);
    const RE2 compiled(*pattern, options);
    if (!compiled.ok())
      return fail(fmt::format("the pattern does not parse: {}", compiled.error()));
    return truth(RE2::PartialMatch(*text, compiled));
  }

  bool list_fits(const Value& value) {
    if (value.kind() != Value::Kind::kList) {
      fail(fmt::format("{} stands where a list is wanted", kind_text(value)));
      return false;
    }
    if (value.as_list().size() <= static_cast<size_t>(kExpressionListMax)) return true;
    fail(fmt::format("a list of {} elements; an expression walks at most {}",
                     value.as_list().size(), kExpressionListMax));
    return false;
  }

  const Value* make_list(const ExpressionNode& node, Value* room) {
    Value inner;
    const Value* source = eval(*node.args[0], &inner);
    if (source == nullptr || !list_fits(*source)) return nullptr;
    Value::List made;
    for (const Value& element : source->as_list()) {
      Value element_room;
      locals_.push_back(&element);
      const Value* result = eval(*node.args[1], &element_room);
      locals_.pop_back();
      if (result == nullptr || !charge(sizeof(Value)) || !charge_copy(*result)) return nullptr;
      if (node.op == Op::kMapMacro) {
        made.push_back(*result);
      } else if (result->kind() != Value::Kind::kBool) {
        return fail("the condition of 'filter' is not true or false");
      } else if (result->as_bool()) {
        made.push_back(element);
      }
    }
    *room = Value(std::move(made));
    return room;
  }

  // all and exists, with errors absorbed as by && and ||.
  const Value* quantify(const ExpressionNode& node) {
    Value inner;
    const Value* source = eval(*node.args[0], &inner);
    if (source == nullptr || !list_fits(*source)) return nullptr;
    const bool deciding = node.op == Op::kExists;
    Evaluated failed = Evaluated::kOk;
    std::string message;
    for (const Value& element : source->as_list()) {
      bool value = false;
      locals_.push_back(&element);
      const bool ok = condition(*node.args[1], &value);
      locals_.pop_back();
      if (ok && value == deciding) {
        outcome_ = Evaluated::kOk;
        return truth(deciding);
      }
      if (!ok && failed == Evaluated::kOk) {
        failed = outcome_;
        message = std::move(message_);
      }
    }
    if (failed == Evaluated::kOk) return truth(!deciding);
    outcome_ = failed;
    message_ = std::move(message);
    return nullptr;
  }

  const Value* convert(const ExpressionNode& node, Value* room) {
    Value inner;
    const Value* value = eval(*node.args[0], &inner);
    if (value == nullptr || value->is_null()) return value == nullptr ? nullptr : &kNull;
    *room = convert_value(node.type, node.from, *value);
    return room;
  }

  const Scope& scope_;
  std::vector<const Value*> locals_;
  size_t made_bytes_ = 0;
  Evaluated outcome_ = Evaluated::kOk;
  std::string message_;
};

}  // namespace

Evaluated evaluate_node(const ExpressionNode& node, const Scope& scope, Value* room,
                        const Value** out, std::string* message) {
  Evaluator evaluator(scope);
  *out = evaluator.eval(node, room);
  if (*out != nullptr) return Evaluated::kOk;
  *message = evaluator.message();
  return evaluator.outcome();
}

Value convert_value(const Type& to, const Type& from, const Value& value) {
  using Kind = Type::Kind;
  if (value.is_null()) return value;
  if (to.kind == Kind::kJson && from.kind != Kind::kJson) return value_for_view(from, value);
  if (to.kind == Kind::kFloat && value.kind() == Value::Kind::kInt) {
    return Value(static_cast<double>(value.as_int()));
  }
  if (to.element == nullptr || from.element == nullptr) return value;
  if (value.kind() == Value::Kind::kList) {
    Value::List list;
    list.reserve(value.as_list().size());
    for (const Value& element : value.as_list()) {
      list.push_back(convert_value(*to.element, *from.element, element));
    }
    return Value(std::move(list));
  }
  if (value.kind() == Value::Kind::kMap) {
    Value::Map map;
    for (const auto& [name, element] : value.as_map()) {
      map.emplace_hint(map.end(), name, convert_value(*to.element, *from.element, element));
    }
    return Value(std::move(map));
  }
  return value;
}

Result<Value> Expression::evaluate(const Graph&, const Scope& scope) const {
  CHECK(root_ != nullptr);
  Value room;
  const Value* value = nullptr;
  std::string message;
  if (evaluate_node(*root_, scope, &room, &value, &message) != Evaluated::kOk) {
    return Status::invalid(errors::kExpressionFailed, std::move(message));
  }
  return value == &room ? Result<Value>(std::move(room)) : Result<Value>(*value);
}

}  // namespace millrace
