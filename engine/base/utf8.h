// UTF-8, checked strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string_view>

namespace millrace {

// The length in bytes of the character that `text` (not empty) begins with; 0 when it begins with
// none. [any]
size_t utf8_length(std::string_view text);
bool is_utf8(std::string_view text);  // [any]

}  // namespace millrace
