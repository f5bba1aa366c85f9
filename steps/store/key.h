// Keys of stored objects: which ones are acceptable, and how they look inside a URL.
//
// Knows no store and no file: the rules are the same for every kind of store, so that a pipeline
// can be moved from one to another.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::store_step {

constexpr size_t kKeyBytesMax = 512;

// The name, directly below the root of a file store, where unfinished replacements live. No key may
// begin with this segment.
constexpr std::string_view kTemporaryDirectory = ".millrace.tmp";

// Why `key` cannot be used, as a sentence; empty when it can. Acceptable: UTF-8, 1 to kKeyBytesMax
// bytes, segments between slashes that are not empty, not "." and not "..", no control characters
// (U+0000 to U+001F, U+007F to U+009F), not below kTemporaryDirectory. [any]
[[nodiscard]] std::string key_problem(std::string_view key);

// The segments of an acceptable key; they point into `key`. [any]
[[nodiscard]] std::vector<std::string_view> key_segments(std::string_view key);

// `text` with every byte percent-encoded but unreserved ones (RFC 3986) and slashes. [any]
[[nodiscard]] std::string percent_encode(std::string_view text);

// `text` fit for a message: shortened to 120 bytes, control bytes and broken UTF-8 as \xNN. [any]
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace millrace::store_step
