// ListCursor: the place in a list that `next` of a page names, the same in every store.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace millrace {

// Where a page of a list ends: everything after it has a smaller (created_at, key).
struct ListCursor {
  TimeMs created_at = 0;
  JobKey key;
};
std::string cursor_text(const ListCursor& cursor);              // [any]
std::optional<ListCursor> parse_cursor(std::string_view text);  // [any]
// The place that a list begins behind: that of `text`, or before everything when it is empty.
// Invalid E025: it is not one of ours. [any]
Result<ListCursor> list_start(const std::string& text);

}  // namespace millrace
