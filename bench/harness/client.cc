#include "bench/harness/client.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace millrace {
namespace {

bool send_all(int fd, const std::string& text) {
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t n = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

std::optional<HttpAnswer> http_request(uint16_t port, const std::string& method,
                                       const std::string& path, const std::string& headers,
                                       const std::string& body, int patience_ms) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{patience_ms / 1000, patience_ms % 1000 * 1000};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string in;
  bool ok = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  // Connection: close, so that the end of the answer is the end of the stream.
  ok = ok && send_all(fd, fmt::format("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: "
                                      "close\r\n{}Content-Length: {}\r\n\r\n{}",
                                      method, path, headers, body.size(), body));
  char buffer[64 * 1024];
  for (ssize_t got = 1; ok && got > 0;) {
    got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got < 0) ok = false;
    if (got > 0) in.append(buffer, static_cast<size_t>(got));
  }
  ::close(fd);
  const size_t head = in.find("\r\n\r\n");
  if (!ok || head == std::string::npos || in.size() < 12) return std::nullopt;
  HttpAnswer answer;
  answer.status = std::atoi(in.c_str() + 9);
  answer.head = in.substr(0, head + 2);
  answer.body = in.substr(head + 4);
  const size_t length = answer.head.find("Content-Length: ");
  if (length != std::string::npos && method != "HEAD") {
    // A killed server ends the stream early: half an answer is none.
    if (answer.body.size() < std::strtoull(answer.head.c_str() + length + 16, nullptr, 10))
      return std::nullopt;
  }
  return answer;
}

std::string json_text_of(const std::string& json, const std::string& name) {
  const std::string mark = "\"" + name + "\":\"";
  const size_t at = json.find(mark);
  if (at == std::string::npos) return {};
  return json.substr(at + mark.size(), json.find('"', at + mark.size()) - at - mark.size());
}

}  // namespace millrace
