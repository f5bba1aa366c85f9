#include "engine/store/list_cursor.h"

#include <fmt/core.h>

#include <cstring>

#include "engine/base/digest.h"
#include "engine/base/errors.h"

namespace millrace {
namespace {

constexpr size_t kCursorBytes = 1 + 8 + 16;
constexpr char kCursorVersion = 1;

}  // namespace

std::string cursor_text(const ListCursor& cursor) {
  std::string raw(1, kCursorVersion);
  for (int shift = 56; shift >= 0; shift -= 8) {
    raw += static_cast<char>(static_cast<uint64_t>(cursor.created_at) >> shift);
  }
  raw.append(reinterpret_cast<const char*>(cursor.key.bytes.data()), cursor.key.bytes.size());
  return to_hex(raw);
}

std::optional<ListCursor> parse_cursor(std::string_view text) {
  if (text.size() != 2 * kCursorBytes) return std::nullopt;
  const auto raw = from_hex(text);
  if (!raw || (*raw)[0] != kCursorVersion) return std::nullopt;
  ListCursor cursor;
  uint64_t created_at = 0;
  for (int i = 1; i <= 8; i++) created_at = created_at << 8 | static_cast<uint8_t>((*raw)[i]);
  cursor.created_at = static_cast<TimeMs>(created_at);
  std::memcpy(cursor.key.bytes.data(), raw->data() + 9, cursor.key.bytes.size());
  return cursor;
}

Result<ListCursor> list_start(const std::string& text) {
  if (text.empty()) {
    ListCursor start{kNever, {}};
    start.key.bytes.fill(0xff);
    return start;
  }
  if (const auto parsed = parse_cursor(text)) return *parsed;
  return Status::invalid(errors::kQueryInvalid,
                         fmt::format("the cursor '{}' is not one of ours; pass `next` of the "
                                     "page before, or none",
                                     text.substr(0, 64)));
}

}  // namespace millrace
