#include "tests/store_mongo/tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "engine/base/check.h"

namespace millrace {
namespace {

constexpr int kStopPollMs = 50;
constexpr auto kPatience = std::chrono::seconds(60);

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(port);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

bool send_all(int fd, const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

bool receive_exactly(int fd, size_t size, std::string* bytes) {
  while (bytes->size() < size) {
    char buffer[65536];
    const ssize_t n = ::recv(fd, buffer, std::min(sizeof buffer, size - bytes->size()), 0);
    if (n <= 0) return false;
    bytes->append(buffer, static_cast<size_t>(n));
  }
  return true;
}

// One message of the protocol: its first four bytes are its length, little-endian.
bool receive_message(int fd, std::string* bytes) {
  bytes->clear();
  if (!receive_exactly(fd, 4, bytes)) return false;
  uint32_t size = 0;
  std::memcpy(&size, bytes->data(), sizeof size);
  return size >= 16 && receive_exactly(fd, size, bytes);
}

void cut(int fd) {
  ::shutdown(fd, SHUT_RDWR);
}

}  // namespace

TcpProxy::TcpProxy() {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  CHECK(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) == 0);
  CHECK(::listen(listener_, 64) == 0);
  CHECK(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { accept_loop(); });
}

TcpProxy::~TcpProxy() {
  stopping_ = true;
  thread_.join();
  for (Link& link : links_) {
    cut(link.client);
    cut(link.server);
    link.up.join();
    link.down.join();
    ::close(link.client);
    ::close(link.server);
  }
  ::close(listener_);
}

void TcpProxy::set_trap(Trap trap, std::string needle, int times) {
  const std::lock_guard<std::mutex> lock(mutex_);
  trap_ = trap;
  needle_ = std::move(needle);
  left_ = times;
  done_ = 0;
}

bool TcpProxy::wait_for_trap(int times) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return done_ >= times; });
}

bool TcpProxy::release() {
  std::string bytes, answer;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    bytes.swap(kept_);
  }
  const int fd = connect_to(server_port_);
  const bool done = fd >= 0 && send_all(fd, bytes) && receive_message(fd, &answer);
  if (fd >= 0) ::close(fd);
  return done;
}

void TcpProxy::accept_loop() {
  while (!stopping_) {
    pollfd waiting{listener_, POLLIN, 0};
    if (::poll(&waiting, 1, kStopPollMs) <= 0) continue;
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    const int server = connect_to(server_port_);
    if (server < 0) {
      ::close(client);
      continue;
    }
    const int on = 1;
    ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Link& link = links_.emplace_back();
    link.client = client;
    link.server = server;
    link.up = std::thread([this, &link] { pump_up(&link); });
    link.down = std::thread([this, &link] { pump_down(&link); });
  }
}

TcpProxy::Trap TcpProxy::spring(const std::string& bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (left_ == 0 || bytes.find(needle_) == std::string::npos) return Trap::kNone;
  left_--;
  if (trap_ == Trap::kDelay) kept_ = bytes;
  return trap_;
}

void TcpProxy::sprung() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_++;
  }
  changed_.notify_all();
}

void TcpProxy::pump_up(Link* link) {
  std::string message;
  while (receive_message(link->client, &message)) {
    const Trap trap = spring(message);
    if (trap == Trap::kDropAnswer) link->cut_answer = true;
    if (trap == Trap::kDropRequest || trap == Trap::kDelay) {
      cut(link->client);
      sprung();
      break;
    }
    if (!send_all(link->server, message)) break;
  }
  cut(link->server);
}

void TcpProxy::pump_down(Link* link) {
  std::string message;
  while (receive_message(link->server, &message)) {
    if (link->cut_answer || !send_all(link->client, message)) break;
  }
  cut(link->client);
  if (link->cut_answer.exchange(false)) sprung();
}

}  // namespace millrace
