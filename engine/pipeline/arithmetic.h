// Operators on values, with every overflow an error. Internal to the folder.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/value.h"

namespace millrace {

// Each returns an empty string, or why it cannot. The checker has seen to types, but for what is
// json.
[[nodiscard]] std::string add_values(char op, const Value& a, const Value& b, Value* out);  // + -
[[nodiscard]] std::string multiply_values(char op, const Value& a, const Value& b,
                                          Value* out);  // * / %
[[nodiscard]] std::string compare_values(char op, const Value& a, const Value& b,
                                         bool* out);  // < > l g
// Numbers by value (1 equals 1.0), all else by kind and content.
bool equal_values(const Value& a, const Value& b);
// "a whole number", "text" …, for messages.
std::string_view kind_text(const Value& value);

}  // namespace millrace
