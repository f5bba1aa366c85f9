// Expression and Template: the typed subset of CEL of the pipeline language, parsed and checked
// when a file is loaded.
//
// Evaluation has no clock, no randomness and no I/O, and its cost is bounded at load
// (kExpressionCostMax). Both types are immutable, cheap to copy, and may be evaluated from any
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/value.h"
#include "engine/pipeline/type.h"

namespace millrace {

class Scope;  // graph.h
class Graph;
struct ExpressionNode;  // expression.cc

enum class JobField : uint8_t { kId, kPipeline, kCreatedAt, kLabels };

class Expression {
 public:
  Expression() = default;
  explicit Expression(std::shared_ptr<const ExpressionNode> root) : root_(std::move(root)) {}
  bool set() const { return root_ != nullptr; }
  const ExpressionNode* root() const { return root_.get(); }
  // Invalid: the values do not allow it (division by zero, index out of range, overflow); message
  // says which part. [any]
  Result<Value> evaluate(const Graph& graph, const Scope& scope) const;

 private:
  std::shared_ptr<const ExpressionNode> root_;
};

// A value of `with` or `outputs`: a constant, one expression alone (keeps its type), text with
// expressions inside, or a list or map of templates. Unset: the pipeline said nothing.
class Template {
 public:
  enum class Kind : uint8_t { kUnset, kConstant, kExpression, kText, kList, kMap };
  Kind kind = Kind::kUnset;
  Value constant;
  Expression expression;
  std::vector<Template>
      parts;  // kText: constants and expressions in turn; kList: the elements; kMap: the values
  std::vector<std::string> names;  // kMap: the members' names, beside parts
  Type type;                       // what it evaluates to

  Result<Value> evaluate(const Graph& graph, const Scope& scope) const;
};

}  // namespace millrace
