// ExpressionNode: one checked node of an expression, ready to be evaluated. Internal to the folder.
#pragma once

#include <re2/re2.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/value.h"
#include "engine/pipeline/expression.h"
#include "engine/pipeline/type.h"

namespace millrace {

struct ExpressionNode {
  enum class Op : uint8_t {
    kConstant,    // value
    kVar,         // value; name
    kInput,       // index
    kStepOutput,  // index (step), port
    kJob,         // index (JobField)
    kLocal,       // index: how many macros further out its list stands; name
    kMember,      // args[0] . name: a map or json
    kIndex,       // args[0] [ args[1] ]: a list, map or json
    kHas,
    kFallback,
    kTernary,
    kOr,
    kAnd,
    kNot,
    kNegate,
    kCompare,  // operators[0] as in Syntax
    kSum,
    kProduct,
    kList,
    kMap,
    kSize,
    kStartsWith,
    kEndsWith,
    kContains,
    kMatches,   // pattern when it is constant
    kMapMacro,  // args[0] list, args[1] body; name of the local
    kFilter,
    kAll,
    kExists,
    kConvert,  // args[0] of type `from` becomes `type`
  };
  Op op = Op::kConstant;
  // What is missing is null here, not an error: inside has(), left of ??.
  bool lenient = false;
  // Reads nothing, so `value` holds the result.
  bool constant = false;
  Type type;
  Type from;
  int index = 0, port = 0;
  std::string name;
  std::string operators;
  Value value;
  std::unique_ptr<RE2> pattern;
  std::vector<std::unique_ptr<ExpressionNode>> args;
};
using NodePtr = std::unique_ptr<ExpressionNode>;

// An expression in its one normal spelling: single blanks, double quotes, only the parentheses that
// are needed. `graph` names inputs and steps. [any]
struct ExpressionNames {
  virtual ~ExpressionNames() = default;
  virtual std::string input(int index) const = 0;
  virtual std::string step(int index) const = 0;
  virtual std::string output(int step, int port) const = 0;
};
std::string expression_text(const ExpressionNode& node, const ExpressionNames& names);

// What an evaluation came to.
enum class Evaluated : uint8_t {
  kOk,
  kAbsent,  // a step's output was read that is not there
  kFailed,  // message says why
};
// Evaluates without copying what it only passes on: `*out` points into the scope, the node or
// `*room`. [any]
Evaluated evaluate_node(const ExpressionNode& node, const Scope& scope, Value* room,
                        const Value** out, std::string* message);
// The value as `to` wants it: int to float, durations and sizes to text inside json. [any]
Value convert_value(const Type& to, const Type& from, const Value& value);

}  // namespace millrace
