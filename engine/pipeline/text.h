// Text helpers of the pipeline language: UTF-8, JSON numbers, names, and the nearest spelling.
// Internal to the folder.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/utf8.h"

namespace millrace {

// How many bytes from the front are well-formed characters. [any]
size_t utf8_prefix(std::string_view text);
// How many characters (code points) a well-formed text has. [any]
size_t utf8_count(std::string_view text);
// The largest character boundary that is at most `bytes`. [any]
size_t utf8_floor(std::string_view text, size_t bytes);

// The number that JSON's grammar reads in the whole of `text`; nothing when it is none, or is not
// finite. [any]
std::optional<double> parse_json_number(std::string_view text);

// [a-z][a-z0-9_]*, at most 63 bytes: what inputs, steps, outputs, vars and ports are called. [any]
bool is_name(std::string_view text);
constexpr size_t kNameBytesMax = 63;

// The one of `known` that `word` was probably meant to be (edit distance with swaps, at most a
// third of its length); empty when none is near. [any]
std::string nearest(std::string_view word, const std::vector<std::string_view>& known);
// "did you mean 'gray'?", or empty. [any]
std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace millrace
