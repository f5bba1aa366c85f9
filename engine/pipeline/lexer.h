// The words of an expression. Internal to the folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/pipeline/syntax.h"

namespace millrace {

struct Token {
  enum class Kind : uint8_t { kEnd, kName, kLiteral, kSymbol };
  Kind kind = Kind::kEnd;
  std::string_view text;  // of names and symbols
  Span at;
  Value value;  // of literals
  Type type;
};

// All tokens of `text`, closed by kEnd; or nothing and a problem. [any]
std::vector<Token> read_tokens(std::string_view text, SyntaxProblem* problem);

}  // namespace millrace
