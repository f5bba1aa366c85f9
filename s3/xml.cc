#include "s3/xml.h"

#include <fmt/core.h>

#include <charconv>
#include <cstdint>

namespace millrace::s3 {
namespace {

void append_utf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    *out += static_cast<char>(code);
  } else if (code < 0x800) {
    *out += static_cast<char>(0xc0 | (code >> 6));
    *out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    *out += static_cast<char>(0xe0 | (code >> 12));
    *out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    *out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x110000) {
    *out += static_cast<char>(0xf0 | (code >> 18));
    *out += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
    *out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    *out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

// "amp", "#38" or "#x26"; false: no entity that we know.
bool append_entity(std::string_view name, std::string* out) {
  if (name == "amp") {
    *out += '&';
  } else if (name == "lt") {
    *out += '<';
  } else if (name == "gt") {
    *out += '>';
  } else if (name == "quot") {
    *out += '"';
  } else if (name == "apos") {
    *out += '\'';
  } else if (name.starts_with('#')) {
    name.remove_prefix(1);
    const bool hexadecimal = name.starts_with('x');
    if (hexadecimal) name.remove_prefix(1);
    uint32_t code = 0;
    const auto read =
        std::from_chars(name.data(), name.data() + name.size(), code, hexadecimal ? 16 : 10);
    if (read.ec != std::errc() || read.ptr != name.data() + name.size()) return false;
    append_utf8(code, out);
  } else {
    return false;
  }
  return true;
}

std::string resolved(std::string_view raw) {
  constexpr std::string_view kOpen = "<![CDATA[", kClose = "]]>";
  if (raw.starts_with(kOpen) && raw.ends_with(kClose)) {
    return std::string(raw.substr(kOpen.size(), raw.size() - kOpen.size() - kClose.size()));
  }
  std::string out;
  while (!raw.empty()) {
    const size_t at = std::min(raw.find('&'), raw.size());
    out += raw.substr(0, at);
    raw.remove_prefix(at);
    if (raw.empty()) break;
    const size_t end = raw.substr(0, 12).find(';');
    if (end != std::string_view::npos && append_entity(raw.substr(1, end - 1), &out)) {
      raw.remove_prefix(end + 1);
    } else {
      out += '&';
      raw.remove_prefix(1);
    }
  }
  return out;
}

// Whether `text` begins with an opening tag of this name; its size with attributes, 0: it does not,
// npos: one begins, and nothing closes it.
size_t opening(std::string_view text, std::string_view name) {
  if (!text.starts_with('<') || !text.substr(1).starts_with(name)) return 0;
  const size_t after = 1 + name.size();
  if (after >= text.size()) return 0;
  const char c = text[after];
  if (c != '>' && c != ' ' && c != '/' && c != '\t' && c != '\n' && c != '\r') return 0;
  const size_t end = text.find('>', after);
  return end == std::string_view::npos ? end : end + 1;
}

}  // namespace

bool XmlReader::next(std::string_view name, std::string_view* inside) {
  const std::string close = fmt::format("</{}>", name);
  for (;;) {
    const size_t at = rest_.find('<');
    if (at == std::string_view::npos) return false;
    rest_.remove_prefix(at);
    const size_t size = opening(rest_, name);
    // Nothing later is closed either; to look there would cost the square of the document's size.
    if (size == std::string_view::npos) return false;
    if (size == 0) {
      rest_.remove_prefix(1);
      continue;
    }
    const bool is_empty = rest_[size - 2] == '/';
    rest_.remove_prefix(size);
    *inside = {};
    if (is_empty) return true;
    const size_t end = rest_.find(close);
    if (end == std::string_view::npos) return false;
    *inside = rest_.substr(0, end);
    rest_.remove_prefix(end + close.size());
    return true;
  }
}

std::string XmlReader::text_of(std::string_view document, std::string_view name) {
  std::string_view inside;
  return XmlReader(document).next(name, &inside) ? resolved(inside) : std::string();
}

}  // namespace millrace::s3
