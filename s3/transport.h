// Transport: one HTTP request and what came of it. Knows no S3 and repeats nothing.
//
// Connections are kept open for each thread and used again, whoever uses it for what. Certificates
// are verified, no redirect is followed, nothing but http and https is spoken. Proxies are those of
// the environment (https_proxy, no_proxy), as of other S3 clients.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::s3 {

constexpr size_t kAnswerBytesMax = 4 << 20;  // of an answer that is read into memory: a list's page

struct Exchange {
  std::string method, url;
  std::vector<std::string> headers;  // "name: value"
  std::string_view body;             // of PUT and POST; lives until transfer() returns
  // Takes the body of an answer of success, piece by piece; false ends it. Null: it is collected.
  std::function<bool(std::string_view)> sink;
  int64_t connect_ms = 0;
  int64_t stall_ms = 0;         // without a byte in either direction
  std::function<bool()> go_on;  // false: stop. Null: never
};

enum class Trouble : uint8_t {
  kNone,
  kUnresolved,   // the host has no address now
  kUnreachable,  // refused, or no route
  kUntrusted,    // the certificate is not trusted; nothing was sent
  kStalled,
  kBroken,   // reset, or ended before all had come
  kStopped,  // go_on or sink said so
  kInvalid,  // no such URL
};

struct Answer {
  Trouble trouble = Trouble::kNone;
  std::string detail;                          // of the trouble, printable
  int status = 0;                              // 0: none came
  std::map<std::string, std::string> headers;  // lower-case names
  std::string body;
  uint64_t taken = 0;  // bytes that the sink took
};

// [any thread; blocking]
[[nodiscard]] Answer transfer(const Exchange& exchange);

// What came over the wire, fit for a message: printable ASCII, at most `size_max` bytes. [any]
[[nodiscard]] std::string printable(std::string_view text, size_t size_max = 200);

}  // namespace millrace::s3
