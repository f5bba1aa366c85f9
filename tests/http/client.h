// A small blocking HTTP client for tests: whole requests and raw bytes, every wait with a deadline.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

namespace millrace::test {

constexpr int kPatienceMs = 60'000;  // of a machine that is slow and has other things to do

struct Answer {
  int status = 0;                              // 0: the connection ended before a whole answer came
  std::map<std::string, std::string> headers;  // names in lower case; repeated ones joined by ", "
  std::string body;
  bool closed = false;  // the server ended the connection while the answer was awaited
  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

class Client {
 public:
  explicit Client(const std::string& address) : address_(address) { connect(); }
  ~Client() { disconnect(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void connect() {
    disconnect();
    const size_t colon = address_.rfind(':');
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<uint16_t>(std::atoi(address_.c_str() + colon + 1)));
    inet_pton(AF_INET, address_.substr(0, colon).c_str(), &name.sin_addr);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) disconnect();
    const int one = 1;
    if (fd_ >= 0) setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    buffer_.clear();
  }
  void disconnect() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  bool connected() const { return fd_ >= 0; }
  // As a process does that ends with bytes unread.
  void reset() {
    const linger now{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    disconnect();
  }
  void half_close() { shutdown(fd_, SHUT_WR); }

  // False when the server has closed the connection.
  bool write(std::string_view data) {
    while (!data.empty()) {
      pollfd waiting{fd_, POLLOUT, 0};
      if (poll(&waiting, 1, kPatienceMs) <= 0) return false;
      const ssize_t size = send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (size <= 0) return false;
      data.remove_prefix(static_cast<size_t>(size));
    }
    return true;
  }
  // More bytes into the buffer; false at the end, or when nothing comes for `patience_ms`.
  bool read_more(int patience_ms = kPatienceMs) {
    pollfd waiting{fd_, POLLIN, 0};
    if (poll(&waiting, 1, patience_ms) <= 0) return false;
    char data[65536];
    const ssize_t size = recv(fd_, data, sizeof data, 0);
    if (size <= 0) return false;
    buffer_.append(data, static_cast<size_t>(size));
    return true;
  }
  bool read_until(std::string_view mark) {
    while (buffer_.find(mark) == std::string::npos) {
      if (!read_more()) return false;
    }
    return true;
  }
  // Everything up to the server's end of the connection.
  std::string read_to_end() {
    while (read_more()) {
    }
    return std::move(buffer_);
  }
  // True when the server ends the connection within the deadline.
  bool ends() {
    for (;;) {
      pollfd waiting{fd_, POLLIN, 0};
      if (poll(&waiting, 1, kPatienceMs) <= 0) return false;
      char data[4096];
      if (recv(fd_, data, sizeof data, 0) <= 0) return true;
    }
  }
  std::string& buffer() { return buffer_; }

  // Reads one answer; `head_only` for HEAD. Answers of 1xx are skipped, and counted.
  Answer read_answer(bool head_only = false) {
    Answer answer;
    do {
      answer = Answer();
      if (!read_until("\r\n\r\n")) {
        answer.closed = true;
        return answer;
      }
      const size_t end = buffer_.find("\r\n\r\n");
      parse_head(buffer_.substr(0, end), &answer);
      buffer_.erase(0, end + 4);
      if (answer.status < 200) continues++;
    } while (answer.status < 200);
    if (head_only || answer.status == 204 || answer.status == 304) return answer;
    if (answer.header("transfer-encoding") == "chunked") {
      read_chunked(&answer);
    } else {
      const size_t size = std::strtoull(answer.header("content-length").c_str(), nullptr, 10);
      while (buffer_.size() < size && read_more()) {
      }
      if (buffer_.size() < size) answer.status = 0;
      answer.body = buffer_.substr(0, size);
      buffer_.erase(0, std::min(size, buffer_.size()));
    }
    return answer;
  }

  // Sends one request over the connection (made anew when it was closed) and reads its answer.
  Answer request(const std::string& method, const std::string& target,
                 const std::string& headers = "", const std::string& body = "") {
    if (!connected()) connect();
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: " + address_ + "\r\n" + headers;
    if (!body.empty() || method == "POST" || method == "PUT") {
      text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    }
    write(text + "\r\n" + body);
    Answer answer = read_answer(method == "HEAD");
    if (answer.header("connection") == "close" || answer.status == 0) disconnect();
    return answer;
  }
  Answer get(const std::string& target, const std::string& headers = "") {
    return request("GET", target, headers);
  }

  int continues = 0;  // 100 Continue seen

 private:
  void parse_head(const std::string& head, Answer* answer) {
    answer->status = head.size() > 12 ? std::atoi(head.c_str() + 9) : 0;
    for (size_t at = head.find("\r\n"); at != std::string::npos;) {
      const size_t end = head.find("\r\n", at + 2);
      const std::string line =
          head.substr(at + 2, end == std::string::npos ? std::string::npos : end - at - 2);
      const size_t colon = line.find(": ");
      std::string name = line.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      std::string& value = answer->headers[name];
      if (!value.empty()) value += ", ";
      if (colon != std::string::npos) value += line.substr(colon + 2);
      at = end;
    }
  }
  void read_chunked(Answer* answer) {
    for (;;) {
      if (!read_until("\r\n")) {
        answer->status = 0;
        return;
      }
      const size_t size = std::strtoull(buffer_.c_str(), nullptr, 16);
      const size_t start = buffer_.find("\r\n") + 2;
      while (buffer_.size() < start + size + 2 && read_more()) {
      }
      answer->body += buffer_.substr(start, size);
      buffer_.erase(0, std::min(start + size + 2, buffer_.size()));
      if (size == 0) return;
    }
  }

  std::string address_;
  std::string buffer_;
  int fd_ = -1;
};

}  // namespace millrace::test
