#include "bench/harness/receiver.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <unordered_map>

namespace millrace {
namespace {

constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
constexpr std::string_view kAway = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
constexpr std::string_view kRefusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";

void watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

// A child between its fork and its exec still has what is closed here: the file lives on, and so
// would its place in the epoll, which would go on to report a number that may be somebody else's
// socket by then.
void forget(int epoll, int fd) {
  ::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
  ::close(fd);
}

}  // namespace

std::string header_of(const std::string& head, const std::string& name) {
  for (size_t line = head.find("\r\n"); line != std::string::npos;
       line = head.find("\r\n", line + 2)) {
    const size_t start = line + 2;
    if (strncasecmp(head.c_str() + start, name.c_str(), name.size()) != 0) continue;
    if (head[start + name.size()] != ':') continue;
    size_t from = start + name.size() + 1;
    while (head[from] == ' ') from++;
    return head.substr(from, head.find("\r\n", from) - from);
  }
  return {};
}

Receiver::Receiver(Accepts accepts) : accepts_(std::move(accepts)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 1024) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  port_ = ntohs(address.sin_port);
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { serve(); });
}

Receiver::~Receiver() {
  const uint64_t one = 1;
  if (::write(stop_, &one, sizeof one) != sizeof one) std::abort();
  thread_.join();
  ::close(listener_);
  ::close(stop_);
}

std::string Receiver::url() const {
  return fmt::format("http://127.0.0.1:{}/hook", port_);
}

void Receiver::serve() {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  watch(epoll, listener_);
  watch(epoll, stop_);
  std::unordered_map<int, std::string> connections;
  char buffer[64 * 1024];
  for (;;) {
    epoll_event events[64];
    const int ready = ::epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < ready; i++) {
      const int fd = events[i].data.fd;
      if (fd == stop_) {
        for (const auto& [open, text] : connections) ::close(open);
        ::close(epoll);
        return;
      }
      if (fd == listener_) {
        const int accepted = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (accepted >= 0) {
          connections[accepted];
          watch(epoll, accepted);
        }
        continue;
      }
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) {
        forget(epoll, fd);
        connections.erase(fd);
        continue;
      }
      std::string& in = connections[fd];
      in.append(buffer, static_cast<size_t>(got));
      const size_t head = in.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      const std::string lines = in.substr(0, head + 2);
      const size_t length = std::strtoull(header_of(lines, "content-length").c_str(), nullptr, 10);
      if (in.size() < head + 4 + length) continue;
      const std::string body = in.substr(head + 4, length);
      in.erase(0, head + 4 + length);
      if (!take(fd, lines, body)) {
        forget(epoll, fd);
        connections.erase(fd);
      }
    }
  }
}

// Notes and answers one request; false: the other side is gone.
bool Receiver::take(int connection, const std::string& head, const std::string& body) {
  const bool good = accepts_ == nullptr || accepts_(head, body);
  if (good) {
    const std::lock_guard lock(mutex_);
    Delivery& delivery = deliveries_[header_of(head, "webhook-id")];
    if (delivery.times++ == 0) {
      delivery.body = body;
    } else if (delivery.body != body) {
      delivery.other_bodies++;
    }
    count_++;
  }
  arrived_.notify_all();
  const std::string_view answer = !good ? kRefusal : away_ ? kAway : kAnswer;
  return ::send(connection, answer.data(), answer.size(), MSG_NOSIGNAL) >= 0;
}

bool Receiver::wait_for(uint64_t distinct, double seconds) const {
  std::unique_lock lock(mutex_);
  return arrived_.wait_for(lock, std::chrono::duration<double>(seconds),
                           [&] { return deliveries_.size() >= distinct; });
}

std::map<std::string, Receiver::Delivery> Receiver::deliveries() const {
  const std::lock_guard lock(mutex_);
  return deliveries_;
}

uint64_t Receiver::distinct() const {
  const std::lock_guard lock(mutex_);
  return deliveries_.size();
}

}  // namespace millrace
