#include "bench/harness/message_counter.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace millrace {
namespace {

constexpr size_t kHeadBytes = 16, kMessageBytesMax = 64 << 20;
constexpr uint32_t kOpMessage = 2013;

uint32_t number_at(std::string_view bytes, size_t at) {
  uint32_t number = 0;
  std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

bool receive_all(int fd, char* to, size_t size) {
  while (size > 0) {
    const ssize_t got = ::recv(fd, to, size, 0);
    if (got <= 0) return false;
    to += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool receive_message(int fd, std::string* message) {
  message->resize(kHeadBytes);
  if (!receive_all(fd, message->data(), kHeadBytes)) return false;
  const size_t size = number_at(*message, 0);
  if (size < kHeadBytes || size > kMessageBytesMax) return false;
  message->resize(size);
  return receive_all(fd, message->data() + kHeadBytes, size - kHeadBytes);
}

void pass_answers(int from, int to) {
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t got = ::recv(from, buffer, sizeof buffer, 0);
    if (got <= 0 || !send_all(to, {buffer, static_cast<size_t>(got)})) break;
  }
  ::shutdown(to, SHUT_RDWR);
}

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

MessageCounter::MessageCounter(uint16_t port) : server_port_(port) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, plain, size) != 0 || ::listen(listener_, SOMAXCONN) != 0 ||
      ::getsockname(listener_, plain, &size) != 0) {
    std::abort();
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { accept_all(); });
}

MessageCounter::~MessageCounter() {
  ::shutdown(listener_, SHUT_RDWR);
  thread_.join();
  ::close(listener_);
  for (Link& link : links_) {
    ::shutdown(link.client, SHUT_RDWR);
    ::shutdown(link.server, SHUT_RDWR);
    link.up.join();
    link.down.join();
    ::close(link.client);
    ::close(link.server);
  }
}

void MessageCounter::accept_all() {
  for (;;) {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(server_port_);
    if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      ::close(client);
      ::close(server);
      continue;
    }
    const int on = 1;
    ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const std::lock_guard<std::mutex> lock(mutex_);
    Link& link = links_.emplace_back();
    link.client = client;
    link.server = server;
    link.up = std::thread([this, &link] { pass_requests(&link); });
    link.down = std::thread([&link] { pass_answers(link.server, link.client); });
  }
}

void MessageCounter::pass_requests(Link* link) {
  std::string message;
  while (receive_message(link->client, &message)) {
    count(message);
    if (!send_all(link->server, message)) break;
  }
  ::shutdown(link->server, SHUT_RDWR);
}

// OP_MSG: flags, kind 0, a document whose first element is the command; its text the collection.
void MessageCounter::count(std::string_view message) {
  std::string name = "greeting";
  constexpr size_t kElement = kHeadBytes + 4 + 1 + 4;
  if (number_at(message, 12) == kOpMessage && message.size() > kElement + 8) {
    const char type = message[kElement];
    const size_t end = message.find('\0', kElement + 1);
    if (end == std::string_view::npos) return;
    name = message.substr(kElement + 1, end - kElement - 1);
    if (type == 2 && end + 5 < message.size()) {
      const size_t size = number_at(message, end + 1);
      if (size > 0 && end + 4 + size < message.size()) {
        name += " " + std::string(message.substr(end + 5, size - 1));
      }
    }
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  counts_[name]++;
}

std::map<std::string, uint64_t> MessageCounter::counts() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return counts_;
}

}  // namespace millrace
