#include "server/http/request.h"

#include "engine/base/check.h"
#include "server/http/text.h"

namespace millrace {

const char* method_name(Method method) {
  static constexpr const char* kNames[kMethods] = {"GET",    "HEAD",    "POST", "PUT",
                                                   "DELETE", "OPTIONS", "other"};
  return kNames[static_cast<int>(method)];
}

void Request::clear() {
  target.clear();
  path = query = host = {};
  content_length = 0;
  chunked = false;
  for (std::string& param : params) param.clear();
  body = std::string();  // a large body must not stay with an idle connection
  id.clear();
  head_.clear();
  fields_.clear();
  in_value_ = true;
}

void Request::append_name(std::string_view part) {
  if (in_value_) {
    fields_.push_back({static_cast<uint32_t>(head_.size()), 0, 0, 0});
    in_value_ = false;
  }
  for (char c : part) head_ += c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  fields_.back().name_size += static_cast<uint32_t>(part.size());
}

void Request::append_value(std::string_view part) {
  CHECK(!fields_.empty());
  Field& field = fields_.back();
  if (!in_value_) {
    field.value_at = static_cast<uint32_t>(head_.size());
    in_value_ = true;
  }
  head_ += part;
  field.value_size += static_cast<uint32_t>(part.size());
}

std::optional<std::string_view> Request::header(std::string_view name) const {
  const std::string_view head = head_;
  for (const Field& field : fields_) {
    if (field.name_size == name.size() && head.substr(field.name_at, field.name_size) == name) {
      return trim_space(head.substr(field.value_at, field.value_size));
    }
  }
  return std::nullopt;
}

int Request::header_count(std::string_view name) const {
  const std::string_view head = head_;
  int count = 0;
  for (const Field& field : fields_) {
    if (head.substr(field.name_at, field.name_size) == name) count++;
  }
  return count;
}

std::string Request::header_list(std::string_view name) const {
  const std::string_view head = head_;
  std::string out;
  for (const Field& field : fields_) {
    if (head.substr(field.name_at, field.name_size) != name) continue;
    if (!out.empty()) out += ", ";
    out += trim_space(head.substr(field.value_at, field.value_size));
  }
  return out;
}

}  // namespace millrace
