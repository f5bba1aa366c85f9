// One blocking HTTP request over a connection of its own: for tests and tools that ask one thing at
// a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace millrace {

struct HttpAnswer {
  int status = 0;
  std::string head;  // status line and headers
  std::string body;
};

// Nothing: no connection, or it broke before the answer was whole, or no byte of it came for
// `patience_ms` (0: waits for ever). `headers` are whole lines, each ending in CRLF.
std::optional<HttpAnswer> http_request(uint16_t port, const std::string& method,
                                       const std::string& path, const std::string& headers = "",
                                       const std::string& body = "", int patience_ms = 0);

// The text behind `"name":"` up to the next quote: enough for ids and states of our own answers.
std::string json_text_of(const std::string& json, const std::string& name);

}  // namespace millrace
