// What the core asks of a graph while jobs run: templates to values, conditions, outputs, bound
// inputs.
#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/time.h"
#include "engine/pipeline/expression_node.h"
#include "engine/pipeline/graph.h"

namespace millrace {
namespace {

using Op = ExpressionNode::Op;

// What a template came to, without a Result's copies. `message` is set when it failed.
class Resolver {
 public:
  explicit Resolver(const Scope& scope) : scope_(scope) {}

  const std::string& message() const { return message_; }

  // Recursion follows the template's nesting, at most kYamlDepthMax.
  Evaluated resolve(const Template& source, Value* out) {
    switch (source.kind) {
      case Template::Kind::kUnset:
        *out = Value();
        return Evaluated::kOk;
      case Template::Kind::kConstant:
        *out = source.constant;
        return Evaluated::kOk;
      case Template::Kind::kExpression:
        return expression(*source.expression.root(), out);
      case Template::Kind::kText:
        return text(source, out);
      case Template::Kind::kList: {
        Value::List list(source.parts.size());
        for (size_t i = 0; i < list.size(); i++) {
          if (const Evaluated e = resolve(source.parts[i], &list[i]); e != Evaluated::kOk) return e;
        }
        *out = Value(std::move(list));
        return Evaluated::kOk;
      }
      case Template::Kind::kMap: {
        Value::Map map;
        for (size_t i = 0; i < source.parts.size(); i++) {
          if (const Evaluated e = resolve(source.parts[i], &map[source.names[i]]);
              e != Evaluated::kOk)
            return e;
        }
        *out = Value(std::move(map));
        return Evaluated::kOk;
      }
    }
    return Evaluated::kFailed;
  }

 private:
  Evaluated expression(const ExpressionNode& node, Value* out) {
    const Value* value = nullptr;
    // The common case, a single reference, needs no evaluator.
    if (node.op == Op::kStepOutput) {
      value = scope_.step_output(node.index, node.port);
    } else if (node.op == Op::kInput) {
      value = scope_.input(node.index);
    } else if (node.op == Op::kJob) {
      value = scope_.job(static_cast<JobField>(node.index));
    }
    if (value != nullptr && !value->is_null()) {
      *out = *value;
      return Evaluated::kOk;
    }
    Value room;
    const Evaluated outcome = evaluate_node(node, scope_, &room, &value, &message_);
    if (outcome != Evaluated::kOk) return outcome;
    if (value == &room) {
      *out = std::move(room);
    } else {
      *out = *value;
    }
    return Evaluated::kOk;
  }

  Evaluated text(const Template& source, Value* out) {
    std::string text;
    for (const Template& part : source.parts) {
      if (part.kind == Template::Kind::kConstant) {
        text += part.constant.as_string();
        continue;
      }
      Value room;
      const Value* value = nullptr;
      const ExpressionNode& node = *part.expression.root();
      const Evaluated outcome = evaluate_node(node, scope_, &room, &value, &message_);
      if (outcome != Evaluated::kOk) return outcome;
      if (!append(node.type, *value, &text)) return Evaluated::kFailed;
      if (text.size() > kExpressionResultBytesMax) {
        message_ = fmt::format("the text has more than {} bytes", kExpressionResultBytesMax);
        return Evaluated::kFailed;
      }
    }
    *out = Value(std::move(text));
    return Evaluated::kOk;
  }

  bool append(const Type& type, const Value& value, std::string* text) {
    switch (value.kind()) {
      case Value::Kind::kString:
        *text += value.as_string();
        return true;
      case Value::Kind::kInt:
        if (type.kind == Type::Kind::kDuration) {
          *text += format_duration(value.as_int());
        } else if (type.kind == Type::Kind::kSize) {
          *text += format_size(value.as_int());
        } else {
          *text += std::to_string(value.as_int());
        }
        return true;
      case Value::Kind::kDouble:
        append_json_number(value.as_double(), text);
        return true;
      case Value::Kind::kBool:
        *text += value.as_bool() ? "true" : "false";
        return true;
      default:
        message_ = "null, a list, a map or a blob stands inside text";
        return false;
    }
  }

