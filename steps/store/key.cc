#include "steps/store/key.h"

#include <fmt/format.h>
#include <simdjson.h>

namespace millrace::store_step {
namespace {

// C1 controls are two bytes in UTF-8: C2 80 to C2 9F.
bool has_control(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) return true;
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::vector<std::string_view> key_segments(std::string_view key) {
  std::vector<std::string_view> segments;
  for (;;) {
    const size_t slash = key.find('/');
    segments.push_back(key.substr(0, slash));
    if (slash == std::string_view::npos) return segments;
    key.remove_prefix(slash + 1);
  }
}

std::string key_problem(std::string_view key) {
  if (key.empty()) return "the key is empty; give the object a name";
  if (key.size() > kKeyBytesMax) {
    return fmt::format("the key is {} bytes long, at most {} are allowed", key.size(),
                       kKeyBytesMax);
  }
  const std::string shown = printable(key);
  if (!simdjson::validate_utf8(key.data(), key.size())) {
    return fmt::format("the key '{}' is not UTF-8", shown);
  }
  if (has_control(key)) return fmt::format("the key '{}' contains a control character", shown);
  const std::vector<std::string_view> segments = key_segments(key);
  for (const std::string_view segment : segments) {
    if (segment.empty()) {
      return fmt::format(
          "the key '{}' has an empty segment; it must neither begin nor end with a slash, nor have "
          "two in a row",
          shown);
    }
    if (segment == "." || segment == "..") {
      return fmt::format("the key '{}' has the segment '{}', which names no object", shown,
                         segment);
    }
  }
  if (segments.front() == kTemporaryDirectory) {
    return fmt::format("the key '{}' begins with '{}', which the store keeps for itself", shown,
                       kTemporaryDirectory);
  }
  return {};
}

std::string percent_encode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~' || c == '/';
    if (plain) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += '%';
    encoded += kHex[byte >> 4];
    encoded += kHex[byte & 15];
  }
  return encoded;
}

std::string printable(std::string_view text) {
  constexpr size_t kShownMax = 120;
  const bool is_utf8 = simdjson::validate_utf8(text.data(), text.size());
  const bool escape_all = !is_utf8 || text.size() > kShownMax;  // a cut could split a character
  std::string shown;
  for (const char c : text.substr(0, kShownMax)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (escape_all && byte >= 0x80)) {
      shown += fmt::format("\\x{:02x}", byte);
    } else {
      shown += c;
    }
  }
  if (text.size() > kShownMax) shown += "…";
  return shown;
}

}  // namespace millrace::store_step
