// MessageCounter: stands between clients and a server of MongoDB's protocol and counts what they
// ask for, by command and collection.
//
// So it counts round trips as they are, whatever client or server say of themselves. Two threads a
// connection; it adds some ten microseconds to each.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace millrace {

class MessageCounter {
 public:
  // Passes everything on to 127.0.0.1:`port`.
  explicit MessageCounter(uint16_t port);
  ~MessageCounter();
  MessageCounter(const MessageCounter&) = delete;
  MessageCounter& operator=(const MessageCounter&) = delete;

  uint16_t port() const { return port_; }
  // How many requests there were, by "COMMAND COLLECTION" ("insert jobs", "hello").
  std::map<std::string, uint64_t> counts() const;

 private:
  struct Link {
    int client = -1, server = -1;
    std::thread up, down;
  };
  void accept_all();
  void pass_requests(Link* link);
  void count(std::string_view message);

  const uint16_t server_port_;
  int listener_ = -1;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;  // of the next two
  std::map<std::string, uint64_t> counts_;
  std::list<Link> links_;
  std::thread thread_;
};

}  // namespace millrace
