// Receiver: a webhook endpoint on a free loopback port that remembers every delivery.
//
// One thread of its own. It answers 200 at once and counts; what it holds is what a receiver that
// remembers ids would see.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace millrace {

class Receiver {
 public:
  Receiver();
  ~Receiver();

  uint16_t port() const { return port_; }
  std::string url() const;  // http://127.0.0.1:PORT/hook

  struct Delivery {
    uint64_t times = 0;
    std::string body;           // of the first one
    uint64_t other_bodies = 0;  // how many later ones differed: must stay 0
  };
  // By webhook-id.
  std::map<std::string, Delivery> deliveries() const;
  uint64_t count() const { return count_.load(); }  // all deliveries
  uint64_t distinct() const;                        // distinct ids

 private:
  void serve();

  int listener_ = -1;
  int stop_ = -1;
  uint16_t port_ = 0;
  std::atomic<uint64_t> count_{0};
  mutable std::mutex mutex_;
  std::map<std::string, Delivery> deliveries_;
  std::thread thread_;
};

}  // namespace millrace
