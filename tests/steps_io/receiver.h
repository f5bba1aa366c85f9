// An HTTP receiver on loopback for tests: records what it gets, answers what the test says.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace millrace {

struct ReceivedRequest {
  std::string line;                            // "POST /hook HTTP/1.1"
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class Receiver {
 public:
  // Answers with raw bytes; "" closes the connection without an answer. May block until stopping().
  using Script = std::function<std::string(const ReceivedRequest&)>;

  // Listens on a free port of 127.0.0.1.
  explicit Receiver(Script script);
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  int port() const { return port_; }
  std::string url(const std::string& path = "/hook") const;
  int connections() const { return connections_; }
  std::vector<ReceivedRequest> requests() const;
  bool stopping() const { return stopping_; }
  // Blocks the connection's thread until the receiver ends: an answer that never comes.
  void hang() const;

 private:
  void accept_loop();
  void serve(int connection);

  Script script_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> connections_ = 0;
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;
  std::vector<ReceivedRequest> requests_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// "HTTP/1.1 STATUS …" with headers ("name: value\r\n"…) and a body of its length.
std::string answer(const std::string& status, const std::string& headers = "",
                   const std::string& body = "");

}  // namespace millrace
