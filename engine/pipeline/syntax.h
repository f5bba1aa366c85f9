// Syntax: an expression as it was written, before anybody asks what its names and types are.
// Internal to the folder.
//
// Chains of one precedence (a + b - c, a && b && c) are one node with many operands, so that depth
// means nesting.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/value.h"
#include "engine/pipeline/problems.h"
#include "engine/pipeline/type.h"

namespace millrace {

struct Syntax {
  enum class Kind : uint8_t {
    kLiteral,  // value, type
    kName,     // name
    kMember,   // args[0] . name
    kIndex,    // args[0] [ args[1] ]
    kCall,     // name ( args )
    kMethod,   // args[0] . name ( args[1…] )
    kList,     // args
    kMap,      // args: key, value in turn
    kNot,
    kNegate,
    kTernary,
    kFallback,  // ??
    kOr,
    kAnd,
    kCompare,  // operators[0]: one of = ! < > l (<=) g (>=) i (in)
    kSum,      // operators[i] between args[i] and args[i + 1]: + or -
    kProduct,  // * / %
  };
  Kind kind = Kind::kLiteral;
  Span at;       // of the whole, in the expression's text
  Span name_at;  // of `name`, or of the operator
  std::string name;
  std::string operators;
  Value value;
  Type type;
  std::vector<std::unique_ptr<Syntax>> args;
};
using SyntaxPtr = std::unique_ptr<Syntax>;

struct SyntaxProblem {
  int number = 0;
  Span at;  // in the expression's text
  std::string message;
  std::string hint;
};

// Reads the whole of `text` as one expression; null and one problem when it cannot. [any]
SyntaxPtr parse_expression(std::string_view text, SyntaxProblem* problem);

// Where the "}}" stands that ends an expression beginning at `from`; npos: nowhere. Quotes and
// braces are respected. [any]
size_t find_expression_end(std::string_view text, size_t from);

}  // namespace millrace
