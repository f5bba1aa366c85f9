#include "server/http/text.h"

#include <fmt/core.h>

#include <charconv>
#include <ctime>

#include "engine/base/utf8.h"

namespace millrace {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (lower(c) >= 'a' && lower(c) <= 'f') return lower(c) - 'a' + 10;
  return -1;
}

std::optional<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

// Reads a quoted string that starts at text[*at]; leaves *at behind its closing quote.
std::optional<std::string> read_quoted(std::string_view text, size_t* at) {
  std::string out;
  for (size_t i = *at + 1; i < text.size(); i++) {
    if (text[i] == '"') {
      *at = i + 1;
      return out;
    }
    // Browsers escape only the quote (and write %22 for it); a lone backslash is part of a file
    // name.
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\')) i++;
    out += text[i];
  }
  return std::nullopt;
}

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); i++) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

std::string_view trim_space(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = lower(c);
  return out;
}

std::vector<std::string_view> split_list(std::string_view text) {
  std::vector<std::string_view> out;
  size_t start = 0;
  bool quoted = false;
  for (size_t i = 0; i <= text.size(); i++) {
    if (i < text.size()) {
      if (quoted && text[i] == '\\') {
        i++;
        continue;
      }
      if (text[i] == '"') quoted = !quoted;
      if (text[i] != ',' || quoted) continue;
    }
    const std::string_view element = trim_space(text.substr(start, i - start));
    if (!element.empty()) out.push_back(element);
    start = i + 1;
  }
  return out;
}

std::optional<std::string> percent_decode(std::string_view text) {
  return decode(text, false);
}

std::optional<std::string> query_decode(std::string_view text) {
  return decode(text, true);
}

std::string percent_encode(std::string_view text, std::string_view also_plain) {
  std::string out;
  for (char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' ||
                       c == '.' || c == '_' || c == '~' ||
                       also_plain.find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
    }
  }
  return out;
}

std::optional<QueryParams> parse_query(std::string_view text) {
  QueryParams out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('&'), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (pair.empty()) continue;
    const size_t equals = std::min(pair.find('='), pair.size());
    auto name = query_decode(pair.substr(0, equals));
    auto value = query_decode(equals < pair.size() ? pair.substr(equals + 1) : std::string_view());
    if (!name || !value || !is_utf8(*name) || !is_utf8(*value)) return std::nullopt;
    if (name->find('\0') != std::string::npos || value->find('\0') != std::string::npos) {
      return std::nullopt;
    }
    out.emplace_back(std::move(*name), std::move(*value));
  }
  return out;
}

std::string media_type_of(std::string_view content_type) {
  const std::string_view type =
      trim_space(content_type.substr(0, std::min(content_type.find(';'), content_type.size())));
  const size_t slash = type.find('/');
  if (slash == std::string_view::npos || !is_token(type.substr(0, slash)) ||
      !is_token(type.substr(slash + 1))) {
    return "";
  }
  return to_lower(type);
}

std::optional<std::string> header_param(std::string_view header, std::string_view name) {
  size_t at = std::min(header.find(';'), header.size());
  while (at < header.size()) {
    at++;  // the semicolon
    while (at < header.size() && (header[at] == ' ' || header[at] == '\t')) at++;
    const size_t start = at;
    while (at < header.size() && header[at] != '=' && header[at] != ';') at++;
    const std::string_view found = trim_space(header.substr(start, at - start));
    if (at >= header.size() || header[at] == ';') continue;  // a parameter without a value
    at++;
    while (at < header.size() && (header[at] == ' ' || header[at] == '\t')) at++;
    std::optional<std::string> value;
    if (at < header.size() && header[at] == '"') {
      value = read_quoted(header, &at);
      if (!value) return std::nullopt;
      while (at < header.size() && header[at] != ';') at++;
    } else {
      const size_t end = std::min(header.find(';', at), header.size());
      value = std::string(trim_space(header.substr(at, end - at)));
      at = end;
    }
    if (equals_ignoring_case(found, name)) return value;
  }
  return std::nullopt;
}

bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  for (char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z');
    if (!plain && kMarks.find(c) == std::string_view::npos) return false;
  }
  return !text.empty();
}

bool etag_in_list(std::string_view list, std::string_view etag) {
  for (std::string_view element : split_list(list)) {
    if (element == "*") return true;
    if (element.substr(0, 2) == "W/") element.remove_prefix(2);
    if (element == etag) return true;
  }
  return false;
}

RangeKind parse_range(std::string_view header, uint64_t total, ByteRange* range) {
  constexpr std::string_view kUnit = "bytes=";
  if (header.size() < kUnit.size() || !equals_ignoring_case(header.substr(0, kUnit.size()), kUnit))
    return RangeKind::kWhole;
  const std::string_view spec = trim_space(header.substr(kUnit.size()));
  const size_t dash = spec.find('-');
  if (dash == std::string_view::npos || spec.find(',') != std::string_view::npos)
    return RangeKind::kWhole;
  const std::string_view from = spec.substr(0, dash), to = spec.substr(dash + 1);
  if (from.empty()) {  // the last N bytes
    const auto count = parse_number(to);
    if (!count) return RangeKind::kWhole;
    if (*count == 0 || total == 0) return RangeKind::kUnsatisfiable;
    range->size = std::min(*count, total);
    range->first = total - range->size;
    return RangeKind::kPart;
  }
  const auto first = parse_number(from);
  const auto last = to.empty() ? std::optional<uint64_t>(UINT64_MAX) : parse_number(to);
  if (!first || !last || *last < *first) return RangeKind::kWhole;
  if (*first >= total) return RangeKind::kUnsatisfiable;
  range->first = *first;
  range->size = std::min(*last, total - 1) - *first + 1;
  return RangeKind::kPart;
}

std::optional<int64_t> prefer_wait_seconds(std::string_view header, int64_t max) {
  for (const std::string_view preference : split_list(header)) {
    const std::string_view first =
        trim_space(preference.substr(0, std::min(preference.find(';'), preference.size())));
    const size_t equals = first.find('=');
    if (equals == std::string_view::npos) continue;
    if (!equals_ignoring_case(trim_space(first.substr(0, equals)), "wait")) continue;
    std::string_view value = trim_space(first.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
      value = value.substr(1, value.size() - 2);
    }
    const auto seconds = parse_number(value);
    if (!seconds) return std::nullopt;
    return static_cast<int64_t>(std::min<uint64_t>(*seconds, static_cast<uint64_t>(max)));
  }
  return std::nullopt;
}

std::string http_date(int64_t unix_seconds) {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto seconds = static_cast<time_t>(unix_seconds);
  tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{}, {:02d} {} {:04d} {:02d}:{:02d}:{:02d} GMT", kDays[parts.tm_wday],
                     parts.tm_mday, kMonths[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour,
                     parts.tm_min, parts.tm_sec);
}

}  // namespace millrace