  const Scope& scope_;
  std::string message_;
};

Status failed(const Graph& graph, int step, std::string_view part, std::string_view why) {
  return Status::invalid(errors::kExpressionFailed,
                         fmt::format("{} of step '{}' of pipeline '{}': {}", part,
                                     graph.steps[static_cast<size_t>(step)].id, graph.name, why));
}

// What the checker could not know: numbers within their port's range, text that must be an address.
std::string check_port(const PortDecl& port, const Template& source, const Value& value) {
  if (port.type.kind == Type::Kind::kInt && (port.min != 0 || port.max != 0)) {
    const int64_t number = value.as_int();
    if (number < port.min || number > port.max) {
      return fmt::format("{} is outside {} to {}", number, port.min, port.max);
    }
  }
  if (port.type.kind == Type::Kind::kUrl && source.kind == Template::Kind::kText) {
    const auto url = value_from_text(port.type, value.as_string());
    if (!url.ok()) return url.status().message();
  }
  return {};
}

}  // namespace

Result<Value> Template::evaluate(const Graph&, const Scope& scope) const {
  Resolver resolver(scope);
  Value value;
  switch (resolver.resolve(*this, &value)) {
    case Evaluated::kOk:
      return value;
    case Evaluated::kAbsent:
    case Evaluated::kFailed:
      break;
  }
  return Status::invalid(errors::kExpressionFailed, resolver.message());
}

Result<std::vector<Value>> resolve_with(const Graph& graph, int step, const Scope& scope) {
  const StepNode& node = graph.steps[static_cast<size_t>(step)];
  std::vector<Value> values(node.with.size());
  Resolver resolver(scope);
  for (size_t i = 0; i < node.with.size(); i++) {
    const Template& source = node.with[i];
    const PortDecl& port = node.decl->with_at(static_cast<int>(i));
    const auto name = [&] { return fmt::format("'{}'", port.name); };
    if (resolver.resolve(source, &values[i]) != Evaluated::kOk) {
      return failed(graph, step, name(), resolver.message());
    }
    if (values[i].is_null()) {
      if (port.has_default) values[i] = node.defaults[i];
      continue;
    }
    if (source.kind == Template::Kind::kConstant) continue;  // checked when the file was loaded
    std::string problem = check_port(port, source, values[i]);
    if (!problem.empty()) return failed(graph, step, name(), problem);
  }
  return values;
}

Result<bool> resolve_condition(const Graph& graph, int step, const Scope& scope) {
  const StepNode& node = graph.steps[static_cast<size_t>(step)];
  if (!node.condition) return true;
  Value room;
  const Value* value = nullptr;
  std::string message;
  if (evaluate_node(*node.condition->root(), scope, &room, &value, &message) != Evaluated::kOk) {
    return failed(graph, step, "'if'", message);
  }
  if (value->kind() != Value::Kind::kBool)
    return failed(graph, step, "'if'", "is neither true nor false");
  return value->as_bool();
}

Result<Value> resolve_output(const Graph& graph, int output, const Scope& scope) {
  const OutputDecl& decl = graph.outputs[static_cast<size_t>(output)];
  Resolver resolver(scope);
  Value value;
  switch (resolver.resolve(decl.source, &value)) {
    case Evaluated::kOk:
      return value;
    case Evaluated::kAbsent:
      return Value();
    case Evaluated::kFailed:
      break;
  }
  return Status::invalid(
      errors::kExpressionFailed,
      fmt::format("output '{}' of pipeline '{}': {}", decl.name, graph.name, resolver.message()));
}

int Graph::input_index(std::string_view wanted) const {
  for (size_t i = 0; i < inputs.size(); i++) {
    if (inputs[i].name == wanted) return static_cast<int>(i);
  }
  return -1;
}

int Graph::step_index(std::string_view wanted) const {
  for (size_t i = 0; i < steps.size(); i++) {
    if (steps[i].id == wanted) return static_cast<int>(i);
  }
  return -1;
}

int Graph::output_index(std::string_view wanted) const {
  for (size_t i = 0; i < outputs.size(); i++) {
    if (outputs[i].name == wanted) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace millrace
