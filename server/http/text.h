// Small readers of HTTP's text formats: lists, parameters, queries, entity tags, ranges,
// preferences.
//
// They know nothing of sockets or of jobs. All are pure functions. [any]
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {

bool equals_ignoring_case(std::string_view a, std::string_view b);  // ASCII
std::string_view trim_space(std::string_view text);                 // of space and tab
std::string to_lower(std::string_view text);                        // ASCII

// Splits at commas outside quoted strings; elements are trimmed, empty ones left out.
std::vector<std::string_view> split_list(std::string_view text);

// Replaces %XX. Nothing when a percent sign is not followed by two hexadecimal digits.
std::optional<std::string> percent_decode(std::string_view text);
// As in a query: '+' is a space.
std::optional<std::string> query_decode(std::string_view text);
std::string percent_encode(std::string_view text, std::string_view also_plain = "");

using QueryParams = std::vector<std::pair<std::string, std::string>>;
// "a=1&b=x%20y" in order, repeated names kept. Nothing when an escape is broken, or the text is no
// UTF-8 or holds a NUL.
std::optional<QueryParams> parse_query(std::string_view text);

// "type/subtype" in lower case, without parameters; empty when it is none.
std::string media_type_of(std::string_view content_type);
// The value of a parameter such as boundary=…, quoted or not; nothing when absent or broken.
std::optional<std::string> header_param(std::string_view header, std::string_view name);
bool is_token(std::string_view text);  // RFC 9110 token: not empty

// Whether an If-None-Match (weak comparison) or If-Match list holds `etag` (with its quotes) or
// "*".
bool etag_in_list(std::string_view list, std::string_view etag);

struct ByteRange {
  uint64_t first = 0;
  uint64_t size = 0;
};
enum class RangeKind : uint8_t { kWhole, kPart, kUnsatisfiable };
// Reads a Range header for a body of `total` bytes. Several ranges and other units count as absent,
// as RFC 9110 allows.
RangeKind parse_range(std::string_view header, uint64_t total, ByteRange* range);

// The N of "Prefer: wait=N", cut to `max`; nothing when absent or malformed (then it is ignored).
std::optional<int64_t> prefer_wait_seconds(std::string_view header, int64_t max);

// "Sat, 21 Nov 2026 07:00:00 GMT"
std::string http_date(int64_t unix_seconds);

}  // namespace millrace
