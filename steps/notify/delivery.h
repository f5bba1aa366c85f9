// Delivery: one POST to one address, and what came of it.
//
// Knows neither jobs nor what a status means for a notification (notify.cc does). Connections are
// kept open for each thread and used again. The address policy is asked with the socket address
// right before each connect; a connection that is used again was opened under the same policy. No
// redirect is followed, no proxy used, nothing but http and https spoken; certificates are
// verified.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "steps/notify/address_policy.h"

namespace millrace::notify_step {

enum class Outcome {
  kAnswered,    // the receiver sent a final status line and all headers
  kCancelled,   // go_on said so
  kForbidden,   // every address of the host is forbidden
  kInvalidUrl,  // a host name that cannot be encoded
  kTimedOut,
  kUnresolved,   // the name has no address now
  kTlsFailed,    // no agreement, or the certificate is not trusted
  kUnreachable,  // refused, reset, closed without an answer, or an answer that is not HTTP
};

struct Delivery {
  std::string url;                   // accepted by describe_url
  std::string_view body;             // lives until deliver() returns
  std::vector<std::string> headers;  // "name: value"
  int64_t timeout_ms = 0;            // for everything
  std::string policy_text;           // the setting that `policy` was read from
  const AddressPolicy* policy = nullptr;
  std::function<bool()> go_on;  // false: stop
};

struct Answer {
  Outcome outcome = Outcome::kUnreachable;
  int status = 0;
  std::string phrase;       // of the status line, printable ASCII, at most 80 bytes
  std::string retry_after;  // the header's value, or empty
  std::string detail;       // why there is no answer
  int64_t elapsed_ms = 0;
};

// Sends the POST. What counts is the final status line with its headers: the body is read so that
// the connection can be used again, for at most 2 s and 64 KiB. [any thread; blocking]
[[nodiscard]] Answer deliver(const Delivery& delivery);

// Checks a URL (http or https, with a host, at most 8 KiB) and gives the form of it that may be
// shown: scheme, host, port and path, since user, password and query may be secrets. [any] Empty
// when the URL cannot be used; `problem` says why.
[[nodiscard]] std::string describe_url(std::string_view url, std::string* problem);

// The milliseconds that a Retry-After value asks for, from `now` (unix seconds): a number of
// seconds or an HTTP date; at most an hour; 0 when it is neither or past. [any]
[[nodiscard]] int64_t retry_after_ms(std::string_view value, int64_t now);

}  // namespace millrace::notify_step
