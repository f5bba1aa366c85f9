// Response: what a handler answers. The connection adds Date, Content-Length, Connection,
// X-Request-Id and the CORS fields, and leaves the body out for HEAD.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/bytes.h"
#include "engine/base/status.h"

namespace millrace {

// A body that is read piece by piece while it is sent, such as a file.
class BodySource {
 public:
  enum class Got : uint8_t { kBytes, kLater, kNothing };
  virtual ~BodySource() = default;
  // Appends some of the next `max` bytes to `out`. kLater: they are being read, `arrived` is called
  // once, on the loop. kNothing: it cannot (the connection is then closed, since a length was
  // promised). [loop]
  virtual Got read(size_t max, std::string* out, std::function<void()> arrived) = 0;
};

struct Response {
  int status = 200;
  std::string head;  // further header lines, each with its CRLF
  std::string body;
  Bytes bytes;                         // sent instead of `body` when present; not copied
  std::unique_ptr<BodySource> source;  // or this, `source_bytes` long
  uint64_t source_bytes = 0;
  bool close = false;  // end the connection after this answer

  // Adds a header line. Control characters in the value are dropped, so no value can end its line.
  Response& header(std::string_view name, std::string_view value);

  static Response json(int status, std::string body);
  static Response text(int status, std::string_view media_type, std::string body);
  static Response empty(int status);
};

// The reason phrase; "Unknown" for a status we never send. [any]
const char* status_phrase(int status);

}  // namespace millrace
