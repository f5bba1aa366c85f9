#include "server/multipart.h"

#include <fmt/core.h>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"
#include "server/http/text.h"

namespace millrace {
namespace {

constexpr size_t kBoundaryPaddingMax = 128;  // spaces between a boundary and its line break

// RFC 5987: UTF-8''na%C3%AFve.jpg
std::optional<std::string> decode_extended(std::string_view text) {
  const size_t first = text.find('\'');
  if (first == std::string_view::npos) return std::nullopt;
  const size_t second = text.find('\'', first + 1);
  if (second == std::string_view::npos || !equals_ignoring_case(text.substr(0, first), "utf-8")) {
    return std::nullopt;
  }
  return percent_decode(text.substr(second + 1));
}

}  // namespace

MultipartReader::MultipartReader(std::string_view boundary)
    : delimiter_("\r\n--" + std::string(boundary)) {}

Status MultipartReader::broken(const std::string& what) const {
  const uint64_t at = offset_ < 2 ? 0 : offset_ - 2;
  return Status::invalid(
      errors::kBrokenMultipart,
      fmt::format("the multipart body breaks at byte {}, in part {}: {}", at, parts_.size(), what));
}

void MultipartReader::consume(size_t size) {
  carry_at_ += size;
  offset_ += size;
}

Status MultipartReader::feed(std::string_view data) {
  if (carry_at_ > 0) {
    carry_.erase(0, carry_at_);
    carry_at_ = 0;
  }
  carry_ += data;
  for (bool moved = true; moved;) {
    moved = false;
    RETURN_IF_ERROR(step(&moved));
  }
  return {};
}

Status MultipartReader::finish() const {
  if (at_ == At::kEpilogue) return {};
  return broken("the closing boundary is missing");
}

Status MultipartReader::append(std::string_view data) {
  Part& part = parts_.back();
  if (part.size + data.size() > limit_) {
    return too_large ? too_large(part, limit_)
                     : Status::invalid(
                           errors::kBodyTooLarge,
                           fmt::format("part '{}' is longer than {} bytes", part.name, limit_));
  }
  part.size += data.size();
  if (part.sink != nullptr) return part.sink->write(data);
  part.data += data;
  return {};
}

Status MultipartReader::step(bool* moved) {
  const std::string_view rest = std::string_view(carry_).substr(carry_at_);
  switch (at_) {
    case At::kPreamble:
    case At::kData: {
      const size_t found = rest.find(delimiter_);
      const bool data = at_ == At::kData;
      if (found == std::string_view::npos) {
        // What could be the beginning of a delimiter stays.
        const size_t keep = std::min(rest.size(), delimiter_.size() - 1);
        const size_t sure = rest.size() - keep;
        if (data) RETURN_IF_ERROR(append(rest.substr(0, sure)));
        consume(sure);
        return {};
      }
      if (data) RETURN_IF_ERROR(append(rest.substr(0, found)));
      consume(found + delimiter_.size());
      at_ = At::kBoundary;
      *moved = true;
      return {};
    }
    case At::kBoundary: {
      if (rest.size() < 2) return {};
      if (rest.substr(0, 2) == "--") {
        at_ = At::kEpilogue;
        *moved = true;
        return {};
      }
      const size_t end = rest.find("\r\n");
      if (end > kBoundaryPaddingMax) {  // also when there is no end yet
        return rest.size() >= kBoundaryPaddingMax + 2
                   ? broken("a boundary is not followed by a line break")
                   : Status();
      }
      if (!trim_space(rest.substr(0, end)).empty()) return broken("text stands behind a boundary");
      if (parts_.size() == static_cast<size_t>(kMultipartPartsMax)) {
        return broken(fmt::format("more than {} parts", kMultipartPartsMax));
      }
      consume(end);  // the line break stays: an empty head is then two of them
      parts_.emplace_back();
      at_ = At::kHead;
      *moved = true;
      return {};
    }
    case At::kHead: {
      const size_t end = rest.find("\r\n\r\n");
      if (end > kPartHeadBytesMax) {                 // also when there is no end yet
        return rest.size() >= kPartHeadBytesMax + 4  // else all but a part of its end is there
                   ? broken(fmt::format("its header lines are longer than {} bytes",
                                        kPartHeadBytesMax))
                   : Status();
      }
      RETURN_IF_ERROR(read_head(end < 2 ? std::string_view() : rest.substr(2, end - 2)));
      consume(end + 4);
      at_ = At::kData;
      *moved = true;
      return {};
    }
    case At::kEpilogue:
      consume(rest.size());
      return {};
  }
  return {};
}

Status MultipartReader::read_head(std::string_view head) {
  named_ = false;
  while (!head.empty()) {
    const size_t end = std::min(head.find("\r\n"), head.size());
    RETURN_IF_ERROR(read_field(head.substr(0, end)));
    head.remove_prefix(std::min(end + 2, head.size()));
  }
  if (!named_) return broken("it has no Content-Disposition: form-data with a name");
  limit_ = UINT64_MAX;
  if (limit_of) {
    const auto limit = limit_of(&parts_.back(), body_bytes - std::min(body_bytes, offset_));
    if (!limit.ok()) return limit.status();
    limit_ = *limit;
  }
  return {};
}

Status MultipartReader::read_field(std::string_view line) {
  Part& part = parts_.back();
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return broken("a header line of it does not parse");
  }
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
      return broken("a header line of it has a control character");
    }
  }
  const std::string_view name = line.substr(0, colon), value = trim_space(line.substr(colon + 1));
  if (equals_ignoring_case(name, "content-type")) {
    part.media_type = media_type_of(value);
    return {};
  }
  if (equals_ignoring_case(name, "content-transfer-encoding")) {
    if (equals_ignoring_case(value, "binary") || equals_ignoring_case(value, "8bit") ||
        equals_ignoring_case(value, "7bit")) {
      return {};
    }
    return broken("its Content-Transfer-Encoding is not binary");
  }
  if (!equals_ignoring_case(name, "content-disposition")) return {};
  const std::string_view kind =
      trim_space(value.substr(0, std::min(value.find(';'), value.size())));
  const auto field = header_param(value, "name");
  if (!equals_ignoring_case(kind, "form-data") || !field || field->empty() || named_) {
    return broken("its Content-Disposition is not form-data with one name");
  }
  if (!is_utf8(*field)) return broken("its name is not UTF-8");
  named_ = true;
  part.name = *field;
  if (const auto extended = header_param(value, "filename*")) {
    part.file_name = decode_extended(*extended);
  }
  if (!part.file_name) part.file_name = header_param(value, "filename");
  return {};
}

}  // namespace millrace
