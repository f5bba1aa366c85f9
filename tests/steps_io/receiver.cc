#include "tests/steps_io/receiver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>

namespace millrace {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Reads one request; false at the end of the connection.
bool read_request(int connection, std::string* buffer, ReceivedRequest* request) {
  const auto more = [&] {
    char chunk[65536];
    const ssize_t got = ::recv(connection, chunk, sizeof chunk, 0);
    if (got <= 0) return false;
    buffer->append(chunk, static_cast<size_t>(got));
    return true;
  };
  size_t end;
  while ((end = buffer->find("\r\n\r\n")) == std::string::npos) {
    if (!more()) return false;
  }
  size_t at = buffer->find("\r\n");
  request->line = buffer->substr(0, at);
  while (at < end) {
    const size_t begin = at + 2;
    at = buffer->find("\r\n", begin);
    const std::string header = buffer->substr(begin, at - begin);
    const size_t colon = header.find(": ");
    request->headers[lower(header.substr(0, colon))] = header.substr(colon + 2);
  }
  const size_t size = std::stoul("0" + request->headers["content-length"]);
  while (buffer->size() < end + 4 + size) {
    if (!more()) return false;
  }
  request->body = buffer->substr(end + 4, size);
  buffer->erase(0, end + 4 + size);
  return true;
}

}  // namespace

Receiver::Receiver(Script script) : script_(std::move(script)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    ::abort();
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_loop(); });
}

Receiver::~Receiver() {
  stopping_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int connection : open_) ::shutdown(connection, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
  for (const int connection : open_) ::close(connection);
  ::close(listener_);
}

std::string Receiver::url(const std::string& path) const {
  return fmt::format("http://127.0.0.1:{}{}", port_, path);
}

std::vector<ReceivedRequest> Receiver::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void Receiver::hang() const {
  stopping_.wait(false);
}

void Receiver::accept_loop() {
  for (;;) {
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) break;
    ++connections_;
    const std::lock_guard lock(mutex_);
    open_.push_back(connection);
    threads_.emplace_back([this, connection] { serve(connection); });
  }
  stopping_.notify_all();
}

void Receiver::serve(int connection) {
  std::string buffer;
  ReceivedRequest request;
  while (read_request(connection, &buffer, &request)) {
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const std::string bytes = script_(request);
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n = ::send(connection, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<size_t>(n);
    }
    if (bytes.empty() || sent < bytes.size()) break;
    if (bytes.find("Connection: close") != std::string::npos) break;
    if (bytes.find("X-Test: stall") != std::string::npos) hang();
    request = {};
  }
  ::shutdown(connection, SHUT_RDWR);
}

std::string answer(const std::string& status, const std::string& headers, const std::string& body) {
  return fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\n{}\r\n{}", status, body.size(), headers,
                     body);
}

}  // namespace millrace
