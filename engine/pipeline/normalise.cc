// Expressions in their one normal spelling, for identity and for people.
#include "engine/base/time.h"
#include "engine/pipeline/expression_node.h"

namespace millrace {
namespace {

using Op = ExpressionNode::Op;

enum Level : int { kTernary, kOr, kAnd, kCompare, kFallback, kSum, kProduct, kUnary, kPostfix };

int level_of(const ExpressionNode& node) {
  switch (node.op) {
    case Op::kTernary:
      return kTernary;
    case Op::kFallback:
      return kFallback;
    case Op::kOr:
      return kOr;
    case Op::kAnd:
      return kAnd;
    case Op::kCompare:
      return kCompare;
    case Op::kSum:
      return kSum;
    case Op::kProduct:
      return kProduct;
    case Op::kNot:
    case Op::kNegate:
      return kUnary;
    case Op::kConvert:
      return level_of(*node.args[0]);
    default:
      return kPostfix;
  }
}

std::string constant_text(const Type& type, const Value& value) {
  using Kind = Type::Kind;
  if (type.kind == Kind::kDuration) return format_duration(value.as_int());
  if (type.kind == Kind::kSize) return format_size(value.as_int());
  std::string text = canonical_json(value);
  if (value.kind() == Value::Kind::kDouble && text.find_first_of(".e") == std::string::npos)
    text += ".0";
  return text;
}

class TextWriter {
 public:
  explicit TextWriter(const ExpressionNames& names) : names_(names) {}

  std::string write(const ExpressionNode& node) {
    switch (node.op) {
      case Op::kConstant:
        return constant_text(node.type, node.value);
      case Op::kVar:
        return node.name;
      case Op::kLocal:
        return node.name;
      case Op::kInput:
        return "inputs." + names_.input(node.index);
      case Op::kStepOutput:
        return fmt::format("steps.{}.{}", names_.step(node.index),
                           names_.output(node.index, node.port));
      case Op::kJob:
        return node.name;
      case Op::kMember:
        return operand(*node.args[0], kPostfix) + '.' + node.name;
      case Op::kIndex:
        return fmt::format("{}[{}]", operand(*node.args[0], kPostfix), write(*node.args[1]));
      case Op::kHas:
        return fmt::format("has({})", write(*node.args[0]));
      case Op::kFallback:
        return joined(node, kFallback, " ?? ");
      case Op::kOr:
        return joined(node, kOr, " || ");
      case Op::kAnd:
        return joined(node, kAnd, " && ");
      case Op::kTernary:
        return fmt::format("{} ? {} : {}", operand(*node.args[0], kOr), write(*node.args[1]),
                           write(*node.args[2]));
      case Op::kNot:
        return "!" + operand(*node.args[0], kPostfix);
      case Op::kNegate:
        return "-" + operand(*node.args[0], kPostfix);
      case Op::kCompare:
        return fmt::format("{} {} {}", operand(*node.args[0], kFallback),
                           comparison(node.operators[0]), operand(*node.args[1], kFallback));
      case Op::kSum:
      case Op::kProduct:
        return chain(node);
      case Op::kList:
        return '[' + arguments(node, 0) + ']';
      case Op::kMap:
        return map(node);
      case Op::kSize:
        return fmt::format("size({})", write(*node.args[0]));
      case Op::kStartsWith:
      case Op::kEndsWith:
      case Op::kContains:
      case Op::kMatches:
        return fmt::format("{}.{}({})", operand(*node.args[0], kPostfix), node.name,
                           write(*node.args[1]));
      case Op::kMapMacro:
      case Op::kFilter:
      case Op::kAll:
      case Op::kExists:
        return fmt::format("{}.{}({}, {})", operand(*node.args[0], kPostfix), macro(node.op),
                           node.name, write(*node.args[1]));
      case Op::kConvert:
        return write(*node.args[0]);
    }
    return {};
  }

 private:
  // With parentheses where `node` binds looser than its place needs. A negative number is a sign
  // and a number.
  std::string operand(const ExpressionNode& node, int least) {
    std::string text = write(node);
    const bool bare = level_of(node) >= least && !(least == kPostfix && text[0] == '-');
    return bare ? text : '(' + text + ')';
  }
  std::string joined(const ExpressionNode& node, int level, std::string_view between) {
    std::string text;
    for (const NodePtr& arg : node.args) {
      if (!text.empty()) text += between;
      text += operand(*arg, level + 1);
    }
    return text;
  }
  std::string chain(const ExpressionNode& node) {
    const int level = level_of(node);
    std::string text = operand(*node.args[0], level + 1);
    for (size_t i = 1; i < node.args.size(); i++) {
      text += fmt::format(" {} {}", node.operators[i - 1], operand(*node.args[i], level + 1));
    }
    return text;
  }
  std::string arguments(const ExpressionNode& node, size_t from) {
    std::string text;
    for (size_t i = from; i < node.args.size(); i++)
      text += (i == from ? "" : ", ") + write(*node.args[i]);
    return text;
  }
  std::string map(const ExpressionNode& node) {
    std::string text = "{";
    for (size_t i = 0; i + 1 < node.args.size(); i += 2) {
      text += fmt::format("{}{}: {}", i == 0 ? "" : ", ", write(*node.args[i]),
                          write(*node.args[i + 1]));
    }
    return text + '}';
  }
  static std::string_view macro(Op op) {
    return op == Op::kMapMacro ? "map"
           : op == Op::kFilter ? "filter"
           : op == Op::kAll    ? "all"
                               : "exists";
  }
  static std::string_view comparison(char code) {
    switch (code) {
      case '=':
        return "==";
      case '!':
        return "!=";
      case 'l':
        return "<=";
      case 'g':
        return ">=";
      case 'i':
        return "in";
      default:
        return code == '<' ? "<" : ">";
    }
  }

  const ExpressionNames& names_;
};

}  // namespace

std::string expression_text(const ExpressionNode& node, const ExpressionNames& names) {
  return TextWriter(names).write(node);
}

}  // namespace millrace
