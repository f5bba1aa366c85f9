// Request: one HTTP request as its handler sees it.
//
// The head lives in one buffer that the connection reuses from request to request; fields are
// offsets into it, names in lower case. Views that a Request gives are valid until its answer has
// been sent.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

enum class Method : uint8_t { kGet, kHead, kPost, kPut, kDelete, kOptions, kOther };
constexpr int kMethods = 7;
const char* method_name(Method method);  // "GET" …; "other" for kOther. [any]

class Request {
 public:
  static constexpr size_t kParamsMax = 4;

  Method method = Method::kGet;
  std::string target;      // as sent
  std::string_view path;   // of the target, still percent-encoded
  std::string_view query;  // without the question mark
  std::string_view host;   // of the Host field, or of an absolute target; empty when there is none
  uint64_t content_length = 0;
  bool chunked = false;
  bool has_body() const { return chunked || content_length > 0; }

  std::array<std::string, kParamsMax> params;  // decoded {…} segments of the route, in order
  std::string body;                            // when the handler did not take it by a sink
  std::string id;                              // X-Request-Id

  // The value of the first field of this name (lower case); nothing when there is none.
  std::optional<std::string_view> header(std::string_view name) const;
  std::string_view header_or_empty(std::string_view name) const {
    return header(name).value_or(std::string_view());
  }
  int header_count(std::string_view name) const;
  // All fields of this name joined by ", ", as RFC 9110 reads them.
  std::string header_list(std::string_view name) const;

  // ---- for the connection, while it reads the head
  void clear();
  void append_name(std::string_view part);
  void append_value(std::string_view part);
  size_t head_bytes() const { return head_.size(); }
  size_t header_total() const { return fields_.size(); }

 private:
  struct Field {
    uint32_t name_at, name_size, value_at, value_size;
  };
  std::string head_;
  std::vector<Field> fields_;
  bool in_value_ = true;  // the last part appended belonged to a value (or nothing was appended)
};

}  // namespace millrace
