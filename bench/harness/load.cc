#include "bench/harness/load.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "bench/harness/process.h"

namespace millrace {
namespace {

constexpr size_t kReadBytes = 64 * 1024;

struct Connection {
  int fd = -1;
  const char* out = nullptr;  // what is left to send
  size_t out_size = 0;
  std::string held;  // keeps the request alive while it is being sent in parts
  std::string in;
  size_t wanted = 0;  // bytes of the whole answer; 0 while its head is not complete
  double sent_at = 0;
};

class Runner {
 public:
  explicit Runner(const Load& load)
      : load_(load), connections_(static_cast<size_t>(load.connections)) {}

  LoadResult run() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    result_.latency_ms.reserve(load_.requests);
    const double start = now_seconds();
    double next_sample = start + 0.1;
    for (Connection& connection : connections_) {
      open(connection);
      begin(connection);
    }
    epoll_event events[256];
    while (finished_ < load_.requests && !broken_) {
      const int count = ::epoll_wait(epoll_, events, 256, 100);
      for (int i = 0; i < count; i++) {
        auto& connection = *static_cast<Connection*>(events[i].data.ptr);
        if (events[i].events & EPOLLOUT) send_some(connection);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(connection);
      }
      if (load_.every_tenth_second && now_seconds() >= next_sample) {
        load_.every_tenth_second();
        next_sample = now_seconds() + 0.1;
      }
    }
    result_.seconds = now_seconds() - start;
    for (const Connection& connection : connections_) ::close(connection.fd);
    ::close(epoll_);
    std::sort(result_.latency_ms.begin(), result_.latency_ms.end());
    return std::move(result_);
  }

 private:
  void open(Connection& connection) {
    connection.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    const auto number = static_cast<size_t>(&connection - connections_.data());
    address.sin_port =
        htons(load_.ports.empty() ? load_.port : load_.ports[number % load_.ports.size()]);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(connection.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      fail("cannot connect");
      return;
    }
    const int on = 1;
    ::setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &connection;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
  }

  void begin(Connection& connection) {
    if (begun_ == load_.requests || broken_) return;
    const std::string& request = load_.request(begun_++);
    connection.in.clear();
    connection.wanted = 0;
    connection.sent_at = now_seconds();
    connection.out = request.data();
    connection.out_size = request.size();
    send_some(connection);
    if (connection.out_size > 0) {
      connection.held.assign(connection.out, connection.out_size);
      connection.out = connection.held.data();
      watch(connection, EPOLLIN | EPOLLOUT);
    }
  }

  void watch(Connection& connection, uint32_t what) {
    epoll_event event{};
    event.events = what;
    event.data.ptr = &connection;
    ::epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event);
  }

  void send_some(Connection& connection) {
    const bool waited = !connection.held.empty();
    while (connection.out_size > 0) {
      const ssize_t sent =
          ::send(connection.fd, connection.out, connection.out_size, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno != EAGAIN) fail(std::strerror(errno));
        return;
      }
      connection.out += sent;
      connection.out_size -= static_cast<size_t>(sent);
    }
    if (waited) {
      connection.held.clear();
      watch(connection, EPOLLIN);
    }
  }

  void receive(Connection& connection) {
    char buffer[kReadBytes];
    const ssize_t got = ::recv(connection.fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      fail(fmt::format("the server closed the connection after {} bytes: {}", connection.in.size(),
                       connection.in.substr(0, 200)));
      return;
    }
    connection.in.append(buffer, static_cast<size_t>(got));
    if (connection.wanted == 0) {
      const size_t head = connection.in.find("\r\n\r\n");
      if (head == std::string::npos) return;
      size_t length = connection.in.find("Content-Length: ");
      if (length == std::string::npos) length = connection.in.find("content-length: ");
      if (length == std::string::npos || length > head) {
        fail("an answer without Content-Length: " + connection.in.substr(0, 200));
        return;
      }
      connection.wanted =
          head + 4 + std::strtoull(connection.in.c_str() + length + 16, nullptr, 10);
    }
    if (connection.in.size() < connection.wanted) return;
    finished_++;
    result_.answers++;
    result_.latency_ms.push_back((now_seconds() - connection.sent_at) * 1000);
    if (!load_.good(connection.in)) {
      result_.failures++;
      if (result_.first_failure.empty()) result_.first_failure = connection.in.substr(0, 600);
    }
    begin(connection);
  }

  void fail(const std::string& why) {
    result_.failures++;
    if (result_.first_failure.empty()) result_.first_failure = why;
    broken_ = true;
  }

  const Load& load_;
  std::vector<Connection> connections_;
  LoadResult result_;
  int epoll_ = -1;
  uint64_t begun_ = 0, finished_ = 0;
  bool broken_ = false;
};

}  // namespace

double LoadResult::percentile_ms(double share) const {
  if (latency_ms.empty()) return 0;
  const auto rank = static_cast<size_t>(share * static_cast<double>(latency_ms.size()));
  return latency_ms[std::min(rank, latency_ms.size() - 1)];
}

LoadResult run_load(const Load& load) {
  return Runner(load).run();
}

std::string post_request(const std::string& path, const std::string& headers,
                         const std::string& body) {
  return fmt::format("POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\n{}Content-Length: {}\r\n\r\n{}", path,
                     headers, body.size(), body);
}

}  // namespace millrace
