// A closed-loop HTTP load: so many connections, each with one request in flight, until a number of
// answers has come.
//
// One thread, one epoll, no allocation per request: at 200,000 small requests a second it is not
// the bottleneck.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace millrace {

struct LoadResult {
  double seconds = 0;
  uint64_t answers = 0;
  uint64_t failures = 0;           // an answer that `good` refused, or a connection that broke
  std::string first_failure;       // its text, shortened
  std::vector<double> latency_ms;  // sorted
  double percentile_ms(double share) const;  // 0.5: the median
};

struct Load {
  uint16_t port = 0;
  std::vector<uint16_t> ports;  // of several servers, which the connections go to in turn
  int connections = 1;
  uint64_t requests = 1000;
  // The whole text of request number i; the reference must stay valid until the next call.
  std::function<const std::string&(uint64_t)> request;
  // Whether an answer (status line to last byte) is the wanted one.
  std::function<bool(std::string_view)> good;
  std::function<void()> every_tenth_second;  // may be null; for sampling
};

LoadResult run_load(const Load& load);

// A POST with a body, as bytes on the wire.
std::string post_request(const std::string& path, const std::string& headers,
                         const std::string& body);

}  // namespace millrace
